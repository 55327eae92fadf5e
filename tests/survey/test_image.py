"""`/s/<slug>/image/<token>/<side>.png`: a rater's own trials, pixels and nothing else."""

import io
import struct
from pathlib import Path

import pytest
from django.test import Client
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from survey.images import plain_png
from survey.models import Rater, Study

from .factories import first_trial, make_rater

pytestmark = pytest.mark.django_db


def address(rater: Rater, side: str = "left") -> str:
    return f"/s/demo/image/{first_trial(rater).token}/{side}.png"


def pixels(data: bytes) -> bytes:
    with Image.open(io.BytesIO(data)) as image:
        return image.convert("RGB").tobytes()


def chunks(data: bytes) -> list[bytes]:
    """Return the types of a PNG's chunks."""
    types, at = [], 8
    while at < len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        types.append(data[at + 4 : at + 8])
        at += 12 + length
    return types


def test_each_side_is_the_stored_image(browser: Client, rater: Rater) -> None:
    trial = first_trial(rater)
    for side, stored in (("left", trial.left_image), ("right", trial.right_image)):
        reply = browser.get(address(rater, side))
        assert reply.status_code == 200
        assert stored is not None
        assert pixels(reply.content) == pixels(stored.path.read_bytes())


def test_both_sides_have_the_same_headers_and_none_tells_of_the_file(browser: Client, rater: Rater) -> None:
    left, right = (dict(browser.get(address(rater, side)).headers) for side in ("left", "right"))
    for headers in (left, right):
        headers.pop("Content-Length")
        assert not headers.keys() & {"ETag", "Last-Modified", "Content-Disposition", "Set-Cookie"}
    assert left == right
    assert left["Content-Type"] == "image/png"
    assert "private" in left["Cache-Control"]


@pytest.mark.parametrize("side", ["first", "LEFT", "left.png"])
def test_an_unknown_side_is_a_404(browser: Client, rater: Rater, side: str) -> None:
    assert browser.get(address(rater, side)).status_code == 404


def test_a_stranger_gets_a_404(client: Client, rater: Rater) -> None:
    assert client.get(address(rater)).status_code == 404


def test_another_rater_gets_a_404(browser: Client, study: Study) -> None:
    assert browser.get(address(make_rater(study, seed=2))).status_code == 404


def test_a_missing_file_is_a_404_that_tells_no_path(
    browser: Client, rater: Rater, caplog: pytest.LogCaptureFixture
) -> None:
    image = first_trial(rater).left_image
    assert image is not None
    image.path.unlink()
    reply = browser.get(address(rater))
    assert reply.status_code == 404
    assert f"An image of pair {first_trial(rater).pair_id} is missing" in caplog.text
    for told in (reply.content.decode(), caplog.text):
        assert image.run.directory not in told
        assert image.file not in told


def test_metadata_is_not_sent(browser: Client, rater: Rater) -> None:
    image = first_trial(rater).left_image
    assert image is not None
    path = image.path
    info = PngInfo()
    info.add_text("Comment", "robust")
    info.add_itxt("Software", "robust")
    with Image.open(path) as opened:
        opened.save(path, pnginfo=info, dpi=(72, 72), exif=b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x00robust")
    assert b"robust" in path.read_bytes()
    sent = browser.get(address(rater)).content
    assert b"robust" not in sent
    assert chunks(sent) == [b"IHDR", b"IDAT", b"IEND"]


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA"])
def test_equal_pixels_give_equal_bytes_whatever_the_files_mode(tmp_path: Path, mode: str) -> None:
    black_and_white = Image.new("L", (4, 4), 0)
    black_and_white.paste(255, (0, 0, 2, 4))
    black_and_white.convert("RGB").save(tmp_path / "reference.png")
    black_and_white.convert("RGB").convert(mode).save(tmp_path / "image.png", compress_level=1)
    assert plain_png(tmp_path / "image.png") == plain_png(tmp_path / "reference.png")


def test_transparent_pixels_show_the_surround(tmp_path: Path) -> None:
    Image.new("RGBA", (1, 1), (255, 0, 0, 0)).save(tmp_path / "image.png")
    assert pixels(plain_png(tmp_path / "image.png")) == bytes([117, 117, 117])
