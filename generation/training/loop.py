"""The training loop: AdamW, linear annealing, an average of the weights, and a state that resumes exactly.

All that is random in an iteration comes from a stream that the seed and the iteration's number decide, so an
interrupted and resumed training sees what an uninterrupted one sees.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from generation import noise
from generation.datasets import LabelledImages, to_unit_range
from generation.datasets.augmentation import NONE, Augmentation, draw_augmentation
from generation.errors import DatasetError, GenerationError, SettingsError

Metrics = dict[str, float]
# (network, x_0, label, generator) -> (loss, what the progress bar shows)
Objective = Callable[[nn.Module, Tensor, Tensor, torch.Generator], tuple[Tensor, Metrics]]


class TrainingDivergedError(GenerationError):
    """The loss is no longer a number."""


@dataclass(frozen=True)
class Recipe:
    """How to train.

    Attributes:
        iterations: optimiser steps in all.
        batch_size: images a step.
        learning_rate: at the first step.
        anneal_iterations: where the linearly falling rate would reach 0; None keeps it constant.
        weight_decay: AdamW's.
        ema_rate: decay of the average of the weights; None keeps no average.
        seed: decides the order of the images, their augmentation, the timesteps and the noise.
        augmentation: what may happen to a training image.
    """

    iterations: int
    batch_size: int
    learning_rate: float
    anneal_iterations: int | None
    weight_decay: float
    ema_rate: float | None
    seed: int
    augmentation: Augmentation = NONE

    def rate_at(self, step: int) -> float:
        """Return the learning rate of the iteration after `step` finished ones."""
        if self.anneal_iterations is None:
            return self.learning_rate
        return self.learning_rate * max(0.0, 1 - step / self.anneal_iterations)


class Trainer:
    """A network in training.

    Attributes:
        step: finished iterations.
        average: the averaged weights by name, empty where the recipe keeps none.
    """

    def __init__(self, network: nn.Module, recipe: Recipe, device: torch.device) -> None:
        if recipe.iterations < 0 or recipe.batch_size < 1 or not recipe.learning_rate > 0:
            raise SettingsError(
                f"{recipe.iterations} iterations of {recipe.batch_size} at rate {recipe.learning_rate} cannot be: "
                "give positive numbers."
            )
        self.network = network.to(device).train()
        self.recipe = recipe
        self.device = device
        self.step = 0
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
        )
        keeps_average = recipe.ema_rate is not None
        self.average = {n: p.detach().clone() for n, p in network.state_dict().items()} if keeps_average else {}

    @property
    def weights(self) -> dict[str, Tensor]:
        """The weights to use: the average where there is one."""
        return self.average or self.network.state_dict()

    def run(
        self,
        data: LabelledImages,
        objective: Objective,
        on_step: Callable[[int, Metrics], bool],
    ) -> None:
        """Train from the current step to the recipe's last.

        Args:
            data: the training images.
            objective: what an iteration minimises.
            on_step: called after each iteration with the number of finished ones and the metrics; says whether to go
                on.

        Raises:
            DatasetError: fewer images than a batch.
            TrainingDivergedError: the loss is not finite; the network is as the last finished iteration left it.
        """
        if len(data) < self.recipe.batch_size:
            raise DatasetError(
                f"{data.name} has {len(data)} images, fewer than a batch of {self.recipe.batch_size}: "
                "take a smaller batch."
            )
        while self.step < self.recipe.iterations:
            metrics = self._iterate(data, objective)
            if not on_step(self.step, metrics):
                return

    def _iterate(self, data: LabelledImages, objective: Objective) -> Metrics:
        recipe = self.recipe
        rows = batch_indices(recipe.seed, self.step, recipe.batch_size, len(data))
        draws = draw_augmentation(recipe.augmentation, recipe.seed, self.step, recipe.batch_size, data.size)
        images, label = data.batch(rows, draws)
        x_0, label = to_unit_range(images.to(self.device)), label.to(self.device)
        generator = noise.torch_generator(self.device, self.recipe.seed, noise.ITERATION, self.step)
        # Dropout knows no generator but torch's global one.
        torch.manual_seed(generator.initial_seed())
        loss, metrics = objective(self.network, x_0, label, generator)
        if not bool(loss.isfinite()):
            raise TrainingDivergedError(
                f"The loss is {loss.item()} at iteration {self.step}: resume from the last checkpoint with a lower "
                "learning rate."
            )
        rate = self.recipe.rate_at(self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.step += 1
        self._update_average()
        return {"loss": loss.item(), **metrics}

    @torch.no_grad()
    def _update_average(self) -> None:
        if self.recipe.ema_rate is None:
            return
        # A short memory at first forgets the random start.
        rate = min(self.recipe.ema_rate, (1 + self.step) / (10 + self.step))
        for name, tensor in self.network.state_dict().items():
            self.average[name].lerp_(tensor, 1 - rate)

    def state(self) -> dict[str, Any]:
        """Return all that a resume needs, as tensors and plain values."""
        return {
            "step": self.step,
            "network": self.network.state_dict(),
            "average": self.average,
            "optimizer": self.optimizer.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a saved state of the same network."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.average = {name: tensor.to(self.device) for name, tensor in state["average"].items()}
        self.step = state["step"]


def batch_indices(seed: int, step: int, batch_size: int, images: int) -> np.ndarray:
    """Return which images iteration `step` takes: (batch_size,) int64.

    Every epoch passes over all images once, in an order of its own; a batch may end one epoch and begin the next.
    """
    positions = np.arange(step * batch_size, (step + 1) * batch_size)
    epochs = positions // images
    chosen = np.empty(batch_size, dtype=np.int64)
    for epoch in np.unique(epochs):
        order = noise.stream(seed, noise.BATCHES, int(epoch)).permutation(images)
        chosen[epochs == epoch] = order[positions[epochs == epoch] % images]
    return chosen
