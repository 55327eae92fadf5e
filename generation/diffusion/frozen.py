"""Networks arranged for sampling: the same functions as those that training makes, within rounding, and faster.

What sampling can take for granted and training cannot is that the weights stay as they are. So they are laid out once
as the kernels want them: the channels of a pixel side by side, in the precision of the arithmetic, every projection of
the embedding in one product, and a doubling of the resolution folded into the convolution behind it.
"""

import copy
from collections.abc import Iterator
from typing import TypeVar, cast, overload

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from generation.diffusion.layers import (
    AttentionBlock,
    AttentionPool,
    ResBlock,
    Upsample,
    repeat_pixels,
    timestep_embedding,
)
from generation.diffusion.normalisation import normalise
from generation.diffusion.unet import UNet
from generation.guidance.classifier import TimeClassifier

M = TypeVar("M", bound=nn.Module)

# Row r says which of a 3-wide kernel's taps fall on one pixel of the small image: see `fold_doubling`.
TAPS = ((0, 0, 1), (0, 1, 1), (1, 1, 0), (1, 0, 0))


class FrozenNetwork(nn.Module):
    """What the frozen U-Net and the frozen classifier share: an image and an embedding in.

    The arithmetic is in `precision`, whatever autocast says; images in and out are float32.
    """

    def __init__(self, network: UNet | TimeClassifier, precision: torch.dtype) -> None:
        super().__init__()
        self.width, self.precision = network.width, precision
        self.time_embed = network.time_embed
        blocks = [layer for layer in network.modules() if isinstance(layer, ResBlock)]
        self.modulations = _joined([fold_modulation(block) for block in blocks])
        self.sizes = [block.emb_layers[1].out_features for block in blocks]
        self.input_blocks = _frozen(network.input_blocks, precision)
        self.middle_block = _frozen(network.middle_block, precision)

    def embed(self, timestep: Tensor, label: Tensor | None = None) -> Iterator[Tensor]:
        """Return the (N, M) modulation of each residual block, in the order in which they come; `label` is embedded."""
        embedding = self.time_embed(timestep_embedding(timestep, self.width))
        if label is not None:
            embedding = embedding + label
        return iter(self.modulations(F.silu(embedding)).split(self.sizes, dim=1))

    def enter(self, x_t: Tensor) -> Tensor:
        """Return the images in the networks' precision and layout."""
        return x_t.to(self.precision, memory_format=torch.channels_last)


class FrozenUNet(FrozenNetwork):
    """A U-Net with fixed weights; called as the one that it was made of."""

    def __init__(self, network: UNet, precision: torch.dtype) -> None:
        super().__init__(network, precision)
        self.classes = network.classes
        self.label_emb = network.label_emb if network.classes is not None else None
        self.output_blocks = _frozen(network.output_blocks, precision)
        self.norm, self.convolution = _norm(network.out[0]), _cast(network.out[2], precision)

    def forward(self, x_t: Tensor, timestep: Tensor, label: Tensor | None = None) -> Tensor:
        """Predict; arguments, result and errors are those of `UNet.forward`."""
        if (label is None) != (self.classes is None):
            needs = "needs a label" if label is None else "takes no label"
            raise ValueError(f"This U-Net {needs}: its preset's class_conditional says so.")
        with torch.autocast(x_t.device.type, enabled=False):
            modulations = self.embed(timestep, self.label_emb(label) if self.label_emb is not None else None)
            h, skips = self.enter(x_t), []
            for block in self.input_blocks:
                h = _run(block, h, modulations)
                skips.append(h)
            h = _run(self.middle_block, h, modulations)
            for block in self.output_blocks:
                h = _run(block, torch.cat([h, skips.pop()], dim=1), modulations)
            out: Tensor = self.convolution(self.norm(h))
            return out.float()


class FrozenClassifier(FrozenNetwork):
    """A classifier with fixed weights, through which a gradient can be taken; called as the one it was made of."""

    def __init__(self, network: TimeClassifier, precision: torch.dtype) -> None:
        super().__init__(network, precision)
        pool = FrozenPool(cast("AttentionPool", network.out[2]))
        self.norm, self.pool = _norm(network.out[0]), _cast(pool, precision)

    def forward(self, x_t: Tensor, timestep: Tensor) -> Tensor:
        """Classify; arguments and result are those of `TimeClassifier.forward`."""
        with torch.autocast(x_t.device.type, enabled=False):
            modulations = self.embed(timestep)
            h = self.enter(x_t)
            for block in self.input_blocks:
                h = _run(block, h, modulations)
            h = _run(self.middle_block, h, modulations)
            logits: Tensor = self.pool(self.norm(h))
            return logits.float()


@overload
def freeze(network: UNet, precision: torch.dtype = torch.float32) -> FrozenUNet: ...
@overload
def freeze(network: TimeClassifier, precision: torch.dtype = torch.float32) -> FrozenClassifier: ...
def freeze(network: UNet | TimeClassifier, precision: torch.dtype = torch.float32) -> FrozenUNet | FrozenClassifier:
    """Return a network arranged for sampling, on the same device; the given one is left as it is.

    Args:
        network: a U-Net or a classifier.
        precision: of the arithmetic; group norms' statistics are float32 always, as the published networks' are.
    """
    network = copy.deepcopy(network).eval().requires_grad_(requires_grad=False)
    for parameter in network.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return FrozenUNet(network, precision) if isinstance(network, UNet) else FrozenClassifier(network, precision)


class FrozenNorm(nn.Module):
    """Group normalisation, and each channel's gain and bias: its own ones, or those that an embedding decides.

    SiLU follows, if `activated`.
    """

    def __init__(self, norm: nn.GroupNorm, *, activated: bool) -> None:
        super().__init__()
        self.groups, self.eps, self.activated = norm.num_groups, norm.eps, activated
        self.gain, self.bias = (nn.Parameter(each.detach()[None], requires_grad=False) for each in norm.parameters())

    def forward(self, x: Tensor, modulation: Tensor | None = None) -> Tensor:
        """(N, C, H, W) and (N, 2C) or nothing -> (N, C, H, W)."""
        gain, bias = (self.gain, self.bias) if modulation is None else modulation.chunk(2, dim=1)
        return normalise(x, gain, bias, self.groups, self.eps, activated=self.activated)


class FrozenResBlock(nn.Module):
    """A residual block whose embedding has been projected already."""

    def __init__(self, block: ResBlock) -> None:
        super().__init__()
        self.scale_shift_norm = block.scale_shift_norm
        self.resample, self.doubles = block.resample, block.resample is repeat_pixels
        self.norm_in, self.norm_out = _norm(block.in_layers[0]), _norm(block.out_layers[0])
        convolution = cast("nn.Conv2d", block.in_layers[2])
        self.convolution_in = fold_doubling(convolution) if self.doubles else convolution
        self.convolution_out = block.out_layers[3]
        skip = block.skip_connection
        self.skip = FrozenProjection(skip) if isinstance(skip, nn.Conv2d) else skip

    def forward(self, x: Tensor, modulation: Tensor) -> Tensor:
        """(N, C, H, W) and (N, M) -> (N, C', H', W')."""
        h = self.norm_in(x)
        if self.resample is not None:
            x = self.resample(x)
            h = h if self.doubles else self.resample(h)
        h = self.convolution_in(h)
        if self.scale_shift_norm:
            h = self.norm_out(h, modulation)
        else:
            h = self.norm_out(h + modulation[:, :, None, None].to(h.dtype))
        return _add(self.convolution_out(h), self.skip(x))


class FrozenProjection(nn.Module):
    """A convolution of width 1."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.convolution = convolution

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C', H, W)."""
        n, channels, height, width = x.shape
        # To torch a row of pixels is as good an image, and to many images it gives the kernel that is twice as fast.
        rows = x.permute(0, 2, 3, 1).reshape(n * height, 1, width, channels).permute(0, 3, 1, 2)
        out: Tensor = self.convolution(rows)
        return out.permute(0, 2, 3, 1).reshape(n, height, width, -1).permute(0, 3, 1, 2)


class FrozenAttention(nn.Module):
    """Self-attention over the pixels, each pixel's channels side by side."""

    def __init__(self, block: AttentionBlock) -> None:
        super().__init__()
        self.heads, self.norm = block.heads, FrozenNorm(block.norm, activated=False)
        self.qkv, self.proj_out = _as_linear(block.qkv), _as_linear(block.proj_out)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        n, channels, height, width = x.shape
        pixels = _pixels(self.norm(x))
        qkv = self.qkv(pixels).reshape(n, height * width, self.heads, 3, channels // self.heads)
        q, k, v = qkv.permute(3, 0, 2, 1, 4).unbind()
        attended = _attended(q, k, v).transpose(1, 2).reshape(pixels.shape)
        out: Tensor = self.proj_out(attended).reshape(n, height, width, channels).permute(0, 3, 1, 2)
        return _add(out, x)


class FrozenPool(nn.Module):
    """Attention pooling, of which the mean's token alone asks."""

    def __init__(self, pool: AttentionPool) -> None:
        super().__init__()
        self.heads = pool.heads
        self.positions = nn.Parameter(pool.positional_embedding.T.contiguous(), requires_grad=False)
        channels = pool.c_proj.in_channels
        self.query, self.key_value = _parts(_as_linear(pool.qkv_proj), [channels, 2 * channels])
        self.c_proj = _as_linear(pool.c_proj)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, out_channels)."""
        pixels = _pixels(x)
        tokens = torch.cat([pixels.mean(dim=1, keepdim=True), pixels], dim=1) + self.positions
        n, count, channels = tokens.shape
        q = self.query(tokens[:, :1]).reshape(n, 1, self.heads, -1).transpose(1, 2)
        k, v = self.key_value(tokens).reshape(n, count, 2, self.heads, -1).permute(2, 0, 3, 1, 4).unbind()
        out: Tensor = self.c_proj(_attended(q, k, v).reshape(n, channels))
        return out


def fold_doubling(convolution: nn.Conv2d) -> nn.ConvTranspose2d:
    """Return one convolution for what is a doubling of the resolution followed by a 3x3 convolution.

    A pixel repeated twice each way meets two of the kernel's three taps on one side and one on the other. Adding the
    taps that meet the same pixel leaves 2x2 of them for each output pixel, 4/9 of the multiplications: a transposed
    convolution of stride 2, whose 4x4 kernel is T w T' with T = `TAPS`.
    """
    taps = torch.tensor(TAPS, dtype=convolution.weight.dtype, device=convolution.weight.device)
    kernel = torch.einsum("ai,bj,ocij->coab", taps, taps, convolution.weight)
    folded = nn.ConvTranspose2d(convolution.in_channels, convolution.out_channels, 4, stride=2, padding=1)
    folded.weight = nn.Parameter(kernel.contiguous(memory_format=torch.channels_last), requires_grad=False)
    folded.bias = convolution.bias
    return folded


def fold_modulation(block: ResBlock) -> nn.Linear:
    """Return the projection of a block's embedding, with the norm that it modulates folded in.

    The embedding's projection gives s and t; gamma n (1 + s) + beta (1 + s) + t is what a norm's gamma and beta and
    these make of a normal n. That is gain n + bias, both of them linear in the embedding as s and t are.
    """
    projection = cast("nn.Linear", block.emb_layers[1])
    if not block.scale_shift_norm:
        return projection
    gamma, beta = cast("nn.GroupNorm", block.out_layers[0]).parameters()
    (scale, shift), (one, zero) = projection.weight.chunk(2), projection.bias.chunk(2)
    weight = torch.cat([gamma[:, None] * scale, beta[:, None] * scale + shift])
    return _linear(weight, torch.cat([gamma * (1 + one), beta * (1 + one) + zero]))


def _frozen(module: M, precision: torch.dtype) -> M:
    """Return the module with the layers below it replaced by their frozen kinds."""
    for name, layer in list(module.named_children()):
        if isinstance(layer, ResBlock):
            setattr(module, name, FrozenResBlock(layer))
        elif isinstance(layer, AttentionBlock):
            setattr(module, name, FrozenAttention(layer))
        elif isinstance(layer, Upsample):
            setattr(module, name, fold_doubling(layer.conv))
        else:
            _frozen(layer, precision)
    return _cast(module, precision)


def _norm(layer: nn.Module) -> FrozenNorm:
    return FrozenNorm(cast("nn.GroupNorm", layer), activated=True)


def _cast(module: M, precision: torch.dtype) -> M:
    """Return the module with all that multiplies in that precision; norms stay as they are."""
    for layer in module.modules():
        if not isinstance(layer, FrozenNorm):
            for parameter in layer.parameters(recurse=False):
                parameter.data = parameter.data.to(precision)
    return module


def _run(block: nn.Module, x: Tensor, modulations: Iterator[Tensor]) -> Tensor:
    for layer in block.children():
        x = layer(x, next(modulations)) if isinstance(layer, FrozenResBlock) else layer(x)
    return x


def _add(x: Tensor, other: Tensor) -> Tensor:
    """Add to what nobody else looks at."""
    return x + other if torch.is_grad_enabled() else x.add_(other)


def _attended(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attend; (N, H, P, C/H) each."""
    if q.device.type != "cpu":
        return F.scaled_dot_product_attention(q, k, v)
    # A processor takes longer in bfloat16 than in float32, five times as long for the gradient.
    return F.scaled_dot_product_attention(q.float(), k.float(), v.float()).to(q.dtype)


def _pixels(x: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, HW, C), a view where a pixel's channels lie side by side."""
    return x.permute(0, 2, 3, 1).flatten(1, 2)


def _as_linear(convolution: nn.Conv1d) -> nn.Linear:
    """Return what a convolution of width 1 does to each pixel."""
    return _linear(convolution.weight[:, :, 0], cast("Tensor", convolution.bias))


def _joined(layers: list[nn.Linear]) -> nn.Linear:
    """Return one layer that gives what all of them give, side by side."""
    return _linear(torch.cat([layer.weight for layer in layers]), torch.cat([layer.bias for layer in layers]))


def _parts(layer: nn.Linear, sizes: list[int]) -> list[nn.Linear]:
    """Return layers that give a layer's outputs in parts."""
    parameters = (torch.split(each, sizes) for each in (layer.weight, layer.bias))
    return [_linear(weight, bias) for weight, bias in zip(*parameters, strict=True)]


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], device=weight.device)
    layer.weight = nn.Parameter(weight.detach().contiguous(), requires_grad=False)
    layer.bias = nn.Parameter(bias.detach().contiguous(), requires_grad=False)
    return layer
