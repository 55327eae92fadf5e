"""Experiments as TOML files, read into frozen dataclasses; every key and value is checked.

One file is one experiment, whole: the image, both networks, the schedule, the sampler, the attack, the training.
Pixels are in [-1, 1] wherever a number has their unit.
"""

import dataclasses
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from generation.classes import check_class_names, find_class
from generation.errors import PresetError
from generation.tomlfiles import TomlReader

PRESETS = Path(__file__).resolve().parent / "presets"
READER = TomlReader("preset", PresetError)

ThreatNorm = Literal["l2", "linf"]
SamplerName = Literal["ddpm", "ddim", "dpmpp2m"]
SAMPLERS: tuple[SamplerName, ...] = typing.get_args(SamplerName)


@dataclass(frozen=True)
class Image:
    """Square images of `size` pixels with `channels` channels, in `classes` classes.

    Attributes:
        class_names: in the order of the class indices; empty where the preset names none.
        synonyms: other names of classes, to theirs.
        class_orders: where networks for these classes are known to count them in several orders: each order's name, to
            all classes' names in it. One of them is the order of `class_names`.
    """

    size: int
    channels: int
    classes: int
    class_names: tuple[str, ...] = ()
    synonyms: dict[str, str] = field(default_factory=dict)
    class_orders: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def name_of(self, class_index: int) -> str:
        """Return the class's name, or `class 7` where the preset names none."""
        return self.class_names[class_index] if self.class_names else f"class {class_index}"

    def index_of(self, name: str) -> int | None:
        """Return the class of that name or synonym, in any case where no two differ by it; None if there is none."""
        return find_class(name, self.class_names, self.synonyms)


@dataclass(frozen=True)
class Diffusion:
    """The U-Net; attention resolutions are in pixels, `heads` or `head_channels` split each attention."""

    width: int
    channel_mult: tuple[int, ...]
    res_blocks: int
    attention_resolutions: tuple[int, ...]
    heads: int | None = None
    head_channels: int | None = None
    learn_sigma: bool = True
    class_conditional: bool = True
    scale_shift_norm: bool = True
    resblock_updown: bool = False
    dropout: float = 0.0


@dataclass(frozen=True)
class Classifier:
    """The time-dependent classifier: the U-Net's encoder with attention pooling on top."""

    width: int
    channel_mult: tuple[int, ...]
    depth: int
    attention_resolutions: tuple[int, ...]
    head_channels: int = 64
    scale_shift_norm: bool = True
    resblock_updown: bool = True


@dataclass(frozen=True)
class Schedule:
    """The forward process: how much noise at each of the training timesteps."""

    noise: Literal["linear"] = "linear"
    timesteps: int = 1000


@dataclass(frozen=True)
class Sampling:
    """The reverse process and how strongly each classifier steers it; `eta` is DDIM's share of ancestral noise."""

    respacing: str = "250"
    sampler: SamplerName = "ddpm"
    eta: float = 0.0
    vanilla_scale: float = 0.5
    robust_scale: float = 1.0


@dataclass(frozen=True)
class Attack:
    """PGD on x_t: radius `epsilon` and `step_size` in [-1, 1] pixel units."""

    threat_model: ThreatNorm
    epsilon: float
    steps: int
    step_size: float


@dataclass(frozen=True)
class ClassifierTraining:
    """AdamW; the learning rate falls linearly and would reach 0 at `anneal_iterations`.

    With `random_crop` the shorter side is drawn from [size, size / 0.8] before a square is cut out; with `random_flip`
    half of the images are mirrored. Neither is done to validation images.
    """

    iterations: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    anneal_iterations: int
    random_crop: bool = False
    random_flip: bool = False


@dataclass(frozen=True)
class DiffusionTraining:
    """AdamW with an exponential moving average of the weights; constant rate without `anneal_iterations`.

    With `random_flip` half of the images are mirrored, and so are the generated ones.
    """

    iterations: int
    batch_size: int
    learning_rate: float
    ema_rate: float
    weight_decay: float = 0.0
    anneal_iterations: int | None = None
    random_flip: bool = False


@dataclass(frozen=True)
class Training:
    """How the networks are trained; each part is absent where only sampling is wanted."""

    classifier: ClassifierTraining | None = None
    diffusion: DiffusionTraining | None = None


@dataclass(frozen=True)
class Preset:
    """One experiment."""

    name: str
    image: Image
    diffusion: Diffusion
    classifier: Classifier
    schedule: Schedule = field(default_factory=Schedule)
    sampling: Sampling = field(default_factory=Sampling)
    attack: Attack | None = None
    training: Training = field(default_factory=Training)

    def as_dict(self) -> dict[str, Any]:
        """Return the preset as plain values, for JSON; `preset_from_dict` reads it back."""
        table = dataclasses.asdict(self)
        # Presets without these read as they did before these were known.
        for key in ("synonyms", "class_orders"):
            if not table["image"][key]:
                del table["image"][key]
        return table


def shipped_presets() -> list[str]:
    """Return the names of the presets that come with Sameseed, sorted."""
    return sorted(path.stem for path in PRESETS.glob("*.toml"))


def load_preset(name_or_path: str | Path) -> Preset:
    """Read a shipped preset by name, or any TOML file by path.

    Args:
        name_or_path: `fashion32`, or the path of a TOML file with the sections of the shipped ones.

    Returns:
        The checked preset; its name is the file's, without the ending.

    Raises:
        PresetError: no such preset, no valid TOML, an unknown or missing key, a value that cannot be.
    """
    path = Path(name_or_path)
    if str(name_or_path) in shipped_presets():
        path = PRESETS / f"{name_or_path}.toml"
    elif not path.is_file():
        known = ", ".join(shipped_presets())
        raise PresetError(
            f"No preset {str(name_or_path)!r}: shipped are {known}; for your own, give its TOML file's path."
        )
    return preset_from_dict({"name": path.stem, **READER.load(path)})


def preset_from_dict(table: dict[str, Any]) -> Preset:
    """Return the checked preset that a table of plain values describes.

    Raises:
        PresetError: an unknown or missing key, or a value that cannot be.
    """
    preset = READER.read(Preset, table)
    _check(preset)
    return preset


def _check(preset: Preset) -> None:
    """Refuse numbers that no network, schedule or training can have."""
    for section, part in (
        ("image", preset.image),
        ("diffusion", preset.diffusion),
        ("classifier", preset.classifier),
        ("schedule", preset.schedule),
        ("attack", preset.attack),
        ("training.classifier", preset.training.classifier),
        ("training.diffusion", preset.training.diffusion),
    ):
        _check_positive(section, part)
    image = preset.image
    check_class_names(image.classes, image.class_names, image.synonyms, image.class_orders)
    _check_network(preset, "diffusion", preset.diffusion)
    _check_network(preset, "classifier", preset.classifier)
    if (preset.diffusion.heads is None) == (preset.diffusion.head_channels is None):
        raise PresetError("[diffusion] must have either heads or head_channels: give exactly one of them.")
    if not 0 <= preset.diffusion.dropout < 1:
        raise PresetError(f"diffusion.dropout = {preset.diffusion.dropout} must be at least 0 and below 1.")
    for key in ("vanilla_scale", "robust_scale"):
        if not 0 <= getattr(preset.sampling, key) < float("inf"):
            raise PresetError(
                f"sampling.{key} = {getattr(preset.sampling, key)} must be a finite number of at least 0."
            )
    if not 0 <= preset.sampling.eta <= (preset.sampling.sampler == "ddim"):
        raise PresetError(
            f"sampling.eta = {preset.sampling.eta} cannot be: take 0 to 1 with the sampler ddim, and 0 with any other."
        )
    ema = preset.training.diffusion.ema_rate if preset.training.diffusion else 0.0
    if ema >= 1:
        raise PresetError(f"training.diffusion.ema_rate = {ema} must be below 1: 0.9999 is usual.")


MAY_BE_ZERO = {"weight_decay", "dropout", "ema_rate", "attention_resolutions"}


def _check_positive(section: str, part: object) -> None:
    if part is None:
        return
    for f in dataclasses.fields(part):  # type: ignore[arg-type]  # parts are dataclasses
        value = getattr(part, f.name)
        numbers = value if isinstance(value, tuple) else (value,)
        for number in numbers:
            if isinstance(number, bool) or not isinstance(number, int | float):
                continue
            if not number < float("inf") or number < 0 or (number == 0 and f.name not in MAY_BE_ZERO):
                raise PresetError(f"{section}.{f.name} = {value!r} cannot be: give positive, finite numbers.")


def _check_network(preset: Preset, section: str, network: Diffusion | Classifier) -> None:
    """The tensors must fit: halvings of the image, groups of 32 channels, heads of equal width."""
    size = preset.image.size
    if not network.channel_mult:
        raise PresetError(f"{section}.channel_mult is empty: give one multiplier a resolution.")
    halvings = 2 ** (len(network.channel_mult) - 1)
    if size % halvings:
        raise PresetError(
            f"image.size = {size} cannot be halved {len(network.channel_mult) - 1} times, as "
            f"{section}.channel_mult asks: take a multiple of {halvings}."
        )
    if network.width % 32:
        raise PresetError(f"{section}.width = {network.width} must be a multiple of 32: norms have 32 groups.")
    for level, multiplier in enumerate(network.channel_mult):
        attends = size // 2**level in network.attention_resolutions or level == len(network.channel_mult) - 1
        channels = network.width * multiplier
        if attends and channels % (network.head_channels or getattr(network, "heads", None) or 1):
            raise PresetError(f"[{section}] has {channels} channels, which its attention heads cannot share equally.")
