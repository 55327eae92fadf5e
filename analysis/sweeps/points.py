"""A sweep's cells, and the points that they show: cells that would be made of the same images share one point."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from analysis.sweeps.definition import (
    TRAINED,
    Arms,
    Attacks,
    GuidingKind,
    Iterations,
    NetworkKind,
    Scales,
    Sweep,
    SweepError,
    attack_of,
)
from generation.checkpoints import sha256_of
from generation.errors import CheckpointError
from generation.plans import pretrained_checkpoint
from generation.presets import Attack, Preset
from generation.training.loop import Recipe
from generation.training.tasks import recipe_of

AXES: Mapping[str, str | None] = {
    "scales": "guidance scale",
    "iterations": "training iterations",
    "attacks": "attack steps",
    "arms": None,
}
NETWORK_KINDS: tuple[NetworkKind, ...] = ("diffusion", "vanilla", "robust")
UNGUIDED = "unguided"
VANILLA = "vanilla"


def digest(values: object) -> str:
    """Return 16 hexadecimal digits that name plain values."""
    text = json.dumps(values, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class TrainingPlan:
    """What decides a training's weights.

    Attributes:
        kind: the network's.
        preset: the experiment.
        recipe: how to train.
        attack: of a robust one.
        precision: of the arithmetic.
        keep: iterations after which the weights are kept.
        data: names the data's content.
        initial: the checkpoint whose weights it begins from.
        save_every: iterations between states to resume from; decides nothing.
    """

    kind: NetworkKind
    preset: Preset
    recipe: Recipe
    attack: Attack | None
    precision: str
    keep: tuple[int, ...]
    data: str
    initial: Path | None
    save_every: int

    @cached_property
    def key(self) -> str:
        """Names what decides the weights."""
        preset = self.preset.as_dict()
        network = "diffusion" if self.kind == "diffusion" else "classifier"
        values = {
            "kind": self.kind,
            **{section: preset[section] for section in ("image", "schedule", network)},
            "recipe": dataclasses.asdict(self.recipe),
            "attack": dataclasses.asdict(self.attack) if self.attack else None,
            "precision": self.precision,
            "keep": self.keep,
            "data": self.data,
            "initial": sha256_of(self.initial) if self.initial else None,
        }
        return f"{self.kind}-{digest(values)}"


@dataclass(frozen=True)
class Network:
    """A checkpoint: a file that is there, or one that a training leaves after an iteration."""

    path: Path | None = None
    training: TrainingPlan | None = None
    iteration: int = 0

    @property
    def key(self) -> str:
        """Tells networks apart within a sweep."""
        return f"{self.training.key}@{self.iteration}" if self.training else str(self.path)


@dataclass(frozen=True)
class Point:
    """What is sampled and measured once; without a classifier the scale is 0."""

    diffusion: Network
    classifier: Network | None
    scale: float

    @property
    def key(self) -> tuple[str, str, float]:
        """Tells points apart within a sweep."""
        return self.diffusion.key, self.classifier.key if self.classifier else "", self.scale

    @property
    def networks(self) -> tuple[Network, ...]:
        """All that it is sampled with."""
        return (self.diffusion, self.classifier) if self.classifier else (self.diffusion,)


@dataclass(frozen=True)
class Cell:
    """A point's place in the tables.

    Attributes:
        arm: the row.
        place: on the sweep's axis; None without one.
        point: what is shown there.
        note: why it is there, in words.
    """

    arm: str
    place: float | None
    point: Point
    note: str = ""

    @property
    def name(self) -> str:
        """What messages call it."""
        return self.arm if self.place is None else f"{self.arm} at {self.place:g}"


def guided(diffusion: Network, classifier: Network, scale: float) -> Point:
    """Return a point; a scale of 0 is unguided, whatever the classifier."""
    return Point(diffusion, classifier, scale) if scale else Point(diffusion, None, 0.0)


def cells_of(sweep: Sweep, data: str, best: Mapping[GuidingKind, float] | None = None) -> list[Cell]:
    """Return a sweep's cells, in the tables' order.

    Args:
        sweep: what to expand.
        data: names the training data's content, where something is to be trained.
        best: each arm's best scale, for arms that want it.

    Raises:
        SweepError: a robust classifier is to be trained, and the preset has no attack.
        PresetError: a network is to be trained, and the preset does not say how.
    """
    builder = _Builder(sweep, data)
    grid = sweep.grid
    if isinstance(grid, Scales):
        return [
            Cell(arm, scale, guided(builder.network("diffusion"), builder.network(arm), scale))
            for arm in grid.arms
            for scale in sorted(grid.scales)
        ]
    if isinstance(grid, Iterations):
        return builder.iterations(grid)
    if isinstance(grid, Attacks):
        return builder.attacks(grid)
    return builder.arms(grid, best or {})


@dataclass(frozen=True)
class _Builder:
    sweep: Sweep
    data: str

    def network(self, kind: NetworkKind) -> Network:
        """Return the file that was named, or the shipped one; where there is none, the training of it."""
        path = self.file(kind)
        return Network(path) if path else self.trained(kind)

    def file(self, kind: NetworkKind) -> Path | None:
        """Return the file that was named, or the shipped one; None where the network is to be trained."""
        named = getattr(self.sweep.networks, kind)
        if named == TRAINED:
            return None
        try:
            return Path(named) if named else pretrained_checkpoint(self.sweep.preset, kind)
        except CheckpointError:
            return None

    def trained(self, kind: NetworkKind, attack: Attack | None = None) -> Network:
        """Return what a training ends with."""
        plan = self.training(kind, attack)
        return Network(training=plan, iteration=plan.recipe.iterations)

    def training(self, kind: NetworkKind, attack: Attack | None = None, keep: tuple[int, ...] = ()) -> TrainingPlan:
        """Return a network's training; a robust one without an attack has the preset's."""
        sweep, section = self.sweep, "diffusion" if kind == "diffusion" else "classifier"
        changes = getattr(sweep.training, section)
        recipe = recipe_of(
            getattr(sweep.preset.training, section),
            sweep.preset,
            f"training.{section}",
            iterations=changes.iterations or (max(keep) if keep else None),
            batch_size=changes.batch_size,
            learning_rate=changes.learning_rate,
            seed=sweep.training.seed,
        )
        if kind == "robust":
            attack = attack or sweep.preset.attack
            if attack is None:
                raise SweepError(f"Preset {sweep.preset.name} has no [attack] to train a robust classifier by: add it.")
        keep = tuple(sorted({*keep, recipe.iterations}))
        initial = self.initial(changes.initial, section)
        training = sweep.training
        return TrainingPlan(
            kind, sweep.preset, recipe, attack, training.precision, keep, self.data, initial, training.save_every
        )

    def initial(self, text: str | None, section: str) -> Path | None:
        """Return the file of the first weights: of a network of the sweep, or any."""
        if text is None:
            return None
        path = self.file(text) if text in NETWORK_KINDS else Path(text)
        if path is None:
            raise SweepError(f"training.{section}.initial = {text!r} would be trained itself: name a file.")
        return path

    def scale(self, kind: GuidingKind, given: float | None) -> float:
        preset: float = getattr(self.sweep.preset.sampling, f"{kind}_scale")
        return preset if given is None else given

    def iterations(self, grid: Iterations) -> list[Cell]:
        plan = self.training(grid.network, keep=tuple(sorted(grid.iterations)))
        networks = {place: Network(training=plan, iteration=place) for place in sorted(grid.iterations)}
        if grid.network == "diffusion":
            return [Cell(UNGUIDED, place, Point(network, None, 0.0)) for place, network in networks.items()]
        scale, unet = self.scale(grid.network, grid.scale), self.network("diffusion")
        return [Cell(grid.network, place, guided(unet, network, scale)) for place, network in networks.items()]

    def attacks(self, grid: Attacks) -> list[Cell]:
        unet, scale = self.network("diffusion"), self.scale("robust", grid.scale)
        cells = []
        if grid.vanilla:
            # What the others begin from is no match for them: it is trained on as long as they are.
            begins = self.sweep.training.classifier.initial == VANILLA
            vanilla = self.trained("vanilla") if begins or not self.sweep.networks.vanilla else self.network("vanilla")
            cells = [Cell(VANILLA, steps, guided(unet, vanilla, scale)) for steps in sorted(grid.attack_steps)]
        return cells + [
            Cell(text, steps, guided(unet, self.trained("robust", attack_of(text, steps)), scale))
            for text in grid.threat_models
            for steps in sorted(grid.attack_steps)
        ]

    def arms(self, grid: Arms, best: Mapping[GuidingKind, float]) -> list[Cell]:
        unet = self.network("diffusion")
        cells = [Cell(UNGUIDED, None, Point(unet, None, 0.0))] if grid.unguided else []
        wanted: dict[tuple[GuidingKind, float], list[str]] = {}
        kinds: tuple[GuidingKind, ...] = ("vanilla", "robust")
        for kind in kinds:
            given: tuple[float, ...] | None = getattr(grid, f"{kind}_scales")
            for scale in (self.scale(kind, None),) if given is None else given:
                wanted.setdefault((kind, scale), []).append("given")
        for kind, scale in best.items():
            wanted.setdefault((kind, scale), []).append("best")
        for (kind, scale), notes in wanted.items():
            point = guided(unet, self.network(kind), scale)
            cells.append(Cell(f"{kind} {scale:g}", None, point, " and ".join(notes)))
        return cells


def pairs_of(sweep: Sweep, cells: list[Cell]) -> list[tuple[Cell, Cell]]:
    """Return the cells to subtract, second from first: robust less vanilla at one place, and guided less unguided.

    Of arms side by side the best are compared with each other, and the given ones in the order of their scales.
    """
    if sweep.kind != "arms":
        return [
            (first, second)
            for first in cells
            for second in cells
            if second.arm == VANILLA != first.arm
            and first.place == second.place
            and first.point.key != second.point.key
        ]
    pairs: list[tuple[Cell, Cell]] = []
    for note in ("given", "best"):
        own = [cell for cell in cells if note in cell.note]
        robust, vanilla = ([cell for cell in own if cell.arm.startswith(kind)] for kind in ("robust ", "vanilla "))
        pairs += zip(robust, vanilla, strict=False)
    unguided = [cell for cell in cells if cell.arm == UNGUIDED]
    pairs += [(cell, other) for other in unguided for cell in cells if cell is not other]
    distinct = {(first.arm, second.arm): (first, second) for first, second in pairs}
    return [pair for pair in distinct.values() if pair[0].point.key != pair[1].point.key]


def best_scales(fids: Mapping[tuple[GuidingKind, float], float]) -> dict[GuidingKind, float]:
    """Return each arm's scale of lowest FID; of equal ones the smaller scale. Scale 0 is no guidance, and not asked."""
    best: dict[GuidingKind, float] = {}
    for (arm, scale), fid in sorted(fids.items(), key=lambda item: item[0][1]):
        if scale and (arm not in best or fid < fids[arm, best[arm]]):
            best[arm] = scale
    return best


def as_plain(sweep: Sweep) -> dict[str, Any]:
    """Return a sweep as plain values, for the record."""
    return {**dataclasses.asdict(sweep), "preset": sweep.preset.as_dict()}
