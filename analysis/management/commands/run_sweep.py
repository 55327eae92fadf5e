"""Train, sample, measure and tabulate a sweep, as the paper's tables."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from django.conf import settings
from django.core.management.base import CommandError, CommandParser
from tqdm import tqdm

from analysis.sweeps.definition import (
    NetworkKind,
    Sweep,
    SweepError,
    find_sweep,
    load_sweep,
    shipped_sweeps,
    with_changes,
)
from analysis.sweeps.running import Outline, Runner, outlines
from analysis.sweeps.store import Store
from analysis.sweeps.timing import expected_seconds
from generation.devices import choose_device
from generation.management.dry_run import duration
from generation.management.options import GenerationCommand, Interruption, at_least
from generation.processes import leave_launch

NETWORKS: tuple[NetworkKind, ...] = ("diffusion", "vanilla", "robust")


class Command(GenerationCommand):
    """`manage.py run_sweep SWEEP.toml --data PATH --output DIR`."""

    help = (
        "Train what a sweep lacks, make and measure the images of each of its points, and write CSV, JSON, LaTeX, SVG "
        "and PNG. A stopped sweep goes on with the same command; what is measured already is not measured again. Any "
        "number of processes work on one folder, started by --processes, by accelerate launch, or one by one."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the options."""
        parser.add_argument("sweep", nargs="?", help="a shipped sweep's name, or a TOML file's path")
        parser.add_argument("--list", action="store_true", help="list the shipped sweeps")
        parser.add_argument("--output", type=Path, default=Path("runs/sweeps"), help="folder (default: %(default)s)")
        parser.add_argument("--data", type=Path, help="the data set's folder; the sweep's, unless given")
        parser.add_argument("--count", type=at_least(2), help="images of each point; the sweep's, unless given")
        for kind in NETWORKS:
            parser.add_argument(f"--{kind}", type=Path, help="its checkpoint; the sweep's, unless given")
        parser.add_argument("--processes", type=at_least(1), default=1, help="started here (default: %(default)s)")
        parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto", help="where to compute")
        parser.add_argument("--dry-run", action="store_true", help="print points and the expected time; write nothing")
        parser.add_argument("--helper", type=int, nargs=2, metavar=("RANK", "PARENT"), help=_HIDDEN)

    def run(self, **options: Any) -> None:  # noqa: ANN401 -- argparse's values
        """Run it."""
        if options["list"]:
            for name in shipped_sweeps():
                self.stdout.write(f"{name:<20} {load_sweep(name).title}")
            return
        if not options["sweep"]:
            raise SweepError(f"Which sweep? Shipped are {', '.join(shipped_sweeps())}; or give a TOML file's path.")
        rank, parent = options["helper"] or (leave_launch(), os.getppid())
        device = _device(options["device"], rank)
        if options["processes"] > 1 or options["helper"]:
            _share_processors(options["processes"])
        path = find_sweep(options["sweep"])
        changes = partial(
            with_changes,
            data=options["data"],
            count=options["count"],
            networks={kind: options[kind] for kind in NETWORKS},
        )
        sweep = changes(load_sweep(path))
        with Interruption() as interruption:
            observer = _Terminal(self.stderr.write, interruption, None if options["helper"] is None else parent, rank)
            runner = Runner(Store(options["output"]), device, path.parent, changes, observer, first=rank == 0)
            if options["dry_run"]:
                self._outline(outlines(runner, sweep), options["processes"])
                return
            self._compute(runner, sweep, options)

    def _compute(self, runner: Runner, sweep: Sweep, options: dict[str, Any]) -> None:
        try:
            with _helpers(options) if options["processes"] > 1 and not options["helper"] else _nobody():
                runner.run(sweep)
        except KeyboardInterrupt:
            raise CommandError("Interrupted: the same command goes on where this one stopped.") from None

    def _outline(self, parts: list[Outline], processes: int) -> None:
        for part in parts:
            self._describe(part, processes)
        self.stdout.write("A dry run: nothing was written.")

    def _describe(self, part: Outline, processes: int) -> None:
        sweep, sampling = part.sweep, part.sweep.sampling
        preset = sweep.preset.sampling
        missing = len(part.points)
        lines = [
            ("sweep", f"{sweep.name}: {sweep.title}" if sweep.title else sweep.name),
            (
                "points",
                f"{missing + part.done}, of which {part.done} done; {sampling.count} images each, seed {sampling.seed}",
            ),
            ("sampler", f"{sampling.sampler or preset.sampler}, respacing {sampling.respacing or preset.respacing}"),
            *(("to train", job.name) for job in part.trainings),
            *(("to make", job.name) for job in part.points),
        ]
        if part.follows:
            lines.append(("", part.follows))
        if missing or part.trainings:
            seconds = expected_seconds(part.laboratory, part.trainings, part.points)
            each = min(processes, max(1, missing + len(part.trainings)))
            shared = f" in {each} processes as fast as this one" if each > 1 else ""
            lines.append(("time", f"about {duration(seconds / each)}{shared}, and the measuring"))
        self.stdout.write("\n".join(f"{name:<9} {text}" for name, text in lines))


_HIDDEN = "==SUPPRESS=="


class _Terminal:
    """Tells a process's progress on standard error; bars are the first process's, and only where somebody looks."""

    def __init__(
        self, write: Callable[[str], object], interruption: Interruption, parent: int | None, rank: int
    ) -> None:
        self.write, self.interruption, self.parent, self.rank = write, interruption, parent, rank

    def tell(self, note: str) -> None:
        """Print a line."""
        with tqdm.external_write_mode(file=sys.stderr):
            self.write(note)

    @contextmanager
    def bar(self, name: str, total: int, unit: str) -> Iterator[Callable[[float], object]]:
        """Show a bar."""
        shown = self.rank == 0 and sys.stderr.isatty()
        with tqdm(desc=name, total=total, unit=unit, disable=not shown) as bar:
            yield lambda done: bar.update(done - bar.n)

    def goes_on(self) -> bool:
        """Stop where somebody asked to, or where the process that started this one has gone."""
        return not self.interruption.asked and (self.parent is None or os.getppid() == self.parent)


def _device(name: str, rank: int) -> torch.device:
    """Return the device of that name; of several GPUs each process takes the next."""
    device = choose_device(name)
    if device.type == "cuda":
        device = torch.device("cuda", rank % torch.cuda.device_count())
        torch.cuda.set_device(device)
    return device


def _share_processors(processes: int) -> None:
    """Compute with this process's share of the processors."""
    torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // processes))


@contextmanager
def _nobody() -> Iterator[None]:
    yield


@contextmanager
def _helpers(options: dict[str, Any]) -> Iterator[None]:
    """Start the other processes; they end when all is done, or when this one has gone."""
    command = [sys.executable, str(settings.BASE_DIR / "manage.py"), "run_sweep", options["sweep"]]
    for key in ("output", "data", "count", *NETWORKS, "processes", "device"):
        if options[key] is not None:
            command += [f"--{key}", str(options[key])]
    started = []
    try:
        for rank in range(1, options["processes"]):
            helper = [*command, "--helper", str(rank), str(os.getpid())]
            # In a session of its own: Ctrl-C is this process's, which passes it on once.
            started.append(subprocess.Popen(helper, start_new_session=True))  # noqa: S603 -- this very program
        yield
    except BaseException:
        for process in started:
            process.terminate()
        raise
    finally:
        for process in started:
            process.wait()
