"""The noise-predicting U-Net of Dhariwal & Nichol (2021), under its published checkpoints' tensor names."""

import torch
from torch import Tensor, nn

from generation.diffusion.encoder import Shape, build_encoder
from generation.diffusion.layers import Block, GroupNorm32, Upsample, time_mlp, timestep_embedding, zero_init
from generation.presets import Preset


class UNet(nn.Module):
    """Predict the noise in x_t and, where the preset learns it, where the variance lies between its bounds."""

    def __init__(self, shape: Shape, *, out_channels: int, classes: int | None) -> None:
        super().__init__()
        self.width = shape.width
        self.time_embed = time_mlp(shape.width)
        if classes is not None:
            self.label_emb = nn.Embedding(classes, shape.embedding)
        self.classes = classes
        encoder = build_encoder(shape)
        self.input_blocks = encoder.blocks
        self.middle_block = shape.middle(encoder.channels)
        self.output_blocks = _decoder(shape, encoder.skip_channels, encoder.channels, encoder.size)
        top = shape.width * shape.channel_mult[0]
        self.out = nn.Sequential(GroupNorm32(top), nn.SiLU(), zero_init(nn.Conv2d(top, out_channels, 3, padding=1)))

    def forward(self, x_t: Tensor, timestep: Tensor, label: Tensor | None = None) -> Tensor:
        """Predict.

        Args:
            x_t: (N, C, H, W) noisy images.
            timestep: (N,) original timesteps, 0 to T - 1.
            label: (N,) class indices; needed by a class-conditional network, refused by any other.

        Returns:
            (N, C, H, W) predicted noise, or (N, 2C, H, W) with the variance's place in [-1, 1] after it.

        Raises:
            ValueError: a label is missing, or given to an unconditional network.
        """
        if (label is None) != (self.classes is None):
            needs = "needs a label" if label is None else "takes no label"
            raise ValueError(f"This U-Net {needs}: its preset's class_conditional says so.")
        embedding = self.time_embed(timestep_embedding(timestep, self.width))
        if label is not None:
            embedding = embedding + self.label_emb(label)
        h, skips = x_t, []
        for block in self.input_blocks:
            h = block(h, embedding)
            skips.append(h)
        h = self.middle_block(h, embedding)
        for block in self.output_blocks:
            h = block(torch.cat([h, skips.pop()], dim=1), embedding)
        out: Tensor = self.out(h)
        return out.float()


def _decoder(shape: Shape, skips: list[int], channels: int, size: int) -> nn.ModuleList:
    """Build the ascending half; each block also gets the descending block's output of its level."""
    skips = list(skips)
    blocks = []
    for level, multiplier in reversed(list(enumerate(shape.channel_mult))):
        for index in range(shape.res_blocks + 1):
            layers: list[nn.Module] = [shape.res_block(channels + skips.pop(), multiplier * shape.width)]
            channels = multiplier * shape.width
            if size in shape.attention_resolutions:
                layers.append(shape.attention(channels))
            if level and index == shape.res_blocks:
                layers.append(
                    shape.res_block(channels, channels, "up") if shape.resblock_updown else Upsample(channels)
                )
                size *= 2
            blocks.append(Block(*layers))
    return nn.ModuleList(blocks)


def build_unet(preset: Preset) -> UNet:
    """Return the preset's U-Net with fresh weights (torch's global generator draws them)."""
    image, diffusion = preset.image, preset.diffusion
    shape = Shape(
        size=image.size,
        channels=image.channels,
        width=diffusion.width,
        channel_mult=diffusion.channel_mult,
        res_blocks=diffusion.res_blocks,
        attention_resolutions=diffusion.attention_resolutions,
        heads=diffusion.heads,
        head_channels=diffusion.head_channels,
        scale_shift_norm=diffusion.scale_shift_norm,
        resblock_updown=diffusion.resblock_updown,
        dropout=diffusion.dropout,
    )
    return UNet(
        shape,
        out_channels=image.channels * (2 if diffusion.learn_sigma else 1),
        classes=image.classes if diffusion.class_conditional else None,
    )
