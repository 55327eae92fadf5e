"""What a data set is to a training: images by row, their labels, and what the classes are called."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from generation.datasets.augmentation import Draws, augment
from generation.datasets.folders import ImageFiles

Split = Literal["train", "test"]


@dataclass(frozen=True)
class LabelledImages:
    """A data set's split.

    Attributes:
        name: the data set's name, for the checkpoint's metadata.
        images: (N, C, size, size) uint8: a tensor, or files that are read when they are asked for. `images[5:9]` are
            uint8 tensors either way.
        labels: (N,) int64 class indices.
        class_names: in the order of the class indices; empty where neither the files nor the preset name any.
    """

    name: str
    images: Tensor | ImageFiles
    labels: Tensor
    class_names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.images)

    @property
    def size(self) -> int:
        """An image's side, pixels."""
        return self.images.image.size if isinstance(self.images, ImageFiles) else self.images.shape[-1]

    def subset(self, count: int) -> "LabelledImages":
        """Return the first `count` images."""
        images = self.images.subset(count) if isinstance(self.images, ImageFiles) else self.images[:count]
        return LabelledImages(self.name, images, self.labels[:count], self.class_names)

    def batch(self, rows: np.ndarray, draws: Draws) -> tuple[Tensor, Tensor]:
        """Return some images for training.

        Args:
            rows: (N,) int64.
            draws: how each is augmented.

        Returns:
            (N, C, size, size) uint8 images and (N,) int64 labels.

        Raises:
            DatasetError: an image file cannot be read.
        """
        chosen = torch.from_numpy(rows)
        if isinstance(self.images, ImageFiles):
            return self.images.read(rows, draws), self.labels[chosen]
        return augment(self.images[chosen], draws), self.labels[chosen]


def to_unit_range(images: Tensor) -> Tensor:
    """Map uint8 pixels to float32 in [-1, 1]."""
    return images.float() / 127.5 - 1


def to_bytes(images: Tensor) -> Tensor:
    """Map pixels in [-1, 1] to uint8, cutting what leaves the range: 127.5 (x + 1), truncated."""
    return ((images + 1) * 127.5).clamp(0, 255).to(torch.uint8)
