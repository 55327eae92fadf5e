from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from analysis.metrics.features import load_inception
from generation.errors import CheckpointError
from tests.analysis.metrics.networks import PARITY, inception_tensors


def test_features_equal_the_published_networks(inception_file: Path) -> None:
    expected = load_file(PARITY / "inception_fid.expected.safetensors")
    images = expected["images"].permute(0, 3, 1, 2).float() / 255
    network = load_inception(inception_file)

    with torch.inference_mode():
        pool = network(images)
        resized = torch.nn.functional.interpolate(images, (299, 299), mode="bilinear")
        stages = network.stages(2 * resized - 1)

    torch.testing.assert_close(pool, expected["pool3"], atol=1e-5, rtol=0)
    for place, stage in enumerate(stages):
        torch.testing.assert_close(stage.mean((2, 3)), expected[f"block{place}_mean"], atol=1e-5, rtol=0)


def test_spatial_features_are_mixed_6ds_first_branch_channel_last(inception_file: Path) -> None:
    network = load_inception(inception_file)
    images = torch.rand(2, 3, 299, 299, generator=torch.Generator().manual_seed(0)) * 2 - 1
    seen = []
    network.Mixed_6d.branch1x1.register_forward_hook(lambda _module, _inputs, output: seen.append(output))

    with torch.inference_mode():
        spatial = network.features(images)[1]

    # 17·17 places of 7 channels; the second number is the second channel of the first place.
    assert spatial.shape == (2, 2023)
    assert spatial[1, 1] == seen[0][1, 1, 0, 0]
    assert spatial[1, 7] == seen[0][1, 0, 0, 1]


def test_weights_in_safetensors_are_the_same(inception_file: Path, tmp_path: Path) -> None:
    save_file(inception_tensors(), tmp_path / "inception.safetensors")

    first, second = load_inception(inception_file), load_inception(tmp_path / "inception.safetensors")

    assert torch.equal(first.Mixed_7c.branch1x1.conv.weight, second.Mixed_7c.branch1x1.conv.weight)


@pytest.mark.parametrize("change", ["missing", "shape", "extra"])
def test_weights_of_another_network_are_refused_by_the_tensor_that_differs(tmp_path: Path, change: str) -> None:
    tensors = {"fc.weight": torch.zeros(1008, 2048), "fc.bias": torch.zeros(1008)} if change == "missing" else None
    tensors = tensors or inception_tensors()
    if change == "shape":
        tensors["fc.weight"] = torch.zeros(1000, 2048)
    if change == "extra":
        tensors["AuxLogits.fc.weight"] = torch.zeros(1)
    torch.save(tensors, tmp_path / "other.pth")
    named = {"missing": r"lacks Conv2d_1a_3x3", "shape": r"fc.weight is \[1000, 2048\]", "extra": "AuxLogits.fc.weight"}

    with pytest.raises(CheckpointError, match=named[change]) as error:
        load_inception(tmp_path / "other.pth")
    assert "fetch_weights inception" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / "broken.pth").write_bytes(b"not weights")

    with pytest.raises(CheckpointError, match=r"broken\.pth"):
        load_inception(tmp_path / "broken.pth")
