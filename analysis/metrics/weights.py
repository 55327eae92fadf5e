"""Feature networks' weights: where they come from, and whether they fit."""

from pathlib import Path

from torch import Tensor, nn

from generation.datasets.downloads import Published, RemoteFile
from generation.errors import CheckpointError
from generation.tensorfiles import first_difference, open_tensors

INCEPTION_FILE = "pt_inception-2015-12-05-6726825d.pth"
WEIGHTS = {
    "inception": Published(
        "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/",
        (RemoteFile(INCEPTION_FILE, 95_628_359, "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"),),
    ),
}
COUNTERS = "num_batches_tracked"


def load_weights(network: nn.Module, path: Path, remedy: str) -> None:
    """Put a file's tensors into a network, in float32; batch normalisation's counters are left out.

    Args:
        network: its names and shapes must be the file's.
        path: `.safetensors`, or what `torch.save` wrote.
        remedy: what to do about a file of another network.

    Raises:
        CheckpointError: The file is missing, broken, holds more than weights, or is of another network.
    """
    file = open_tensors(path)
    expected = _counted_out(network.state_dict())
    if difference := first_difference(expected, _counted_out(file.layout)):
        raise CheckpointError(f"{path} is of another network: {difference.removesuffix(' in the preset')}. {remedy}")
    network.load_state_dict({name: tensor.float() for name, tensor in file.read() if name in expected}, strict=False)


def _counted_out(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in tensors.items() if not name.endswith(COUNTERS)}
