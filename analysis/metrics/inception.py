"""Inception V3 as it is used for FID, under the names of the published weight file.

C. Szegedy et al., *Rethinking the Inception Architecture for Computer Vision*, 2016, in the version of December 2015
whose weights FID was defined with (M. Heusel et al., 2017). It differs from later versions: 1008 outputs, average
pools inside the blocks that leave padding out, and a maximum pool in the last block.
"""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from analysis.metrics.errors import MetricsError
from analysis.metrics.weights import load_weights

SIZE = 299
FEATURES = 2048
OUTPUTS = 1008
SPATIAL_CHANNELS = 7
"""Of Mixed_6d's first branch, for sFID; C. Nash et al., *Generating Images with Sparse Representations*, 2021."""
BATCH_NORM_EPSILON = 1e-3

Size = int | tuple[int, int]


class Convolution(nn.Module):
    """Convolution, batch normalisation by stored statistics, ReLU; in evaluation folded into one convolution."""

    def __init__(self, inputs: int, outputs: int, size: Size, *, stride: int = 1, padding: Size = 0) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, size, stride=stride, padding=padding, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=BATCH_NORM_EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, outputs, H', W')."""
        return F.relu(self.bn(self.conv(x)), inplace=True)

    def fold(self) -> None:
        """Put the normalisation into the convolution's weights and bias, computed in float64."""
        scale = self.bn.weight.double() / (_stored(self.bn.running_var).double() + self.bn.eps).sqrt()
        weight = self.conv.weight.double() * scale[:, None, None, None]
        bias = self.bn.bias.double() - _stored(self.bn.running_mean).double() * scale
        self.conv.weight = nn.Parameter(weight.float(), requires_grad=False)
        self.conv.bias = nn.Parameter(bias.float(), requires_grad=False)
        self.bn = nn.Identity()  # type: ignore[assignment]  # it is not asked for its statistics any more


def _stored(statistics: Tensor | None) -> Tensor:
    if statistics is None:
        raise MetricsError("This network stores no statistics to normalise by: take the published weights.")
    return statistics


def _chain(inputs: int, *layers: tuple[int, Size, Size]) -> list[Convolution]:
    """Return convolutions one after another: (outputs, size, padding)."""
    chain = []
    for outputs, size, padding in layers:
        chain.append(Convolution(inputs, outputs, size, padding=padding))
        inputs = outputs
    return chain


def _average(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


def _in_turn(x: Tensor, *layers: nn.Module) -> Tensor:
    for layer in layers:
        x = layer(x)
    return x


class BlockA(nn.Module):
    """Mixed_5b to Mixed_5d, at 35x35."""

    def __init__(self, inputs: int, pooled: int) -> None:
        super().__init__()
        self.branch1x1 = Convolution(inputs, 64, 1)
        self.branch5x5_1, self.branch5x5_2 = _chain(inputs, (48, 1, 0), (64, 5, 2))
        self.branch3x3dbl_1, self.branch3x3dbl_2, self.branch3x3dbl_3 = _chain(
            inputs, (64, 1, 0), (96, 3, 1), (96, 3, 1)
        )
        self.branch_pool = Convolution(inputs, pooled, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, 224 + pooled, H, W)."""
        fives = _in_turn(x, self.branch5x5_1, self.branch5x5_2)
        threes = _in_turn(x, self.branch3x3dbl_1, self.branch3x3dbl_2, self.branch3x3dbl_3)
        return torch.cat([self.branch1x1(x), fives, threes, self.branch_pool(_average(x))], 1)


class BlockB(nn.Module):
    """Mixed_6a, from 35x35 to 17x17."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.branch3x3 = Convolution(inputs, 384, 3, stride=2)
        self.branch3x3dbl_1, self.branch3x3dbl_2 = _chain(inputs, (64, 1, 0), (96, 3, 1))
        self.branch3x3dbl_3 = Convolution(96, 96, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, 480 + inputs, H', W')."""
        threes = _in_turn(x, self.branch3x3dbl_1, self.branch3x3dbl_2, self.branch3x3dbl_3)
        return torch.cat([self.branch3x3(x), threes, F.max_pool2d(x, 3, stride=2)], 1)


class BlockC(nn.Module):
    """Mixed_6b to Mixed_6e, at 17x17, with 7x7 convolutions cut in two."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        across: tuple[Size, Size] = ((1, 7), (0, 3))
        along: tuple[Size, Size] = ((7, 1), (3, 0))
        self.branch1x1 = Convolution(inputs, 192, 1)
        self.branch7x7_1, self.branch7x7_2, self.branch7x7_3 = _chain(
            inputs, (width, 1, 0), (width, *across), (192, *along)
        )
        (
            self.branch7x7dbl_1,
            self.branch7x7dbl_2,
            self.branch7x7dbl_3,
            self.branch7x7dbl_4,
            self.branch7x7dbl_5,
        ) = _chain(inputs, (width, 1, 0), (width, *along), (width, *across), (width, *along), (192, *across))
        self.branch_pool = Convolution(inputs, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, 768, H, W)."""
        return self.with_first_branch(x)[0]

    def with_first_branch(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the block's output, and its first branch's alone."""
        ones = self.branch1x1(x)
        sevens = _in_turn(x, self.branch7x7_1, self.branch7x7_2, self.branch7x7_3)
        doubles = _in_turn(
            x, self.branch7x7dbl_1, self.branch7x7dbl_2, self.branch7x7dbl_3, self.branch7x7dbl_4, self.branch7x7dbl_5
        )
        return torch.cat([ones, sevens, doubles, self.branch_pool(_average(x))], 1), ones


class BlockD(nn.Module):
    """Mixed_7a, from 17x17 to 8x8."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.branch3x3_1 = Convolution(inputs, 192, 1)
        self.branch3x3_2 = Convolution(192, 320, 3, stride=2)
        self.branch7x7x3_1, self.branch7x7x3_2, self.branch7x7x3_3 = _chain(
            inputs, (192, 1, 0), (192, (1, 7), (0, 3)), (192, (7, 1), (3, 0))
        )
        self.branch7x7x3_4 = Convolution(192, 192, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, 512 + inputs, H', W')."""
        threes = _in_turn(x, self.branch3x3_1, self.branch3x3_2)
        sevens = _in_turn(x, self.branch7x7x3_1, self.branch7x7x3_2, self.branch7x7x3_3, self.branch7x7x3_4)
        return torch.cat([threes, sevens, F.max_pool2d(x, 3, stride=2)], 1)


class BlockE(nn.Module):
    """Mixed_7b and Mixed_7c, at 8x8; the former pools by the average, the latter by the maximum."""

    def __init__(self, inputs: int, *, maximum: bool) -> None:
        super().__init__()
        self.maximum = maximum
        across: tuple[Size, Size] = ((1, 3), (0, 1))
        along: tuple[Size, Size] = ((3, 1), (1, 0))
        self.branch1x1 = Convolution(inputs, 320, 1)
        self.branch3x3_1 = Convolution(inputs, 384, 1)
        (self.branch3x3_2a,), (self.branch3x3_2b,) = _chain(384, (384, *across)), _chain(384, (384, *along))
        self.branch3x3dbl_1, self.branch3x3dbl_2 = _chain(inputs, (448, 1, 0), (384, 3, 1))
        (self.branch3x3dbl_3a,), (self.branch3x3dbl_3b,) = _chain(384, (384, *across)), _chain(384, (384, *along))
        self.branch_pool = Convolution(inputs, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, 2048, H, W)."""
        threes = self.branch3x3_1(x)
        doubles = _in_turn(x, self.branch3x3dbl_1, self.branch3x3dbl_2)
        pooled = F.max_pool2d(x, 3, stride=1, padding=1) if self.maximum else _average(x)
        forks = [
            self.branch3x3_2a(threes),
            self.branch3x3_2b(threes),
            self.branch3x3dbl_3a(doubles),
            self.branch3x3dbl_3b(doubles),
        ]
        return torch.cat([self.branch1x1(x), *forks, self.branch_pool(pooled)], 1)


class Inception(nn.Module):
    """The network. Called on (N, 3, H, W) images in [0, 1] it returns pytorch-fid's pool features, (N, 2048)."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = Convolution(3, 32, 3, stride=2)
        self.Conv2d_2a_3x3 = Convolution(32, 32, 3)
        self.Conv2d_2b_3x3 = Convolution(32, 64, 3, padding=1)
        self.Conv2d_3b_1x1 = Convolution(64, 80, 1)
        self.Conv2d_4a_3x3 = Convolution(80, 192, 3)
        self.Mixed_5b = BlockA(192, 32)
        self.Mixed_5c = BlockA(256, 64)
        self.Mixed_5d = BlockA(288, 64)
        self.Mixed_6a = BlockB(288)
        self.Mixed_6b = BlockC(768, 128)
        self.Mixed_6c = BlockC(768, 160)
        self.Mixed_6d = BlockC(768, 160)
        self.Mixed_6e = BlockC(768, 192)
        self.Mixed_7a = BlockD(768)
        self.Mixed_7b = BlockE(1280, maximum=False)
        self.Mixed_7c = BlockE(2048, maximum=True)
        self.fc = nn.Linear(FEATURES, OUTPUTS)

    def forward(self, images: Tensor) -> Tensor:
        """Return (N, 2048) pool features of (N, 3, H, W) images in [0, 1], by pytorch-fid's protocol."""
        resized = F.interpolate(images, (SIZE, SIZE), mode="bilinear", align_corners=False)
        return self.features(2 * resized - 1)[0]

    def features(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return pool and spatial features.

        Args:
            x: (N, 3, 299, 299), in [-1, 1].

        Returns:
            (N, 2048), the mean over 8x8 places; (N, 2023), the first 7 channels of 17x17 places, the channel last.
        """
        middle, spatial = self._middle(self._stem(x))
        x = _in_turn(middle, self.Mixed_6e, self.Mixed_7a, self.Mixed_7b, self.Mixed_7c)
        return x.mean((2, 3)), spatial[:, :SPATIAL_CHANNELS].permute(0, 2, 3, 1).flatten(1)

    def logits(self, pooled: Tensor) -> Tensor:
        """Return (N, 1008) scores of pool features, without the bias, as the Inception score takes them."""
        return F.linear(pooled, self.fc.weight.to(pooled.dtype))

    def stages(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return what follows the first and the second maximum pool and Mixed_6e, for (N, 3, 299, 299) in [-1, 1]."""
        first = self._first_pool(x)
        second = self._second_pool(first)
        return first, second, self.Mixed_6e(self._middle(second)[0])

    def _first_pool(self, x: Tensor) -> Tensor:
        return F.max_pool2d(_in_turn(x, self.Conv2d_1a_3x3, self.Conv2d_2a_3x3, self.Conv2d_2b_3x3), 3, stride=2)

    def _second_pool(self, x: Tensor) -> Tensor:
        return F.max_pool2d(_in_turn(x, self.Conv2d_3b_1x1, self.Conv2d_4a_3x3), 3, stride=2)

    def _stem(self, x: Tensor) -> Tensor:
        return self._second_pool(self._first_pool(x))

    def _middle(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = _in_turn(x, self.Mixed_5b, self.Mixed_5c, self.Mixed_5d, self.Mixed_6a, self.Mixed_6b, self.Mixed_6c)
        return self.Mixed_6d.with_first_branch(x)


def load_inception(path: str | Path) -> Inception:
    """Load the published weights (`.pth`, or the same tensors as `.safetensors`).

    Returns:
        The network in evaluation mode, frozen, batch normalisation folded, channels last.

    Raises:
        CheckpointError: The file is missing, broken, holds more than weights, or is of another network.
    """
    network = Inception()
    load_weights(network, Path(path), "FID's Inception is fetched by `fetch_weights inception`.")
    for module in network.modules():
        if isinstance(module, Convolution):
            module.fold()
    network.eval().requires_grad_(requires_grad=False)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network
