"""The blocks that the U-Net and the classifier are built of, under the published checkpoints' tensor names."""

import math
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

M = TypeVar("M", bound=nn.Module)

NORM_GROUPS = 32


def timestep_embedding(timestep: Tensor, width: int, max_period: float = 10_000.0) -> Tensor:
    """Embed timesteps in cosines and sines of geometrically falling frequencies.

    Args:
        timestep: (N,) original timesteps, 0 to T - 1.
        width: the embedding's size; even.
        max_period: the slowest wave's period divided by 2 pi.

    Returns:
        (N, width) float32: cosines, then sines.
    """
    half = width // 2
    exponent = torch.arange(half, dtype=torch.float32, device=timestep.device) / half
    angles = timestep.float()[:, None] * torch.exp(-math.log(max_period) * exponent)
    return torch.cat([angles.cos(), angles.sin()], dim=1)


class GroupNorm32(nn.GroupNorm):
    """Group normalisation computed in float32 whatever the input's precision."""

    def __init__(self, channels: int) -> None:
        super().__init__(NORM_GROUPS, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, ...) -> (N, C, ...), each group of channels centred and scaled."""
        if x.dtype == torch.float32:
            return super().forward(x)
        weight, bias = self.weight.float(), self.bias.float()
        return F.group_norm(x.float(), self.num_groups, weight, bias, self.eps).to(x.dtype)


class Downsample(nn.Module):
    """Halve the resolution by a strided convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.op = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H/2, W/2)."""
        out: Tensor = self.op(x)
        return out


class Upsample(nn.Module):
    """Double the resolution by repeating pixels, then convolve."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, 2H, 2W)."""
        out: Tensor = self.conv(repeat_pixels(x))
        return out


def repeat_pixels(x: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, C, 2H, 2W)."""
    return F.interpolate(x, scale_factor=2, mode="nearest")


def average_pixels(x: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, C, H/2, W/2): means of two by two pixels; an odd row or column is left out."""
    by_rows = x.device.type == "cpu" and x.is_contiguous() and not (x.shape[-2] % 2 or x.shape[-1] % 2)
    if not by_rows:
        return F.avg_pool2d(x, 2)
    # On a processor torch's pooling takes twice as long as adding rows, then columns, forward and back.
    rows = x[..., ::2, :] + x[..., 1::2, :]
    return (rows[..., ::2] + rows[..., 1::2]) / 4


class ResBlock(nn.Module):
    """A residual block that the timestep's embedding modulates; may halve or double the resolution."""

    def __init__(
        self,
        channels: int,
        embedding: int,
        out_channels: int,
        *,
        dropout: float = 0.0,
        scale_shift_norm: bool = True,
        resample: str = "",
    ) -> None:
        super().__init__()
        self.scale_shift_norm = scale_shift_norm
        self.resample = {"": None, "up": repeat_pixels, "down": average_pixels}[resample]
        self.in_layers = nn.Sequential(
            GroupNorm32(channels), nn.SiLU(), nn.Conv2d(channels, out_channels, 3, padding=1)
        )
        self.emb_layers = nn.Sequential(
            nn.SiLU(), nn.Linear(embedding, 2 * out_channels if scale_shift_norm else out_channels)
        )
        self.out_layers = nn.Sequential(
            GroupNorm32(out_channels),
            nn.SiLU(),
            nn.Dropout(dropout),
            zero_init(nn.Conv2d(out_channels, out_channels, 3, padding=1)),
        )
        self.skip_connection = nn.Identity() if channels == out_channels else nn.Conv2d(channels, out_channels, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """(N, C, H, W) and (N, E) -> (N, C', H', W')."""
        norm, activation, convolution = self.in_layers
        h = activation(norm(x))
        if self.resample is not None:
            h, x = self.resample(h), self.resample(x)
        h = convolution(h)
        modulation = self.emb_layers(embedding).to(h.dtype)[..., None, None]
        if self.scale_shift_norm:
            scale, shift = modulation.chunk(2, dim=1)
            h = self.out_layers[1:](self.out_layers[0](h) * (1 + scale) + shift)
        else:
            h = self.out_layers(h + modulation)
        out: Tensor = self.skip_connection(x) + h
        return out


class AttentionBlock(nn.Module):
    """Self-attention over the pixels, with a residual connection; heads lie outermost in `qkv`."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = GroupNorm32(channels)
        self.qkv = nn.Conv1d(channels, 3 * channels, 1)
        self.proj_out = zero_init(nn.Conv1d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        n, channels, height, width = x.shape
        flat = x.reshape(n, channels, height * width)
        qkv = self.qkv(self.norm(flat)).reshape(n, self.heads, 3, channels // self.heads, height * width)
        # The fused kernels want each pixel's channels side by side.
        q, k, v = qkv.transpose(3, 4).contiguous().unbind(2)
        attended = F.scaled_dot_product_attention(q, k, v)
        attended = attended.transpose(2, 3).reshape(n, channels, height * width)
        out: Tensor = flat + self.proj_out(attended)
        return out.reshape(x.shape)


class AttentionPool(nn.Module):
    """Pool a feature map by letting its mean attend to it; `qkv_proj` lists all queries before all keys."""

    def __init__(self, size: int, channels: int, head_channels: int, out_channels: int) -> None:
        super().__init__()
        self.heads = channels // head_channels
        self.positional_embedding = nn.Parameter(torch.randn(channels, size**2 + 1) / channels**0.5)
        self.qkv_proj = nn.Conv1d(channels, 3 * channels, 1)
        self.c_proj = nn.Conv1d(channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, out_channels)."""
        n, channels = x.shape[:2]
        pixels = x.reshape(n, channels, -1)
        tokens = torch.cat([pixels.mean(dim=-1, keepdim=True), pixels], dim=-1)
        tokens = tokens + self.positional_embedding.to(tokens.dtype)
        qkv = self.qkv_proj(tokens).reshape(n, 3, self.heads, channels // self.heads, -1)
        q, k, v = qkv.transpose(3, 4).contiguous().unbind(1)
        # Only the mean's token is read, so only it asks.
        pooled = F.scaled_dot_product_attention(q[:, :, :1], k, v)
        out: Tensor = self.c_proj(pooled.reshape(n, channels, 1))[:, :, 0]
        return out


def zero_init(module: M) -> M:
    """Return the module with its parameters set to zero, so that its block starts as the identity."""
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module


class Block(nn.Sequential):
    """A sequence whose residual blocks also get the timestep's embedding."""

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:  # type: ignore[override]  # the embedding travels along
        """(N, C, H, W) and (N, E) -> (N, C', H', W')."""
        for layer in self:
            x = layer(x, embedding) if isinstance(layer, ResBlock) else layer(x)
        return x


def time_mlp(width: int) -> nn.Sequential:
    """Return the network that turns a timestep's `width` waves into an embedding of 4 `width`."""
    return nn.Sequential(nn.Linear(width, 4 * width), nn.SiLU(), nn.Linear(4 * width, 4 * width))
