"""Classifiers' accuracy, side by side, as a table to read, Markdown to paste, and plain values for JSON."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from generation.presets import Attack, ThreatNorm
from generation.training.evaluation import CONFIDENCE, BucketResult, Examination, Share

NORM_NAMES: dict[ThreatNorm, str] = {"l2": "L2", "linf": "L∞"}


@dataclass(frozen=True)
class Examined:
    """One classifier's results.

    Attributes:
        name: tells it from the others.
        path: its checkpoint.
        kind: `robust` or `vanilla`; empty where the checkpoint does not say.
        preset: the preset's name.
        step: training iterations; None where the checkpoint does not say.
        trained_against: the attack of its training; None for a vanilla one, or where the checkpoint does not say.
        buckets: what was measured.
    """

    name: str
    path: str
    kind: str
    preset: str
    step: int | None
    trained_against: Attack | None
    buckets: tuple[BucketResult, ...]


@dataclass(frozen=True)
class AccuracyReport:
    """Several classifiers, examined alike on the same noisy images."""

    examination: Examination
    dataset: str
    classifiers: tuple[Examined, ...]

    @property
    def assumptions(self) -> list[str]:
        """What the numbers mean, a sentence each."""
        examination = self.examination
        norm, steps, restarts = NORM_NAMES[examination.norm], examination.steps, examination.restarts
        images = self.classifiers[0].buckets[0].clean.images
        places = {0: "", 1: " and from a random place in the ball"}.get(
            restarts, f" and from {restarts} random places in the ball"
        )
        sentences = [
            (
                f"{images} test images of {self.dataset}, each with noise of a timestep drawn uniformly from the "
                f"bucket; the same timesteps and noise for every classifier (seed {examination.seed})."
            ),
            (
                f"Attacked: PGD in {norm}, {steps} steps of 2.5 x radius / {steps}, from the noisy image itself"
                f"{places}; radii in [-1, 1] pixel units. A stronger attack would leave at most that."
            ),
            f"Intervals: Wilson, {CONFIDENCE:.0%}, for each share by itself.",
        ]
        if examination.ensemble is not None:
            looked_at = self.classifiers[0].buckets[0].radii[0].ensemble
            sentences.append(
                f"PGD + AutoAttack: both, on {looked_at.both.images if looked_at else 0} of these images "
                f"({', '.join(examination.ensemble.attacks)})."
            )
        return sentences

    def header(self) -> list[str]:
        """Return the table's column names."""
        norm = NORM_NAMES[self.examination.norm]
        names = ["timesteps", "classifier", "clean"]
        for epsilon in self.examination.radii:
            names.append(f"{norm} {epsilon:.4g}")
            if self.examination.ensemble is not None:
                names.append(f"{norm} {epsilon:.4g}, PGD + AutoAttack")
        return names

    def rows(self) -> list[list[str]]:
        """Return the table's rows: for each bucket, each classifier."""
        return [
            [f"{examined.buckets[place].first}-{examined.buckets[place].last}", examined.name]
            + [_percent(share) for share in _shares(examined.buckets[place])]
            for place in range(len(self.examination.buckets))
            for examined in self.classifiers
        ]

    def as_text(self) -> str:
        """Return the table in columns."""
        table = [self.header(), *self.rows()]
        widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
        lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in table]
        return "\n".join([*self.assumptions, "", *lines])

    def as_markdown(self) -> str:
        """Return the table in Markdown, the assumptions below it."""
        header = self.header()
        marks = ["---"] * 2 + ["---:"] * (len(header) - 2)
        lines = [_markdown_row(row) for row in (header, marks, *self.rows())]
        return "\n".join([*lines, "", *self.assumptions])

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain values."""
        examination = asdict(self.examination)
        return {
            "dataset": self.dataset,
            "confidence": CONFIDENCE,
            "attack": {
                "threat_model": examination["norm"],
                "radii": list(examination["radii"]),
                "steps": examination["steps"],
                "restarts": examination["restarts"],
                "seed": examination["seed"],
                "ensemble": examination["ensemble"],
            },
            "assumptions": self.assumptions,
            "classifiers": [
                {
                    "name": examined.name,
                    "path": examined.path,
                    "kind": examined.kind,
                    "preset": examined.preset,
                    "step": examined.step,
                    "trained_against": asdict(examined.trained_against) if examined.trained_against else None,
                    "buckets": [_bucket_dict(bucket) for bucket in examined.buckets],
                }
                for examined in self.classifiers
            ],
        }


def _shares(bucket: BucketResult) -> Sequence[Share]:
    shares = [bucket.clean]
    for radius in bucket.radii:
        shares += [radius.attacked] if radius.ensemble is None else [radius.attacked, radius.ensemble.both]
    return shares


def _percent(share: Share) -> str:
    low, high = share.interval()
    return f"{share.value:.1%} ({100 * low:.1f}-{100 * high:.1f})"


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _bucket_dict(bucket: BucketResult) -> dict[str, Any]:
    return {
        "first": bucket.first,
        "last": bucket.last,
        "clean": _share_dict(bucket.clean),
        "radii": [
            {
                "epsilon": radius.epsilon,
                "attacked": _share_dict(radius.attacked),
                "ensemble": None
                if radius.ensemble is None
                else {"pgd": _share_dict(radius.ensemble.pgd), "both": _share_dict(radius.ensemble.both)},
            }
            for radius in bucket.radii
        ],
    }


def _share_dict(share: Share) -> dict[str, Any]:
    low, high = share.interval()
    return {"correct": share.correct, "images": share.images, "share": share.value, "low": low, "high": high}
