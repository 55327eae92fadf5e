"""Measure classifiers on noisy test images, attacked and not."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser
from tqdm import tqdm

from generation.checkpoints import load_classifier, read_metadata, settle_classes
from generation.datasets import load_dataset
from generation.devices import choose_device, choose_precision
from generation.diffusion.process import Process
from generation.diffusion.schedule import build_schedule
from generation.errors import CheckpointError
from generation.management.options import GenerationCommand, add_class_order, add_computing, at_least
from generation.presets import Attack, Preset, load_preset, preset_from_dict
from generation.training.evaluation import BucketAccuracy, evaluate_buckets, timestep_buckets

# Appendix E: a step is 2.5 times the radius, divided by the number of steps.
STEP_SHARE = 2.5


class Command(GenerationCommand):
    """`manage.py evaluate_classifier CHECKPOINT [CHECKPOINT ...] --data DIR`."""

    help = "Print classifiers' clean and attacked (PGD) accuracy on the test images, by bucket of timesteps."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the options."""
        parser.add_argument("checkpoints", nargs="+", type=Path, help="classifiers to compare")
        parser.add_argument("--data", type=Path, required=True, help="folder with the data set's files")
        parser.add_argument("--preset", help="for checkpoints that do not carry their own")
        parser.add_argument("--threat-model", choices=["l2", "linf"], default="l2", help="the attack's norm")
        parser.add_argument("--epsilon", type=float, default=1.0, help="attack radius in [-1, 1] pixel units")
        parser.add_argument("--attack-steps", type=at_least(1), default=20, help="20, unless given")
        parser.add_argument("--buckets", type=at_least(0), nargs="+", default=[0, 50, 300, 600], help="first timesteps")
        parser.add_argument("--images", type=at_least(1), help="only the first so many test images")
        parser.add_argument("--batch-size", type=at_least(1), default=250, help="images at once")
        parser.add_argument("--seed", type=at_least(0), default=0, help="decides timesteps and noise")
        parser.add_argument("--json", action="store_true", help="print JSON")
        add_class_order(parser)
        add_computing(parser)

    def run(self, **options: Any) -> None:  # noqa: ANN401 -- argparse's values
        """Evaluate and print."""
        results = {str(path): self._evaluate(path, options) for path in options["checkpoints"]}
        if options["json"]:
            self.stdout.write(json.dumps({path: [dataclasses.asdict(b) for b in r] for path, r in results.items()}))
            return
        for path, buckets in results.items():
            self.stdout.write(f"\n{path}\n  timesteps   clean   attacked")
            for bucket in buckets:
                self.stdout.write(f"  {bucket.first:>4}-{bucket.last:<4}  {bucket.clean:7.1%}  {bucket.attacked:7.1%}")

    def _evaluate(self, path: Path, options: dict[str, Any]) -> list[BucketAccuracy]:
        preset = settle_classes(preset_of(path, options["preset"]), [path], options["class_order"])
        device = choose_device(options["device"])
        classifier = load_classifier(path, preset, class_order=options["class_order"], device=device)
        data = load_dataset(options["data"], preset.image, "test")
        data = data.subset(options["images"] or len(data))
        buckets = timestep_buckets(options["buckets"], preset.schedule.timesteps)
        epsilon, steps = options["epsilon"], options["attack_steps"]
        with tqdm(total=len(data) * len(buckets), desc=path.stem, unit="image") as bar:
            return evaluate_buckets(
                classifier,
                data,
                Process(build_schedule(preset.schedule), learn_sigma=False, device=device),
                Attack(options["threat_model"], epsilon, steps, STEP_SHARE * epsilon / steps),
                buckets=buckets,
                seed=options["seed"],
                batch_size=options["batch_size"],
                device=device,
                precision=choose_precision(options["precision"], device),
                on_batch=bar.update,
            )


def preset_of(path: Path, named: str | None) -> Preset:
    """Return the preset that is named, or that the checkpoint carries.

    Raises:
        CheckpointError: neither is there.
    """
    if named:
        return load_preset(named)
    metadata = read_metadata(path)
    if metadata is None:
        raise CheckpointError(f"{path} carries no preset: say which with --preset.")
    return preset_from_dict(metadata.preset)
