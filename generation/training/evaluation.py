"""How well a classifier does on noisy images, attacked and not, by how noisy they are."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from generation import noise
from generation.datasets import LabelledImages, to_unit_range
from generation.diffusion.process import Process
from generation.errors import SettingsError
from generation.guidance.attack import attack
from generation.presets import Attack


@dataclass(frozen=True)
class BucketAccuracy:
    """Accuracy over the timesteps from `first` to `last`, each image at one of them.

    Attributes:
        first: smallest timestep.
        last: largest timestep.
        images: how many images.
        clean: share classified correctly.
        attacked: share still classified correctly after the attack.
    """

    first: int
    last: int
    images: int
    clean: float
    attacked: float


def timestep_buckets(edges: list[int], timesteps: int) -> list[tuple[int, int]]:
    """Return the inclusive ranges between edges: [0, 50, 300] of 1000 gives 0-49, 50-299, 300-999.

    Raises:
        SettingsError: edges that do not start at 0, rise, and end below the number of timesteps.
    """
    if not edges or edges[0] != 0 or sorted(set(edges)) != edges or edges[-1] >= timesteps:
        raise SettingsError(f"Buckets {edges} cannot be: give rising timesteps from 0 to at most {timesteps - 1}.")
    return [(first, after - 1) for first, after in zip(edges, [*edges[1:], timesteps], strict=True)]


def evaluate_buckets(
    classifier: nn.Module,
    data: LabelledImages,
    process: Process,
    settings: Attack,
    *,
    buckets: list[tuple[int, int]],
    seed: int,
    batch_size: int,
    device: torch.device,
    precision: torch.dtype,
    on_batch: Callable[[int], object],
) -> list[BucketAccuracy]:
    """Measure clean and attacked accuracy in each bucket of timesteps.

    Args:
        classifier: `classifier(x_t, timestep)`, frozen.
        data: test images; every bucket sees all of them, each at a timestep drawn uniformly from the bucket.
        process: over all training timesteps.
        settings: the attack; it stops for a sample as soon as it is seen fooled, which changes no sample's outcome.
        buckets: inclusive ranges of timesteps.
        seed: decides timesteps and noise, the same for every classifier.
        batch_size: images at once.
        device: where to compute.
        precision: of the classifier's arithmetic.
        on_batch: told how many images are done, for a progress bar.

    Returns:
        A line for each bucket.
    """
    lines = []
    for number, (first, last) in enumerate(buckets):
        correct = torch.zeros(2, dtype=torch.int64)
        for start in range(0, len(data), batch_size):
            rows = slice(start, start + batch_size)
            label = data.labels[rows].to(device)
            x_0 = to_unit_range(data.images[rows].to(device))
            generator = noise.torch_generator(device, seed, noise.ITERATION, number, start)
            step = torch.randint(first, last + 1, (len(x_0),), generator=generator, device=device)
            x_t = process.add_noise(x_0, step, torch.randn(x_0.shape, generator=generator, device=device))
            with torch.autocast(device.type, precision, enabled=precision != torch.float32):
                correct += _count_correct(classifier, x_t, process.timesteps[step], label, settings)
            on_batch(len(x_0))
        clean, attacked = (correct / len(data)).tolist()
        lines.append(BucketAccuracy(first, last, len(data), clean, attacked))
    return lines


def _count_correct(classifier: nn.Module, x_t: Tensor, timestep: Tensor, label: Tensor, settings: Attack) -> Tensor:
    """Return how many are right as they are and after the attack: (2,) int64."""
    attacked = attack(classifier, x_t, timestep, label, settings).x_t
    with torch.no_grad():
        counts = [(classifier(x, timestep).argmax(1) == label).sum().cpu() for x in (x_t, attacked)]
    return torch.stack(counts)
