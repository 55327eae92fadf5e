"""Data sets by the form of their folder, checked against the preset, with labels in its order."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from generation.classes import short_list
from generation.datasets.cifar import find_cifar, read_cifar_names, read_cifar_split
from generation.datasets.folders import ImageFiles, OnCorrupt, check_form, class_folders, list_files, split_files
from generation.datasets.idx import is_idx, read_idx_split
from generation.datasets.images import LabelledImages, Split
from generation.errors import DatasetError, NoHeldOutError
from generation.presets import Image

TRAINING = "train"
HELD_OUT = ("val", "validation", "valid", "test")


@dataclass(frozen=True)
class _Source:
    """A split as its files have it: labels index `names`; names are empty where the files give none."""

    root: Path
    images: Tensor | ImageFiles
    labels: np.ndarray
    names: tuple[str, ...]


def load_dataset(
    folder: Path,
    image: Image,
    split: Split,
    *,
    validation: Path | None = None,
    on_corrupt: OnCorrupt | None = None,
) -> LabelledImages:
    """Read a data set's split: into memory, or, for class folders, as the list of its files.

    The folder holds one of
    - the four IDX files of Fashion-MNIST or its like, gzipped or not; they are padded with black to the preset's size;
    - CIFAR-10's binary files;
    - `train/CLASS/` and `val/CLASS/` with image files in them, as ImageNet;
    - `CLASS/` with image files in them. A tenth of each class is held out, the same images at each call, unless
      `validation` names others.

    Args:
        folder: where the files are.
        image: the preset's image section; sizes, channels and classes are checked against it.
        split: `train`, or `test` for what is held out.
        validation: the folder that has what is held out; `folder` itself, unless given.
        on_corrupt: told of each image file that cannot be read, whose place another one of its class takes. Without
            it such a file is an error.

    Returns:
        The split's images and labels. The labels count the classes in the preset's order or, where it names none, in
        the training data's.

    Raises:
        NoHeldOutError: there is nothing held out.
        DatasetError: files are missing or broken, a class is missing, or they are not what the preset describes.
    """
    for given in (folder, *([validation] if validation else [])):
        if not given.is_dir():
            raise DatasetError(f"No folder {given}: give the folder that holds the data set's files.")
    where = validation if validation and split == "test" else folder
    source = _open(where, image, split, whole=validation is not None, on_corrupt=on_corrupt)
    if not len(source.images):
        if split == "test":
            raise NoHeldOutError(f"{source.root} has no images to hold out: name some with --validation.")
        raise DatasetError(f"{source.root} holds no images.")
    names = image.class_names or _training_names(folder) or source.names
    labels = _places(source, image, names)[_checked_labels(source, image)]
    if split == "train":
        _check_every_class(source.root, labels, image, names)
    return LabelledImages(folder.resolve().name, source.images, torch.from_numpy(labels), names)


def _open(folder: Path, image: Image, split: Split, *, whole: bool, on_corrupt: OnCorrupt | None) -> _Source:
    """Read a split in whichever form the folder has; `whole` takes all of a heap of class folders."""
    if is_idx(folder):
        images, labels = read_idx_split(folder, image, split)
        return _Source(folder, torch.from_numpy(images), labels, ())
    if cifar := find_cifar(folder):
        images, labels = read_cifar_split(cifar, image, split)
        return _Source(cifar, torch.from_numpy(images), labels, read_cifar_names(cifar))
    root, divided = _class_root(folder, split)
    if not class_folders(root):
        raise DatasetError(
            f"{root} holds no data set: it must have Fashion-MNIST's four IDX files, CIFAR-10's binary files, or a "
            "folder of images for each class."
        )
    listed = list_files(root)
    if not divided and not whole:
        listed = split_files(listed)[0 if split == "train" else 1]
    files = ImageFiles(listed, image, on_corrupt)
    check_form(files)
    return _Source(root, files, listed.labels, listed.classes)


def _class_root(folder: Path, split: Split) -> tuple[Path, bool]:
    """Return the folder of a split's class folders, and whether the splits have folders of their own."""
    names = (TRAINING,) if split == "train" else HELD_OUT
    root = next((folder / name for name in names if (folder / name).is_dir()), None)
    if root is None and split == "test" and (folder / TRAINING).is_dir():
        raise NoHeldOutError(f"{folder} has {TRAINING}/ but no {HELD_OUT[0]}/: name held-out images with --validation.")
    return (folder, False) if root is None else (root, True)


def _training_names(folder: Path) -> tuple[str, ...]:
    """Return what the training data calls its classes, in its order; nothing for IDX files."""
    if is_idx(folder):
        return ()
    if cifar := find_cifar(folder):
        return read_cifar_names(cifar)
    root = folder / TRAINING
    if root.is_dir():
        return tuple(class_folders(root))
    return () if any((folder / name).is_dir() for name in HELD_OUT) else tuple(class_folders(folder))


def _checked_labels(source: _Source, image: Image) -> np.ndarray:
    """Return the labels as the files have them, none out of range."""
    if source.names:
        if int(source.labels.max()) >= len(source.names):
            raise DatasetError(
                f"{source.root} has the label {source.labels.max()}, but names {len(source.names)} classes."
            )
    elif int(source.labels.max()) >= image.classes:
        raise DatasetError(
            f"{source.root} has the label {source.labels.max()}, but the preset has {image.classes} classes."
        )
    return source.labels


def _places(source: _Source, image: Image, names: tuple[str, ...]) -> np.ndarray:
    """Return each of the source's classes' index among `names`: (classes,) int64."""
    if not source.names:
        return np.arange(image.classes)
    if len(names) != image.classes:
        raise DatasetError(
            f"{source.root} has {len(names)} classes ({short_list(names, 3)}), the preset has {image.classes}: take a "
            "preset for these."
        )
    indices = {name: index for index, name in enumerate(names)}
    places = [image.index_of(name) if image.class_names else indices.get(name) for name in source.names]
    for name, place in zip(source.names, places, strict=True):
        if place is None:
            raise DatasetError(f"{source.root} has the class {name!r}, which is none of {short_list(names)}.")
        if places.count(place) > 1:
            raise DatasetError(f"{source.root} has the class {names[place]!r} twice, once as {name!r}.")
    return np.array(places, dtype=np.int64)


def _check_every_class(root: Path, labels: np.ndarray, image: Image, names: tuple[str, ...]) -> None:
    """Refuse training data that lack a class."""
    absent = np.flatnonzero(np.bincount(labels, minlength=image.classes) == 0)
    if len(absent):
        called = f" ({names[absent[0]]})" if names else ""
        raise DatasetError(
            f"{root} has no image of class {absent[0]}{called}: add some, or take a preset without that class."
        )
