"""What network a file holds, told from its tensors' names and shapes alone."""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from generation.diffusion.encoder import Shape
from generation.diffusion.layers import NORM_GROUPS
from generation.diffusion.unet import UNet
from generation.guidance.classifier import TimeClassifier
from generation.tensorfiles import ANCHOR, first_difference

NetworkKind = Literal["unet", "classifier"]
Layout = Mapping[str, Tensor]

UPSAMPLING = re.compile(r"output_blocks\.(\d+)\.[1-9]\d*\.(?:conv|in_layers\.2)\.weight")


@dataclass(frozen=True)
class Architecture:
    """What of a network its tensors tell, in the presets' words.

    Not among it, for no tensor depends on them: attention heads, dropout, the noise schedule, and a U-Net's image size.

    Attributes:
        network: `unet` or `classifier`.
        channels: of the images.
        width: channels at the highest resolution, before `channel_mult`.
        channel_mult: a multiplier for each resolution.
        res_blocks: residual blocks a resolution on the way down; a preset's classifier calls it `depth`.
        attention_downsampling: at which fractions of the image's size there is attention: 4 is a quarter.
        scale_shift_norm: whether the timestep's embedding scales, too.
        resblock_updown: whether residual blocks resample; None in a network of one resolution.
        classes: of the classifier's output or the U-Net's labels; None for an unconditional U-Net.
        learn_sigma: whether the U-Net predicts the variance; None for a classifier.
        image_size: in pixels; None for a U-Net.
    """

    network: NetworkKind
    channels: int
    width: int
    channel_mult: tuple[int, ...]
    res_blocks: int
    attention_downsampling: tuple[int, ...]
    scale_shift_norm: bool
    resblock_updown: bool | None
    classes: int | None
    learn_sigma: bool | None
    image_size: int | None

    def build(self) -> nn.Module:
        """Return a network with just these tensors, on torch's `meta` device."""
        size = self.image_size or 2 ** len(self.channel_mult)
        shape = Shape(
            size=size,
            channels=self.channels,
            width=self.width,
            channel_mult=self.channel_mult,
            res_blocks=self.res_blocks,
            attention_resolutions=tuple(size // factor for factor in self.attention_downsampling),
            heads=1,
            head_channels=None,
            scale_shift_norm=self.scale_shift_norm,
            resblock_updown=bool(self.resblock_updown),
            dropout=0.0,
        )
        with torch.device("meta"):
            if self.network == "unet":
                return UNet(shape, out_channels=self.channels * (2 if self.learn_sigma else 1), classes=self.classes)
            return TimeClassifier(shape, classes=self.classes or 0, head_channels=1)


@dataclass(frozen=True)
class Inference:
    """What a file's tensors say of the network's architecture.

    Attributes:
        architectures: of networks with just these tensors; or the nearest, where there is none such; or none, where
            there is nothing like it. More than one fit a classifier whose residual blocks resample and which has
            neither attention nor other channels at its lower resolutions: how many resample does not show.
        departure: how the tensors depart from the nearest architecture; empty where they don't.
    """

    architectures: tuple[Architecture, ...]
    departure: str


@dataclass(frozen=True)
class _Block:
    """A block of the descending half."""

    out_channels: int
    attends: bool
    resamples: bool


def network_of(layout: Layout) -> NetworkKind | None:
    """Return which network of the family the names are of, or None for others."""
    if ANCHOR not in layout:
        return None
    return "unet" if any(name.startswith("output_blocks.") for name in layout) else "classifier"


def infer_architectures(layout: Layout) -> Inference:
    """Tell the architecture of a network from its tensors.

    Args:
        layout: tensors by name; only shapes are looked at.

    Returns:
        The architectures whose networks have just these tensors, or the one that comes nearest.
    """
    if network_of(layout) is None:
        return Inference((), "")
    try:
        found = [(candidate, candidate.build().state_dict()) for candidate in _candidates(layout)]
    except (KeyError, IndexError, RuntimeError, ZeroDivisionError):
        # A tensor that every such network has is missing, or has a shape that none can have.
        return Inference((), "")
    differences = {candidate: first_difference(tensors, layout) for candidate, tensors in found}
    if exact := [candidate for candidate, difference in differences.items() if not difference]:
        return Inference(tuple(exact), "")
    if not found:
        return Inference((), "")
    nearest, _ = max(found, key=lambda pair: agreement(pair[1], layout))
    return Inference((nearest,), differences[nearest])


def agreement(expected: Layout, found: Layout) -> float:
    """Return which share of two networks' tensors they have in common, by name and shape: from 0 to 1."""
    common = sum(name in found and found[name].shape == tensor.shape for name, tensor in expected.items())
    return common / len(expected.keys() | found.keys())


def _candidates(layout: Layout) -> Iterator[Architecture]:
    network, blocks = network_of(layout), list(_blocks(layout))
    width = layout[ANCHOR].shape[1]
    if network is None or not blocks or width % NORM_GROUPS or any(block.out_channels % width for block in blocks):
        return
    channels = layout["input_blocks.0.0.weight"].shape[1]
    classes = layout.get("label_emb.weight") if network == "unet" else layout["out.2.c_proj.weight"]
    for levels in _level_counts(layout, blocks):
        rows = [blocks[start : start + len(blocks) // levels + 1] for start in _starts(len(blocks), levels)]
        yield Architecture(
            network=network,
            channels=channels,
            width=width,
            channel_mult=tuple(row[0].out_channels // width for row in rows),
            res_blocks=(len(blocks) + 1) // levels - 1,
            attention_downsampling=tuple(2**level for level, row in enumerate(rows) if row[0].attends),
            scale_shift_norm=layout["input_blocks.1.0.emb_layers.1.weight"].shape[0] == 2 * blocks[0].out_channels,
            resblock_updown=None if levels == 1 else not any(block.resamples for block in blocks),
            classes=None if classes is None else classes.shape[0],
            learn_sigma=layout["out.2.weight"].shape[0] == 2 * channels if network == "unet" else None,
            image_size=_image_size(layout, levels) if network == "classifier" else None,
        )


def _blocks(layout: Layout) -> Iterator[_Block]:
    """Yield the descending half's blocks after the first convolution."""
    for index in range(1, len(layout)):
        name = f"input_blocks.{index}"
        resampling = layout.get(f"{name}.0.op.weight")
        weight = layout.get(f"{name}.0.in_layers.2.weight") if resampling is None else resampling
        if weight is None:
            return
        yield _Block(weight.shape[0], f"{name}.1.qkv.weight" in layout, resampling is not None)


def _starts(blocks: int, levels: int) -> range:
    """Return where each level's blocks begin: all have the same number, and one more to halve, but for the last."""
    return range(0, blocks, (blocks + 1) // levels)


def _level_counts(layout: Layout, blocks: list[_Block]) -> list[int]:
    """Return how many resolutions there may be: as many as resamplings show, and one; any that divide the blocks."""
    halvings = sum(block.resamples for block in blocks)
    doublings = len({match[1] for name in layout if (match := UPSAMPLING.fullmatch(name))})
    if halvings or doublings or network_of(layout) == "unet":
        counts = [max(halvings, doublings) + 1]
    else:
        counts = list(range(1, len(blocks) + 1))
    return [count for count in counts if (len(blocks) + 1) % count == 0 and (len(blocks) + 1) // count > 1]


def _image_size(layout: Layout, levels: int) -> int:
    """Return the image size; the attention pooling has a position for each pixel at the bottom, and one more."""
    pixels = layout["out.2.positional_embedding"].shape[1] - 1
    return math.isqrt(max(pixels, 0)) << (levels - 1)
