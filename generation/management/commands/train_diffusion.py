"""Train a preset's U-Net."""

from typing import Any

from django.core.management.base import CommandParser

from generation.management.options import GenerationCommand
from generation.management.training import add_training, recipe_from, train_with_progress
from generation.presets import load_preset
from generation.training.acceleration import build_accelerator
from generation.training.tasks import diffusion_training


class Command(GenerationCommand):
    """`manage.py train_diffusion PRESET --data PATH --output DIR`."""

    help = "Train a preset's diffusion model; writes DIR/diffusion.safetensors (the averaged weights)."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the shared training options."""
        add_training(parser)

    def run(self, **options: Any) -> None:  # noqa: ANN401 -- argparse's values
        """Train."""
        preset = load_preset(options["preset"])
        recipe = recipe_from(preset.training.diffusion, preset, "training.diffusion", options)
        accelerator = build_accelerator(options["device"], options["precision"])
        training = diffusion_training(preset, recipe, accelerator.device)
        train_with_progress(training, accelerator, options, self.stdout.write)
