"""Train a preset's U-Net."""

from typing import Any

import torch
from django.core.management.base import CommandParser

from generation.devices import choose_device, choose_precision
from generation.diffusion.process import Process
from generation.diffusion.schedule import build_schedule
from generation.diffusion.unet import build_unet
from generation.management.options import GenerationCommand
from generation.management.training import add_training, recipe_from, train_with_progress
from generation.presets import load_preset
from generation.training.diffusion import diffusion_objective


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
        device = choose_device(options["device"])
        schedule = build_schedule(preset.schedule)
        objective = diffusion_objective(
            Process(schedule, learn_sigma=preset.diffusion.learn_sigma, device=device),
            conditional=preset.diffusion.class_conditional,
            precision=choose_precision(options["precision"], device),
        )
        torch.manual_seed(recipe.seed)
        line = train_with_progress("diffusion", preset, build_unet(preset), recipe, objective, options)
        self.stdout.write(line)
