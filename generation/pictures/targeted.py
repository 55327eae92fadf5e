"""Figure 4: given images, changed until a classifier takes them for a chosen class, at t = 0."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from generation import noise
from generation.datasets import LabelledImages, to_bytes
from generation.guidance.attack import ThreatModel, targeted_pgd
from generation.pictures.heldout import TARGETS, Named, clean_images
from generation.pictures.intervals import CONFIDENCE, Mean, mean_of
from generation.pictures.sheets import Pixels, Sheet, tile
from generation.presets import Image
from generation.training.evaluation import STEP_SHARE, Share

PAPER_RADIUS = 100.0
PAPER_VALUES = 3 * 128 * 128
STEPS = 7

Judge = Callable[[Tensor], Tensor]
"""(N, C, H, W) uint8 images -> (N, classes) scores, by nobody that was attacked."""


@dataclass(frozen=True)
class TargetedAttack:
    """What images may be changed by, and how: within L2 of a clean image, in [-1, 1] pixel units.

    Attributes:
        epsilon: the radius.
        steps: all are taken.
        step_size: of each.
    """

    epsilon: float
    steps: int = STEPS
    step_size: float = 0.0

    def __call__(self, classifier: Named, x_0: Tensor, target: Tensor) -> Tensor:
        """Return the changed images, (N, C, H, W); they may leave [-1, 1]."""
        timestep = torch.zeros(len(x_0), dtype=torch.long, device=x_0.device)
        return targeted_pgd(
            classifier.classify,
            x_0,
            timestep,
            target,
            threat_model=ThreatModel("l2", self.epsilon),
            steps=self.steps,
            step_size=self.step_size,
        ).x_t


def scaled_radius(image: Image) -> float:
    """Return the paper's L2 radius for images of another size: 100 at 3x128x128, with the root of the values' number.

    So each value may change as much, in the quadratic mean, whatever the size: by 0.451 of a range of 2.
    """
    return PAPER_RADIUS * math.sqrt(image.channels * image.size**2 / PAPER_VALUES)


def attack_for(
    image: Image, *, epsilon: float | None = None, steps: int = STEPS, step_size: float | None = None
) -> TargetedAttack:
    """Return Figure 4's attack at an image's size; a step is 2.5 radii over their number, as Appendix E has it."""
    radius = scaled_radius(image) if epsilon is None else epsilon
    return TargetedAttack(radius, steps, STEP_SHARE * radius / steps if step_size is None else step_size)


def draw_targets(labels: Tensor, classes: int, rows: Sequence[int], seed: int) -> Tensor:
    """Return a class for each image that is not its own, uniformly; by the seed and the image's row alone.

    Args:
        labels: (N,) true classes.
        classes: how many there are.
        rows: (N,) the images' places in their data set.
        seed: decides the draws.
    """
    steps = [int(noise.stream(seed, noise.PICTURES, TARGETS, row).integers(1, classes)) for row in rows]
    return (labels + torch.tensor(steps)) % classes


def targeted_sheet(
    classifiers: Sequence[Named],
    data: LabelledImages,
    attack: TargetedAttack,
    *,
    rows: Sequence[int],
    targets: Sequence[int],
    names: Sequence[str],
    device: torch.device,
    zoom: int | None = None,
) -> Sheet:
    """Draw images changed towards classes: for each image a row of each classifier, a column for each class.

    Args:
        classifiers: in the order of their rows.
        data: held-out images.
        attack: how.
        rows: which images.
        targets: the classes.
        names: of all classes.
        device: where to compute.
        zoom: as `Sheet`.
    """
    x_0, lines, labels = clean_images(data, rows, device), [], []
    for image, row in enumerate(rows):
        origin = x_0[image : image + 1]
        for place, classifier in enumerate(classifiers):
            changed = attack(classifier, origin.expand(len(targets), -1, -1, -1), torch.tensor(targets, device=device))
            first: list[Pixels | None] = [tile(to_bytes(x_0[image])) if place == 0 else None]
            lines.append(first + [tile(picture) for picture in to_bytes(changed)])
            labels.append(f"{names[int(data.labels[row])]}\n{classifier.name}" if place == 0 else classifier.name)
    headings = ["image", *(names[target] for target in targets)]
    return Sheet(lines, labels, headings, group=len(classifiers), zoom=zoom)


@dataclass(frozen=True)
class TargetedShares:
    """How changed images are read.

    Attributes:
        names: the classifiers'.
        judged: for each classifier, how many of its images the judge reads as the target.
        own: how many it reads so itself.
        difference: the last classifier's share less the first one's, image by image, as the judge reads them.
        untouched: how many unchanged images the judge reads as the target.
        judge: how many unchanged images the judge reads as what they are.
    """

    names: tuple[str, ...]
    judged: tuple[Share, ...]
    own: tuple[Share, ...]
    difference: Mean
    untouched: Share
    judge: Share

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "judged_as_target": {
                name: share_as_dict(share) for name, share in zip(self.names, self.judged, strict=True)
            },
            "own_reading": {name: share_as_dict(share) for name, share in zip(self.names, self.own, strict=True)},
            "difference": self.difference.as_dict(),
            "untouched_judged_as_target": share_as_dict(self.untouched),
            "judge_accuracy": share_as_dict(self.judge),
        }

    def table(self) -> list[list[str | float | int | None]]:
        """Return lines of cells, a header first."""
        lines: list[list[str | float | int | None]] = [["what", "share", "low", "high", "images"]]
        for name, judged, own in zip(self.names, self.judged, self.own, strict=True):
            lines.append([f"{name}: judged as the target", *share_as_dict(judged).values()])
            lines.append([f"{name}: read as the target by itself", *share_as_dict(own).values()])
        lines.append([f"{self.names[-1]} less {self.names[0]}", *self.difference.as_dict().values()])
        lines.append(["unchanged: judged as the target", *share_as_dict(self.untouched).values()])
        lines.append(["unchanged: judged as what they are", *share_as_dict(self.judge).values()])
        return lines


def share_as_dict(share: Share) -> dict[str, float | int]:
    """Return a share with Wilson's interval."""
    low, high = share.interval()
    return {"share": share.value, "low": low, "high": high, "images": share.images}


def share_text(share: Share) -> str:
    """Return a share and its interval in percent: `61.2 % (60.4 to 62.0)`."""
    low, high = share.interval()
    return f"{100 * share.value:.1f} % ({100 * low:.1f} to {100 * high:.1f})"


def targeted_assumptions(shares: TargetedShares, attack: TargetedAttack, *, data: str, seed: int) -> list[str]:
    """Say what the shares take for granted, a sentence each."""
    return [
        (
            f"{shares.judge.images} held-out images of {data}, each changed towards a class that is not its own, drawn "
            f"uniformly (seed {seed}); the same class for both classifiers."
        ),
        (
            f"Targeted PGD at t = 0, all {attack.steps} steps of {attack.step_size:.4g}, L2 radius {attack.epsilon:.4g}"
            ", in [-1, 1] pixel units."
        ),
        (
            "The judge sees what an eye sees: 8-bit images, cut off at black and white. It was trained on its own, but "
            "where it has learned from the same images as the classifiers it may share their mistakes."
        ),
        (
            f"Intervals: {CONFIDENCE:.0%}, Wilson's for each share by itself and Student's for the difference, over "
            "the images as independent draws from all images like these; classifiers and judge are taken as they are."
        ),
    ]


def measure_targeted(
    classifiers: Sequence[Named],
    judge: Judge,
    data: LabelledImages,
    attack: TargetedAttack,
    *,
    rows: Sequence[int],
    classes: int,
    seed: int,
    batch_size: int,
    device: torch.device,
    on_batch: Callable[[int], object],
) -> TargetedShares:
    """Change images towards classes and let a judge read them.

    Args:
        classifiers: each changes the same images towards the same classes.
        judge: reads the outcome.
        data: held-out images.
        attack: how.
        rows: which images, one at least.
        classes: how many there are.
        seed: decides the classes.
        batch_size: images at once.
        device: where to compute.
        on_batch: told how many images are done, each once for each classifier.
    """
    tally = _Tally(len(classifiers))
    for start in range(0, len(rows), batch_size):
        part = list(rows[start : start + batch_size])
        x_0, label = clean_images(data, part, device), data.labels[part]
        target = draw_targets(label, classes, part, seed).to(device)
        verdict = _reading(judge(to_bytes(x_0)))
        tally.untouched += verdict.eq(target).tolist()
        tally.accurate += verdict.eq(label.to(device)).tolist()
        for number, classifier in enumerate(classifiers):
            changed = attack(classifier, x_0, target)
            with torch.no_grad():
                timestep = torch.zeros(len(part), dtype=torch.long, device=device)
                tally.own[number] += _reading(classifier.classify(changed, timestep)).eq(target).tolist()
            tally.judged[number] += _reading(judge(to_bytes(changed))).eq(target).tolist()
            on_batch(len(part))
    return tally.result(tuple(classifier.name for classifier in classifiers))


def _reading(scores: Tensor) -> Tensor:
    return scores.argmax(1)


class _Tally:
    """Keeps each image's readings over the batches."""

    def __init__(self, classifiers: int) -> None:
        self.untouched: list[bool] = []
        self.accurate: list[bool] = []
        self.judged: list[list[bool]] = [[] for _ in range(classifiers)]
        self.own: list[list[bool]] = [[] for _ in range(classifiers)]

    def result(self, names: tuple[str, ...]) -> TargetedShares:
        """Return the shares."""
        judged = np.array(self.judged, dtype=float)
        return TargetedShares(
            names=names,
            judged=tuple(_share(read) for read in self.judged),
            own=tuple(_share(read) for read in self.own),
            difference=mean_of(judged[-1] - judged[0]),
            untouched=_share(self.untouched),
            judge=_share(self.accurate),
        )


def _share(read: Sequence[bool]) -> Share:
    return Share(sum(read), len(read))
