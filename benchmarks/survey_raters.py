"""Raters for `survey_load`: with as little of HTTP as is needed, so that the server gets the time."""

import asyncio
import json
import random
import re
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

PATIENCE_S = 30.0
LENGTH = re.compile(rb"\r\ncontent-length: (\d+)", re.IGNORECASE)
CLOSES = re.compile(rb"\r\nconnection: close", re.IGNORECASE)


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


class Replies(asyncio.Protocol):
    """One connection's replies, one at a time."""

    def __init__(self) -> None:
        self.lost = False
        self._received = b""
        self._awaited: asyncio.Future[tuple[int, Any]] | None = None

    def next_one(self) -> "asyncio.Future[tuple[int, Any]]":
        """Return what becomes the next reply's status and body, or an OSError if the connection breaks."""
        self._received, self._awaited = b"", asyncio.get_running_loop().create_future()
        return self._awaited

    def data_received(self, data: bytes) -> None:
        """Hand over the reply once it is whole."""
        self._received += data
        head, _, body = self._received.partition(b"\r\n\r\n")
        length = LENGTH.search(head)
        if length is not None and len(body) >= int(length[1]) and self._awaited and not self._awaited.done():
            self.lost = CLOSES.search(head) is not None
            self._awaited.set_result((int(head[9:12]), json.loads(body)))

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell who waits for a reply."""
        self.lost = True
        if self._awaited is not None and not self._awaited.done():
            self._awaited.set_exception(OSError(f"the connection broke: {exc}"))


class Connection:
    """One rater's connection, kept alive, with as little of HTTP as is needed, so that the server gets the time."""

    def __init__(self, site: str) -> None:
        parts = urlsplit(site)
        self.host, self.port = parts.hostname or "127.0.0.1", parts.port or 80
        self._open: tuple[asyncio.Transport, Replies] | None = None

    async def post(self, path: str, body: dict[str, Any], *, token: str = "") -> tuple[int, Any]:
        """Send JSON; return the status and the reply. A connection that breaks is an OSError."""
        loop = asyncio.get_running_loop()
        if self._open is None or self._open[1].lost:
            self._open = await loop.create_connection(Replies, self.host, self.port)
        transport, replies = self._open
        data = json.dumps(body)
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        head += f"Content-Length: {len(data)}\r\n" + (f"Authorization: Rater {token}\r\n" if token else "")
        reply = replies.next_one()
        transport.write(f"{head}\r\n{data}".encode())
        patience = loop.call_later(PATIENCE_S, transport.abort)
        try:
            return await reply
        finally:
            patience.cancel()

    def close(self) -> None:
        """Break the connection."""
        if self._open is not None:
            self._open[0].close()
            self._open = None


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
