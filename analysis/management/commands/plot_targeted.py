"""Change images towards chosen classes by classifiers' gradients, and let a third classifier read them."""

from typing import Any

from django.core.management.base import CommandParser
from tqdm import tqdm

from analysis.metrics.judges import FASHION, has_shipped_judge, load_judge
from generation.errors import SettingsError
from generation.gallery import TARGETED, TARGETED_SHARES
from generation.management.options import GenerationCommand, at_least, positive
from generation.management.pictures import Subjects, add_subjects, subjects_from
from generation.pictures.reports import describe_classifiers, write_csv, write_json
from generation.pictures.sheets import write_sheet
from generation.pictures.targeted import (
    STEPS,
    TargetedAttack,
    TargetedShares,
    attack_for,
    measure_targeted,
    share_text,
    targeted_assumptions,
    targeted_sheet,
)
from generation.targets import resolve_targets

MOST_TARGETS = 10


class Command(GenerationCommand):
    """`manage.py plot_targeted PRESET --data DIR --targets CLASS [CLASS ...]`."""

    help = (
        "Change held-out images towards chosen classes by targeted PGD at t = 0, vanilla beside robust (Figure 4); and "
        "measure which share of such images an independent classifier, the judge, reads as the target."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the options."""
        add_subjects(parser)
        parser.add_argument(
            "--targets", nargs="+", default=[], help=f"classes to show; the first {MOST_TARGETS}, unless given"
        )
        parser.add_argument(
            "--judge",
            help=f"file of a third classifier of the preset, or {FASHION}, the network that comes along for "
            "Fashion-MNIST and is taken there unless given",
        )
        parser.add_argument(
            "--epsilon",
            type=positive,
            help="L2 radius in [-1, 1] pixel units; 100 at 3x128x128 and as the root of the number of values "
            "elsewhere, unless given",
        )
        parser.add_argument("--attack-steps", type=at_least(1), default=STEPS, help=f"{STEPS}, unless given")
        parser.add_argument("--step-size", type=positive, help="2.5 radii over the number of steps, unless given")

    def run(self, **options: Any) -> None:  # noqa: ANN401 -- argparse's values
        """Draw and measure."""
        subjects = subjects_from(options)
        image = subjects.preset.image
        targets = [target.classes for target in resolve_targets(subjects.preset, options["targets"])]
        if any(len(classes) > 1 for classes in targets):
            raise SettingsError("--targets are single classes: one image cannot be read as two.")
        judge: str | None = options["judge"] or (FASHION if has_shipped_judge(image) else None)
        digests = [classifier.sha256 for classifier in subjects.classifiers]
        loaded = judge and load_judge(
            judge, subjects.preset, digests, class_order=options["class_order"], device=subjects.device
        )
        attack = attack_for(
            image, epsilon=options["epsilon"], steps=options["attack_steps"], step_size=options["step_size"]
        )
        sheet = targeted_sheet(
            subjects.classifiers,
            subjects.data,
            attack,
            rows=subjects.examples,
            targets=[classes[0] for classes in targets][: None if options["targets"] else MOST_TARGETS],
            names=subjects.names,
            device=subjects.device,
            zoom=options["zoom"],
        )
        write_sheet(sheet, subjects.folder / TARGETED)
        self.stdout.write(
            f"L2 radius {attack.epsilon:.4g}, {attack.steps} steps of {attack.step_size:.4g}: "
            f"{subjects.folder / TARGETED}"
        )
        if not subjects.rows:
            return
        if judge is None or not loaded:
            self.stdout.write("Nobody judges these images, so the share of targets is left out: give --judge FILE.")
            return
        with tqdm(total=len(subjects.rows) * len(digests), desc="targets", unit="image") as bar:
            shares = measure_targeted(
                subjects.classifiers,
                loaded[0],
                subjects.data,
                attack,
                rows=subjects.rows,
                classes=image.classes,
                seed=options["seed"],
                batch_size=options["batch_size"],
                device=subjects.device,
                on_batch=bar.update,
            )
        self._report(shares, attack, subjects, {"name": judge, "sha256": loaded[1]}, options["seed"])

    def _report(
        self, shares: TargetedShares, attack: TargetedAttack, subjects: Subjects, judge: dict[str, str], seed: int
    ) -> None:
        """Write the numbers, and print them."""
        assumes = targeted_assumptions(shares, attack, data=subjects.data.name, seed=seed)
        values = {
            "preset": subjects.preset.name,
            "data": subjects.data.name,
            "seed": seed,
            "classifiers": describe_classifiers(subjects.classifiers),
            "judge": judge,
            "attack": {"norm": "l2", "epsilon": attack.epsilon, "steps": attack.steps, "step_size": attack.step_size},
            **shares.as_dict(),
            "assumes": assumes,
        }
        base = subjects.folder / TARGETED_SHARES
        write_json(base.with_suffix(".json"), values)
        write_csv(base.with_suffix(".csv"), shares.table())
        self.stdout.write(f"Read as the target: {base}.csv and .json")
        for name, judged, own in zip(shares.names, shares.judged, shares.own, strict=True):
            self.stdout.write(f"{name}: {share_text(judged)} by the judge, {share_text(own)} by itself")
        self.stdout.write(f"difference by the judge: {shares.difference.text(' points')}")
        self.stdout.write(
            f"unchanged images: the judge reads {share_text(shares.untouched)} as the target, "
            f"{share_text(shares.judge)} as what they are"
        )
        for sentence in assumes:
            self.stdout.write(sentence)
