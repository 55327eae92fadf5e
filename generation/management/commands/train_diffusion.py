"""Train a preset's U-Net."""

from typing import Any

from django.core.management.base import CommandParser

from generation.diffusion.process import Process
from generation.diffusion.schedule import build_schedule
from generation.diffusion.unet import build_unet
from generation.management.options import GenerationCommand
from generation.management.training import Training, add_training, as_trained, recipe_from, train_with_progress
from generation.presets import load_preset
from generation.training.acceleration import build_accelerator
from generation.training.diffusion import DiffusionObjective
from generation.training.validation import diffusion_validation


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
        process = Process(
            build_schedule(preset.schedule), learn_sigma=preset.diffusion.learn_sigma, device=accelerator.device
        )
        objective = DiffusionObjective(process, conditional=preset.diffusion.class_conditional)
        training = Training(
            kind="diffusion",
            preset=as_trained(preset, recipe, "diffusion"),
            recipe=recipe,
            build=build_unet,
            objective=objective,
            validation=diffusion_validation(objective),
        )
        train_with_progress(training, accelerator, options, self.stdout.write)
