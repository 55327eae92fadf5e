"""Networks on disk: safetensors with their preset inside, or the published `.pt` files.

No pickled code ever runs: `.pt` files are read by torch's weights-only loader, which knows tensors and plain values.
"""

import hashlib
import json
import os
import pickle
import tempfile
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from generation.diffusion.unet import UNet, build_unet
from generation.errors import CheckpointError
from generation.guidance.classifier import TimeClassifier, build_classifier
from generation.presets import Preset

Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True)
class Metadata:
    """What a checkpoint of ours says of itself.

    Attributes:
        kind: `diffusion`, `robust` or `vanilla`.
        preset: the whole preset, as plain values.
        class_names: in the order of the class indices.
        step: training iterations done.
        dataset: the data set's name.
        initial: SHA-256 of the checkpoint that the training began from; empty where it began from random weights.
    """

    kind: str
    preset: dict[str, Any]
    class_names: tuple[str, ...]
    step: int
    dataset: str
    initial: str = ""


def load_diffusion(path: str | Path, preset: Preset) -> UNet:
    """Load the preset's U-Net, ready to sample.

    Args:
        path: a `.safetensors` file, or a published `.pt`.
        preset: the network's shape.

    Returns:
        The network in evaluation mode, its parameters frozen; `unet(x_t, timestep, label)`.

    Raises:
        CheckpointError: the file is missing, broken, holds more than weights, or fits another network.
    """
    return _load(Path(path), preset, build_unet)


def load_classifier(path: str | Path, preset: Preset) -> TimeClassifier:
    """Load the preset's classifier, ready to guide; `classifier(x_t, timestep)`. See `load_diffusion`."""
    return _load(Path(path), preset, build_classifier)


def _load(path: Path, preset: Preset, build: Callable[[Preset], Network]) -> Network:
    tensors = read_tensors(path)
    _check_class_names(path, preset)
    with torch.device("meta"):
        network = build(preset)
    _check_fit(path, preset, network.state_dict(), tensors)
    network.load_state_dict({name: tensor.float() for name, tensor in tensors.items()}, strict=True, assign=True)
    return network.eval().requires_grad_(requires_grad=False)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a checkpoint's tensors by name.

    Raises:
        CheckpointError: no such file, a broken one, or one with anything but named tensors in it.
    """
    if not path.is_file():
        raise CheckpointError(f"No checkpoint {path}: check the path.")
    tensors = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)
    if not isinstance(tensors, dict) or not all(isinstance(tensor, Tensor) for tensor in tensors.values()):
        raise CheckpointError(f"{path} is no checkpoint of a network: it must hold named tensors and nothing else.")
    return tensors


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 -- no mapping
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path} is no whole safetensors file ({error}): fetch or train it again.") from error


def _read_pickle(path: Path) -> Any:  # noqa: ANN401 -- read_tensors checks it
    try:
        with warnings.catch_warnings():
            # Of pickle protocols that it then refuses or reads.
            warnings.simplefilter("ignore", UserWarning)
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} is refused: it is broken, or holds pickled objects that are no tensors and might run code. "
            "Ask its author for the bare state dict."
        ) from error
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, UnicodeDecodeError) as error:
        first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"{path} is no whole checkpoint ({first_line}): fetch it again.") from error


def read_state(path: Path) -> dict[str, Any]:
    """Read a training's state, as `torch.save` wrote it: tensors and plain values only.

    Raises:
        CheckpointError: no such file, or a broken one.
    """
    if not path.is_file():
        raise CheckpointError(f"No {path} to resume from: start without --resume, or check --output.")
    state = _read_pickle(path)
    if not isinstance(state, dict):
        raise CheckpointError(f"{path} is no training's state: resume from the folder that --output named.")
    return state


def _check_fit(path: Path, preset: Preset, expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    """Compare names and shapes, and name the first tensor that differs, in the network's order."""
    for name, tensor in expected.items():
        if name not in found:
            raise CheckpointError(f"{path} does not fit preset {preset.name}: it lacks {name} {list(tensor.shape)}.")
        if found[name].shape != tensor.shape:
            raise CheckpointError(
                f"{path} does not fit preset {preset.name}: {name} is {list(found[name].shape)} in the file, "
                f"{list(tensor.shape)} in the preset."
            )
    if extra := [name for name in found if name not in expected]:
        raise CheckpointError(f"{path} does not fit preset {preset.name}: {extra[0]} has no place in it.")


def _check_class_names(path: Path, preset: Preset) -> None:
    names = preset.image.class_names
    if path.suffix != ".safetensors" or not names:
        return
    metadata = read_metadata(path)
    if metadata and metadata.class_names and metadata.class_names != names:
        raise CheckpointError(
            f"{path} was trained on the classes {', '.join(metadata.class_names[:3])}, ...; "
            f"preset {preset.name} names {', '.join(names[:3])}, ...: give both the same order."
        )


def read_metadata(path: Path) -> Metadata | None:
    """Return what a checkpoint says of itself, or None where it says nothing (a published file).

    Raises:
        CheckpointError: the file is missing or broken.
    """
    if path.suffix != ".safetensors":
        return None
    try:
        with safe_open(path, framework="pt") as file:
            texts = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is no whole safetensors file ({error}): fetch or train it again.") from error
    if "sameseed" not in texts:
        return None
    try:
        values = json.loads(texts["sameseed"])
        return Metadata(**{**values, "class_names": tuple(values["class_names"])})
    except (ValueError, TypeError, KeyError) as error:
        raise CheckpointError(
            f"{path} has metadata that cannot be read ({error}): convert or train it again."
        ) from error


def save_network(path: Path, tensors: Mapping[str, Tensor], metadata: Metadata) -> None:
    """Write a checkpoint so that the old one stays until the new one is whole.

    Raises:
        CheckpointError: the file cannot be written.
    """
    # One place in memory each: safetensors refuses tensors that share it.
    content = save(
        {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()},
        metadata={"format": "pt", "sameseed": json.dumps(metadata.__dict__)},
    )
    write_atomically(path, lambda temporary: temporary.write_bytes(content))


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside `path`, flush it to disk and move it into place.

    Raises:
        CheckpointError: the folder or the file cannot be written; what was there before is untouched.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        os.close(descriptor)
        temporary = Path(name)
        write(temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        # mkstemp's files are for their owner alone; a checkpoint is read by whoever may read the folder.
        temporary.chmod(0o644)
        temporary.replace(path)
    except (OSError, RuntimeError) as error:
        raise CheckpointError(f"{path} cannot be written ({error}): free space, or choose another folder.") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def sha256_of(path: Path) -> str:
    """Return a file's SHA-256 in hexadecimal.

    Raises:
        CheckpointError: no such file.
    """
    if not path.is_file():
        raise CheckpointError(f"No checkpoint {path}: check the path.")
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
