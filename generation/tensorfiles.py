"""Files of named tensors: what they hold, and their tensors one after another.

No pickled code ever runs: `.pt` files are read by torch's weights-only loader, which knows tensors and plain values.
What a file holds is told before its weights are read, so that one that does not fit is refused at once, however large;
and then they are read into memory once.
"""

import pickle
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from generation.errors import CheckpointError

# Every U-Net and classifier of this family has it: what stands before it in a file is a wrapper's.
ANCHOR = "time_embed.0.weight"
# So many tensors of a safetensors file are mapped into memory at a time.
MAPPED_AT_ONCE = 32
GLOBAL = re.compile(r"GLOBAL (\S+)")


@dataclass(frozen=True)
class TensorFile:
    """A file's named tensors, not yet read.

    Attributes:
        path: the file.
        layout: for each name, in the file's order, a tensor on torch's `meta` device: shape and dtype without data.
        part: the key under which a `.pt` file has them, where it holds more than them.
        prefix: what stands before every name in the file and is left out of `layout`: `module.`, for one.
    """

    path: Path
    layout: dict[str, Tensor]
    part: str | None = None
    prefix: str = ""

    def read(self, *, mapped: bool = False) -> Iterator[tuple[str, Tensor]]:
        """Yield each name with its tensor.

        Args:
            mapped: let tensors be parts of the file, mapped into memory, where its form allows that: nothing is copied,
                but the file must stay as it is. Otherwise each is in memory of its own, and freed where it is dropped.

        Raises:
            CheckpointError: the file cannot be read any more.
        """
        if self.path.suffix == ".safetensors":
            yield from self._read_safetensors(mapped=mapped)
        else:
            yield from self._read_pickle(mapped=mapped)

    def _read_safetensors(self, *, mapped: bool) -> Iterator[tuple[str, Tensor]]:
        names = list(self.layout)
        for start in range(0, len(names), MAPPED_AT_ONCE):
            # What was read of the file counts as this process's memory for as long as the file is open.
            with _open_safetensors(self.path) as file:
                for name in names[start : start + MAPPED_AT_ONCE]:
                    tensor = file.get_tensor(self.prefix + name)
                    yield name, tensor if mapped else tensor.clone()

    def _read_pickle(self, *, mapped: bool) -> Iterator[tuple[str, Tensor]]:
        # Mapped, the parts beside this one are not read.
        content = load_pickle(self.path, mapped=mapped or self.part is not None)
        tensors = dict(_choose_part(self.path, content, self.part)[1])
        del content
        for name in list(tensors):
            tensor = tensors.pop(name).detach()
            yield name.removeprefix(self.prefix), tensor if mapped or self.part is None else tensor.clone()

    @property
    def remark(self) -> str:
        """What of the file was taken or left out, for people to read; empty for a file of plain named tensors."""
        remarks = [f"its part {self.part!r}"] if self.part else []
        remarks += [f"without {self.prefix!r} before every name"] if self.prefix else []
        return ", ".join(remarks)


def open_tensors(path: Path, part: str | None = None) -> TensorFile:
    """Find out what tensors a file holds.

    Args:
        path: a `.safetensors` file, or a `.pt` of `torch.save`: named tensors, or several things by name, of which one
            is named tensors. A prefix that all names share, as DataParallel adds one, is taken off networks of this
            project's family.
        part: which of several things, where more than one is named tensors.

    Raises:
        CheckpointError: no such file, a broken one, one that holds pickled objects, or no named tensors, or several
            sets of them and no `part` to choose.
    """
    if not path.is_file():
        raise CheckpointError(f"No checkpoint {path}: check the path.")
    if path.suffix == ".safetensors":
        if part is not None:
            raise CheckpointError(f"{path} has no parts, it is a safetensors file: leave --part out.")
        key, tensors = None, _safetensors_layout(path)
    else:
        key, tensors = _choose_part(path, load_pickle(path, mapped=True), part)
    prefix = _shared_prefix(tensors)
    layout = {name.removeprefix(prefix): _describe(path, name, tensor) for name, tensor in tensors.items()}
    return TensorFile(path, layout, key, prefix)


def _describe(path: Path, name: str, tensor: Tensor) -> Tensor:
    plain = type(tensor) in (Tensor, nn.Parameter) and tensor.layout == torch.strided
    if not plain or tensor.is_quantized or tensor.is_meta:
        raise CheckpointError(f"{path} holds {name}, which is no plain tensor of numbers: save it as one.")
    return tensor.detach().to("meta")


def _shared_prefix(names: Mapping[str, object]) -> str:
    """Return what stands before every name of a network of the family, or nothing."""
    prefixes = [name.removesuffix(ANCHOR) for name in names if name.endswith(f".{ANCHOR}")]
    return prefixes[0] if len(prefixes) == 1 and all(name.startswith(prefixes[0]) for name in names) else ""


def _open_safetensors(path: Path) -> Any:  # noqa: ANN401 -- the package has no type for it
    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path} is no whole safetensors file ({error}): fetch or train it again.") from error


def _safetensors_layout(path: Path) -> dict[str, Tensor]:
    with _open_safetensors(path) as file:
        tensors = {name: file.get_tensor(name) for name in file.offset_keys()}
    if not tensors:
        raise CheckpointError(f"{path} holds no tensors.")
    return tensors


def safetensors_texts(path: Path) -> dict[str, str]:
    """Return the texts that a safetensors file has beside its tensors.

    Raises:
        CheckpointError: a broken file.
    """
    with _open_safetensors(path) as file:
        return file.metadata() or {}


def load_pickle(path: Path, *, mapped: bool = False) -> Any:  # noqa: ANN401 -- whatever was saved
    """Read what `torch.save` wrote: tensors and plain values only.

    Args:
        path: the file.
        mapped: map tensors into memory instead of reading them, where the file's form allows that.

    Raises:
        CheckpointError: a broken file, or one that holds pickled objects; nothing of them has run.
    """
    try:
        with warnings.catch_warnings():
            # Of pickle protocols that it then refuses or reads.
            warnings.simplefilter("ignore", UserWarning)
            mapped = mapped and zipfile.is_zipfile(path)
            return torch.load(str(path), map_location="cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as error:
        found = GLOBAL.search(str(error))
        raise CheckpointError(
            f"{path} is refused: it is broken, or holds pickled objects that are no tensors and might run code"
            f"{f' ({found[1]})' if found else ''}. Ask its author for the bare state dict."
        ) from error
    except Exception as error:
        # A damaged file makes torch raise nearly anything.
        if "TorchScript" in str(error):
            raise CheckpointError(f"{path} is a TorchScript program: ask its author for the state dict.") from error
        first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"{path} is no whole checkpoint ({first_line}): fetch it again.") from error


def _choose_part(path: Path, content: object, part: str | None) -> tuple[str | None, dict[str, Tensor]]:
    """Return the named tensors in what a file holds, and their key where they are one thing of several."""
    if part is None and _is_named_tensors(content):
        return None, content
    parts = {key: value for key, value in content.items() if _is_named_tensors(value)} if _is_table(content) else {}
    if part is not None:
        if part not in parts:
            raise CheckpointError(f"{path} has no part {part!r} of named tensors: it has {_list(parts)}.")
        return part, parts[part]
    networks = {key: value for key, value in parts.items() if any(name.endswith(ANCHOR) for name in value)} or parts
    if len(networks) == 1:
        return next(iter(networks.items()))
    if networks:
        raise CheckpointError(
            f"{path} holds more than one network, in {_list(networks)}: choose one with inspect_checkpoint --part, and "
            "write it to a file of its own with convert_checkpoint --part."
        )
    if _is_table(content) and {"state", "param_groups"} <= content.keys():
        raise CheckpointError(f"{path} is an optimizer's state, no network: take the file beside it.")
    raise CheckpointError(f"{path} is no checkpoint of a network: it must hold named tensors and nothing else.")


def _list(parts: Mapping[str, object]) -> str:
    return ", ".join(repr(key) for key in parts) or "none"


def _is_table(content: object) -> TypeGuard[dict[str, Any]]:
    return isinstance(content, dict) and all(isinstance(key, str) for key in content)


def _is_named_tensors(content: object) -> TypeGuard[dict[str, Tensor]]:
    return _is_table(content) and bool(content) and all(isinstance(value, Tensor) for value in content.values())


def check_floating(file: TensorFile) -> None:
    """Refuse tensors that cannot be weights.

    Raises:
        CheckpointError: one is not of floating-point numbers.
    """
    for name, tensor in file.layout.items():
        if not tensor.is_floating_point():
            raise CheckpointError(
                f"{file.path} holds {name} as {tensor.dtype}: weights must be floating-point numbers."
            )


def first_difference(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> str:
    """Say how the first tensor that differs by name or shape does so, in the expected order; nothing if none does."""
    for name, tensor in expected.items():
        if name not in found:
            return f"it lacks {name} {list(tensor.shape)}"
        if found[name].shape != tensor.shape:
            return f"{name} is {list(found[name].shape)} in the file, {list(tensor.shape)} in the preset"
    extra = [name for name in found if name not in expected]
    return f"{extra[0]} has no place in it" if extra else ""
