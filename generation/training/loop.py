"""The training loop: AdamW, linear annealing, an average of the weights, and a state that resumes exactly.

All that is random in an iteration comes from a stream that the seed and the iteration's number decide, so an
interrupted and resumed training sees what an uninterrupted one sees. It is drawn for the whole batch, of which each
process takes its share, so any number of processes trains on the same.
"""

import contextlib
import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from generation import noise
from generation.datasets import LabelledImages, to_unit_range
from generation.datasets.augmentation import NONE, Augmentation, draw_augmentation
from generation.errors import DatasetError, GenerationError, SettingsError
from generation.training.batches import batch_indices, read_ahead, share_of

Metrics = dict[str, float]
# float16's gradients are scaled up; a scale that has fallen so far finds them infinite at any size.
LEAST_SCALE = 2.0**-10


class TrainingDivergedError(GenerationError):
    """The loss, its gradient or the weights are no longer numbers."""


@dataclass(frozen=True)
class Recipe:
    """How to train.

    Attributes:
        iterations: optimiser steps in all.
        batch_size: images a step, over all processes.
        learning_rate: at the first step.
        anneal_iterations: where the linearly falling rate would reach 0; None keeps it constant.
        weight_decay: AdamW's.
        ema_rate: decay of the average of the weights; None keeps no average.
        seed: decides the order of the images, their augmentation, the timesteps and the noise.
        augmentation: what may happen to a training image.
        accumulation_steps: parts that a process takes its share of a batch in, one after the other.
    """

    iterations: int
    batch_size: int
    learning_rate: float
    anneal_iterations: int | None
    weight_decay: float
    ema_rate: float | None
    seed: int
    augmentation: Augmentation = NONE
    accumulation_steps: int = 1

    def __post_init__(self) -> None:
        counts_can_be = self.iterations >= 0 and min(self.batch_size, self.accumulation_steps) >= 1
        if not counts_can_be or not 0 < self.learning_rate <= 1:
            raise SettingsError(
                f"{self.iterations} iterations of {self.batch_size} in {self.accumulation_steps} part(s) at rate "
                f"{self.learning_rate} cannot be: give positive numbers, and a rate of at most 1."
            )

    def rate_at(self, step: int) -> float:
        """Return the learning rate of the iteration after `step` finished ones."""
        if self.anneal_iterations is None:
            return self.learning_rate
        return self.learning_rate * max(0.0, 1 - step / self.anneal_iterations)


@dataclass(frozen=True)
class Batch:
    """Images and the noise that an iteration adds to them.

    Attributes:
        x_0: (N, C, H, W) float32 in [-1, 1].
        label: (N,) class indices.
        step: (N,) indices into the schedule.
        noise: (N, C, H, W), standard normal.
    """

    x_0: Tensor
    label: Tensor
    step: Tensor
    noise: Tensor

    def __len__(self) -> int:
        return len(self.x_0)

    def __getitem__(self, rows: slice) -> "Batch":
        """Return some rows."""
        return Batch(self.x_0[rows], self.label[rows], self.step[rows], self.noise[rows])


class Objective(Protocol):
    """What an iteration minimises.

    Attributes:
        timesteps: of the schedule that a batch's steps are drawn from.
    """

    @property
    def timesteps(self) -> int: ...  # noqa: D102

    def __call__(self, network: nn.Module, batch: Batch, /) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the batch's mean loss, and means that are worth watching."""


class Trainer:
    """A network in training.

    Attributes:
        step: finished iterations.
        network: the network itself.
        average: the averaged weights by name, empty where the recipe keeps none.
    """

    def __init__(self, network: nn.Module, recipe: Recipe, accelerator: Accelerator) -> None:
        """Put a network on the accelerator's device.

        Raises:
            SettingsError: fewer images in a batch than processes.
        """
        if recipe.batch_size < accelerator.num_processes:
            raise SettingsError(
                f"A batch of {recipe.batch_size} cannot be shared by {accelerator.num_processes} processes: take a "
                "larger one."
            )
        self.recipe = recipe
        self.accelerator = accelerator
        self.device = accelerator.device
        self.step = 0
        self.network = network.train()
        # With several processes this joins their gradients; the network itself stays what it is.
        self.joined = accelerator.prepare_model(network)
        self.optimizer = accelerator.prepare_optimizer(
            torch.optim.AdamW(network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
        )
        keeps_average = recipe.ema_rate is not None
        self.average = {n: p.detach().clone() for n, p in network.state_dict().items()} if keeps_average else {}

    @property
    def weights(self) -> dict[str, Tensor]:
        """The weights to use: the average where there is one."""
        return self.average or self.network.state_dict()

    def run(self, data: LabelledImages, objective: Objective, on_step: Callable[[int, Metrics], bool]) -> None:
        """Train from the current step to the recipe's last.

        Args:
            data: the training images.
            objective: what an iteration minimises.
            on_step: called after each iteration, in every process, with the number of finished ones and the metrics
                of the whole batch; says whether to go on. All processes stop where one says no.

        Raises:
            DatasetError: fewer images than a batch, or one that cannot be read.
            TrainingDivergedError: the loss or its gradient is not finite; the network is as the last finished
                iteration left it.
        """
        recipe = self.recipe
        if len(data) < recipe.batch_size:
            raise DatasetError(
                f"{data.name} has {len(data)} images, fewer than a batch of {recipe.batch_size}: take a smaller batch."
            )
        share = share_of(self.accelerator.process_index, self.accelerator.num_processes, recipe.batch_size)

        def read(step: int) -> tuple[Tensor, Tensor]:
            rows = batch_indices(recipe.seed, step, recipe.batch_size, len(data))
            draws = draw_augmentation(recipe.augmentation, recipe.seed, step, recipe.batch_size, data.size)
            return data.batch(rows[share], draws[share])

        batches = read_ahead(read, range(self.step, recipe.iterations))
        with contextlib.closing(batches):
            for images, label in batches:
                metrics = self._iterate(images, label, share, objective)
                if not self.all_agree(here=on_step(self.step, metrics)):
                    return

    def all_agree(self, *, here: bool) -> bool:
        """Return whether every process says yes; all must ask."""
        if self.accelerator.num_processes == 1:
            return here
        no = torch.tensor(0.0 if here else 1.0, device=self.device)
        return not bool(self.accelerator.reduce(no, "sum"))

    def _iterate(self, images: Tensor, label: Tensor, share: slice, objective: Objective) -> Metrics:
        recipe = self.recipe
        generator = noise.torch_generator(self.device, recipe.seed, noise.ITERATION, self.step)
        dropout_seed = generator.initial_seed()
        batch = self._with_noise(images, label, share, objective.timesteps, generator)
        part = -(-len(batch) // recipe.accumulation_steps)
        sums: dict[str, Tensor] = {}
        self.optimizer.zero_grad()
        for start in range(0, len(batch), part):
            first_row = share.start + start
            if first_row:
                dropout_seed = int(noise.stream(recipe.seed, noise.ITERATION, self.step, first_row).integers(2**63))
            # Dropout knows no generator but torch's global one.
            torch.manual_seed(dropout_seed)
            rows = batch[start : start + part]
            with self._joining(last=start + part >= len(batch)):
                with self.accelerator.autocast():
                    loss, metrics = objective(self.joined, rows)
                # The processes' gradients are averaged: each counts by its rows in the whole batch.
                weight = len(rows) * self.accelerator.num_processes / recipe.batch_size
                self.accelerator.backward(loss * weight)
            for name, value in {"loss": loss, **metrics}.items():
                sums[name] = sums.get(name, 0.0) + value.detach().double() * len(rows)
        return self._finish(sums)

    def _with_noise(
        self, images: Tensor, label: Tensor, share: slice, timesteps: int, generator: torch.Generator
    ) -> Batch:
        """Return this process's share of the batch, with its share of the noise that is drawn for the whole."""
        x_0 = to_unit_range(images.to(self.device))
        whole = self.recipe.batch_size
        step = torch.randint(timesteps, (whole,), generator=generator, device=self.device)
        drawn = torch.randn((whole, *x_0.shape[1:]), generator=generator, device=self.device)
        return Batch(x_0, label.to(self.device), step[share], drawn[share])

    def _joining(self, *, last: bool) -> AbstractContextManager[Any]:
        """Only the last part's gradients wait for the other processes'."""
        return contextlib.nullcontext() if last else self.accelerator.no_sync(self.joined)

    def _finish(self, sums: dict[str, Tensor]) -> Metrics:
        """Step with the gradients that have come together; return the whole batch's metrics."""
        self.accelerator.unscale_gradients(self.optimizer)
        gradients = [p.grad for p in self.network.parameters() if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        means = self.accelerator.reduce(torch.stack(list(sums.values())), "sum") / self.recipe.batch_size
        metrics = dict(zip(sums, means.tolist(), strict=True))
        metrics |= {"gradient_norm": norm.item(), "learning_rate": self.recipe.rate_at(self.step)}
        self._check_finite(metrics)
        for group in self.optimizer.param_groups:
            group["lr"] = metrics["learning_rate"]
        self.optimizer.step()
        self.step += 1
        if not self.optimizer.step_was_skipped:
            self._update_average()
        return metrics

    def _check_finite(self, metrics: Metrics) -> None:
        """Refuse to step on what is no number, before it reaches the weights; all processes see the same metrics."""
        scaler = self.accelerator.scaler
        for name in ("loss", "gradient_norm"):
            if math.isfinite(metrics[name]):
                continue
            # The scaler skips such a step, and lowers its scale, unless that has long been in vain.
            if name == "gradient_norm" and scaler is not None and scaler.get_scale() >= LEAST_SCALE:
                continue
            raise TrainingDivergedError(
                f"The {name.replace('_', ' ')} is {metrics[name]} at iteration {self.step}: resume from the last "
                "checkpoint with a lower learning rate."
            )

    @torch.no_grad()
    def _update_average(self) -> None:
        if self.recipe.ema_rate is None:
            return
        # A short memory at first forgets the random start.
        rate = min(self.recipe.ema_rate, (1 + self.step) / (10 + self.step))
        for name, tensor in self.network.state_dict().items():
            self.average[name].lerp_(tensor, 1 - rate)

    def state(self) -> dict[str, Any]:
        """Return all that a resume needs, as tensors and plain values.

        Raises:
            TrainingDivergedError: a weight is not finite.
        """
        for name, tensor in self.network.state_dict().items():
            if not bool(tensor.isfinite().all()):
                raise TrainingDivergedError(
                    f"{name} is not finite after iteration {self.step}: resume from the last checkpoint with a lower "
                    "learning rate."
                )
        scaler = self.accelerator.scaler
        return {
            "step": self.step,
            "network": self.network.state_dict(),
            "average": self.average,
            "optimizer": self.optimizer.state_dict(),
            **({"scaler": scaler.state_dict()} if scaler is not None else {}),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a saved state of the same network."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.average = {name: tensor.to(self.device) for name, tensor in state["average"].items()}
        if self.accelerator.scaler is not None and "scaler" in state:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        self.step = state["step"]
