import gzip
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from generation.checkpoints import Metadata, save_network
from generation.diffusion.unet import UNet, build_unet
from generation.guidance.classifier import TimeClassifier, build_classifier
from generation.presets import Preset, load_preset

PARITY = Path(__file__).parent / "parity"

ADM16 = """
[image]
size = 16
channels = 3
classes = 10

[diffusion]
width = 32
channel_mult = [1, 2]
res_blocks = 1
attention_resolutions = [8]
heads = 4
resblock_updown = true

[classifier]
width = 32
channel_mult = [1, 2]
depth = 1
attention_resolutions = [8]
head_channels = 32

[sampling]
respacing = "10"
"""

TINY = """
[image]
size = 8
channels = 1
classes = 3
class_names = ["hat", "shoe, left", "bag"]

[diffusion]
width = 32
channel_mult = [1, 1]
res_blocks = 1
attention_resolutions = [4]
heads = 2

[classifier]
width = 32
channel_mult = [1, 1]
depth = 1
attention_resolutions = [4]
head_channels = 16

[sampling]
respacing = "4"

[attack]
threat_model = "l2"
epsilon = 0.5
steps = 3
step_size = 0.4

[training.classifier]
iterations = 6
batch_size = 8
learning_rate = 1e-3
weight_decay = 0.05
anneal_iterations = 6

[training.diffusion]
iterations = 6
batch_size = 8
learning_rate = 1e-3
ema_rate = 0.9
"""


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Networks this small are slower on two."""
    torch.set_num_threads(1)


@pytest.fixture
def tiny_path(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    return path


@pytest.fixture
def tiny(tiny_path: Path) -> Preset:
    return load_preset(tiny_path)


@pytest.fixture(scope="session")
def adm16(tmp_path_factory: pytest.TempPathFactory) -> Preset:
    path = tmp_path_factory.mktemp("adm16") / "adm16.toml"
    path.write_text(ADM16)
    return load_preset(path)


@pytest.fixture(scope="session")
def expected() -> dict[str, Tensor]:
    return load_file(PARITY / "adm16.expected.safetensors")


def named_weights(network: nn.Module, prefix: str) -> dict[str, Tensor]:
    """The weights that the reference numbers were made with: each follows from its name."""
    weights = {}
    for name, tensor in network.state_dict().items():
        generator = np.random.default_rng(zlib.crc32((prefix + name).encode()))
        n = generator.standard_normal(tuple(tensor.shape), dtype=np.float32)
        if tensor.ndim >= 2:
            n = n / np.sqrt(np.prod(tensor.shape[1:]))
        else:
            n = 1 + 0.1 * n if name.endswith("weight") else 0.1 * n
        weights[name] = torch.from_numpy(n.astype(np.float32))
    return weights


@pytest.fixture(scope="session")
def unet(adm16: Preset) -> UNet:
    network = build_unet(adm16)
    network.load_state_dict(named_weights(network, "diffusion."))
    return network.eval().requires_grad_(requires_grad=False)


def _classifier(preset: Preset, kind: str) -> TimeClassifier:
    network = build_classifier(preset)
    network.load_state_dict(named_weights(network, f"{kind}."))
    return network.eval().requires_grad_(requires_grad=False)


@pytest.fixture(scope="session")
def vanilla(adm16: Preset) -> TimeClassifier:
    return _classifier(adm16, "vanilla")


@pytest.fixture(scope="session")
def robust(adm16: Preset) -> TimeClassifier:
    return _classifier(adm16, "robust")


@pytest.fixture
def weights(tmp_path: Path, tiny: Preset) -> dict[str, Path]:
    """Checkpoints of the tiny preset with weights that follow from their names, so that nothing starts at zero."""
    paths = {}
    for kind in ("diffusion", "vanilla", "robust"):
        network = build_unet(tiny) if kind == "diffusion" else build_classifier(tiny)
        metadata = Metadata(kind, tiny.as_dict(), tiny.image.class_names, 0, "none")
        paths[kind] = tmp_path / f"{kind}.safetensors"
        save_network(paths[kind], named_weights(network, f"{kind}."), metadata)
    return paths


def write_idx(path: Path, values: np.ndarray) -> None:
    header = bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
    path.write_bytes(gzip.compress(header + values.astype(np.uint8).tobytes()))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """24 training and 6 test images of 4x4, of three classes that their brightness tells apart."""
    folder = tmp_path / "bright"
    folder.mkdir()
    for split, count in (("train", 24), ("t10k", 6)):
        labels = np.arange(count) % 3
        noise = np.random.default_rng(0).integers(0, 40, (count, 4, 4))
        write_idx(folder / f"{split}-images-idx3-ubyte.gz", labels[:, None, None] * 100 + noise)
        write_idx(folder / f"{split}-labels-idx1-ubyte.gz", labels)
    return folder
