from pathlib import Path

import pytest
import torch

from tests.analysis.metrics.networks import inception_tensors


@pytest.fixture(scope="session")
def inception_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Inception's weight file in the published form, with weights that follow from their names."""
    path = tmp_path_factory.mktemp("inception") / "inception.pth"
    tensors = inception_tensors()
    counters = {name.replace("weight", "num_batches_tracked"): torch.tensor(0) for name in tensors if "bn.w" in name}
    torch.save(tensors | counters, path)
    return path
