"""Sweeps as TOML files, read into frozen dataclasses; every key and value is checked."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from analysis.metrics.evaluation import METRICS
from analysis.metrics.extraction import BATCH_SIZE
from generation.errors import PresetError, SettingsError
from generation.presets import Attack, Preset, SamplerName, ThreatNorm, load_preset
from generation.tomlfiles import TomlReader
from generation.training.tasks import STEP_SHARE

SHIPPED = Path(__file__).resolve().parent / "shipped"
HELD_OUT = "held-out"
TRAINED = "trained"
NORMS: tuple[ThreatNorm, ...] = ("l2", "linf")
# Where a name would leave the folder of results, or hide in it.
UNFIT = set("/\\\0")

Kind = Literal["arms", "iterations", "attacks", "scales"]
NetworkKind = Literal["diffusion", "vanilla", "robust"]
GuidingKind = Literal["vanilla", "robust"]
PrecisionName = Literal["fp32", "bf16", "fp16"]


class SweepError(SettingsError):
    """A sweep that does not exist, or that says something which cannot be."""


READER = TomlReader("sweep", SweepError)


@dataclass(frozen=True)
class Sampling:
    """How each point's images are made; what is None is the preset's. The seed is every point's: points are matched."""

    count: int
    seed: int = 0
    batch_size: int = 64
    sampler: SamplerName | None = None
    respacing: str | None = None
    eta: float | None = None
    precision: PrecisionName = "fp32"


@dataclass(frozen=True)
class Measuring:
    """What is measured, and against what: `held-out` are the data set's own, else a folder or an `.npz`."""

    names: tuple[str, ...] = ("fid", "precision", "recall")
    reference: str = HELD_OUT
    features: str = "fashion"
    weights: str | None = None
    protocol: str | None = None
    precision: PrecisionName = "fp32"
    batch_size: int = BATCH_SIZE
    k: int = 3
    density_k: int = 5
    confidence: float = 0.95


@dataclass(frozen=True)
class Networks:
    """Checkpoints' paths; None takes the shipped one, and `trained`, or where none is shipped, trains it first."""

    diffusion: str | None = None
    vanilla: str | None = None
    robust: str | None = None
    class_order: str | None = None


@dataclass(frozen=True)
class Changes:
    """What a recipe has instead of the preset's; `initial` is a network of the sweep, or a path, to begin from."""

    initial: str | None = None
    iterations: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None


@dataclass(frozen=True)
class TrainingSettings:
    """How networks are trained that are missing."""

    seed: int = 0
    precision: PrecisionName = "fp32"
    save_every: int = 250
    classifier: Changes = field(default_factory=Changes)
    diffusion: Changes = field(default_factory=Changes)


@dataclass(frozen=True)
class Scales:
    """Guidance scale, as Tables 5 and 6."""

    scales: tuple[float, ...]
    arms: tuple[GuidingKind, ...] = ("vanilla", "robust")


@dataclass(frozen=True)
class Iterations:
    """Training iterations of one network, as Table 3; a classifier guides at `scale`, the preset's unless given."""

    iterations: tuple[int, ...]
    network: NetworkKind = "diffusion"
    scale: float | None = None


@dataclass(frozen=True)
class Attacks:
    """Threat models such as `l2 0.5` or `linf 8/255` by attack steps, as Table 4, at one scale.

    With `vanilla` a classifier trained on no attack, for as long, stands beside them.
    """

    threat_models: tuple[str, ...]
    attack_steps: tuple[int, ...]
    scale: float | None = None
    vanilla: bool = True


@dataclass(frozen=True)
class Arms:
    """Arms side by side, as Table 1: at given scales (the preset's, unless given) and at the best of a sweep.

    `best_of` names a sweep of kind `scales`; each arm's best scale is that of its lowest FID there.
    """

    unguided: bool = True
    vanilla_scales: tuple[float, ...] | None = None
    robust_scales: tuple[float, ...] | None = None
    best_of: str | None = None


Grid = Arms | Iterations | Attacks | Scales
GRIDS: dict[str, type[Grid]] = {"arms": Arms, "iterations": Iterations, "attacks": Attacks, "scales": Scales}


@dataclass(frozen=True)
class Sweep:
    """One sweep.

    Attributes:
        name: what its results' files are called.
        preset: the experiment.
        grid: the points.
        kind: the grid's.
        sampling: how images are made.
        metrics: how they are measured.
        networks: what they are made with.
        training: how what is missing is trained.
        data: the data set's folder, for trainings and held-out images.
        keep_samples: whether a point's images stay after they were measured.
        title: what the tables are about, in words.
    """

    name: str
    preset: Preset
    grid: Grid
    kind: Kind
    sampling: Sampling
    metrics: Measuring = field(default_factory=Measuring)
    networks: Networks = field(default_factory=Networks)
    training: TrainingSettings = field(default_factory=TrainingSettings)
    data: str | None = None
    keep_samples: bool = True
    title: str = ""


def shipped_sweeps() -> list[str]:
    """Return the names of the sweeps that come with Sameseed, sorted."""
    return sorted(path.stem for path in SHIPPED.glob("*.toml"))


def find_sweep(name_or_path: str | Path, beside: Path | None = None) -> Path:
    """Return the file of a shipped sweep's name, or of a path, which may be relative to another sweep's folder.

    Raises:
        SweepError: there is none.
    """
    if str(name_or_path) in shipped_sweeps():
        return SHIPPED / f"{name_or_path}.toml"
    places = [Path(name_or_path), *([beside / name_or_path, beside / f"{name_or_path}.toml"] if beside else [])]
    for path in places:
        if path.is_file():
            return path
    known = ", ".join(shipped_sweeps())
    raise SweepError(f"No sweep {str(name_or_path)!r}: shipped are {known}; for your own, give its TOML file's path.")


def load_sweep(name_or_path: str | Path, beside: Path | None = None) -> Sweep:
    """Read a shipped sweep by name, or any TOML file by path.

    Raises:
        SweepError: no such sweep, no valid TOML, an unknown or missing key, a value that cannot be.
        PresetError: the same of its preset.
    """
    path = find_sweep(name_or_path, beside)
    table = READER.load(path)
    kind = table.get("kind")
    if kind not in GRIDS:
        raise SweepError(f"kind = {kind!r} cannot be: a sweep is of one of the kinds {', '.join(GRIDS)}.")
    sweep = READER.read(
        Sweep,
        {key: value for key, value in table.items() if key not in ("grid", "preset")},
        name=path.stem,
        preset=_preset(table.get("preset"), path.parent),
        grid=READER.read(GRIDS[kind], table.get("grid", {}), "grid"),
    )
    check_sweep(sweep)
    return sweep


def _preset(value: object, beside: Path) -> Preset:
    if not isinstance(value, str):
        raise SweepError("[sweep] lacks preset: name a shipped one, or the path of its TOML file.")
    near = beside / value
    try:
        return load_preset(near if near.suffix == ".toml" and near.is_file() else value)
    except PresetError as error:
        raise SweepError(f"preset: {error}") from error


def check_sweep(sweep: Sweep) -> None:
    """Refuse numbers that no sweep can have.

    Raises:
        SweepError: with the key and the remedy.
    """
    sampling, metrics, training = sweep.sampling, sweep.metrics, sweep.training
    if UNFIT & set(sweep.name) or sweep.name.startswith("."):
        raise SweepError(f"A sweep cannot be called {sweep.name!r}: rename its file.")
    _at_least(2, "sampling.count", sampling.count)
    _at_least(0, "sampling.seed", sampling.seed)
    _at_least(1, "sampling.batch_size", sampling.batch_size)
    for key in ("k", "density_k", "batch_size"):
        _at_least(1, f"metrics.{key}", getattr(metrics, key))
    for name in metrics.names:
        if name not in METRICS:
            raise SweepError(f"metrics.names has {name!r}: choose from {', '.join(METRICS)}.")
    _differ("metrics.names", metrics.names)
    if not 0 < metrics.confidence < 1:
        raise SweepError(f"metrics.confidence = {metrics.confidence} must lie between 0 and 1: write 95 % as 0.95.")
    _at_least(0, "training.seed", training.seed)
    _at_least(1, "training.save_every", training.save_every)
    for section in ("classifier", "diffusion"):
        for name in ("iterations", "batch_size", "learning_rate"):
            value = getattr(getattr(training, section), name)
            if value is not None and not 0 < value < math.inf:
                raise SweepError(f"training.{section}.{name} = {value} must be positive.")
    _check_grid(sweep)


def _check_grid(sweep: Sweep) -> None:
    grid = sweep.grid
    if isinstance(grid, Scales):
        _check_scales("grid.scales", grid.scales)
        _differ("grid.arms", grid.arms)
    elif isinstance(grid, Iterations):
        _differ("grid.iterations", grid.iterations)
        _at_least(1, "grid.iterations", min(grid.iterations))
        section = "diffusion" if grid.network == "diffusion" else "classifier"
        wanted = getattr(sweep.training, section).iterations
        if wanted is not None and wanted < max(grid.iterations):
            raise SweepError(
                f"training.{section}.iterations = {wanted} end before grid.iterations' {max(grid.iterations)}: train "
                "for as many at least."
            )
        if getattr(sweep.networks, grid.network) not in (None, TRAINED):
            raise SweepError(f"networks.{grid.network} is what this sweep trains: leave it out.")
        if grid.network == "diffusion" and grid.scale is not None:
            raise SweepError("grid.scale says nothing where the U-Net's iterations are swept: leave it out.")
    elif isinstance(grid, Attacks):
        _differ("grid.threat_models", grid.threat_models)
        _differ("grid.attack_steps", grid.attack_steps)
        _at_least(1, "grid.attack_steps", min(grid.attack_steps))
        for text in grid.threat_models:
            parse_threat_model(text)
    else:
        _check_arms(sweep, grid)
    scale = getattr(grid, "scale", None)
    if scale is not None:
        _check_scales("grid.scale", (scale,))


def _check_arms(sweep: Sweep, grid: Arms) -> None:
    for key in ("vanilla_scales", "robust_scales"):
        if getattr(grid, key):
            _check_scales(f"grid.{key}", getattr(grid, key))
    if grid.vanilla_scales == () and grid.robust_scales == () and not grid.best_of:
        raise SweepError("[grid] has no guided arm: give vanilla_scales, robust_scales or best_of.")
    if "fid" not in sweep.metrics.names:
        raise SweepError("metrics.names lacks fid, by which arms are compared: add it.")


def _check_scales(key: str, scales: Sequence[float]) -> None:
    _differ(key, scales)
    for scale in scales:
        if not 0 <= scale < math.inf:
            raise SweepError(f"{key} has {scale}: a guidance scale is a finite number of at least 0.")


def _at_least(least: int, key: str, value: int) -> None:
    if value < least:
        raise SweepError(f"{key} = {value} cannot be: take at least {least}.")


def _differ(key: str, values: Sequence[object]) -> None:
    if not values:
        raise SweepError(f"{key} is empty: name at least one.")
    for value in values:
        if values.count(value) > 1:
            raise SweepError(f"{key} has {value!r} twice: leave one out.")


def parse_threat_model(text: str) -> tuple[ThreatNorm, float]:
    """Read `l2 0.5` or `linf 8/255`: a norm, and a radius in [-1, 1] pixel units.

    Raises:
        SweepError: it says something else.
    """
    words = text.split()
    norm = next((norm for norm in NORMS if words[:1] == [norm]), None)
    try:
        above, _, below = " ".join(words[1:]).partition("/")
        radius = float(above) / float(below or 1)
    except (ValueError, ZeroDivisionError):
        radius = math.nan
    if norm is None or not 0 < radius < math.inf:
        raise SweepError(f"grid.threat_models has {text!r}: write a norm and a radius, as 'l2 0.5' or 'linf 8/255'.")
    return norm, radius


def attack_of(text: str, steps: int) -> Attack:
    """Return the attack of a threat model in so many steps; a step is 2.5 times the radius over their number."""
    norm, radius = parse_threat_model(text)
    return Attack(norm, radius, steps, STEP_SHARE * radius / steps)


def with_changes(
    sweep: Sweep, *, data: Path | None, count: int | None, networks: dict[NetworkKind, Path | None]
) -> Sweep:
    """Return a sweep with what the command line says instead of the file.

    Raises:
        SweepError: that cannot be.
    """
    given: dict[str, Any] = {kind: str(path) for kind, path in networks.items() if path}
    changed = dataclasses.replace(
        sweep,
        data=str(data) if data else sweep.data,
        sampling=sweep.sampling if count is None else dataclasses.replace(sweep.sampling, count=count),
        networks=dataclasses.replace(sweep.networks, **given),
    )
    check_sweep(changed)
    return changed
