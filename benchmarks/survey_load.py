"""How many answers a second a real server takes, and whether any is lost: gunicorn with two workers, raters over HTTP.

    SAMESEED_POSTGRES_FSYNC=on tools/with_postgres .venv/bin/python -m benchmarks.survey_load    # all of it
    .venv/bin/python -m benchmarks.survey_load --database sqlite --parts steady --raters 50

The parts, on SQLite and then on PostgreSQL (the server that SAMESEED_TEST_POSTGRES names), each run on a database of
its own:

- steady: 200 raters at once, each answering every second;
- rate: more and more raters, as long as 95 % of the answers are acknowledged in 150 ms, 99 % in 400 ms, and none fails;
- faults: as steady, while a worker is killed every ten seconds and the whole server is restarted twice;
- size: eight raters who answer without a pause, by the study's size and the number of raters on file.

Raters and server share the machine, so that a figure says what both need together; "processor ms" is what the server
alone used for each answer, its start and the raters' coming included, which a busy machine changes least, and
"raters'" what the raters did. Each rater sends an answer again until it is
acknowledged, and in the end the database is asked for every acknowledged answer.
"""

import argparse
import asyncio
import json
import os
import random
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.survey_raters import Load, live

TOP = Path(__file__).resolve().parent.parent
P95_MS, P99_MS = 150, 400
PARTS = ("steady", "rate", "faults", "size")


class Server:
    """Gunicorn with two workers on a database of its own."""

    def __init__(self, folder: Path, database: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.site = f"http://127.0.0.1:{self.port}"
        self.environment = os.environ | {
            "SAMESEED_DATA": str(folder),
            "DATABASE_URL": database or f"sqlite:///{folder / 'db.sqlite3'}",
            "SAMESEED_HOSTS": "localhost,127.0.0.1",
            "DJANGO_SETTINGS_MODULE": "config.settings",
        }
        self.process: subprocess.Popen[bytes] | None = None

    def manage(self, *arguments: str) -> None:
        """Run a command of the site."""
        subprocess.run([sys.executable, str(TOP / "manage.py"), *arguments], env=self.environment, check=True)

    def start(self) -> None:
        """Serve, and wait until it does."""
        command = [sys.executable, "-m", "gunicorn", "config.wsgi", "--pythonpath", str(TOP), "--workers", "2"]
        command += ["--config", str(TOP / "config" / "gunicorn.py"), "--bind", f"127.0.0.1:{self.port}"]
        self.process = subprocess.Popen(command, env=self.environment)
        for _ in range(600):
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                time.sleep(0.1)
            else:
                return
        raise RuntimeError("the server did not start")

    def stop(self) -> None:
        """Stop it as a restart does."""
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait()

    def kill_a_worker(self) -> None:
        """Kill one worker outright."""
        if self.process is not None:
            path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
            workers = path.read_text().split()
            if workers:
                os.kill(int(random.choice(workers)), signal.SIGKILL)


async def disturb(server: Server, *, seconds: float, kill_every: float, restarts: int) -> None:
    """Kill a worker every so often, and restart the whole server so many times, evenly spread."""
    began = time.monotonic()
    restart_at = [seconds * (place + 1) / (restarts + 1) for place in range(restarts)]
    next_kill = kill_every or float("inf")
    while (elapsed := time.monotonic() - began) < seconds:
        if restart_at and elapsed >= restart_at[0]:
            restart_at.pop(0)
            await asyncio.to_thread(server.stop)
            await asyncio.to_thread(server.start)
        elif elapsed >= next_kill:
            next_kill += kill_every
            server.kill_a_worker()
        await asyncio.sleep(0.1)


async def drive(server: Server, slug: str, *, run: "Run") -> Load:
    """Let all raters live, while the server is disturbed if that is asked for."""
    load = Load()
    of_each = {"seconds": run.seconds, "interval": run.interval}
    raters = [live(number, server.site, slug, load, **of_each) for number in range(run.raters)]
    await asyncio.gather(
        *raters, disturb(server, seconds=run.seconds, kill_every=run.kill_every, restarts=run.restarts)
    )
    return load


def prepare(folder: Path, *, pairs: int, raters_on_file: int) -> None:
    """Make a study of tiny images, and give it raters who have been there before; runs in the site's own process."""
    import django  # noqa: PLC0415

    django.setup()
    import hashlib  # noqa: PLC0415

    from django.utils import timezone  # noqa: PLC0415
    from PIL import Image  # noqa: PLC0415

    from generation.models import GeneratedImage, GenerationRun  # noqa: PLC0415
    from survey.models import Rater, Response, Trial  # noqa: PLC0415
    from survey.services import create_study  # noqa: PLC0415

    path = folder / "image.png"
    Image.new("RGB", (32, 32), (90, 120, 150)).save(path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    for arm in ("robust", "vanilla"):
        run = GenerationRun.objects.create(
            name="load", arm=arm, preset="load", directory=str(folder), completed_at=timezone.now()
        )
        GeneratedImage.objects.bulk_create(
            [
                GeneratedImage(
                    run=run, pair_index=i, class_index=0, class_name="grey", seed=0, file="image.png", sha256=digest
                )
                for i in range(pairs)
            ],
            batch_size=1000,
        )
    study = create_study(slug="load", pairs_name="load", practice_trials=0)
    ids = list(study.pairs.values_list("pk", flat=True))
    for start in range(0, raters_on_file, 1000):
        before = Rater.objects.bulk_create(
            [
                Rater(study=study, wanted=1, issued=1, issued_ordinary=1, planned=1, done=1)
                for _ in range(min(1000, raters_on_file - start))
            ]
        )
        trials = Trial.objects.bulk_create(
            [
                Trial(
                    rater=rater,
                    pair_id=ids[(start + place) % len(ids)],
                    position=1,
                    first_is_left=bool(place % 2),
                    state="answered",
                )
                for place, rater in enumerate(before)
            ]
        )
        Response.objects.bulk_create([Response(trial=trial, choice="same", response_ms=1000) for trial in trials])


def stored(keys: list[str]) -> tuple[int, int]:
    """Return how many of the acknowledged answers the database holds, and how many answers with a key there are."""
    from survey.models import Response  # noqa: PLC0415

    held = set(Response.objects.exclude(key=None).values_list("key", flat=True))
    return len(set(keys) & held), len(held)


@contextmanager
def database_of_its_own(server: str) -> Iterator[str]:
    """Give a DATABASE_URL: "" for SQLite, or that of a new database on a PostgreSQL server, dropped afterwards."""
    if not server:
        yield ""
        return
    import psycopg  # noqa: PLC0415

    name = f"sameseed_load_{os.getpid()}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        try:
            yield f"{server.rpartition('/')[0]}/{name}"
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@dataclass(frozen=True)
class Run:
    """One run: how many raters answer every `interval` seconds in a study of what size, and what befalls the server."""

    raters: int
    seconds: float
    interval: float = 1.0
    pairs: int = 200
    on_file: int = 0
    kill_every: float = 0.0
    restarts: int = 0


@dataclass(frozen=True)
class Figures:
    """What a run showed."""

    load: Load
    lost: int
    extra: int
    per_second: float
    cpu_ms: float
    raters_ms: float

    @property
    def whole(self) -> bool:
        """Whether each acknowledged answer is there once, and no other."""
        return self.lost == self.extra == 0 and len(set(self.load.acknowledged)) == len(self.load.acknowledged)

    @property
    def within_limits(self) -> bool:
        """Whether answers were quick and nothing failed."""
        return self.load.quantile(0.95) < P95_MS and self.load.quantile(0.99) < P99_MS and not self.load.errors


def processor_s(who: int) -> float:
    """Return the processor seconds of this process, or of its children that have ended, and of theirs."""
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime


def measure(run: Run, *, server: str) -> Figures:
    """Run once on a database of its own, and print a line."""
    with database_of_its_own(server) as database, tempfile.TemporaryDirectory(prefix="sameseed-load-") as name:
        command = [sys.executable, "-m", "benchmarks.survey_load", "--one", json.dumps([asdict(run), database, name])]
        done = subprocess.run(command, cwd=TOP, check=True, stdout=subprocess.PIPE)
    raw = json.loads(done.stdout)
    figures = Figures(Load(raw["latencies"], raw["acknowledged"], Counter(raw["errors"])), *raw["counted"])
    quantiles = [f"{figures.load.quantile(share):.0f}" for share in (0.5, 0.95, 0.99)]
    cells = [f"{run.pairs:,}", f"{run.on_file:,}", f"{run.raters}", f"{len(figures.load.acknowledged):,}"]
    cells += [f"{figures.per_second:.0f}", *quantiles, f"{figures.cpu_ms:.1f}", f"{figures.raters_ms:.2f}"]
    cells += [", ".join(f"{count} {name}" for name, count in figures.load.errors.items()) or "none"]
    cells += [str(figures.lost), str(figures.extra)]
    print(f"| {' | '.join(cells)} |", flush=True)
    return figures


def one(run: Run, database: str, folder: Path) -> None:
    """Be the process of one run, which has a Django of its own; print what was measured as JSON."""
    server = Server(folder, database)
    os.environ.update(server.environment)
    server.manage("migrate", "--verbosity", "0")
    server.manage("collectstatic", "--noinput", "--verbosity", "0")
    prepare(folder, pairs=run.pairs, raters_on_file=run.on_file)
    before = processor_s(resource.RUSAGE_CHILDREN)
    server.start()
    began, idle = time.monotonic(), processor_s(resource.RUSAGE_SELF)
    try:
        load = asyncio.run(drive(server, "load", run=run))
        took, busy = time.monotonic() - began, processor_s(resource.RUSAGE_SELF)
    finally:
        server.stop()
    there, keyed = stored(load.acknowledged)
    sent = len(load.acknowledged)
    served = processor_s(resource.RUSAGE_CHILDREN) - before
    each_ms = [1000 * used / max(1, sent) for used in (served, busy - idle)]
    counted = [sent - there, keyed - sent, sent / took, *each_ms]
    told = {"latencies": load.latencies, "acknowledged": load.acknowledged, "errors": load.errors, "counted": counted}
    print(json.dumps(told))


HEAD = [
    "pairs",
    "raters on file",
    "raters",
    "answers",
    "per second",
    "median ms",
    "p95",
    "p99",
    "processor ms",
    "raters'",
]
HEAD += ["errors", "lost", "extra"]


def table(title: str) -> None:
    """Print a table's head."""
    print(f"\n{title}\n\n| {' | '.join(HEAD)} |\n|{' --- |' * len(HEAD)}", flush=True)


def largest_rate(options: argparse.Namespace, server: str) -> Iterator[Figures]:
    """Raise the number of raters until the limits are broken, or lower it until they are kept; say the largest kept."""
    raters, held, failed = options.raters, 0, False
    seconds = max(5.0, options.seconds / 4)
    while raters >= 5 and not (held and failed):
        figures = measure(Run(raters, seconds), server=server)
        yield figures
        held, failed = (raters, failed) if figures.within_limits else (held, True)
        raters = raters * 5 // 4 if figures.within_limits else raters * 4 // 5
    print(f"\nLargest rate held: {held} answers a second" if held else "\nNo rate was held", flush=True)


def fsync_of(server: str) -> str:
    """Return whether the PostgreSQL server waits for the disk; without that its figures are those of no real one."""
    import psycopg  # noqa: PLC0415

    with psycopg.connect(server) as connection:
        row = connection.execute("SHOW fsync").fetchone()
    return str(row[0]) if row else "unknown"


SIZES = [(200, 10), (200, 100_000), (2_000, 10), (2_000, 10_000), (20_000, 10), (20_000, 100_000)]


def run_part(part: str, options: argparse.Namespace, server: str) -> Iterator[Figures]:
    """Run one part and yield its runs."""
    kind = f"PostgreSQL (fsync {fsync_of(server)})" if server else "SQLite"
    if part == "steady":
        table(f"{kind}: {options.raters} raters, an answer each every second")
        yield measure(Run(options.raters, options.seconds), server=server)
    elif part == "rate":
        table(f"{kind}: the largest rate within {P95_MS} ms (p95) and {P99_MS} ms (p99)")
        yield from largest_rate(options, server)
    elif part == "faults":
        every = min(10.0, options.seconds / 4)
        table(f"{kind}: a worker killed every {every:.0f} s, the server restarted twice")
        yield measure(Run(options.raters, options.seconds, kill_every=every, restarts=2), server=server)
    else:
        table(f"{kind}: eight raters without a pause, by size")
        for pairs, on_file in SIZES:
            run = Run(8, max(3.0, options.seconds / 12), interval=0.0, pairs=pairs, on_file=on_file)
            yield measure(run, server=server)


def main() -> int:
    """Run what is asked for; the status says whether each acknowledged answer was there, once."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--database", choices=("sqlite", "postgresql"), help="this one only")
    parser.add_argument("--raters", type=int, default=200, help="at once (%(default)s)")
    parser.add_argument("--seconds", type=float, default=120, help="of the long runs; the others' follow (%(default)s)")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        run, database, folder = json.loads(options.one)
        one(Run(**run), database, Path(folder))
        return 0
    postgresql = os.environ.get("SAMESEED_TEST_POSTGRES", "")
    if options.database != "sqlite" and not postgresql:
        parser.error("no PostgreSQL: begin the command with tools/with_postgres, or take --database sqlite")
    servers = {"sqlite": "", "postgresql": postgresql}
    chosen = [options.database] if options.database else list(servers)
    began = time.monotonic()
    whole = [
        figures.whole for name in chosen for part in options.parts for figures in run_part(part, options, servers[name])
    ]
    print(f"\n{time.monotonic() - began:.0f} s in all; {'nothing lost or doubled' if all(whole) else 'ANSWERS LOST'}.")
    return 0 if all(whole) else 1


if __name__ == "__main__":
    sys.exit(main())
