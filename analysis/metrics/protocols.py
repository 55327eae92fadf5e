"""From uint8 images to what a feature network takes: the resizing that makes figures comparable, or not."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image as Pillow
from torch import Tensor
from torch.nn import functional as F

from analysis.metrics.inception import SIZE

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Protocol:
    """How images become a network's input.

    Attributes:
        name: what `--protocol` calls it.
        resizing: in words, for the result.
        pixels: the network's input in words.
        each: (H, W, C) uint8 to an array, for each image by itself; None leaves it alone.
        batch: (N, C, H, W), uint8 or what `each` gave, to the network's float32 input.
    """

    name: str
    resizing: str
    pixels: str
    batch: Callable[[Tensor], Tensor]
    each: Callable[[Array], Array] | None = None


def legacy_bilinear(images: Tensor, size: int = SIZE) -> Tensor:
    """Resize (N, C, H, W) floats as TensorFlow's first ResizeBilinear does.

    Pixel i of the result lies at i · H / size of the source: corners are not aligned and centres neither.
    """
    images = _interpolated(images.transpose(2, 3), size).transpose(2, 3)
    return _interpolated(images, size)


def _interpolated(images: Tensor, size: int) -> Tensor:
    length = images.shape[-1]
    if length == size:
        return images
    place = torch.arange(size, dtype=torch.float32, device=images.device) * (length / size)
    low = place.floor().long()
    left, right = images[..., low], images[..., (low + 1).clamp_max(length - 1)]
    return left + (right - left) * (place - low)


def bicubic(image: Array, size: int = SIZE) -> Array:
    """Resize (H, W, C) uint8 with PIL's antialiasing bicubic filter in float32, and cut to [0, 255]."""
    channels = [
        np.asarray(
            Pillow.fromarray(image[:, :, channel].astype(np.float32)).resize((size, size), Pillow.Resampling.BICUBIC)
        )
        for channel in range(image.shape[2])
    ]
    return np.stack(channels, 2).clip(0, 255)


def _centred(images: Tensor) -> Tensor:
    return (images - 128) / 128


def _adm(images: Tensor) -> Tensor:
    return _centred(legacy_bilinear(images.float()))


def _pytorch_fid(images: Tensor) -> Tensor:
    return 2 * F.interpolate(images.float() / 255, (SIZE, SIZE), mode="bilinear", align_corners=False) - 1


def _unit(images: Tensor) -> Tensor:
    return images.float() / 255


PROTOCOLS = {
    "adm": Protocol(
        "adm",
        "bilinear to 299x299 as TensorFlow 1 does: no antialiasing, pixel i taken at i·H/299",
        "(x - 128) / 128",
        _adm,
    ),
    "pytorch-fid": Protocol(
        "pytorch-fid",
        "bilinear to 299x299 with half-pixel centres, no antialiasing",
        "2 x / 255 - 1",
        _pytorch_fid,
    ),
    "clean": Protocol(
        "clean",
        "PIL's antialiasing bicubic to 299x299, each channel in float32, cut to [0, 255]",
        "(x - 128) / 128",
        _centred,
        bicubic,
    ),
}
NATIVE = Protocol("native", "none: the network takes the images as they are", "x / 255", _unit)
