"""Train the small feature network for one-channel clothes."""

from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser
from tqdm import tqdm

from analysis.metrics.fashion import FashionRecipe, accuracy, save_fashion, train_fashion
from generation.datasets import load_dataset
from generation.management.options import GenerationCommand, at_least
from generation.presets import load_preset


class Command(GenerationCommand):
    """`manage.py train_features --data DIR --output FILE`."""

    help = (
        "Train the feature network `fashion` that compute_metrics takes for Fashion-MNIST; the shipped one was made so."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the options."""
        parser.add_argument("--data", type=Path, required=True, help="folder of Fashion-MNIST's four files")
        parser.add_argument("--output", type=Path, required=True, help="the safetensors file to write")
        parser.add_argument("--epochs", type=at_least(1), default=FashionRecipe.epochs, help="5, unless given")
        parser.add_argument("--images", type=at_least(FashionRecipe.batch_size), help="only the first so many images")
        parser.add_argument("--seed", type=at_least(0), default=0, help="decides weights, order and augmentation")

    def run(self, **options: Any) -> None:  # noqa: ANN401 -- argparse's values
        """Train, write, measure."""
        image = load_preset("fashion32").image
        data, held_out = (load_dataset(options["data"], image, split) for split in ("train", "test"))
        data = data.subset(min(options["images"] or len(data), len(data)))
        recipe = FashionRecipe(epochs=options["epochs"], seed=options["seed"])
        with tqdm(total=recipe.epochs * (len(data) // recipe.batch_size), unit="step") as bar:

            def on_step(done: int, _total: int, loss: float) -> None:
                bar.update(done - bar.n)
                bar.set_postfix(loss=f"{loss:.3f}", refresh=False)

            network = train_fashion(data, recipe, on_step)
            steps = int(bar.n)
        save_fashion(options["output"], network, recipe, data, steps)
        self.stdout.write(f"{options['output']}: {accuracy(network, held_out):.2%} of the test images are told right.")
