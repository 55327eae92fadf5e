"""A small classifier of Fashion-MNIST whose last features stand in for Inception's on one-channel clothes."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from analysis.metrics.weights import COUNTERS, load_weights
from generation.checkpoints import Metadata, save_network
from generation.datasets import LabelledImages

SIZE = 32
FEATURES = 128
CLASSES = 10
WEIGHTS = Path(__file__).parent / "pretrained" / "fashion.safetensors"
WEIGHT_DECAY = 1e-4
LARGEST_SHIFT = 2
"""Pixels by which a training image is moved at most, along either axis."""


class FashionNetwork(nn.Module):
    """Five convolutions, a mean over places, a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        widths = (1, 32, 64, 64, 128, FEATURES)
        strides = (2, 2, 1, 2, 1)
        layers: list[nn.Module] = []
        for inputs, outputs, stride in zip(widths, widths[1:], strides, strict=False):
            layers += [
                nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
                nn.BatchNorm2d(outputs),
                nn.ReLU(),
            ]
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(FEATURES, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        """Return (N, 128) features, not below 0, of (N, 1, 32, 32) images in [0, 1]."""
        features: Tensor = self.body(2 * images - 1).mean((2, 3))
        return features

    def logits(self, features: Tensor) -> Tensor:
        """Return (N, 10) class scores of features."""
        return F.linear(features, self.head.weight.to(features.dtype), self.head.bias.to(features.dtype))


@dataclass(frozen=True)
class FashionRecipe:
    """How the network is trained: AdamW, its rate falling to 0 along a cosine."""

    epochs: int = 5
    batch_size: int = 128
    learning_rate: float = 3e-3
    seed: int = 0


def load_fashion(path: Path = WEIGHTS) -> FashionNetwork:
    """Load the network, in evaluation mode and frozen.

    Raises:
        CheckpointError: The file is missing, broken or of another network.
    """
    network = FashionNetwork()
    load_weights(network, path, "Leave --weights away to take the shipped ones.")
    return network.eval().requires_grad_(requires_grad=False)


def train_fashion(
    data: LabelledImages, recipe: FashionRecipe, on_step: Callable[[int, int, float], object]
) -> FashionNetwork:
    """Train the network on (N, 1, 32, 32) images, each moved by a few pixels and mirrored at random.

    Args:
        data: the training images.
        recipe: how.
        on_step: told the steps done, the steps in all, and the loss.
    """
    torch.manual_seed(recipe.seed)
    rng = np.random.default_rng(recipe.seed)
    network = FashionNetwork().train()
    batches = len(data) // recipe.batch_size
    steps = recipe.epochs * batches
    optimizer = torch.optim.AdamW(network.parameters(), lr=recipe.learning_rate, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for epoch in range(recipe.epochs):
        order = rng.permutation(len(data))
        for batch in range(batches):
            rows = torch.from_numpy(order[batch * recipe.batch_size : (batch + 1) * recipe.batch_size])
            images = _augmented(torch.as_tensor(data.images[rows]), rng)
            loss = F.cross_entropy(
                network.logits(network(images.float() / 255)), data.labels[rows], label_smoothing=0.05
            )
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            on_step(epoch * batches + batch + 1, steps, float(loss.detach()))
    return network.eval().requires_grad_(requires_grad=False)


def _augmented(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Move each image by up to two pixels on either axis, black coming in, and mirror half of them."""
    reach, size = LARGEST_SHIFT, images.shape[-1]
    padded = F.pad(images, (reach, reach, reach, reach))
    steps = np.arange(size)
    rows = rng.integers(0, 2 * reach + 1, len(images))[:, None] + steps
    columns = rng.integers(0, 2 * reach + 1, len(images))[:, None] + steps
    mirrored = rng.random(len(images)) < 0.5
    columns[mirrored] = columns[mirrored, ::-1]
    index = np.arange(len(images))[:, None, None]
    return padded[index, 0, rows[:, :, None], columns[:, None, :]][:, None]


def accuracy(network: FashionNetwork, data: LabelledImages) -> float:
    """Return the share of images whose class has the highest score."""
    right = 0
    with torch.inference_mode():
        for start in range(0, len(data), 500):
            part = slice(start, start + 500)
            scores = network.logits(network(torch.as_tensor(data.images[part]).float() / 255))
            right += int((scores.argmax(1) == data.labels[part]).sum())
    return right / len(data)


def save_fashion(path: Path, network: FashionNetwork, recipe: FashionRecipe, data: LabelledImages, steps: int) -> None:
    """Write the network with its recipe.

    Raises:
        CheckpointError: The file cannot be written.
    """
    metadata = Metadata(
        kind="features", preset=dict(recipe.__dict__), class_names=data.class_names, step=steps, dataset=data.name
    )
    tensors = {name: tensor for name, tensor in network.state_dict().items() if not name.endswith(COUNTERS)}
    save_network(path, tensors, metadata)
