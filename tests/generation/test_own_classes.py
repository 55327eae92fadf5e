"""Somebody's own data, from images to a survey: a folder of class folders and a TOML preset are all it needs."""

import csv
import textwrap
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.core.management import CommandError, call_command
from PIL import Image as PillowImage

from generation.checkpoints import read_metadata
from generation.presets import PRESETS, load_preset
from survey.models import Study
from tests.generation.conftest import TINY

README = Path(__file__).resolve().parents[2] / "README.md"
CLASSES = ("daisy", "rose", "tulip")
TRAINING = ("diffusion", "vanilla", "robust")


@pytest.fixture
def flowers(tmp_path: Path) -> Path:
    """Four pictures of each flower, of any sizes."""
    draws = np.random.default_rng(0)
    for colour, name in enumerate(CLASSES):
        folder = tmp_path / "flowers" / name
        folder.mkdir(parents=True)
        for index in range(4):
            pixels = draws.integers(0, 90, (9 + index, 12, 3), dtype=np.uint8)
            pixels[..., colour] += 150
            PillowImage.fromarray(pixels).save(folder / f"{index}.png")
    return tmp_path / "flowers"


def own_preset(tmp_path: Path, image: str) -> Path:
    path = tmp_path / "flowers.toml"
    sections = TINY[TINY.index("[diffusion]") :].replace("batch_size = 8", "batch_size = 4")
    path.write_text(f"[image]\nsize = 8\nchannels = 3\n{image}\n\n{sections}")
    return path


def manage(*arguments: Any, **options: Any) -> None:
    call_command(*[str(argument) for argument in arguments], stdout=StringIO(), **options)


def train(preset: Path, data: Path, output: Path) -> dict[str, Path]:
    options = {"data": data, "output": output, "iterations": 2}
    manage("train_diffusion", preset, **options)
    for kind in ("vanilla", "robust"):
        manage("train_classifier", preset, kind=kind, **options)
    return {kind: output / f"{kind}.safetensors" for kind in TRAINING}


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ('class_names = ["tulip", "daisy", "rose"]', ["tulip", "daisy", "rose"]),
        # The folders' names, sorted.
        ("", ["daisy", "rose", "tulip"]),
    ],
)
def test_images_and_a_preset_become_a_survey(flowers: Path, tmp_path: Path, names: str, expected: list[str]) -> None:
    preset, pairs = own_preset(tmp_path, f"classes = 3\n{names}"), tmp_path / "pairs"
    networks = train(preset, flowers, tmp_path / "runs")
    for path in networks.values():
        metadata = read_metadata(path)
        assert metadata is not None
        assert list(metadata.class_names) == expected
    manage("generate_pairs", preset, count=2, seed=1, output=pairs, classes=["rose", "tulip"], steps="2", **networks)
    with (pairs / "manifest.csv").open(newline="") as file:
        shown = {(expected[int(line["class_index"])], line["class_name"]) for line in csv.DictReader(file)}
    assert shown == {("rose", "rose"), ("tulip", "tulip")}
    manage("create_study", "flowers", pairs="pairs")
    assert set(Study.objects.get(slug="flowers").pairs.values_list("class_name", flat=True)) == {"rose", "tulip"}


def test_the_readmes_preset_is_a_shipped_one_with_another_image_section(tmp_path: Path) -> None:
    block = README.read_text().split("\n    [image]\n")[1].split("\n\n")[0]
    shipped = (PRESETS / "fashion32.toml").read_text()
    path = tmp_path / "flowers.toml"
    path.write_text(f"[image]\n{textwrap.dedent(block)}\n\n{shipped[shipped.index('[diffusion]') :]}")
    preset = load_preset(path)
    assert preset.image.class_names == CLASSES
    assert preset.image.channels == 3
    assert preset.training.classifier is not None
    assert preset.training.diffusion is not None


def test_a_folder_may_be_named_by_a_synonym(flowers: Path, tmp_path: Path) -> None:
    names = 'classes = 3\nclass_names = ["daisy", "red rose", "tulip"]\n\n[image.synonyms]\nrose = "red rose"'
    preset = own_preset(tmp_path, names)
    manage("train_classifier", preset, kind="vanilla", data=flowers, output=tmp_path / "runs", iterations=1)
    metadata = read_metadata(tmp_path / "runs" / "vanilla.safetensors")
    assert metadata is not None
    assert metadata.class_names == ("daisy", "red rose", "tulip")


def test_a_preset_that_misses_a_folders_class_is_refused(flowers: Path, tmp_path: Path) -> None:
    preset = own_preset(tmp_path, 'classes = 2\nclass_names = ["daisy", "rose"]')
    with pytest.raises(CommandError, match="'tulip', which is none of daisy, rose"):
        manage("train_diffusion", preset, data=flowers, output=tmp_path / "runs")


def test_a_training_is_not_resumed_with_other_folders(flowers: Path, tmp_path: Path) -> None:
    preset = own_preset(tmp_path, "classes = 3")
    train(preset, flowers, tmp_path / "runs")
    (flowers / "daisy").rename(flowers / "violet")
    with pytest.raises(CommandError, match="is of another training: its image differs"):
        manage("train_diffusion", preset, data=flowers, output=tmp_path / "runs", iterations=3, resume=True)
