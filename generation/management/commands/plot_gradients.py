"""Draw classifiers' gradients, and measure how much of them is on the object."""

from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser
from tqdm import tqdm

from generation.datasets.masks import Masks, foreground_masks, has_black_ground, load_masks
from generation.diffusion.process import Process
from generation.diffusion.schedule import build_schedule
from generation.errors import SettingsError
from generation.gallery import ENERGY, GRADIENTS
from generation.management.options import GenerationCommand, at_least
from generation.management.pictures import Subjects, add_subjects, subjects_from
from generation.pictures.gradients import Energy, default_timesteps, gradient_sheet, measure_energy
from generation.pictures.plots import write_energy_plot
from generation.pictures.reports import (
    describe_classifiers,
    energy_as_dict,
    energy_assumptions,
    energy_table,
    write_csv,
    write_json,
)
from generation.pictures.sheets import write_sheet


class Command(GenerationCommand):
    """`manage.py plot_gradients PRESET --data DIR`."""

    help = (
        "Draw the gradients of log p(y | x_t, t) of held-out images, vanilla beside robust, min-max normalised "
        "(Figure 3); and measure the share of their energy that is on the object, by timestep."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the options."""
        add_subjects(parser)
        parser.add_argument(
            "--timesteps", type=at_least(0), nargs="+", help="0 50 100 200 300 500 700 900 of 1000, unless given"
        )
        parser.add_argument(
            "--masks",
            type=Path,
            help="where the objects are: a .npy file (N, size, size), or a folder of masks CLASS/NAME.png; not needed "
            "for Fashion-MNIST, whose ground is black",
        )

    def run(self, **options: Any) -> None:  # noqa: ANN401 -- argparse's values
        """Draw and measure."""
        subjects = subjects_from(options)
        schedule = build_schedule(subjects.preset.schedule)
        timesteps = sorted(set(options["timesteps"] or default_timesteps(len(schedule))))
        if timesteps[-1] >= len(schedule):
            raise SettingsError(f"--timesteps {timesteps[-1]}: the preset's last one is {len(schedule) - 1}.")
        masks, where = self._masks(subjects, options)
        process = Process(schedule, learn_sigma=False, device=subjects.device)
        sheet = gradient_sheet(
            subjects.classifiers,
            subjects.data,
            process,
            rows=subjects.examples,
            timesteps=timesteps,
            names=subjects.names,
            seed=options["seed"],
            zoom=options["zoom"],
        )
        write_sheet(sheet, subjects.folder / GRADIENTS)
        self.stdout.write(f"Gradients: {subjects.folder / GRADIENTS}")
        if not subjects.rows:
            return
        if masks is None:
            self.stdout.write(
                f"Where the objects of {subjects.data.name} are is not known, so the share of energy on them is left "
                "out: give --masks."
            )
            return
        with tqdm(total=len(subjects.rows) * len(timesteps), desc="energy", unit="image") as bar:
            energy = measure_energy(
                subjects.classifiers,
                subjects.data,
                masks,
                process,
                rows=subjects.rows,
                timesteps=timesteps,
                seed=options["seed"],
                batch_size=options["batch_size"],
                on_batch=bar.update,
            )
        self._report(energy, subjects, options["seed"], where)

    def _masks(self, subjects: Subjects, options: dict[str, Any]) -> tuple[Masks | None, str]:
        """Return the masks and how they tell the object, if anything does."""
        if options["masks"] and options["skip_corrupt"]:
            raise SettingsError(
                "--masks and --skip-corrupt exclude each other: a skipped image's mask is not another's."
            )
        if options["masks"]:
            return load_masks(options["masks"], subjects.data), f"where the masks {options['masks'].name} say"
        if has_black_ground(options["validation"] or options["data"]):
            return foreground_masks(subjects.data), "every pixel of the clean image that is not black"
        return None, ""

    def _report(self, energy: Energy, subjects: Subjects, seed: int, where: str) -> None:
        """Write the numbers and their plot, and print them."""
        assumes = energy_assumptions(energy, data=subjects.data.name, seed=seed, where=where)
        base = subjects.folder / ENERGY
        values = {
            "preset": subjects.preset.name,
            "data": subjects.data.name,
            "seed": seed,
            "classifiers": describe_classifiers(subjects.classifiers),
            **energy_as_dict(energy),
            "assumes": assumes,
        }
        write_json(base.with_suffix(".json"), values)
        write_csv(base.with_suffix(".csv"), energy_table(energy))
        write_energy_plot(energy, base)
        self.stdout.write(f"Share of energy on the object: {base}.svg, .png, .csv and .json")
        self.stdout.write(f"pixels on the object: {energy.area.text()}")
        for at in energy.at:
            shares = ", ".join(f"{name} {share.text()}" for name, share in zip(energy.names, at.shares, strict=True))
            self.stdout.write(f"t = {at.timestep}: {shares}; difference {at.difference.text(' points')}")
        for sentence in assumes:
            self.stdout.write(sentence)
