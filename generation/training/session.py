"""A training as a user has it: a folder with a checkpoint to use and a state to resume from."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
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
from generation.errors import CheckpointError
from generation.presets import Preset
from generation.training.loop import Metrics, Objective, Recipe, Trainer


@dataclass(frozen=True)
class Session:
    """Where and as what a training is kept.

    Attributes:
        folder: gets `<kind>.safetensors`, the checkpoint, and `<kind>.state.pt`, what a resume needs.
        kind: `diffusion`, `robust` or `vanilla`.
        preset: stored whole in the checkpoint, with the data's class names where it has none.
        save_every: iterations between checkpoints.
    """

    folder: Path
    kind: str
    preset: Preset
    save_every: int

    @property
    def checkpoint(self) -> Path:
        """The file to sample with."""
        return self.folder / f"{self.kind}.safetensors"

    @property
    def state(self) -> Path:
        """The file to resume from."""
        return self.folder / f"{self.kind}.state.pt"


def train(
    session: Session,
    network: nn.Module,
    recipe: Recipe,
    data: LabelledImages,
    objective: Objective,
    *,
    device: torch.device,
    resume: bool,
    initial: Path | None = None,
    on_step: Callable[[int, Metrics], bool],
) -> Trainer:
    """Train into a folder, saving on the way and at the end.

    Args:
        session: where, and what.
        network: fresh weights; a resume replaces them.
        recipe: how.
        data: the training images.
        objective: what to minimise.
        device: where to compute.
        resume: continue from the folder's state.
        initial: the checkpoint whose weights a new training begins from; a resumed one must have begun from it.
        on_step: called after each iteration; where it says False, the training is saved and stops.

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
    identity = _identity(session, recipe, initial)
    if initial and not resume:
        network.load_state_dict(_initial_weights(session, initial))
    trainer = Trainer(network, recipe, device)
    if resume:
        identity = _restore(session, trainer, identity)

    def stepped(step: int, metrics: Metrics) -> bool:
        goes_on = on_step(step, metrics)
        if step % session.save_every == 0 and goes_on and step < recipe.iterations:
            _save(session, trainer, identity, data.name)
        return goes_on

    trainer.run(data, objective, stepped)
    _save(session, trainer, identity, data.name)
    return trainer


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


def _identity(session: Session, recipe: Recipe, initial: Path | None) -> dict[str, Any]:
    """What a state and the training that resumes it must share; `initial` only where it is given again."""
    preset = session.preset.as_dict()
    begun_from = {"initial": sha256_of(initial)} if initial else {}
    return {
        **begun_from,
        "kind": session.kind,
        "seed": recipe.seed,
        "batch_size": recipe.batch_size,
        **{section: preset[section] for section in ("image", "schedule")},
        "network": preset["diffusion" if session.kind == "diffusion" else "classifier"],
    }


def _restore(session: Session, trainer: Trainer, identity: dict[str, Any]) -> dict[str, Any]:
    """Continue from the folder's state; return the identity that it carries."""
    state = read_state(session.state)
    found: dict[str, Any] = state.get("identity", {})
    for key, value in identity.items():
        if found.get(key) != value:
            raise CheckpointError(
                f"{session.state} is of another training: its {key} differs. Resume with the settings it began with."
            )
    trainer.restore(state)
    return found


def _save(session: Session, trainer: Trainer, identity: dict[str, Any], dataset: str) -> None:
    image = session.preset.image
    metadata = Metadata(
        kind=session.kind,
        preset=session.preset.as_dict(),
        class_names=image.class_names,
        step=trainer.step,
        dataset=dataset,
        initial=identity.get("initial", ""),
    )
    state = {**trainer.state(), "identity": identity}
    write_atomically(session.state, lambda temporary: torch.save(state, temporary))
    save_network(session.checkpoint, trainer.weights, metadata)
