"""Train a preset's time-dependent classifier, robust or vanilla."""

import dataclasses
from typing import Any

from django.core.management.base import CommandParser

from generation.errors import PresetError
from generation.management.options import GenerationCommand, at_least, positive
from generation.management.training import add_training, recipe_from, train_with_progress
from generation.presets import Attack, Preset, load_preset
from generation.training.acceleration import build_accelerator
from generation.training.tasks import STEP_SHARE, classifier_training


class Command(GenerationCommand):
    """`manage.py train_classifier PRESET --kind robust|vanilla --data PATH --output DIR`."""

    help = "Train a preset's classifier for guidance; writes DIR/robust.safetensors or DIR/vanilla.safetensors."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the shared training options and the attack's."""
        add_training(parser)
        parser.add_argument("--kind", choices=["robust", "vanilla"], required=True, help="robust: against an attack")
        parser.add_argument("--threat-model", choices=["l2", "linf"], help="the preset's, unless given")
        parser.add_argument(
            "--epsilon",
            type=positive,
            help="attack radius in [-1, 1] pixel units, 8/255 say; the preset's, unless given",
        )
        parser.add_argument("--attack-steps", type=at_least(1), help="the preset's, unless given")
        parser.add_argument(
            "--step-size",
            type=positive,
            help="of the attack; the preset's, or 2.5 epsilon / steps where those are given",
        )

    def run(self, **options: Any) -> None:  # noqa: ANN401 -- argparse's values
        """Train."""
        preset = load_preset(options["preset"])
        attack = attack_from(preset, options) if options["kind"] == "robust" else None
        recipe = recipe_from(preset.training.classifier, preset, "training.classifier", options)
        accelerator = build_accelerator(options["device"], options["precision"])
        training = classifier_training(preset, options["kind"], recipe, attack, accelerator.device)
        train_with_progress(training, accelerator, options, self.stdout.write)


def attack_from(preset: Preset, options: dict[str, Any]) -> Attack:
    """Return the preset's attack with the command line's changes.

    Raises:
        PresetError: neither the preset nor the options say what the attack is, or only another norm is given.
    """
    given = {
        "threat_model": options["threat_model"],
        "epsilon": options["epsilon"],
        "steps": options["attack_steps"],
        "step_size": options["step_size"],
    }
    before = dataclasses.asdict(preset.attack) if preset.attack else {}
    if given["epsilon"] is None and before and given["threat_model"] not in (None, before["threat_model"]):
        raise PresetError(
            f"--threat-model {given['threat_model']}: preset {preset.name}'s radius {before['epsilon']} is of "
            f"{before['threat_model']}; give --epsilon too."
        )
    values = {**before, **{key: value for key, value in given.items() if value is not None}}
    if given["step_size"] is None and any(value is not None for value in given.values()) and "steps" in values:
        values["step_size"] = STEP_SHARE * values.get("epsilon", 0.0) / values["steps"]
    missing = [key for key in given if key not in values]
    if missing:
        raise PresetError(
            f"Preset {preset.name} has no [attack]: add it, or give --threat-model, --epsilon and --attack-steps."
        )
    if values["epsilon"] <= 0 or values["step_size"] <= 0:
        raise PresetError(
            f"An attack of radius {values['epsilon']}, step {values['step_size']}: both must be positive."
        )
    return Attack(**values)
