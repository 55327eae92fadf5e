"""Draw the way of pairs' images: what each arm took for the final image, step by step."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from django.core.management.base import CommandParser
from tqdm import tqdm

from generation.batches import BatchMaker, load_networks
from generation.devices import choose_device
from generation.errors import SettingsError
from generation.gallery import STEERING, TRAJECTORY
from generation.management.options import GenerationCommand, at_least
from generation.management.sampling import tell
from generation.models import GeneratedImage, GenerationRun
from generation.pictures.sheets import read_tile, tile, write_sheet
from generation.pictures.trajectory import Trajectory, steering_sheet, trace_pairs, trajectory_sheet
from generation.replays import replayed_plan
from generation.selectors import images_of_pairs, pair_set, picture_of

FILES = ("diffusion", "vanilla", "robust")


class Command(GenerationCommand):
    """`manage.py plot_trajectory NAME --pairs N [N ...]`."""

    help = (
        "Make pairs of a set again, with the noise that they had, and draw the predictions of x_0 at evenly spaced "
        "steps, arms under one another (Figure 5), and the gradients that steered them. The pair's page shows both."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the options."""
        parser.add_argument("name", help="the set's name, as generate_pairs --name gave it")
        parser.add_argument("--pairs", type=at_least(0), nargs="+", required=True, help="their indices, from 0")
        parser.add_argument("--columns", type=at_least(1), default=8, help="how many steps to show; 8, unless given")
        for kind in FILES:
            what = "U-Net checkpoint" if kind == "diffusion" else f"{kind} classifier"
            parser.add_argument(
                f"--{kind}", type=Path, help=f"{what} that the set was made with; looked for among the shipped ones"
            )
        parser.add_argument("--zoom", type=at_least(1), help="enlarge by this whole number; to 128 dots, unless given")
        parser.add_argument("--output", type=Path, help="folder to write into; the site's pictures, unless given")
        parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto", help="where to compute")

    def run(self, **options: Any) -> None:  # noqa: ANN401 -- argparse's values
        """Make the pairs again and draw."""
        name, device = options["name"], choose_device(options["device"])
        runs = pair_set(name)
        if not runs:
            raise SettingsError(f"No pairs are named {name!r}: see generate_pairs.")
        files = [options[kind] for kind in FILES if options[kind]]
        plan = replayed_plan(name, {run.arm: run.settings for run in runs}, runs[0].images.count(), files)
        if device.type == "cpu" and (threads := threads_of(runs[0])):
            torch.set_num_threads(threads)
        maker = BatchMaker(plan, load_networks(plan, device), device)
        batches = {pair // plan.batch_size for pair in options["pairs"]}
        with tqdm(total=len(batches) * len(maker.process), desc="sampling", unit="step") as bar:
            for trajectory in trace_pairs(maker, options["pairs"], columns=options["columns"], on_step=bar.update):
                self._draw(runs, trajectory, options)

    def _draw(self, runs: list[GenerationRun], trajectory: Trajectory, options: dict[str, Any]) -> None:
        """Write a pair's pictures, and say whether its images were met again."""
        images = images_of_pairs(runs, [trajectory.pair])[trajectory.pair]
        differing = [text for image, made in zip(images, trajectory.images, strict=True) if (text := _met(image, made))]
        files = []
        for picture, sheet in (
            (TRAJECTORY, trajectory_sheet(trajectory, zoom=options["zoom"])),
            (STEERING, steering_sheet(trajectory, zoom=options["zoom"])),
        ):
            if sheet is None:
                continue
            if options["output"]:
                path = options["output"] / f"{options['name']}-{trajectory.pair:06d}-{picture}.png"
            else:
                path = picture_of(images, picture)
            write_sheet(sheet, path)
            files.append(path)
        for text in differing:
            tell(f"Pair {trajectory.pair}: {text}")
        met = "the images are the stored ones" if not differing else "the images are not quite the stored ones"
        self.stdout.write(
            f"Pair {trajectory.pair}, {trajectory.class_name}, {met}: {', '.join(str(path) for path in files)}"
        )


def threads_of(run: GenerationRun) -> int | None:
    """Return with how many threads a run began on a processor, if it did: sums round by their number."""
    devices = run.sessions[0]["devices"] if run.sessions else []
    return devices[0].get("threads") if devices else None


def _met(image: GeneratedImage, made: torch.Tensor) -> str:
    """Return how a stored image differs from one made again; nothing where it does not."""
    stored, again = read_tile(image.path).astype(int), tile(made)
    colours = (again if again.ndim == 3 else np.repeat(again[:, :, None], 3, axis=2)).astype(int)
    if stored.shape != colours.shape:
        return f"{image.path} has another size than what was made again."
    apart = np.abs(stored - colours).max(2)
    if not apart.any():
        return ""
    return (
        f"{int((apart > 0).sum())} of {apart.size} pixels of arm {image.run.arm} differ from the stored image, by "
        f"{int(apart.max())} levels at most; another device, library or number of threads rounds otherwise."
    )
