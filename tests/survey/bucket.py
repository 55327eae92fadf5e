"""A store that speaks as much of S3 as is needed, in memory, on a port of this machine."""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Bucket:
    """What the store holds, by path, and how it does.

    Attributes:
        broken: Whether it answers 503 to everything.
        unsigned: Requests that came without a signature.
    """

    address: str = ""
    objects: dict[str, bytes] = field(default_factory=dict)
    broken: bool = False
    unsigned: list[str] = field(default_factory=list)


@contextmanager
def serve_bucket() -> Iterator[Bucket]:
    """Serve an empty bucket for as long as the context lasts."""
    bucket = Bucket()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def reply(self, status: int, data: bytes = b"") -> None:
            self.send_response(503 if bucket.broken else status)
            if not self.headers.get("Authorization", "").startswith("AWS4-HMAC-SHA256 Credential=key/"):
                bucket.unsigned.append(self.path)
            self.send_header("Content-Length", str(len(data)))
            self.send_header("ETag", f'"{hashlib.md5(data).hexdigest()}"')
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        def do_PUT(self) -> None:
            bucket.objects[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
            self.reply(200)

        def do_GET(self) -> None:
            found = bucket.objects.get(self.path)
            self.reply(404) if found is None else self.reply(200, found)

        do_HEAD = do_GET  # noqa: N815 (the server looks for this name)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        bucket.address = f"http://127.0.0.1:{server.server_address[1]}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield bucket
        server.shutdown()
