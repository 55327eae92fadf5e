"""How well a classifier does on noisy images, attacked and not, by how noisy they are and how far the attack may go."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from scipy.stats import binomtest
from torch import Tensor, nn

from generation import noise
from generation.datasets import LabelledImages
from generation.diffusion.process import Process
from generation.errors import SettingsError
from generation.guidance.attack import Classify, ThreatModel, pgd_with_restarts
from generation.presets import ThreatNorm
from generation.training.ensemble import EnsembleSettings, ensemble_survivors
from generation.training.held_out import Bucket, held_out_batch
from generation.training.loop import Batch

# Appendix E: a step is 2.5 times the radius, divided by the number of steps.
STEP_SHARE = 2.5
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Share:
    """How many of how many images were classified correctly."""

    correct: int
    images: int

    @property
    def value(self) -> float:
        """The share, 0 to 1."""
        return self.correct / self.images

    def interval(self, confidence: float = CONFIDENCE) -> tuple[float, float]:
        """Return Wilson's interval for the share among all images like these."""
        interval = binomtest(self.correct, self.images).proportion_ci(confidence, method="wilson")
        return float(interval.low), float(interval.high)


@dataclass(frozen=True)
class EnsembleResult:
    """What the ensemble of attacks left, beside what PGD had left of the same images.

    Attributes:
        pgd: correct after PGD.
        both: correct after PGD and the ensemble. No attack is exhaustive: the true robust accuracy is at most that.
    """

    pgd: Share
    both: Share


@dataclass(frozen=True)
class RadiusResult:
    """Accuracy under attacks of one radius ([-1, 1] pixel units)."""

    epsilon: float
    attacked: Share
    ensemble: EnsembleResult | None


@dataclass(frozen=True)
class BucketResult:
    """Accuracy over the timesteps from `first` to `last`, each image at one of them; radii rise."""

    first: int
    last: int
    clean: Share
    radii: tuple[RadiusResult, ...]


@dataclass(frozen=True)
class Examination:
    """What classifiers are put to; the same for all of them.

    Attributes:
        norm: of the attacks.
        radii: of the attacks, rising, in [-1, 1] pixel units.
        steps: of each run of PGD, of length 2.5 epsilon / steps.
        restarts: how many runs from random places follow the one from x_t.
        buckets: inclusive ranges of timesteps.
        seed: decides the images' choice, timesteps and noise, and where random runs begin.
        limit: how many images, chosen at random; all unless given.
        ensemble: the attacks that follow PGD; none unless given.
    """

    norm: ThreatNorm
    radii: tuple[float, ...]
    steps: int
    restarts: int
    buckets: tuple[Bucket, ...]
    seed: int
    limit: int | None = None
    ensemble: EnsembleSettings | None = None

    def __post_init__(self) -> None:
        if not self.radii or sorted(set(self.radii)) != list(self.radii) or self.radii[0] <= 0:
            raise SettingsError(f"Radii {list(self.radii)} cannot be: give different positive numbers, rising.")
        if self.steps < 1 or self.restarts < 0:
            raise SettingsError(f"{self.steps} steps and {self.restarts} restarts cannot be: take at least 1 and 0.")

    def choose(self, images: int) -> list[int]:
        """Return which of so many images are looked at, rising; fewer are among more."""
        order = noise.stream(self.seed, noise.EVALUATION).permutation(images)
        return sorted(order[: self.limit].tolist())


def timestep_buckets(edges: list[int], timesteps: int) -> list[Bucket]:
    """Return the inclusive ranges between edges: [0, 50, 300] of 1000 gives 0-49, 50-299, 300-999.

    Raises:
        SettingsError: edges that do not start at 0, rise, and end below the number of timesteps.
    """
    if not edges or edges[0] != 0 or sorted(set(edges)) != edges or edges[-1] >= timesteps:
        raise SettingsError(f"Buckets {edges} cannot be: give rising timesteps from 0 to at most {timesteps - 1}.")
    return [(first, after - 1) for first, after in zip(edges, [*edges[1:], timesteps], strict=True)]


def evaluate(
    classifier: nn.Module,
    data: LabelledImages,
    process: Process,
    examination: Examination,
    *,
    batch_size: int,
    device: torch.device,
    precision: torch.dtype,
    on_batch: Callable[[int], object],
) -> list[BucketResult]:
    """Measure clean and attacked accuracy in each bucket of timesteps, for each radius.

    Every image's timestep and noise follow from the seed, the image's place in the data set and the bucket: they are
    the same for every classifier, batch size, limit and device. All radii share the clean pass. An image that an attack
    has fooled within one radius is fooled within every larger one, and is not attacked again.

    Args:
        classifier: `classifier(x_t, timestep)`, frozen.
        data: test images; every bucket sees all that are chosen.
        process: over all training timesteps.
        examination: what to measure.
        batch_size: images at once.
        device: where to compute.
        precision: of the classifier's arithmetic.
        on_batch: told how many images are done, for a progress bar.

    Returns:
        A result for each bucket.

    Raises:
        SettingsError: the ensemble is asked for and not installed.
    """

    def classify(x: Tensor, timestep: Tensor) -> Tensor:
        with torch.autocast(device.type, precision, enabled=precision != torch.float32):
            logits: Tensor = classifier(x, timestep)
        return logits.float()

    chosen = examination.choose(len(data))
    results = []
    for bucket in examination.buckets:
        tally = _Tally(examination)
        for start in range(0, len(chosen), batch_size):
            rows = chosen[start : start + batch_size]
            batch = _noisy(held_out_batch(data, rows, bucket, examination.seed, device), process)
            for_ensemble = 0 if examination.ensemble is None else max(0, examination.ensemble.images - start)
            generator = noise.torch_generator(device, examination.seed, noise.EVALUATION, *bucket, start)
            tally.add(classify, batch, for_ensemble, generator)
            on_batch(len(batch.label))
        results.append(tally.result(bucket))
    return results


@dataclass(frozen=True)
class _Noisy:
    x_t: Tensor
    timestep: Tensor
    label: Tensor

    def __getitem__(self, rows: Tensor) -> "_Noisy":
        return _Noisy(self.x_t[rows], self.timestep[rows], self.label[rows])


def _noisy(batch: Batch, process: Process) -> _Noisy:
    return _Noisy(process.add_noise(batch.x_0, batch.step, batch.noise), process.timesteps[batch.step], batch.label)


class _Tally:
    """Counts a bucket's images over its batches."""

    def __init__(self, examination: Examination) -> None:
        self.examination = examination
        self.images = self.clean = self.ensemble_images = 0
        zeros = [0] * len(examination.radii)
        self.attacked, self.ensemble_pgd, self.ensemble_both = zeros.copy(), zeros.copy(), zeros.copy()

    def add(self, classify: Classify, batch: _Noisy, for_ensemble: int, generator: torch.Generator) -> None:
        """Examine a batch, its first `for_ensemble` images with the ensemble too."""
        with torch.no_grad():
            standing = classify(batch.x_t, batch.timestep).argmax(1) == batch.label
        self.images += len(standing)
        self.clean += int(standing.sum())
        by_ensemble = torch.arange(len(standing), device=standing.device) < for_ensemble
        self.ensemble_images += int(by_ensemble.sum())
        # Who stands after the ensemble too, among those that it looks at.
        firm = standing & by_ensemble
        for place, epsilon in enumerate(self.examination.radii):
            threat_model = ThreatModel(self.examination.norm, epsilon)
            standing[standing.clone()] = self._after_pgd(classify, batch[standing], threat_model, generator)
            firm &= standing
            self.attacked[place] += int(standing.sum())
            if self.examination.ensemble is None:
                continue
            self.ensemble_pgd[place] += int((standing & by_ensemble).sum())
            firm[firm.clone()] = ensemble_survivors(
                classify,
                batch.x_t[firm],
                batch.timestep[firm],
                batch.label[firm],
                threat_model=threat_model,
                settings=self.examination.ensemble,
                seed=self.examination.seed,
            )
            self.ensemble_both[place] += int(firm.sum())

    def _after_pgd(
        self, classify: Classify, batch: _Noisy, threat_model: ThreatModel, generator: torch.Generator
    ) -> Tensor:
        """Return which of a batch's samples still stand, (N,) bool."""
        outcome = pgd_with_restarts(
            classify,
            batch.x_t,
            batch.timestep,
            batch.label,
            threat_model=threat_model,
            steps=self.examination.steps,
            step_size=STEP_SHARE * threat_model.epsilon / self.examination.steps,
            restarts=self.examination.restarts,
            generator=generator,
        )
        return ~outcome.fooled

    def result(self, bucket: Bucket) -> BucketResult:
        """Return the counts."""
        return BucketResult(
            first=bucket[0],
            last=bucket[1],
            clean=Share(self.clean, self.images),
            radii=tuple(
                RadiusResult(
                    epsilon,
                    Share(self.attacked[place], self.images),
                    None
                    if self.examination.ensemble is None
                    else EnsembleResult(
                        Share(self.ensemble_pgd[place], self.ensemble_images),
                        Share(self.ensemble_both[place], self.ensemble_images),
                    ),
                )
                for place, epsilon in enumerate(self.examination.radii)
            ),
        )
