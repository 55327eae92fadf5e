import csv
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from PIL import Image as PillowImage
from PIL.PngImagePlugin import PngInfo

from generation.models import GeneratedImage, GenerationRun
from survey.services import create_study

pytestmark = pytest.mark.django_db

COLUMNS = ["pair", "class_index", "class_name", "seed", "arm", "file", "sha256"]


@pytest.fixture(autouse=True)
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(settings, "DATA_DIR", tmp_path / "data")
    return tmp_path / "data"


Rows = list[dict[str, Any]]


@pytest.fixture
def rows(tmp_path: Path) -> Rows:
    """Two pairs of a GAN's and a diffusion model's images, with text chunks that name the model."""
    made: Rows = []
    for pair in range(2):
        for shade, arm in enumerate(("gan", "ddpm")):
            info = PngInfo()
            info.add_text("model", arm)
            pixels = np.full((6, 6, 3), 40 * pair + 90 * shade, dtype=np.uint8)
            made.append({"pair": pair, "class_index": pair, "class_name": f"c{pair}", "seed": 7, "arm": arm})
            made[-1]["file"] = f"{arm}{pair}.png"
            PillowImage.fromarray(pixels).save(tmp_path / made[-1]["file"], pnginfo=info)
            made[-1]["sha256"] = sha256(tmp_path / made[-1]["file"])
    return made


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def load(tmp_path: Path, rows: Rows, columns: list[str] = COLUMNS, name: str = "others") -> None:
    path = tmp_path / "manifest.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    call_command("import_pairs", str(path), name=name)


def test_imported_pairs_become_plain_images_and_a_study(tmp_path: Path, rows: Rows, data_dir: Path) -> None:
    load(tmp_path, rows)
    assert [(run.arm, run.preset) for run in GenerationRun.objects.filter(name="others")] == [
        ("ddpm", "imported"),
        ("gan", "imported"),
    ]
    for image in GeneratedImage.objects.select_related("run"):
        assert image.path.is_relative_to(data_dir)
        assert sha256(image.path) == image.sha256
        content = image.path.read_bytes()
        assert b"tEXt" not in content
        assert b"gan" not in content
        with (
            PillowImage.open(image.path) as copy,
            PillowImage.open(tmp_path / f"{image.run.arm}{image.pair_index}.png") as own,
        ):
            assert np.array_equal(np.asarray(copy), np.asarray(own))
    assert create_study(slug="mine", pairs_name="others").pairs.count() == 2


def test_all_images_get_one_mode(tmp_path: Path, rows: Rows) -> None:
    PillowImage.fromarray(np.full((6, 6), 9, dtype=np.uint8)).save(tmp_path / "gan0.png")
    rows[0]["sha256"] = sha256(tmp_path / "gan0.png")
    load(tmp_path, rows)
    modes = set()
    for image in GeneratedImage.objects.select_related("run"):
        with PillowImage.open(image.path) as copy:
            modes.add(copy.mode)
    assert modes == {"RGB"}


def edit(index: int, **values: object) -> Any:
    return lambda rows: rows[index].update(values)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (edit(1, seed=8), r"line 3: seed is 8, but line 2 of the same pair has 7"),
        (edit(1, class_index=5), r"line 3: class_index is 5, but line 2"),
        (edit(1, class_name="cat"), r"line 3: class_name is 'cat', but line 2"),
        (edit(1, arm="gan"), r"line 3: pair 0 has arm 'gan' on line 2 too"),
        (lambda rows: rows.pop(), r"line 4: pair 1 has no image of arm 'ddpm'"),
        (edit(2, sha256="0" * 64), r"line 4: gan1.png is not the file that sha256 tells"),
        (edit(2, file="absent.png"), r"line 4: no file absent.png"),
        (edit(2, file="../outside.png"), r"line 4: ../outside.png lies outside"),
        (edit(2, pair="-1"), r"line 4: pair is '-1'"),
        (edit(2, pair="1.0"), r"line 4: pair is '1.0'"),
        (edit(2, arm="a/b"), r"line 4: arm is 'a/b'"),
        (edit(2, class_name=""), r"line 4: class_name is empty"),
        (lambda rows: rows.clear(), r"lists no images"),
    ],
)
def test_a_wrong_line_is_named_and_nothing_is_entered(
    tmp_path: Path, rows: Rows, data_dir: Path, change: Any, message: str
) -> None:
    change(rows)
    with pytest.raises(CommandError, match=message):
        load(tmp_path, rows)
    assert not GenerationRun.objects.exists()
    assert not list(data_dir.rglob("*.png"))


def test_a_missing_column_is_named(tmp_path: Path, rows: Rows) -> None:
    with pytest.raises(CommandError, match=r"line 1: no column seed, sha256"):
        load(tmp_path, rows, [column for column in COLUMNS if column not in {"seed", "sha256"}])


def test_images_of_one_pair_must_be_of_one_size(tmp_path: Path, rows: Rows) -> None:
    PillowImage.fromarray(np.zeros((7, 6, 3), dtype=np.uint8)).save(tmp_path / "ddpm1.png")
    rows[3]["sha256"] = sha256(tmp_path / "ddpm1.png")
    with pytest.raises(CommandError, match=r"line 5: ddpm1.png is 6x7, but line 4 of the same pair is 6x6"):
        load(tmp_path, rows)


@pytest.mark.parametrize("content", [b"", b"not an image"])
def test_a_file_that_is_no_image_is_named(tmp_path: Path, rows: Rows, content: bytes) -> None:
    (tmp_path / "gan1.png").write_bytes(content)
    rows[2]["sha256"] = sha256(tmp_path / "gan1.png")
    with pytest.raises(CommandError, match=r"line 4: gan1.png is no image that can be read"):
        load(tmp_path, rows)


def test_a_transparent_image_is_refused(tmp_path: Path, rows: Rows) -> None:
    PillowImage.new("RGBA", (6, 6)).save(tmp_path / "gan1.png")
    rows[2]["sha256"] = sha256(tmp_path / "gan1.png")
    with pytest.raises(CommandError, match=r"line 4: gan1.png is transparent"):
        load(tmp_path, rows)


def test_a_name_is_taken_once(tmp_path: Path, rows: Rows) -> None:
    load(tmp_path, rows)
    with pytest.raises(CommandError, match="name 'others' is taken"):
        load(tmp_path, rows)
    with pytest.raises(CommandError, match="use at most 80 letters"):
        load(tmp_path, rows, name="Other pairs")
