"""How many answers a second a real server takes, and whether any is lost: gunicorn with two workers, raters over HTTP.

    python -m benchmarks.survey_load --raters 200 --seconds 120
    python -m benchmarks.survey_load --database postgres://postgres@127.0.0.1:5432/load --kill-every 10 --restarts 2
    python -m benchmarks.survey_load --table

Raters and server share the machine, so that a figure says what both need together. Each rater answers once a second,
each at a moment of their own, and sends an answer again until it is acknowledged. In the end the database is asked for
every acknowledged answer.
"""

import argparse
import asyncio
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

TOP = Path(__file__).resolve().parent.parent
PATIENCE_S = 30.0


@dataclass
class Load:
    """What the raters saw: how long each acknowledged answer took, in ms, and the requests that failed."""

    latencies: list[float] = field(default_factory=list)
    acknowledged: list[str] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)

    def quantile(self, share: float) -> float:
        """Return a quantile of the latencies, in ms."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


class Connection:
    """One rater's connection, kept alive, with as little of HTTP as is needed, so that the server gets the time."""

    def __init__(self, site: str) -> None:
        parts = urlsplit(site)
        self.host, self.port = parts.hostname or "127.0.0.1", parts.port or 80
        self.streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, path: str, body: dict[str, Any], *, token: str = "") -> tuple[int, Any]:
        """Send JSON; return the status and the reply. A connection that breaks is an OSError."""
        if self.streams is None:
            self.streams = await asyncio.open_connection(self.host, self.port)
        reader, writer = self.streams
        data = json.dumps(body).encode()
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        head += f"Content-Length: {len(data)}\r\n" + (f"Authorization: Rater {token}\r\n" if token else "") + "\r\n"
        try:
            writer.write(head.encode() + data)
            await writer.drain()
            return await asyncio.wait_for(self._read(reader), PATIENCE_S)
        except (TimeoutError, OSError, asyncio.IncompleteReadError, IndexError, ValueError) as error:
            self.close()
            raise OSError(str(error)) from error

    async def _read(self, reader: asyncio.StreamReader) -> tuple[int, Any]:
        lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines[1:] if ": " in line)
        body = await reader.readexactly(int(headers["content-length"]))
        if headers.get("connection") == "close":
            self.close()
        return int(lines[0].split()[1]), json.loads(body)

    def close(self) -> None:
        """Break the connection."""
        if self.streams is not None:
            self.streams[1].close()
            self.streams = None


async def live(number: int, site: str, slug: str, load: Load, *, seconds: float, interval: float) -> None:
    """Be one rater: come, and answer every `interval` seconds, until the time is over."""
    rng = random.Random(number)
    connection = Connection(site)
    await asyncio.sleep(rng.random() * interval)
    _, state = await insist(connection, f"/api/v1/studies/{slug}/raters", {"consent": True}, load)
    token = state["token"]
    ends = time.monotonic() + seconds
    due = time.monotonic()
    while state["next"] and time.monotonic() < ends:
        key = f"{number:06d}-{rng.getrandbits(64):016x}"
        body = {"choice": rng.choice(["left", "same", "right"]), "response_ms": 1000, "key": key}
        began = time.monotonic()
        _, state = await insist(connection, f"/api/v1/trials/{state['next'][0]['token']}/response", body, load, token)
        load.latencies.append((time.monotonic() - began) * 1000)
        load.acknowledged.append(key)
        due += interval
        await asyncio.sleep(max(0.0, due - time.monotonic()))
    connection.close()


async def insist(
    connection: Connection, path: str, body: dict[str, Any], load: Load, token: str = ""
) -> tuple[int, Any]:
    """Send until the server acknowledges, as the browser does."""
    wait = 0.2
    while True:
        try:
            status, state = await connection.post(path, body, token=token)
            if status in {200, 201}:
                return status, state
            load.errors[str(status)] += 1
            if status < 500:
                raise RuntimeError(f"{path}: {status} {state}")
        except OSError:
            load.errors["connection"] += 1
        await asyncio.sleep(wait)
        wait = min(2 * wait, 2.0)


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


async def drive(server: Server, slug: str, *, options: argparse.Namespace) -> Load:
    """Let all raters live, while the server is disturbed if that is asked for."""
    load = Load()
    raters = [
        live(number, server.site, slug, load, seconds=options.seconds, interval=options.interval)
        for number in range(options.raters)
    ]
    await asyncio.gather(
        *raters,
        disturb(server, seconds=options.seconds, kill_every=options.kill_every, restarts=options.restarts),
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
    from survey.models import Rater, Response, Study, Trial  # noqa: PLC0415
    from survey.services import create_study  # noqa: PLC0415

    Study.objects.filter(slug="load").delete()
    GenerationRun.objects.filter(name="load").delete()
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


def measure(options: argparse.Namespace, *, pairs: int, raters_on_file: int) -> bool:
    """Run once and print a line; return whether nothing was lost or doubled."""
    with tempfile.TemporaryDirectory(prefix="sameseed-load-") as name:
        folder = Path(name)
        server = Server(folder, options.database)
        os.environ.update(server.environment)
        server.manage("migrate", "--verbosity", "0")
        server.manage("collectstatic", "--noinput", "--verbosity", "0")
        prepare(folder, pairs=pairs, raters_on_file=raters_on_file)
        server.start()
        began = time.monotonic()
        try:
            load = asyncio.run(drive(server, "load", options=options))
        finally:
            server.stop()
        took = time.monotonic() - began
        there, keyed = stored(load.acknowledged)
    sent = len(load.acknowledged)
    lost, extra = sent - there, keyed - sent
    figures = [load.quantile(share) for share in (0.5, 0.95, 0.99)]
    cells = [f"{pairs:,}", f"{raters_on_file:,}", str(options.raters), f"{sent:,}", f"{sent / took:.0f}"]
    cells += [*(f"{figure:.0f}" for figure in figures), str(dict(load.errors) or "none"), str(lost), str(extra)]
    print(f"| {' | '.join(cells)} |", flush=True)
    return lost == 0 and extra == 0 and len(set(load.acknowledged)) == sent


def main() -> int:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--raters", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--interval", type=float, default=1.0, help="seconds between a rater's answers")
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--raters-on-file", type=int, default=0)
    parser.add_argument("--database", default="", help="a DATABASE_URL; SQLite in a temporary folder")
    parser.add_argument("--kill-every", type=float, default=0, help="seconds between two kills of a worker; 0 never")
    parser.add_argument("--restarts", type=int, default=0, help="restarts of the whole server")
    parser.add_argument(
        "--table", action="store_true", help="studies of 200 to 20,000 pairs, with 10 to 100,000 raters on file"
    )
    options = parser.parse_args()
    print("| pairs | raters on file | raters | answers | per second | median ms | p95 | p99 | errors | lost | extra |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |", flush=True)
    if not options.table:
        return 0 if measure(options, pairs=options.pairs, raters_on_file=options.raters_on_file) else 1
    sizes = [(200, 10), (200, 100_000), (2_000, 1_000), (20_000, 10), (20_000, 100_000)]
    whole = [measure(options, pairs=pairs, raters_on_file=count) for pairs, count in sizes]
    return 0 if all(whole) else 1


if __name__ == "__main__":
    sys.exit(main())
