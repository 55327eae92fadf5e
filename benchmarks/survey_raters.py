"""Raters for `survey_load`: with as little of HTTP as is needed, so that the server gets the time."""

import asyncio
import json
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

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
    """Be one rater after another: come, and answer every `interval` seconds, until the time is over."""
    rng = random.Random(number)
    connection = Connection(site)
    await asyncio.sleep(rng.random() * interval)
    ends = time.monotonic() + seconds
    due = time.monotonic()
    state: dict[str, Any] = {"next": []}
    token = ""
    while time.monotonic() < ends:
        if not state["next"]:  # the first of the raters on this connection, or the next when one is done
            _, state = await insist(connection, f"/api/v1/studies/{slug}/raters", {"consent": True}, load)
            token = state["token"]
            due = time.monotonic()
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
