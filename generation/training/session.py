"""A training as a user has it: a folder with a checkpoint to use, a state to resume from, and a record."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from generation.checkpoints import (
    Metadata,
    load_classifier,
    load_diffusion,
    read_state,
    save_network,
    settle_classes,
    sha256_of,
    write_atomically,
)
from generation.datasets import LabelledImages
from generation.errors import CheckpointError, GenerationError
from generation.presets import Preset
from generation.training.held_out import Bucket
from generation.training.log import MetricsLog
from generation.training.loop import Metrics, Objective, Recipe, Trainer
from generation.training.validation import Validation, validate

OnStep = Callable[[int, Metrics], bool]
OnValidation = Callable[[int, Metrics], object]


@dataclass(frozen=True)
class Session:
    """Where and as what a training is kept.

    Attributes:
        folder: gets `<kind>.safetensors`, the checkpoint; `<kind>.state.pt`, what a resume needs; and the record.
        kind: `diffusion`, `robust` or `vanilla`.
        preset: stored whole in the checkpoint, with the data's class names where it has none.
        save_every: iterations between checkpoints.
        log_every: iterations that an entry of the record is the mean of.
        keep: iterations whose weights are kept, in files of their own.
    """

    folder: Path
    kind: str
    preset: Preset
    save_every: int
    log_every: int = 10
    keep: tuple[int, ...] = ()

    def kept(self, iteration: int) -> Path:
        """The file that keeps an iteration's weights: `robust-002000.safetensors`."""
        return self.folder / f"{self.kind}-{iteration:06d}.safetensors"

    @property
    def checkpoint(self) -> Path:
        """The file to sample with."""
        return self.folder / f"{self.kind}.safetensors"

    @property
    def state(self) -> Path:
        """The file to resume from."""
        return self.folder / f"{self.kind}.state.pt"


@dataclass(frozen=True)
class HeldOut:
    """What a training is validated on.

    Attributes:
        data: the held-out images.
        validation: what to measure on them.
        buckets: of timesteps, inclusive.
        every: iterations between validations.
        batch_size: images at once, in each process.
    """

    data: LabelledImages
    validation: Validation
    buckets: tuple[Bucket, ...]
    every: int
    batch_size: int


def train(
    session: Session,
    network: nn.Module,
    recipe: Recipe,
    data: LabelledImages,
    objective: Objective,
    *,
    accelerator: Accelerator,
    resume: bool,
    initial: Path | None = None,
    held_out: HeldOut | None = None,
    on_step: OnStep,
    on_validation: OnValidation = lambda _step, _metrics: None,
) -> Trainer:
    """Train into a folder, saving, recording and validating on the way and at the end.

    Where no iteration is left to do, it validates and writes nothing.

    Args:
        session: where, and what.
        network: fresh weights; a resume replaces them.
        recipe: how.
        data: the training images.
        objective: what to minimise.
        accelerator: where to compute, and with which other processes; the first alone writes.
        resume: continue from the folder's state.
        initial: the checkpoint whose weights a new training begins from; a resumed one must have begun from it.
        held_out: what to validate on.
        on_step: called after each iteration; where it says False, the training is saved and stops.
        on_validation: called after each validation.

    Returns:
        The trainer as the last iteration left it.

    Raises:
        CheckpointError: nothing to resume from, the state is of another training, a training is already there, the
            initial checkpoint is missing or of another network, or a checkpoint cannot be written (the one before
            stays).
        GenerationError: as `Trainer.run`.
    """
    session = _named(session, data)
    if not resume and session.state.exists():
        raise CheckpointError(
            f"{session.folder} already holds a training: --resume continues it, or take another folder."
        )
    identity = _identity(session, recipe, data, initial)
    if initial and not resume:
        network.load_state_dict(_initial_weights(session, initial))
    trainer = Trainer(network, recipe, accelerator)
    if resume:
        identity |= _restore(session, trainer, identity)
    run = _Run(session, trainer, identity, data, held_out, on_step, on_validation)
    if trainer.step < recipe.iterations:
        run.train(objective)
    else:
        run.validate()
    return trainer


@dataclass
class _Run:
    """One call of `train`."""

    session: Session
    trainer: Trainer
    identity: dict[str, Any]
    data: LabelledImages
    held_out: HeldOut | None
    on_step: OnStep
    on_validation: OnValidation
    record: MetricsLog | None = None
    window: list[Metrics] = field(default_factory=list)

    def train(self, objective: Objective) -> None:
        """Train to the end, or until a step says no; then save."""
        trainer = self.trainer
        try:
            trainer.run(self.data, objective, self._stepped)
            self._write_window()
            self._save()
            if trainer.step == trainer.recipe.iterations:
                self.validate()
        finally:
            if self.record:
                self.record.close()

    def _stepped(self, step: int, metrics: Metrics) -> bool:
        if self.trainer.accelerator.is_main_process and not self.record:
            self.record = MetricsLog(self.session.folder, self.session.kind, step - 1)
        self.window.append(metrics)
        if step % self.session.log_every == 0:
            self._write_window()
        goes_on = self.trainer.all_agree(here=self.on_step(step, metrics))
        if goes_on and step < self.trainer.recipe.iterations:
            if step % self.session.save_every == 0 or step in self.session.keep:
                self._save()
            if self.held_out and step % self.held_out.every == 0:
                self.validate()
        return goes_on

    def validate(self) -> None:
        """Measure on the held-out images, if there are any."""
        if not self.held_out:
            return
        trainer = self.trainer
        trainer.network.eval()
        metrics = validate(
            self.held_out.validation(trainer),
            self.held_out.data,
            buckets=self.held_out.buckets,
            accelerator=trainer.accelerator,
            seed=trainer.recipe.seed,
            batch_size=self.held_out.batch_size,
        )
        trainer.network.train()
        if self.record:
            self.record.write("validation", trainer.step, metrics)
        self.on_validation(trainer.step, metrics)

    def _write_window(self) -> None:
        """Record the means since the last entry."""
        if self.record and self.window:
            means = {name: sum(m[name] for m in self.window) / len(self.window) for name in self.window[0]}
            self.record.write("training", self.trainer.step, means)
        self.window.clear()

    def _save(self) -> None:
        """Save in the first process; where it cannot, no process goes on."""
        failure: GenerationError | None = None
        if self.trainer.accelerator.is_main_process:
            try:
                _write(self.session, self.trainer, self.identity, self.data)
            except GenerationError as error:
                failure = error
        if not self.trainer.all_agree(here=failure is None):
            raise failure or CheckpointError(f"The first process could not write {self.session.state}.")


def _named(session: Session, data: LabelledImages) -> Session:
    """Return the session with a preset that names its classes, if the preset or the data do."""
    image = session.preset.image
    if image.class_names:
        return session
    named = dataclasses.replace(image, class_names=data.class_names)
    return dataclasses.replace(session, preset=dataclasses.replace(session.preset, image=named))


def _initial_weights(session: Session, initial: Path) -> dict[str, Tensor]:
    load = load_diffusion if session.kind == "diffusion" else load_classifier
    told_no_class = session.kind == "diffusion" and not session.preset.diffusion.class_conditional
    preset = session.preset if told_no_class else settle_classes(session.preset, [initial])
    return load(initial, preset).state_dict()


def _identity(session: Session, recipe: Recipe, data: LabelledImages, initial: Path | None) -> dict[str, Any]:
    """What a state and the training that resumes it must share; `initial` only where it is given again."""
    preset = session.preset.as_dict()
    return {
        "kind": session.kind,
        "seed": recipe.seed,
        "batch_size": recipe.batch_size,
        **{section: preset[section] for section in ("image", "schedule")},
        "network": preset["diffusion" if session.kind == "diffusion" else "classifier"],
        **({"attack": preset["attack"]} if session.kind == "robust" else {}),
        "images": len(data),
        **({"initial": sha256_of(initial)} if initial else {}),
    }


# States of before these were kept in them resume all the same.
LATER_KEYS = ("attack", "images")


def _restore(session: Session, trainer: Trainer, identity: dict[str, Any]) -> dict[str, Any]:
    """Continue from the folder's state; return the identity that it carries."""
    state = read_state(session.state)
    found: dict[str, Any] = state.get("identity", {})
    for key, value in identity.items():
        if found.get(key) != value and not (key in LATER_KEYS and key not in found):
            raise CheckpointError(
                f"{session.state} is of another training: its {key} differs. Resume with the settings it began with."
            )
    trainer.restore(state)
    return found


def _write(session: Session, trainer: Trainer, identity: dict[str, Any], data: LabelledImages) -> None:
    metadata = Metadata(
        kind=session.kind,
        preset=session.preset.as_dict(),
        class_names=data.class_names,
        step=trainer.step,
        dataset=data.name,
        initial=identity.get("initial", ""),
    )
    state = {**trainer.state(), "identity": identity}
    # First what no resume would write again.
    if trainer.step in session.keep:
        save_network(session.kept(trainer.step), trainer.weights, metadata)
    write_atomically(session.state, lambda temporary: torch.save(state, temporary))
    save_network(session.checkpoint, trainer.weights, metadata)
