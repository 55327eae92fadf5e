"""Fetching the data sets' published files: resumed where they broke off, verified, and moved into place when whole."""

import hashlib
import http.client
import os
import re
import shutil
import tarfile
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from generation.datasets import cifar
from generation.errors import DatasetError

CHUNK = 1 << 18
TIMEOUT = 30.0
ATTEMPTS = 6
USER_AGENT = {"User-Agent": "sameseed"}
# Worth another attempt; other answers of 400 and above are not.
PASSING = (408, 429, 500, 502, 503, 504)

# (bytes here, bytes in all) -> anything
OnProgress = Callable[[int, int], object]


@dataclass(frozen=True)
class RemoteFile:
    """A published file.

    Attributes:
        name: its name, on the server and here.
        size: bytes.
        sha256: in hexadecimal.
    """

    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Published:
    """A data set as its authors publish it.

    Attributes:
        base: the address that the files' names are added to.
        files: what to fetch.
        members: of an archive, the files to take out of it, by their names without a folder.
    """

    base: str
    files: tuple[RemoteFile, ...]
    members: tuple[str, ...] = ()


# The authors publish MD5 sums of the same files. Fashion-MNIST's server speaks no TLS; the sums make that safe.
DATASETS = {
    "fashion": Published(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        (
            RemoteFile(
                "train-images-idx3-ubyte.gz",
                26_421_880,
                "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            ),
            RemoteFile(
                "train-labels-idx1-ubyte.gz",
                29_515,
                "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            ),
            RemoteFile(
                "t10k-images-idx3-ubyte.gz",
                4_422_102,
                "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            ),
            RemoteFile(
                "t10k-labels-idx1-ubyte.gz",
                5_148,
                "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
            ),
        ),
    ),
    "cifar10": Published(
        "https://www.cs.toronto.edu/~kriz/",
        (
            RemoteFile(
                "cifar-10-binary.tar.gz",
                170_052_171,
                "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
            ),
        ),
        (*(f"data_batch_{number}.bin" for number in range(1, 6)), cifar.TEST, cifar.NAMES),
    ),
}


def fetch_dataset(
    published: Published, folder: Path, *, mirror: str | None = None, on_progress: Callable[[str, int, int], object]
) -> None:
    """Bring a data set's files into a folder that `load_dataset` reads.

    Files that are there and whole are left alone. An archive is removed when its members have been taken out.

    Args:
        published: what to fetch.
        folder: made where it does not exist.
        mirror: another address to get the files from; their sums stay the same.
        on_progress: told a file's name, its bytes here and its bytes in all.

    Raises:
        DatasetError: a file cannot be fetched, is not what its authors publish, or cannot be written. What has come
            of it so far stays, and the next call goes on from there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if published.members and all((folder / member).is_file() for member in published.members):
            return
        for file in published.files:
            fetch_file(
                file,
                (mirror.rstrip("/") + "/" if mirror else published.base) + file.name,
                folder,
                on_progress=lambda here, total, name=file.name: on_progress(name, here, total),  # type: ignore[misc]
            )
            if published.members:
                _take_out(folder / file.name, published.members, folder)
                (folder / file.name).unlink()
    except OSError as error:
        raise DatasetError(f"{folder} cannot be written ({error}): free space, or choose another folder.") from error


def fetch_file(file: RemoteFile, address: str, folder: Path, *, on_progress: OnProgress, pause: float = 1.0) -> None:
    """Fetch a file, verify it and move it into place.

    What has come is kept in `.NAME.part` until it is whole. A connection that breaks is taken up again where it broke,
    or from the start where the server cannot do that.

    Args:
        file: what it must be.
        address: where it is: http or https.
        folder: where it goes.
        on_progress: told the bytes here and in all, now and then.
        pause: seconds before the second attempt; each further pause is twice as long.

    Raises:
        DatasetError: no attempt got it whole, or it is another file.
        OSError: it cannot be written.
    """
    if not re.match(r"https?://", address):
        raise DatasetError(f"{address} cannot be fetched: give an address that begins with http:// or https://.")
    if _is(folder / file.name, file):
        return
    partial = folder / f".{file.name}.part"
    resumed = partial.exists()
    _fetch_all(file, address, partial, on_progress, pause)
    if not _is(partial, file) and resumed:
        # What an earlier call left may have been of another file.
        partial.unlink()
        _fetch_all(file, address, partial, on_progress, pause)
    if not _is(partial, file):
        found = f"{partial.stat().st_size} bytes with SHA-256 {_sha256(partial)[:12]}..."
        partial.unlink()
        raise DatasetError(
            f"{address} gave {found}, which is not the published file ({file.size} bytes, {file.sha256[:12]}...): try "
            "again later, or another --mirror."
        )
    partial.replace(folder / file.name)


def _fetch_all(file: RemoteFile, address: str, partial: Path, on_progress: OnProgress, pause: float) -> None:
    """Fill the partial file up to the published size, over as many connections as it takes."""
    failures = 0
    while _size(partial) < file.size:
        before = _size(partial)
        try:
            _fetch_some(file, address, partial, on_progress)
            reason = "the connection broke off"
        except urllib.error.HTTPError as error:
            if error.code not in PASSING:
                raise DatasetError(
                    f"{address} cannot be fetched: the server answers {error.code} {error.reason}."
                ) from error
            reason = f"the server answers {error.code} {error.reason}"
        except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError) as error:
            reason = str(getattr(error, "reason", "") or error) or type(error).__name__
        if _size(partial) >= file.size:
            return
        # Only attempts that bring nothing count: a poor line gets there in the end.
        failures = 0 if _size(partial) > before else failures + 1
        if failures == ATTEMPTS:
            raise DatasetError(
                f"{address} cannot be fetched ({reason}): check the connection and call again, which goes on from "
                f"{_size(partial)} of {file.size} bytes; or name a --mirror."
            )
        time.sleep(pause * 2 ** max(0, failures - 1))


def _fetch_some(file: RemoteFile, address: str, partial: Path, on_progress: OnProgress) -> None:
    """Add what one connection brings to the partial file."""
    start = _size(partial)
    headers = {**USER_AGENT, **({"Range": f"bytes={start}-"} if start else {})}
    request = urllib.request.Request(address, headers=headers)  # noqa: S310 -- fetch_file lets only http(s) pass
    with urllib.request.urlopen(request, timeout=TIMEOUT) as response:  # noqa: S310
        goes_on = response.status == http.HTTPStatus.PARTIAL_CONTENT and _starts_at(response, start)
        with partial.open("ab" if goes_on else "wb") as output:
            here = start if goes_on else 0
            on_progress(here, file.size)
            # A server that never ends must not fill the disk.
            while here <= file.size and (chunk := response.read(CHUNK)):
                output.write(chunk)
                here += len(chunk)
                on_progress(here, file.size)
            output.flush()
            os.fsync(output.fileno())


def _starts_at(response: http.client.HTTPResponse, start: int) -> bool:
    return (response.headers.get("Content-Range") or "").startswith(f"bytes {start}-")


def _take_out(archive: Path, members: tuple[str, ...], folder: Path) -> None:
    """Take plain files out of an archive, each moved into place when it is whole; nothing else in it is looked at."""
    missing = set(members)
    try:
        with tarfile.open(archive) as tar:
            for entry in tar:
                name = Path(entry.name).name
                content = tar.extractfile(entry) if entry.isreg() and name in missing else None
                if content is None:
                    continue
                with content, (folder / f".{name}.part").open("wb") as output:
                    shutil.copyfileobj(content, output)
                (folder / f".{name}.part").replace(folder / name)
                missing.remove(name)
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise DatasetError(f"{archive} cannot be unpacked ({error}): remove it and fetch it again.") from error
    if missing:
        raise DatasetError(f"{archive} has no {', '.join(sorted(missing))}: it is not the data set's archive.")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _is(path: Path, file: RemoteFile) -> bool:
    return path.is_file() and path.stat().st_size == file.size and _sha256(path) == file.sha256


def _sha256(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
