import hashlib
import io
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from django.core.management import CommandError, call_command

from generation.datasets import downloads, load_dataset
from generation.datasets.downloads import Published, RemoteFile, fetch_dataset, fetch_file
from generation.errors import DatasetError
from generation.presets import Image

CONTENT = np.random.default_rng(0).integers(0, 256, 100_000, dtype=np.uint8).tobytes()
FILE = RemoteFile("data.bin", len(CONTENT), hashlib.sha256(CONTENT).hexdigest())


@dataclass
class Server:
    """A server that breaks off, knows no ranges, or errs, as a test asks for.

    Attributes:
        address: where it answers.
        content: what it serves, whatever the path.
        breaks: after how many bytes each connection in turn is cut; those after the last are not.
        errors: the statuses of the first answers.
        ranges: whether it can begin in the middle.
        asked: the Range header of each request.
    """

    address: str = ""
    content: bytes = CONTENT
    breaks: list[int] = field(default_factory=list)
    errors: list[int] = field(default_factory=list)
    ranges: bool = True
    asked: list[str | None] = field(default_factory=list)


@pytest.fixture
def server() -> Iterator[Server]:
    settings = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            settings.asked.append(wanted)
            if settings.errors:
                self.send_error(settings.errors.pop(0))
                return
            start = int(wanted[len("bytes=") : -1]) if wanted and settings.ranges else 0
            body = settings.content[start:]
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(body)))
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(settings.content) - 1}/{len(settings.content)}")
            self.end_headers()
            self.wfile.write(body[: settings.breaks.pop(0) if settings.breaks else None])

        def log_message(self, *_: object) -> None:
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    settings.address = f"http://127.0.0.1:{httpd.server_address[1]}/data.bin"
    yield settings
    httpd.shutdown()
    thread.join()
    httpd.server_close()


def fetch(server: Server, folder: Path, file: RemoteFile = FILE) -> list[int]:
    seen: list[int] = []
    fetch_file(file, server.address, folder, on_progress=lambda here, _: seen.append(here), pause=0)
    return seen


def test_a_file_is_fetched_whole_and_nothing_is_left_beside_it(server: Server, tmp_path: Path) -> None:
    seen = fetch(server, tmp_path)
    assert (tmp_path / "data.bin").read_bytes() == CONTENT
    assert [path.name for path in tmp_path.iterdir()] == ["data.bin"]
    assert seen == sorted(seen)
    assert seen[-1] == len(CONTENT)


def test_a_broken_connection_is_taken_up_where_it_broke(server: Server, tmp_path: Path) -> None:
    server.breaks = [30_000, 20_000]
    fetch(server, tmp_path)
    assert (tmp_path / "data.bin").read_bytes() == CONTENT
    assert server.asked == [None, "bytes=30000-", "bytes=50000-"]


def test_a_later_call_goes_on_from_what_an_earlier_one_left(server: Server, tmp_path: Path) -> None:
    (tmp_path / ".data.bin.part").write_bytes(CONTENT[:70_000])
    fetch(server, tmp_path)
    assert (tmp_path / "data.bin").read_bytes() == CONTENT
    assert server.asked == ["bytes=70000-"]


def test_a_server_without_ranges_is_read_from_the_start_again(server: Server, tmp_path: Path) -> None:
    server.ranges, server.breaks = False, [30_000]
    fetch(server, tmp_path)
    assert (tmp_path / "data.bin").read_bytes() == CONTENT
    assert server.asked == [None, "bytes=30000-"]


def test_leftovers_of_another_file_do_not_spoil_the_download(server: Server, tmp_path: Path) -> None:
    for length in (50_000, len(CONTENT), len(CONTENT) + 5):
        (tmp_path / ".data.bin.part").write_bytes(bytes(length))
        fetch(server, tmp_path)
        assert (tmp_path / "data.bin").read_bytes() == CONTENT
        (tmp_path / "data.bin").unlink()


def test_a_file_that_is_there_is_not_fetched_again_and_a_damaged_one_is(server: Server, tmp_path: Path) -> None:
    fetch(server, tmp_path)
    fetch(server, tmp_path)
    assert len(server.asked) == 1
    (tmp_path / "data.bin").write_bytes(CONTENT[::-1])
    fetch(server, tmp_path)
    assert (tmp_path / "data.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("content", [CONTENT[::-1], CONTENT + b"more", b""], ids=["other", "longer", "empty"])
def test_another_file_is_refused_and_not_kept(server: Server, tmp_path: Path, content: bytes) -> None:
    server.content = content
    with pytest.raises(DatasetError, match=r"not the published file|cannot be fetched \(the connection broke off\)"):
        fetch(server, tmp_path)
    assert not (tmp_path / "data.bin").exists()
    server.content = CONTENT
    fetch(server, tmp_path)
    assert (tmp_path / "data.bin").read_bytes() == CONTENT


def test_a_server_that_is_busy_is_asked_again_and_one_that_refuses_is_not(server: Server, tmp_path: Path) -> None:
    server.errors = [503, 500]
    fetch(server, tmp_path)
    assert len(server.asked) == 3
    (tmp_path / "data.bin").unlink()
    server.errors = [404, 404]
    with pytest.raises(DatasetError, match="the server answers 404 Not Found"):
        fetch(server, tmp_path)
    assert len(server.asked) == 4


def test_a_server_that_is_not_there_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"cannot be fetched \(.*refused.*\): check the connection"):
        fetch(Server("http://127.0.0.1:1/data.bin"), tmp_path)
    with pytest.raises(DatasetError, match="begins with http:// or https://"):
        fetch(Server("file:///etc/passwd"), tmp_path)


def archive(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
        link = tarfile.TarInfo("cifar-10-batches-bin/test_batch.bin")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    return buffer.getvalue()


@pytest.fixture
def cifar(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """The server has an archive of CIFAR-10's form, with two images a file and things that do not belong there."""
    members = {f"cifar-10-batches-bin/data_batch_{n}.bin": bytes([n] * 3073 * 2) for n in range(1, 6)}
    members |= {
        "../../data_batch_9.bin": b"outside",
        "cifar-10-batches-bin/readme.html": b"<html>",
        "cifar-10-batches-bin/test_batch.bin": bytes(3073),
        "cifar-10-batches-bin/batches.meta.txt": b"\n".join(b"class-%d" % n for n in range(10)),
    }
    server.content = archive(members)
    file = RemoteFile("cifar.tar.gz", len(server.content), hashlib.sha256(server.content).hexdigest())
    published = Published("http://nowhere.invalid/", (file,), downloads.DATASETS["cifar10"].members)
    monkeypatch.setitem(downloads.DATASETS, "cifar10", published)
    return server


def test_an_archives_files_are_taken_out_and_nothing_else(cifar: Server, tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "cifar"
    call_command("fetch_dataset", "cifar10", output=folder, mirror=cifar.address.rpartition("/")[0])
    assert sorted(path.name for path in folder.iterdir()) == sorted(downloads.DATASETS["cifar10"].members)
    assert not any((folder / name).is_symlink() for name in downloads.DATASETS["cifar10"].members)
    assert not list(tmp_path.rglob("data_batch_9.bin"))
    assert len(load_dataset(folder, Image(32, 3, 10), "test")) == 1
    # What is there is not fetched again.
    call_command("fetch_dataset", "cifar10", output=folder, mirror=cifar.address.rpartition("/")[0])
    assert len(cifar.asked) == 1


def test_an_archive_that_lacks_a_file_is_one_clear_line(server: Server, tmp_path: Path) -> None:
    for content, message in (
        (archive({"data_batch_1.bin": b"1"}), "has no batches.meta.txt"),
        (b"no archive", "cannot be unpacked"),
    ):
        server.content = content
        file = RemoteFile("data.bin", len(content), hashlib.sha256(content).hexdigest())
        published = Published("", (file,), ("data_batch_1.bin", "batches.meta.txt"))
        with pytest.raises(DatasetError, match=message):
            fetch_dataset(
                published, tmp_path / message, mirror=server.address.rpartition("/")[0], on_progress=lambda *_: None
            )


def test_fashion_mnists_files_are_verified(server: Server, tmp_path: Path) -> None:
    server.content = bytes(26_421_880)
    with pytest.raises(CommandError, match=r"train-images-idx3-ubyte.gz gave 26421880 bytes with SHA-256 .* --mirror"):
        call_command("fetch_dataset", "fashion", output=tmp_path, mirror=server.address.rpartition("/")[0])


def test_a_folder_that_cannot_be_made_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CommandError, match=r"file/data cannot be written .*: free space, or choose another folder"):
        call_command("fetch_dataset", "fashion", output=tmp_path / "file" / "data")
