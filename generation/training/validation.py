"""How a network in training does on held-out images, by how noisy they are."""

from collections.abc import Callable, Sequence

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor, nn
from torch.func import functional_call

from generation.datasets import LabelledImages
from generation.diffusion.process import Process
from generation.guidance.attack import attack
from generation.presets import Attack
from generation.training.diffusion import DiffusionObjective
from generation.training.held_out import Bucket, held_out_batch
from generation.training.loop import Batch, Metrics, Trainer

# Of a schedule of 1000: where evaluate_classifier divides the timesteps, too.
EDGES = (0, 50, 300, 600)

# A batch of held-out images -> its means by name.
Measure = Callable[[Batch], dict[str, Tensor]]
# A trainer -> what to measure with its weights of the moment.
Validation = Callable[[Trainer], Measure]


def buckets_of(timesteps: int) -> list[Bucket]:
    """Return inclusive ranges of timesteps: 0-49, 50-299, 300-599 and 600-999 of 1000, and in proportion."""
    edges = sorted({edge * timesteps // 1000 for edge in EDGES})
    return [(first, after - 1) for first, after in zip(edges, [*edges[1:], timesteps], strict=True)]


def classifier_validation(process: Process, attack_settings: Attack | None) -> Validation:
    """Measure `clean` accuracy and, with settings, accuracy when `attacked`."""

    def of(trainer: Trainer) -> Measure:
        classifier = trainer.network

        def share_correct(x_t: Tensor, timestep: Tensor, label: Tensor) -> Tensor:
            with torch.no_grad():
                correct: Tensor = classifier(x_t, timestep).argmax(1) == label
            return correct.float().mean()

        def measure(batch: Batch) -> dict[str, Tensor]:
            x_t = process.add_noise(batch.x_0, batch.step, batch.noise)
            timestep = process.timesteps[batch.step]
            shares = {"clean": share_correct(x_t, timestep, batch.label)}
            if attack_settings is not None:
                attacked = attack(classifier, x_t, timestep, batch.label, attack_settings).x_t
                shares["attacked"] = share_correct(attacked, timestep, batch.label)
            return shares

        return measure

    return of


def diffusion_validation(objective: DiffusionObjective) -> Validation:
    """Measure the `loss` and its `mse` with the averaged weights, which are the ones to sample with."""

    def of(trainer: Trainer) -> Measure:
        network, weights = trainer.network, trainer.weights

        class Averaged(nn.Module):
            def forward(self, *inputs: Tensor | None) -> Tensor:
                output: Tensor = functional_call(network, weights, inputs)
                return output

        averaged = Averaged()

        @torch.no_grad()
        def measure(batch: Batch) -> dict[str, Tensor]:
            loss, metrics = objective(averaged, batch)
            return {"loss": loss, **metrics}

        return measure

    return of


def validate(
    measure: Measure,
    data: LabelledImages,
    *,
    buckets: Sequence[Bucket],
    accelerator: Accelerator,
    seed: int,
    batch_size: int,
) -> Metrics:
    """Measure on held-out images; every bucket sees all of them.

    Each image's timestep, uniform in the bucket, and its noise follow from the seed, the bucket and the image's place:
    they are the same at every validation, on every device, for any batch size and any number of processes, and what
    evaluate_classifier takes.

    Args:
        measure: what.
        data: the held-out images.
        buckets: inclusive ranges of timesteps.
        accelerator: where; the processes share the work.
        seed: decides timesteps and noise.
        batch_size: images at once, in each process.

    Returns:
        In every process: `name/first-last` for each bucket and, as `name`, the mean over all timesteps.
    """
    metrics: Metrics = {}
    timesteps = sum(last - first + 1 for first, last in buckets)
    for first, last in buckets:
        sums: dict[str, float] = {}
        for start in range(0, len(data), batch_size)[accelerator.process_index :: accelerator.num_processes]:
            rows = range(start, min(start + batch_size, len(data)))
            batch = held_out_batch(data, rows, (first, last), seed, accelerator.device)
            with accelerator.autocast():
                means = measure(batch)
            for name, mean in means.items():
                sums[name] = sums.get(name, 0.0) + mean.item() * len(batch)
        for part in gather_object([sums]):
            for name, total in part.items():
                value = total / len(data)
                in_bucket = f"{name}/{first}-{last}"
                metrics[in_bucket] = metrics.get(in_bucket, 0.0) + value
                metrics[name] = metrics.get(name, 0.0) + value * (last - first + 1) / timesteps
    return metrics


def table(metrics: Metrics, buckets: Sequence[Bucket]) -> str:
    """Return a validation as lines of text, a line a bucket."""
    names = [name for name in metrics if "/" not in name]
    lines = ["timesteps".rjust(11) + "".join(name.rjust(12) for name in names)]
    for label, suffix in [*((f"{first}-{last}", f"/{first}-{last}") for first, last in buckets), ("all", "")]:
        lines.append(label.rjust(11) + "".join(_shown(name, metrics[name + suffix]).rjust(12) for name in names))
    return "\n".join(lines)


def _shown(name: str, value: float) -> str:
    return f"{value:.1%}" if name in ("clean", "attacked") else f"{value:.4f}"
