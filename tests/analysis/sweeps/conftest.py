import warnings
from pathlib import Path

import pytest
import torch

from generation.checkpoints import Metadata, save_network
from generation.diffusion.unet import build_unet
from generation.guidance.classifier import build_classifier
from generation.presets import load_preset
from tests.generation.conftest import TINY, data, named_weights, one_thread, tiny, tiny_path

__all__ = ["data", "one_thread", "tiny", "tiny_path"]


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Checkpoints of the tiny preset, the same files for all tests: a point is named by their bytes."""
    folder, paths = tmp_path_factory.mktemp("weights"), {}
    (folder / "tiny.toml").write_text(TINY)
    preset = load_preset(folder / "tiny.toml")
    for kind in ("diffusion", "vanilla", "robust"):
        network = build_unet(preset) if kind == "diffusion" else build_classifier(preset)
        paths[kind] = folder / f"{kind}.safetensors"
        metadata = Metadata(kind, preset.as_dict(), preset.image.class_names, 0, "none")
        save_network(paths[kind], named_weights(network, f"{kind}."), metadata)
    return paths


@pytest.fixture(scope="session")
def shades(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Features by a script: the mean and the spread of each image."""

    class Shades(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            flat = images.flatten(1)
            return torch.stack([flat.mean(1), flat.std(1)], 1)

    path = tmp_path_factory.mktemp("shades") / "shades.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.script(Shades()).save(path)  # type: ignore[no-untyped-call]
    return path
