"""How many pairs and raters does a study need?"""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from tqdm import tqdm

from analysis.files import write_files
from analysis.planning import PowerGrid, power_grid
from analysis.plans import render_plan_csv, render_plan_html, render_plan_page, render_plan_svg, render_plan_text
from analysis.services import Heartbeat, record_progress, store_failure, store_result
from analysis.significance import parse_confidence
from analysis.simulation import Scenario, effect_of


class Command(BaseCommand):
    """Simulate studies of several sizes and say how often the report's test would find the preference."""

    help = (
        "How many pairs and raters does a study need? Simulates studies of every size and prints how often the "
        "report's headline test finds the preference. With --output it writes plan.csv, plan.svg and plan.html."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the flags."""
        effect = parser.add_mutually_exclusive_group()
        effect.add_argument("--share", type=float, default=0.55, help="of answers for one arm (default: %(default)s)")
        effect.add_argument("--effect", type=float, help="the same as a logit, for an average rater and pair")
        parser.add_argument("--tie-rate", type=float, default=0.27, help="share of “Same” (default: %(default)s)")
        parser.add_argument("--pair-sd", type=float, default=1.07, help="spread of pairs, as logits (%(default)s)")
        parser.add_argument("--rater-sd", type=float, default=0.3, help="spread of raters, as logits (%(default)s)")
        parser.add_argument("--pairs", default="50,100,200,400", help="numbers of pairs (default: %(default)s)")
        parser.add_argument("--raters", default="10,20,40,80", help="numbers of raters (default: %(default)s)")
        parser.add_argument("--pairs-per-rater", type=int, help="how many a rater is asked about (default: all)")
        parser.add_argument("--partial", action="store_true", help="raters stop early, anywhere, as likely as not")
        parser.add_argument("--studies", type=int, default=400, help="simulated per size (default: %(default)s)")
        parser.add_argument("--confidence", default="0.95", help="of the interval (default: %(default)s)")
        parser.add_argument("--seed", type=int, default=0)
        parser.add_argument("--output", type=Path, metavar="DIR", help="made if need be")
        parser.add_argument("--store", metavar="KEY", help="store the result for the planning page")

    def handle(self, *_args: Any, output: Path | None, store: str | None, **options: Any) -> None:  # noqa: ANN401
        """Simulate, print, write."""
        try:
            with tqdm(total=100, desc="simulating", unit="%", leave=False, disable=store is not None or None) as bar:

                def progress(share: float, what: str) -> None:
                    bar.n = round(100 * share)
                    bar.set_postfix_str(what)
                    if store:
                        record_progress(key=store, progress=share, stage=what)

                if store:
                    with Heartbeat(store):
                        grid = _grid(options, progress)
                else:
                    grid = _grid(options, progress)
        except ValueError as error:
            if store:
                store_failure(key=store, source=store, failure=str(error))
            raise CommandError(str(error)) from error
        if store:
            store_result(key=store, source=store, html=render_plan_html(grid), document=render_plan_csv(grid))
            return
        self.stdout.write(render_plan_text(grid) + "\n")
        if output is not None:
            files = {
                "plan.csv": render_plan_csv(grid),
                "plan.svg": render_plan_svg(grid),
                "plan.html": render_plan_page(grid),
            }
            try:
                for path in write_files(output, files):
                    self.stdout.write(str(path))
            except OSError as error:
                message = f"cannot write the plan to {output}: {error.strerror or error}; choose another --output"
                raise CommandError(message) from error


def _grid(options: dict[str, Any], progress: Any) -> PowerGrid:  # noqa: ANN401
    pairs, raters = _numbers(options["pairs"], "--pairs"), _numbers(options["raters"], "--raters")
    pair_sd, rater_sd, share = options["pair_sd"], options["rater_sd"], options["share"]
    if not 0 < share < 1:
        message = f"share {share} is not between 0 and 1; write 55 % as 0.55"
        raise ValueError(message)
    asked = options["pairs_per_rater"]
    # Checks the spreads before they are used.
    scenario = Scenario(
        pairs=max([*pairs, asked or 1]),
        raters=max([*raters, 1]),
        effect=options["effect"] or 0.0,
        pair_sd=pair_sd,
        rater_sd=rater_sd,
        tie_rate=options["tie_rate"],
        pairs_per_rater=asked,
        stops_early=options["partial"],
    )
    if options["effect"] is None:
        effect = effect_of(share, pair_sd=pair_sd, rater_sd=rater_sd)
        scenario = Scenario(**{**vars(scenario), "effect": effect})
    return power_grid(
        scenario,
        pairs=pairs,
        raters=raters,
        studies=options["studies"],
        confidence=parse_confidence(options["confidence"]),
        seed=options["seed"],
        progress=progress,
    )


def _numbers(text: str, flag: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",") if part.strip()]
    except ValueError as error:
        message = f"{flag} {text!r} is not a list of whole numbers; write 50,100,200"
        raise ValueError(message) from error
