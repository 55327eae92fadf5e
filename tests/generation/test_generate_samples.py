import csv
import hashlib
import io
import json
import zipfile
from collections import Counter
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.core.management import CommandError, call_command
from PIL import Image as PillowImage

from generation.archives import ArchiveParts
from generation.folders import ImageFolder
from generation.noise import choose_labels

Generate = Any


@pytest.fixture
def generate(tiny_path: Path, weights: dict[str, Path]) -> Generate:
    def run(output: Path, command: str = "generate_samples", preset: Path = tiny_path, **options: Any) -> str:
        out = StringIO()
        settings = {"count": 7, "batch_size": 3, **weights, **options}
        if command == "generate_samples":
            settings = {"guidance": "robust", **settings}
        call_command(command, str(preset), output=output, stdout=out, **settings)
        return out.getvalue()

    return run


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def pixels(path: Path) -> np.ndarray:
    with PillowImage.open(path) as image:
        return np.asarray(image)


def test_a_folder_has_flat_pngs_and_a_manifest_that_agrees(generate: Generate, tmp_path: Path) -> None:
    assert "7 robust samples" in generate(tmp_path / "out")
    names = [f"{index:06d}.png" for index in range(7)]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [*names, "manifest.csv", "settings.json"]
    with (tmp_path / "out" / "manifest.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [(line["file"], line["arm"], line["pair"]) for line in lines] == [
        (name, "robust", str(index)) for index, name in enumerate(names)
    ]
    for line in lines:
        assert hashlib.sha256((tmp_path / "out" / line["file"]).read_bytes()).hexdigest() == line["sha256"]


def test_an_npz_holds_the_same_pixels_and_the_classes(generate: Generate, tmp_path: Path) -> None:
    generate(tmp_path / "out")
    generate(tmp_path / "out.npz")
    with np.load(tmp_path / "out.npz", allow_pickle=False) as archive:
        assert archive.files == ["arr_0", "arr_1"]
        images, labels = archive["arr_0"], archive["arr_1"]
    assert (images.shape, images.dtype) == ((7, 8, 8, 1), np.uint8)
    assert (labels.shape, labels.dtype) == ((7,), np.int64)
    for index, image in enumerate(images):
        assert np.array_equal(image[:, :, 0], pixels(tmp_path / "out" / f"{index:06d}.png"))
    assert labels.tolist() == choose_labels(0, range(7), [0, 1, 2])
    assert sorted(Counter(labels.tolist()).values()) == [2, 2, 3]
    assert sorted(path.name for path in tmp_path.glob("out.npz*")) == ["out.npz", "out.npz.provenance.json"]


def test_an_npz_is_what_numpy_itself_would_write(generate: Generate, tmp_path: Path) -> None:
    generate(tmp_path / "out.npz")
    with np.load(tmp_path / "out.npz") as archive:
        images, labels = archive["arr_0"], archive["arr_1"]
    buffer = io.BytesIO()
    np.savez(buffer, images, labels)
    with zipfile.ZipFile(buffer) as theirs, zipfile.ZipFile(tmp_path / "out.npz") as ours:
        assert ours.namelist() == theirs.namelist()
        assert all(ours.read(name) == theirs.read(name) for name in theirs.namelist())


@pytest.mark.django_db
@pytest.mark.parametrize("arm", ["robust", "vanilla"])
def test_samples_are_an_arm_of_the_pairs_with_the_same_seed(generate: Generate, tmp_path: Path, arm: str) -> None:
    """At 5 pairs a batch each arm has U-Net batches of its own on a processor, so that even the rounding agrees."""
    generate(tmp_path / "pairs", "generate_pairs", count=7, seed=4, batch_size=5)
    generate(tmp_path / "samples", guidance=arm, seed=4, batch_size=5)
    for index in range(5):
        name = f"{index:06d}.png"
        assert (tmp_path / "samples" / name).read_bytes() == (tmp_path / "pairs" / arm / name).read_bytes()
    for name in ("000005.png", "000006.png"):
        difference = pixels(tmp_path / "samples" / name).astype(int) - pixels(tmp_path / "pairs" / arm / name)
        assert abs(difference).max() <= 1


def test_guidance_scale_seed_and_classes_matter(generate: Generate, tmp_path: Path) -> None:
    generate(tmp_path / "plain.npz")
    with np.load(tmp_path / "plain.npz") as archive:
        plain = archive["arr_0"]
    others: dict[str, dict[str, Any]] = {
        "scale": {"scale": 300.0},
        "vanilla": {"guidance": "vanilla", "scale": 300.0},
        "unguided": {"guidance": "unguided", "vanilla": None, "robust": None},
        "seed": {"seed": 1},
        "classes": {"classes": ["bag"]},
    }
    for name, options in others.items():
        generate(tmp_path / f"{name}.npz", **options)
        with np.load(tmp_path / f"{name}.npz") as archive:
            assert (archive["arr_0"] != plain).any(), name
            if name == "classes":
                assert set(archive["arr_1"].tolist()) == {2}


def test_unguided_is_scale_0(generate: Generate, tmp_path: Path) -> None:
    generate(tmp_path / "unguided.npz", guidance="unguided")
    generate(tmp_path / "zero.npz", scale=0.0)
    assert (tmp_path / "unguided.npz").read_bytes() == (tmp_path / "zero.npz").read_bytes()


def test_the_classifier_may_be_named_for_the_guidance(
    generate: Generate, tmp_path: Path, weights: dict[str, Path]
) -> None:
    generate(tmp_path / "robust.npz")
    generate(tmp_path / "named.npz", robust=None, classifier=weights["robust"])
    assert (tmp_path / "robust.npz").read_bytes() == (tmp_path / "named.npz").read_bytes()


class Killed(BaseException):
    """Like SIGKILL, it is nobody's to catch."""


@pytest.mark.parametrize("name", ["out", "out.npz"])
def test_a_killed_run_resumes_to_the_bytes_of_an_uninterrupted_one(
    generate: Generate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    generate(tmp_path / "whole" / name)
    store: Any = ArchiveParts if name.endswith(".npz") else ImageFolder
    write = store.write

    def killed(self: Any, batch: range, made: Any) -> None:
        write(self, batch, made)
        if batch.start == 3:
            last = max(path for path in self.folder.iterdir() if path.suffix in {".npy", ".png"})
            last.write_bytes(last.read_bytes()[:40])
            (self.folder / f".{last.name}.abcd1234").write_bytes(b"half")
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(store, "write", killed)
        with pytest.raises(Killed):
            generate(tmp_path / "killed" / name)
    if name.endswith(".npz"):
        assert not (tmp_path / "killed" / name).exists()
    generate(tmp_path / "killed" / name)
    found, expected = content(tmp_path / "killed"), content(tmp_path / "whole")
    sessions = json.loads(found.pop(f"{name}.provenance.json"))["sessions"]
    assert [session["finished_at"] is None for session in sessions] == [True, False]
    expected.pop(f"{name}.provenance.json")
    assert found == expected


def test_a_run_killed_while_packing_is_packed_again(
    generate: Generate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generate(tmp_path / "whole.npz")

    def killed(self: ArchiveParts) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(ArchiveParts, "remove", killed)
        with pytest.raises(Killed):
            generate(tmp_path / "killed.npz")
    (tmp_path / "killed.npz.provenance.json").unlink()
    generate(tmp_path / "killed.npz")
    assert (tmp_path / "killed.npz").read_bytes() == (tmp_path / "whole.npz").read_bytes()
    assert not (tmp_path / "killed.npz.parts").exists()


@pytest.mark.parametrize("name", ["out", "out.npz"])
def test_finished_samples_are_not_made_again(generate: Generate, tmp_path: Path, name: str) -> None:
    generate(tmp_path / name)
    document = (tmp_path / f"{name}.provenance.json").read_bytes()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.png")}
    archive = (tmp_path / name).stat().st_mtime_ns if name.endswith(".npz") else 0
    generate(tmp_path / name)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.png")} == before
    assert not archive or (tmp_path / name).stat().st_mtime_ns == archive
    assert (tmp_path / f"{name}.provenance.json").read_bytes() == document


def test_more_samples_may_be_added_to_a_folder(generate: Generate, tmp_path: Path) -> None:
    generate(tmp_path / "out", count=6)
    generate(tmp_path / "out", count=9)
    generate(tmp_path / "nine", count=9)
    assert content(tmp_path / "out") == content(tmp_path / "nine")
    with pytest.raises(CommandError, match="holds more than 6 already"):
        generate(tmp_path / "out", count=6)


def test_provenance_tells_settings_code_device_and_libraries(generate: Generate, tmp_path: Path) -> None:
    generate(tmp_path / "out.npz")
    document = json.loads((tmp_path / "out.npz.provenance.json").read_text())
    assert document["settings"]["robust"]["preset"]["name"] == "tiny"
    assert document["settings"]["robust"]["classifier_sha256"] != document["settings"]["robust"]["diffusion_sha256"]
    (session,) = document["sessions"]
    assert session["processes"] == len(session["devices"]) == 1
    assert session["devices"][0]["type"] == "cpu"
    assert session["started_at"] <= session["finished_at"]
    assert set(session["code"]) == {"version", "revision", "dirty"}
    assert {"python", "torch", "numpy", "pillow", "platform"} <= set(session["software"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"guidance": "unguided", "scale": 1.0}, "unguided takes no --classifier and no --scale"),
        ({"classifier": Path("x.safetensors")}, "--classifier and --robust both name the classifier"),
        ({"robust": None}, "No robust weights are shipped for preset tiny: give --robust FILE"),
        ({"robust": Path("absent.pt")}, "No checkpoint absent.pt"),
        ({"scale": -1.0}, "scale -1.0 cannot be"),
        ({"scale": 1e38}, "not finite: lower the guidance scale"),
        ({"classes": ["shirt"]}, "No class 'shirt'"),
        ({"steps": "0"}, "Respacing '0'"),
    ],
)
@pytest.mark.parametrize("name", ["out", "out.npz"])
def test_what_cannot_be_made_is_one_clear_line_and_makes_no_samples(
    generate: Generate, tmp_path: Path, options: dict[str, Any], message: str, name: str
) -> None:
    with pytest.raises(CommandError, match=message):
        generate(tmp_path / name, **options)
    assert not (tmp_path / "out.npz").exists()
    assert not list(tmp_path.rglob("*.png"))
    assert not list(tmp_path.rglob("*.npy"))


@pytest.mark.parametrize("name", ["out", "out.npz"])
def test_samples_made_otherwise_are_left_alone(generate: Generate, tmp_path: Path, name: str) -> None:
    generate(tmp_path / name)
    before = content(tmp_path)
    with pytest.raises(CommandError, match=r"made with another seed \(0, now 5\)"):
        generate(tmp_path / name, seed=5)
    with pytest.raises(CommandError, match=r"another set of arms \(robust, now vanilla\)"):
        generate(tmp_path / name, guidance="vanilla")
    if name.endswith(".npz"):
        with pytest.raises(CommandError, match="is finished, with 7 samples"):
            generate(tmp_path / name, count=8)
    assert content(tmp_path) == before


def test_an_npz_that_is_somebody_elses_is_left_alone(generate: Generate, tmp_path: Path) -> None:
    (tmp_path / "out.npz").write_bytes(b"mine")
    with pytest.raises(CommandError, match=r"out.npz exists already"):
        generate(tmp_path / "out.npz")
    assert (tmp_path / "out.npz").read_bytes() == b"mine"
