"""What a checkpoint is: told from its tensors, from what it says of itself, and by comparison with presets."""

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from generation.architecture import Inference, NetworkKind, agreement, infer_architectures, network_of
from generation.checkpoints import Metadata, network_layout, read_metadata, sha256_of
from generation.errors import PresetError
from generation.presets import Preset, preset_from_dict
from generation.tensorfiles import TensorFile, first_difference, open_tensors

STEP_IN_NAME = re.compile(r"(?:^|[^0-9])(?:model|ema_[0-9.]+_)([0-9]{4,})$")


@dataclass(frozen=True)
class Inspection:
    """What a checkpoint is.

    Attributes:
        path: the file.
        size: in bytes.
        sha256: of its content.
        file: what it holds.
        network: `unet` or `classifier` of this project's family, or None for others.
        inference: the architecture that the tensors tell.
        metadata: what the file says of itself, if it does.
        step_in_name: training iterations, if the file is called as published training code calls its files.
        not_finite: the first tensor with an infinite or undefined value; empty if there is none.
        fits: the presets whose network it is.
        differs: each other preset, to the first difference from its network.
        nearest: the preset of those that shares most tensors with it; empty where none shares any.
        class_orders: the presets' orders that its class names are in, each as `preset: order`.
    """

    path: Path
    size: int
    sha256: str
    file: TensorFile
    network: NetworkKind | None
    inference: Inference
    metadata: Metadata | None
    step_in_name: int | None
    not_finite: str
    fits: tuple[str, ...]
    differs: Mapping[str, str]
    nearest: str
    class_orders: tuple[str, ...]

    @property
    def parameters(self) -> int:
        """How many numbers the tensors have."""
        return sum(tensor.numel() for tensor in self.file.layout.values())

    @property
    def dtypes(self) -> dict[str, int]:
        """How many parameters are of each type, the most frequent first."""
        counts: Counter[str] = Counter()
        for tensor in self.file.layout.values():
            counts[str(tensor.dtype).removeprefix("torch.")] += tensor.numel()
        return dict(counts.most_common())


def inspect_checkpoint(
    path: Path,
    presets: Mapping[str, Preset],
    *,
    part: str | None = None,
    on_tensor: Callable[[int, int], object] = lambda _done, _total: None,
) -> Inspection:
    """Find out what a checkpoint is.

    Args:
        path: the file.
        presets: to compare it with, by what to call them; it is also compared with the preset that it carries, if any.
        part: which part of a `.pt` file that has several.
        on_tensor: told how many bytes of how many were looked through.

    Raises:
        GenerationError: no such file, or one that is broken, unsafe, or without named tensors.
    """
    file, metadata = open_tensors(path, part), read_metadata(path)
    network = network_of(file.layout)
    kind = "classifier" if network == "classifier" else "diffusion"
    networks = {name: network_layout(preset, kind) for name, preset in {**_carried(metadata), **presets}.items()}
    differences = {name: first_difference(expected, file.layout) for name, expected in networks.items()}
    shared = {name: agreement(networks[name], file.layout) for name, difference in differences.items() if difference}
    nearest = max(shared, key=lambda name: shared[name], default="")
    step = STEP_IN_NAME.search(path.stem)
    return Inspection(
        path=path,
        size=path.stat().st_size,
        sha256=sha256_of(path),
        file=file,
        network=network,
        inference=infer_architectures(file.layout),
        metadata=metadata,
        step_in_name=int(step[1]) if step else None,
        not_finite=_first_not_finite(file, on_tensor),
        fits=tuple(name for name, difference in differences.items() if not difference),
        differs={name: difference for name, difference in differences.items() if difference},
        nearest=nearest if shared.get(nearest) else "",
        class_orders=_orders(metadata, presets),
    )


def _carried(metadata: Metadata | None) -> dict[str, Preset]:
    """Return the preset that a checkpoint carries; none where another version wrote it, whose keys are not known."""
    try:
        return {f"its own ({metadata.preset.get('name')})": preset_from_dict(metadata.preset)} if metadata else {}
    except PresetError:
        return {}


def _first_not_finite(file: TensorFile, on_tensor: Callable[[int, int], object]) -> str:
    total, done, found = sum(tensor.nbytes for tensor in file.layout.values()), 0, ""
    for name, tensor in file.read(mapped=True):
        if not found and not bool(tensor.isfinite().all()):
            found = name
        done += tensor.nbytes
        on_tensor(done, total)
    return found


def _orders(metadata: Metadata | None, presets: Mapping[str, Preset]) -> tuple[str, ...]:
    """Return which of the presets' orders a network's class names are in."""
    if metadata is None or not metadata.class_names:
        return ()
    found = []
    for preset_name, preset in presets.items():
        ours = [preset.image.index_of(name) for name in metadata.class_names]
        for key, names in preset.image.class_orders.items():
            if ours == [preset.image.index_of(name) for name in names]:
                found.append(f"{preset_name}: {key}")
    return tuple(found)
