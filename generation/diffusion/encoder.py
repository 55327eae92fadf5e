"""The descending half that the U-Net and the classifier share."""

from dataclasses import dataclass

from torch import nn

from generation.diffusion.layers import AttentionBlock, Block, Downsample, ResBlock


@dataclass(frozen=True)
class Encoder:
    """Blocks from the image down to the smallest resolution.

    Attributes:
        blocks: what `input_blocks` holds.
        skip_channels: each block's output channels, in order.
        channels: channels at the bottom.
        size: the bottom's resolution in pixels.
    """

    blocks: nn.ModuleList
    skip_channels: list[int]
    channels: int
    size: int


@dataclass(frozen=True)
class Shape:
    """What decides an encoder's tensors."""

    size: int
    channels: int
    width: int
    channel_mult: tuple[int, ...]
    res_blocks: int
    attention_resolutions: tuple[int, ...]
    heads: int | None
    head_channels: int | None
    scale_shift_norm: bool
    resblock_updown: bool
    dropout: float

    @property
    def embedding(self) -> int:
        """Size of the timestep's embedding."""
        return 4 * self.width

    def heads_of(self, channels: int) -> int:
        """Number of heads of an attention over `channels` channels."""
        return self.heads if self.head_channels is None else channels // self.head_channels  # type: ignore[return-value]  # presets have one of both

    def res_block(self, channels: int, out_channels: int, resample: str = "") -> ResBlock:
        """Return a residual block in this shape's manner."""
        return ResBlock(
            channels,
            self.embedding,
            out_channels,
            dropout=self.dropout,
            scale_shift_norm=self.scale_shift_norm,
            resample=resample,
        )

    def attention(self, channels: int) -> AttentionBlock:
        """Return an attention block in this shape's manner."""
        return AttentionBlock(channels, self.heads_of(channels))

    def middle(self, channels: int) -> Block:
        """Return the block at the bottom: residual, attention, residual."""
        return Block(self.res_block(channels, channels), self.attention(channels), self.res_block(channels, channels))


def build_encoder(shape: Shape) -> Encoder:
    """Build the descending half: at each resolution `res_blocks` blocks, then a halving but for the last."""
    channels, size = shape.width * shape.channel_mult[0], shape.size
    blocks = [Block(nn.Conv2d(shape.channels, channels, 3, padding=1))]
    skips = [channels]
    for level, multiplier in enumerate(shape.channel_mult):
        for _ in range(shape.res_blocks):
            layers: list[nn.Module] = [shape.res_block(channels, multiplier * shape.width)]
            channels = multiplier * shape.width
            if size in shape.attention_resolutions:
                layers.append(shape.attention(channels))
            blocks.append(Block(*layers))
            skips.append(channels)
        if level < len(shape.channel_mult) - 1:
            halving = shape.res_block(channels, channels, "down") if shape.resblock_updown else Downsample(channels)
            blocks.append(Block(halving))
            skips.append(channels)
            size //= 2
    return Encoder(nn.ModuleList(blocks), skips, channels, size)
