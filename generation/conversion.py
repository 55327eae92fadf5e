"""Writing any checkpoint as safetensors that say what they are: kind, preset, class names, origin."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from generation.architecture import network_of
from generation.checkpoints import Metadata, named_order, network_layout, read_metadata, save_network, sha256_of
from generation.classes import places_of, short_list
from generation.errors import CheckpointError
from generation.presets import Preset, preset_from_dict
from generation.tensorfiles import TensorFile, check_floating, first_difference, open_tensors


@dataclass(frozen=True)
class Told:
    """What somebody says of a checkpoint that it does not say itself; None or empty where they don't.

    Attributes:
        preset: whose network it is.
        kind: `diffusion`, `robust` or `vanilla`.
        class_names: in the network's order.
        class_order: which of the preset's orders that is.
        step: training iterations.
        part: which part of a `.pt` file that has several.
    """

    preset: Preset | None = None
    kind: str | None = None
    class_names: tuple[str, ...] = ()
    class_order: str | None = None
    step: int | None = None
    part: str | None = None


def convert_checkpoint(
    path: Path,
    output: Path,
    told: Told,
    *,
    precision: torch.dtype | None = None,
    on_tensor: Callable[[int, int], object] = lambda _done, _total: None,
) -> Metadata:
    """Write a checkpoint as safetensors; its tensors and their order of classes stay.

    Args:
        path: the checkpoint.
        output: a new file that ends in `.safetensors`.
        told: what the checkpoint does not say itself.
        precision: of the tensors; as they are, unless given.
        on_tensor: told how many tensors of how many are ready to be written.

    Returns:
        What the new file says of itself.

    Raises:
        GenerationError: a checkpoint that cannot be read or does not fit, something that neither it nor somebody says,
            or that they say differently, a value that the precision has no room for, or an output that is there.
    """
    if output.suffix != ".safetensors":
        raise CheckpointError(f"{output} must end in .safetensors: that is what is written.")
    if output.exists():
        raise CheckpointError(f"{output} is there already: name a new file.")
    file, said = open_tensors(path, told.part), read_metadata(path)
    preset = told.preset or (preset_from_dict(said.preset) if said else None)
    if preset is None:
        raise CheckpointError(f"{path} carries no preset: say which with --preset.")
    kind = _kind(file, told, said)
    if difference := first_difference(network_layout(preset, kind), file.layout):
        raise CheckpointError(f"{path} does not fit preset {preset.name}: {difference}.")
    check_floating(file)
    metadata = Metadata(
        kind=kind,
        preset=preset.as_dict(),
        class_names=_class_names(path, preset, kind, told, said),
        step=told.step if told.step is not None else said.step if said else None,
        dataset=said.dataset if said else None,
        initial=said.initial if said else "",
        source=sha256_of(path),
    )
    tensors: dict[str, Tensor] = {}
    for name, tensor in file.read(mapped=True):
        tensors[name] = tensor if precision is None else _cast(path, name, tensor, precision)
        on_tensor(len(tensors), len(file.layout))
    save_network(output, tensors, metadata)
    return metadata


def _kind(file: TensorFile, told: Told, said: Metadata | None) -> str:
    kind = told.kind or (said.kind if said else None)
    if said and kind != said.kind:
        raise CheckpointError(f"{file.path} says that it is {said.kind}: leave --kind {kind} out.")
    network = network_of(file.layout)
    if kind is None and network == "classifier":
        raise CheckpointError(f"{file.path} is a classifier and does not say which: give --kind robust or vanilla.")
    if kind is not None and network is not None and (kind == "diffusion") != (network == "unet"):
        called = {"unet": "U-Net", "classifier": "classifier"}[network]
        raise CheckpointError(f"{file.path} is a {called}: --kind {kind} cannot be.")
    return kind or "diffusion"


def _class_names(path: Path, preset: Preset, kind: str, told: Told, said: Metadata | None) -> tuple[str, ...]:
    """Return the class names in the network's order."""
    image = preset.image
    names = told.class_names or (named_order(image, told.class_order) if told.class_order else ())
    carried = said.class_names if said else ()
    if carried and names and names != carried:
        raise CheckpointError(
            f"{path} says that its classes are {short_list(carried, 3)}: leave --class-names and --class-order out."
        )
    names = names or carried
    knows_classes = kind != "diffusion" or preset.diffusion.class_conditional
    if not names and knows_classes and len(image.class_orders) > 1:
        raise CheckpointError(
            f"{path} does not carry its class names, and preset {preset.name} knows several orders: give "
            f"--class-order {' or '.join(image.class_orders)}."
        )
    if names and image.class_names:
        places_of(image.class_names, image.synonyms, names, str(path))
    if names and (len(names) != image.classes or len(set(names)) != image.classes):
        raise CheckpointError(
            f"{path} has {image.classes} classes: give each a name of its own, not {len(names)} names."
        )
    return names or image.class_names


def _cast(path: Path, name: str, tensor: Tensor, precision: torch.dtype) -> Tensor:
    cast = tensor.to(precision)
    if bool((cast.isinf() & tensor.isfinite()).any()):
        raise CheckpointError(f"{path} has values in {name} that {precision} has no room for: take fp32 or bf16.")
    return cast


def names_from(values: Sequence[str]) -> tuple[str, ...]:
    """Return class names: the values, or the lines of the file that a single value names.

    Raises:
        CheckpointError: the file cannot be read.
    """
    path = Path(values[0]) if len(values) == 1 else None
    if path is None or not path.is_file():
        return tuple(values)
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path} cannot be read ({error}): write a class name a line, in UTF-8.") from error
    return tuple(line.strip() for line in lines if line.strip())
