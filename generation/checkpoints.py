"""Networks on disk: safetensors with their preset and class names inside, or the published `.pt` files.

A network is loaded so that its classes are in the preset's order: where its file names them, or somebody says which of
the preset's orders they are in, its rows are put in that order. So networks that count the classes differently work
side by side.
"""

import dataclasses
import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from generation.classes import places_of, short_list
from generation.diffusion.unet import UNet, build_unet
from generation.errors import CheckpointError
from generation.guidance.classifier import TimeClassifier, build_classifier
from generation.presets import Image, Preset
from generation.tensorfiles import check_floating, first_difference, load_pickle, open_tensors, safetensors_texts

logger = logging.getLogger(__name__)

Network = TypeVar("Network", bound=nn.Module)

# The tensors with a row for each class.
CLASS_ROWS = {"label_emb.weight", "out.2.c_proj.weight", "out.2.c_proj.bias"}


@dataclass(frozen=True)
class Metadata:
    """What a checkpoint of ours says of itself.

    Attributes:
        kind: `diffusion`, `robust` or `vanilla`.
        preset: the whole preset, as plain values.
        class_names: in the order of the class indices; empty where nobody named them.
        step: training iterations done; None where nobody said.
        dataset: the data set's name; None where nobody said.
        initial: SHA-256 of the checkpoint that the training began from; empty where it began from random weights.
        source: SHA-256 of the file that it was converted from; empty where it was trained here.
    """

    kind: str
    preset: dict[str, Any]
    class_names: tuple[str, ...]
    step: int | None
    dataset: str | None
    initial: str = ""
    source: str = ""


def load_diffusion(
    path: str | Path, preset: Preset, *, class_order: str | None = None, device: torch.device | str = "cpu"
) -> UNet:
    """Load the preset's U-Net, ready to sample.

    Args:
        path: a `.safetensors` file, or a published `.pt`.
        preset: the network's shape. Its classes end in the order of the preset's `class_names`.
        class_order: which of the preset's orders the classes are in, if the file does not name them; without it they
            are taken to be in the order of `class_names`.
        device: where to load it.

    Returns:
        The network in evaluation mode, its parameters float32 and frozen; `unet(x_t, timestep, label)`.

    Raises:
        CheckpointError: the file is missing, broken, holds more than weights, or fits another network or other classes.
    """
    return _load(Path(path), preset, build_unet, class_order, device)


def load_classifier(
    path: str | Path, preset: Preset, *, class_order: str | None = None, device: torch.device | str = "cpu"
) -> TimeClassifier:
    """Load the preset's classifier, ready to guide; `classifier(x_t, timestep)`. See `load_diffusion`."""
    return _load(Path(path), preset, build_classifier, class_order, device)


def _load(
    path: Path,
    preset: Preset,
    build: Callable[[Preset], Network],
    class_order: str | None,
    device: torch.device | str,
) -> Network:
    file = open_tensors(path)
    if file.remark:
        logger.warning("%s: took %s.", path, file.remark)
    with torch.device("meta"):
        network = build(preset)
    if difference := first_difference(network.state_dict(), file.layout):
        raise CheckpointError(f"{path} does not fit preset {preset.name}: {difference}.")
    check_floating(file)
    places = _places(path, preset.image, class_order)
    weights = {}
    for name, tensor in file.read():
        moved = tensor[places] if places and name in CLASS_ROWS else tensor
        weights[name] = moved.to(device, torch.float32).contiguous()
    network.load_state_dict(weights, strict=True, assign=True)
    return network.eval().requires_grad_(requires_grad=False)


def network_layout(preset: Preset, kind: str) -> dict[str, Tensor]:
    """Return the tensors of a preset's network on torch's `meta` device: those of the U-Net for kind `diffusion`."""
    with torch.device("meta"):
        return (build_unet if kind == "diffusion" else build_classifier)(preset).state_dict()


def _places(path: Path, image: Image, class_order: str | None) -> list[int] | None:
    """Return where each of the preset's classes stands in the file's order, or None where they are the same."""
    if not image.class_names:
        return None
    names = class_names_of(path) or (named_order(image, class_order) if class_order else image.class_names)
    places = places_of(image.class_names, image.synonyms, names, str(path))
    return None if places == list(range(image.classes)) else places


def named_order(image: Image, class_order: str) -> tuple[str, ...]:
    """Return all class names in one of the preset's orders.

    Raises:
        CheckpointError: it has no such order.
    """
    if class_order not in image.class_orders:
        known = ", ".join(image.class_orders) or "none"
        raise CheckpointError(f"No class order {class_order!r}: the preset's class_orders are {known}.")
    return image.class_orders[class_order]


def class_names_of(path: Path) -> tuple[str, ...]:
    """Return the class names that a checkpoint carries, in its order; none where it carries none.

    Raises:
        CheckpointError: the file is missing or broken.
    """
    metadata = read_metadata(path)
    return metadata.class_names if metadata else ()


def settle_classes(preset: Preset, paths: Sequence[Path], class_order: str | None = None) -> Preset:
    """Make sure that the order of every network's classes is known.

    Args:
        preset: the experiment.
        paths: the checkpoints of the networks that know classes.
        class_order: what somebody said of networks that do not name their classes.

    Returns:
        The preset; where it names no classes and the networks do, with their names.

    Raises:
        CheckpointError: a network does not name its classes and nobody said which of several orders they are in, or
            there is no such order, or networks are of different classes.
    """
    image = preset.image
    if class_order is not None:
        named_order(image, class_order)
    named = {path: class_names_of(path) for path in paths}
    nameless = [path for path, names in named.items() if not names]
    if image.class_names:
        if nameless and class_order is None and len(image.class_orders) > 1:
            orders = " or ".join(f"{key} ({short_list(names, 3)})" for key, names in image.class_orders.items())
            raise CheckpointError(
                f"{nameless[0]} does not carry its class names, and preset {preset.name} knows several orders: say "
                f"which is its own, {orders}, with --class-order, or for good with convert_checkpoint --class-order."
            )
        known = image.class_names
    else:
        known = next((names for names in named.values() if names), ())
        if known and nameless:
            raise CheckpointError(
                f"{nameless[0]} does not carry its class names, others do, and preset {preset.name} has none: write "
                "class_names into the preset, or give the file its own with convert_checkpoint --class-names."
            )
    for path, names in named.items():
        if names:
            places_of(known, image.synonyms, names, str(path))
    return dataclasses.replace(preset, image=dataclasses.replace(image, class_names=known))


def read_state(path: Path) -> dict[str, Any]:
    """Read a training's state, as `torch.save` wrote it: tensors and plain values only.

    Raises:
        CheckpointError: no such file, or a broken one.
    """
    if not path.is_file():
        raise CheckpointError(f"No {path} to resume from: start without --resume, or check --output.")
    state = load_pickle(path)
    if not isinstance(state, dict):
        raise CheckpointError(f"{path} is no training's state: resume from the folder that --output named.")
    return state


def read_metadata(path: Path) -> Metadata | None:
    """Return what a checkpoint says of itself, or None where it says nothing (a published file).

    Raises:
        CheckpointError: the file is missing or broken.
    """
    if not path.is_file():
        raise CheckpointError(f"No checkpoint {path}: check the path.")
    texts = safetensors_texts(path) if path.suffix == ".safetensors" else {}
    if "sameseed" not in texts:
        return None
    try:
        return _metadata(json.loads(texts["sameseed"]))
    except (ValueError, TypeError, KeyError) as error:
        raise CheckpointError(
            f"{path} has metadata that cannot be read ({error}): convert or train it again."
        ) from error


def _metadata(values: object) -> Metadata:
    """Check the values' types; keys that a later version may have added are left out."""
    if not isinstance(values, dict):
        raise TypeError(f"it is {values!r}")
    known = {key: value for key, value in values.items() if key in {f.name for f in dataclasses.fields(Metadata)}}
    names = known["class_names"]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise TypeError(f"class_names is {names!r}")
    for key, kinds in (("kind", str), ("preset", dict), ("step", int | None), ("dataset", str | None)):
        if not isinstance(known[key], kinds):
            raise TypeError(f"{key} is {known[key]!r}")
    return Metadata(**{**known, "class_names": tuple(names)})


def save_network(path: Path, tensors: Mapping[str, Tensor], metadata: Metadata) -> None:
    """Write a checkpoint so that the old one stays until the new one is whole.

    Raises:
        CheckpointError: the file cannot be written.
    """
    texts = {"format": "pt", "sameseed": json.dumps(dataclasses.asdict(metadata))}
    own: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        plain = tensor.detach().cpu().contiguous()
        # One place in memory each: safetensors refuses tensors that share it.
        shared = any(plain.data_ptr() == other.data_ptr() for other in own.values())
        own[name] = plain.clone() if shared else plain
    write_atomically(path, lambda temporary: save_file(own, temporary, metadata=texts))


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
