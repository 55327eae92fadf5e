import gzip
import hashlib
import struct
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from django.core.management import CommandError, call_command

from analysis.metrics import weights
from analysis.metrics.fashion import WEIGHTS, accuracy, load_fashion
from analysis.metrics.features import load_extractor
from generation.datasets import load_dataset
from generation.datasets.downloads import Published, RemoteFile
from generation.errors import CheckpointError
from generation.presets import load_preset

CLOTHES = Path("/usr/share/datasets/fashion-mnist")


class Quiet(SimpleHTTPRequestHandler):
    """A file server that prints nothing."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the base class's name
        """Say nothing."""


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder and the address that it is served at."""
    folder = tmp_path / "served"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> bytes:
    """A small file in place of the published one."""
    content = b"weights" * 1000
    file = RemoteFile(weights.INCEPTION_FILE, len(content), hashlib.sha256(content).hexdigest())
    monkeypatch.setitem(weights.WEIGHTS, "inception", Published("http://elsewhere.invalid/", (file,)))
    return content


def test_published_weights_are_fetched_and_verified(
    mirror: tuple[Path, str], tmp_path: Path, published: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, address = mirror
    (folder / weights.INCEPTION_FILE).write_bytes(published)

    call_command("fetch_weights", "inception", "--output", str(tmp_path / "here"), "--mirror", address)

    assert (tmp_path / "here" / weights.INCEPTION_FILE).read_bytes() == published
    assert f"{weights.INCEPTION_FILE}: give it to compute_metrics as --weights" in capsys.readouterr().out


def test_another_file_than_the_published_one_is_refused(
    mirror: tuple[Path, str], tmp_path: Path, published: bytes
) -> None:
    folder, address = mirror
    (folder / weights.INCEPTION_FILE).write_bytes(published[::-1])

    with pytest.raises(CommandError, match="not the published file"):
        call_command("fetch_weights", "inception", "--output", str(tmp_path / "here"), "--mirror", address)
    assert not (tmp_path / "here" / weights.INCEPTION_FILE).exists()


def test_the_published_files_name_carries_its_sums_beginning() -> None:
    assert f"-{weights.WEIGHTS['inception'].files[0].sha256[:8]}.pth" in weights.INCEPTION_FILE


def write_clothes(folder: Path, count: int) -> Path:
    """Write IDX files of ten classes, told by the height of a bright band."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for split in ("train", "t10k"):
        labels = (np.arange(count) % 10).astype(np.uint8)
        images = rng.integers(0, 60, (count, 28, 28)).astype(np.uint8)
        for place, label in enumerate(labels):
            images[place, 2 * label + 4 : 2 * label + 8] += 150
        for name, values in ((f"{split}-images-idx3-ubyte", images), (f"{split}-labels-idx1-ubyte", labels)):
            header = bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
            (folder / f"{name}.gz").write_bytes(gzip.compress(header + values.tobytes()))
    return folder


def test_one_seed_trains_one_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_clothes(tmp_path / "clothes", 128)
    for name, seed in (("first", 0), ("again", 0), ("other", 1)):
        output = ("--output", str(tmp_path / f"{name}.safetensors"), "--epochs", "1", "--seed", str(seed))
        call_command("train_features", "--data", str(data), *output)

    first, again, other = (
        load_fashion(tmp_path / f"{name}.safetensors").head.weight for name in ("first", "again", "other")
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert "% of the test images are told right" in capsys.readouterr().out


@pytest.mark.skipif(not CLOTHES.is_dir(), reason="Debian's package dataset-fashion-mnist is not installed")
def test_the_shipped_network_tells_clothes_apart_as_its_card_says() -> None:
    images = load_dataset(CLOTHES, load_preset("fashion32").image, "test").subset(2000)

    # 91 % of all 10,000; of 2,000 the standard error is 0.6 points.
    assert accuracy(load_fashion(), images) == pytest.approx(0.91, abs=0.025)


def test_the_shipped_network_is_small_and_tells_sizes_apart_from_margins() -> None:
    assert WEIGHTS.stat().st_size < 1.5e6
    extractor = load_extractor("fashion")
    images = np.random.default_rng(0).integers(0, 256, (3, 28, 28, 1), dtype=np.uint8)
    padded = np.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0)))

    features = extractor(images).pool

    assert features.shape == (3, 128)
    assert torch.equal(features, extractor(padded).pool)
    assert bool((features >= 0).all())


def test_other_weights_than_the_networks_are_refused(tmp_path: Path) -> None:
    torch.save({"head.weight": torch.zeros(2, 2)}, tmp_path / "other.pt")

    with pytest.raises(CheckpointError, match=r"is of another network: it lacks body\.0\.weight .* Leave --weights"):
        load_fashion(tmp_path / "other.pt")
