import math
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from django.core.management import call_command
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pillow

from generation.datasets import load_dataset
from generation.datasets.augmentation import Augmentation, crop_offsets, draw_augmentation, unaugmented
from generation.datasets.folders import ImageFiles
from generation.errors import DatasetError
from generation.presets import Image

COLOUR = Image(16, 3, 2)


def smooth(width: int, height: int, seed: int = 0) -> Pillow.Image:
    """A picture without sharp edges, each different."""
    coarse = np.random.default_rng(seed).integers(70, 186, (4, 4, 3), dtype=np.uint8)
    return Pillow.fromarray(coarse).resize((width, height), Pillow.Resampling.BICUBIC)


def fill(folder: Path, count: int, seed: int = 0) -> None:
    folder.mkdir(parents=True)
    for index in range(count):
        smooth(20 + index, 24, seed + index).save(folder / f"{index:02}.png")


@pytest.fixture
def heap(tmp_path: Path) -> Path:
    """Two classes of 20 and 12 images, in one heap."""
    fill(tmp_path / "heap" / "ants", 20)
    fill(tmp_path / "heap" / "bees", 12, seed=100)
    return tmp_path / "heap"


def paths(folder: Path, split: str, **options: Path) -> set[Path]:
    found = load_dataset(folder, COLOUR, split, **options)  # type: ignore[arg-type]
    assert isinstance(found.images, ImageFiles)
    return {found.images.path(row) for row in range(len(found))}


def reference_crop(picture: Pillow.Image, size: int, side: int) -> Pillow.Image:
    """Written down once more from the published training's description: halve by averages, then bicubic."""
    while min(picture.size) >= 2 * side:
        picture = picture.resize((picture.size[0] // 2, picture.size[1] // 2), Pillow.Resampling.BOX)
    ratio = side / min(picture.size)
    return picture.resize((round(picture.size[0] * ratio), round(picture.size[1] * ratio)), Pillow.Resampling.BICUBIC)


@pytest.mark.parametrize(("width", "height"), [(16, 16), (16, 40), (37, 23), (70, 101), (200, 64), (9, 30)])
def test_validation_images_are_the_middle_at_the_presets_size(tmp_path: Path, width: int, height: int) -> None:
    for name, seed in (("a", 1), ("b", 2)):
        (tmp_path / name).mkdir()
        smooth(width, height, seed).save(tmp_path / name / "only.png")
        smooth(64, 64, seed).save(tmp_path / name / "other.png")
    found = load_dataset(tmp_path, COLOUR, "train", validation=tmp_path)
    assert isinstance(found.images, ImageFiles)
    row = next(row for row in range(4) if found.images.path(row) == tmp_path / "b" / "only.png")
    resized = reference_crop(smooth(width, height, 2), 16, 16)
    left, top = (resized.width - 16) // 2, (resized.height - 16) // 2
    expected = np.asarray(resized.crop((left, top, left + 16, top + 16)))
    assert (found.images[row : row + 1][0].permute(1, 2, 0).numpy() == expected).all()
    assert found.labels[row] == 1


def test_a_training_image_is_cropped_and_mirrored_as_drawn(heap: Path) -> None:
    found = load_dataset(heap, COLOUR, "train", validation=heap)
    assert isinstance(found.images, ImageFiles)
    draws = draw_augmentation(Augmentation(random_crop=True, random_flip=True), 0, 0, 32, 16)
    images, labels = found.batch(np.arange(32), draws)
    assert torch.equal(labels, found.labels)
    assert 0 < draws.flips.sum() < 32
    for row in range(32):
        resized = reference_crop(Pillow.open(found.images.path(row)), 16, int(draws.sides[row]))
        # Every place is as likely: h - 16 + 1 of them, numbered from 0.
        top = math.floor(draws.places[row, 0] * (resized.height - 15))
        left = math.floor(draws.places[row, 1] * (resized.width - 15))
        expected = np.asarray(resized)[top : top + 16, left : left + 16]
        if draws.flips[row]:
            expected = expected[:, ::-1]
        assert (images[row].permute(1, 2, 0).numpy() == expected).all()


@given(st.integers(1, 300), st.integers(16, 400))
def test_the_middle_is_the_middle(size: int, side: int) -> None:
    side = max(side, size)
    found = crop_offsets(unaugmented(1, size).places, np.array([[side]]), size)
    assert found.tolist() == [[(side - size) // 2] * 2]


def test_a_heap_is_divided_once_and_for_all(heap: Path) -> None:
    train, held_out = paths(heap, "train"), paths(heap, "test")
    assert train.isdisjoint(held_out)
    assert train | held_out == set(heap.glob("*/*.png"))
    # A tenth of each class, rounded up.
    assert [len(held_out & set((heap / name).iterdir())) for name in ("ants", "bees")] == [2, 2]
    assert (paths(heap, "train"), paths(heap, "test")) == (train, held_out)
    moved = heap.rename(heap.parent / "elsewhere")
    assert {path.relative_to(moved) for path in paths(moved, "test")} == {path.relative_to(heap) for path in held_out}


def test_a_heaps_images_all_train_where_others_are_held_out(heap: Path, tmp_path: Path) -> None:
    fill(tmp_path / "other" / "ants", 1)
    fill(tmp_path / "other" / "bees", 2)
    assert len(paths(heap, "train", validation=tmp_path / "other")) == 32
    assert paths(heap, "test", validation=tmp_path / "other") == set((tmp_path / "other").glob("*/*.png"))


def test_splits_with_folders_of_their_own_are_taken_as_they_are(tmp_path: Path) -> None:
    fill(tmp_path / "train" / "ants", 3)
    fill(tmp_path / "train" / "bees", 2)
    fill(tmp_path / "val" / "bees", 2)
    found = load_dataset(tmp_path, COLOUR, "train")
    assert (len(found), found.class_names) == (5, ("ants", "bees"))
    held_out = load_dataset(tmp_path, COLOUR, "test")
    # The held-out images lack a class; the other one keeps its number.
    assert held_out.labels.tolist() == [1, 1]


def test_a_folder_without_held_out_images_says_how_to_name_some(tmp_path: Path) -> None:
    fill(tmp_path / "train" / "ants", 3)
    fill(tmp_path / "train" / "bees", 2)
    with pytest.raises(DatasetError, match=r"has train/ but no val/: name held-out images with --validation"):
        load_dataset(tmp_path, COLOUR, "test")


def test_labels_are_in_the_presets_order(heap: Path) -> None:
    image = Image(16, 3, 2, ("bee", "ant"), {"ants": "ant", "bees": "bee"})
    found = load_dataset(heap, image, "train")
    assert isinstance(found.images, ImageFiles)
    for row, label in enumerate(found.labels.tolist()):
        assert found.images.path(row).parent.name == ("bees", "ants")[label]


def test_the_first_images_are_a_fair_sample(heap: Path) -> None:
    subset = load_dataset(heap, COLOUR, "train", validation=heap).subset(10)
    assert (len(subset), len(subset.images[:])) == (10, 10)
    assert {0, 1} == set(subset.labels.tolist())


def test_endings_of_any_case_and_folders_within_classes_are_read_and_hidden_files_are_not(tmp_path: Path) -> None:
    fill(tmp_path / "ants" / "red", 2)
    fill(tmp_path / "bees", 1)
    smooth(20, 20).save(tmp_path / "bees" / "wild bee é.JPEG")
    (tmp_path / "bees" / "._wild.JPEG").write_bytes(b"none")
    (tmp_path / "bees" / "notes.txt").write_text("none")
    (tmp_path / ".cache").mkdir()
    found = paths(tmp_path, "train", validation=tmp_path)
    assert {path.name for path in found} == {"00.png", "01.png", "wild bee é.JPEG"}
    assert len(load_dataset(tmp_path, COLOUR, "train", validation=tmp_path).images[:]) == 4


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK"])
def test_other_forms_of_pixels_become_colour(heap: Path, mode: str) -> None:
    picture = smooth(20, 20).convert(mode)
    if mode == "P":
        picture.info["transparency"] = bytes(range(200))
    picture.save(heap / "ants" / f"odd.{'tif' if mode == 'CMYK' else 'png'}")
    found = load_dataset(heap, COLOUR, "train", validation=heap)
    assert found.images[:].shape == (33, 3, 16, 16)


def test_colour_and_16_bit_grey_are_told_apart_from_8_bit_grey(heap: Path) -> None:
    Pillow.fromarray(np.full((20, 20), 40_000, dtype=np.uint16)).save(heap / "ants" / "deep.png")
    with pytest.raises(DatasetError, match=r"deep.png cannot be read \(its pixels are of the form I;16"):
        load_dataset(heap, COLOUR, "train", validation=heap).images[:]


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (Image(16, 1, 2), "images of 3 channels, the preset has 1"),
        (Image(64, 3, 2), r"smaller than the preset's 64x64, one of \d\dx24"),
        (Image(16, 3, 3), r"has 2 classes \(ants, bees\), the preset has 3"),
        (Image(16, 3, 2, ("ants", "wasps")), "the class 'bees', which is none of ants, wasps"),
        (Image(16, 3, 3, ("ants", "bees", "wasps")), r"no image of class 2 \(wasps\)"),
        (Image(16, 3, 2, ("a", "b"), {"ants": "a", "bees": "a"}), "the class 'a' twice, once as 'ants'"),
    ],
)
def test_another_presets_images_are_refused(heap: Path, image: Image, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        load_dataset(heap, image, "train")


def test_grey_images_are_refused_by_a_colour_preset(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        smooth(20, 20).convert("L").save(tmp_path / name / "grey.png")
    with pytest.raises(DatasetError, match="images of 1 channel, the preset has 3"):
        load_dataset(tmp_path, COLOUR, "train")
    assert load_dataset(tmp_path, Image(16, 1, 2), "train").images[:].shape == (2, 1, 16, 16)


def test_an_empty_class_folder_or_no_class_folder_is_named(heap: Path, tmp_path: Path) -> None:
    (heap / "wasps").mkdir()
    with pytest.raises(DatasetError, match=r"heap/wasps holds no images"):
        load_dataset(heap, Image(16, 3, 3), "train")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="holds no data set: it must have"):
        load_dataset(tmp_path / "empty", COLOUR, "train")


@pytest.mark.parametrize("damage", ["cut", "text", "empty", "palette"])
def test_a_corrupt_image_is_named_and_skipped_only_on_request(heap: Path, damage: str) -> None:
    path = heap / "ants" / "07.png"
    whole = path.read_bytes()
    cut = whole[: len(whole) // 2]
    path.write_bytes({"cut": cut, "text": b"<html>", "empty": b"", "palette": whole[:40] + bytes(60)}[damage])
    with pytest.raises(DatasetError, match=r"ants/07\.png cannot be read .* --skip-corrupt"):
        load_dataset(heap, COLOUR, "train", validation=heap).images[:]
    told: list[Path] = []
    found = load_dataset(heap, COLOUR, "train", validation=heap, on_corrupt=lambda path, _: told.append(path))
    assert isinstance(found.images, ImageFiles)
    rows = np.arange(len(found))
    images, labels = found.batch(rows, unaugmented(32, 16))
    again, _ = found.batch(rows, unaugmented(32, 16))
    assert told == [path]
    assert torch.equal(images, again)
    # Another of its class stands in its place.
    row = next(row for row in range(32) if found.images.path(row) == path)
    others = [other for other in range(32) if other != row and labels[other] == labels[row]]
    assert any(torch.equal(images[row], images[other]) for other in others)


def test_a_class_that_is_corrupt_throughout_is_an_error(heap: Path) -> None:
    for path in (heap / "bees").iterdir():
        path.write_bytes(b"")
    found = load_dataset(heap, COLOUR, "train", validation=heap, on_corrupt=lambda *_: None)
    with pytest.raises(DatasetError, match=r"bees: of the 12 image\(s\) needed of this class none can be read"):
        found.images[:]


def test_nothing_is_kept_of_an_image_but_its_name(heap: Path) -> None:
    found = load_dataset(heap, COLOUR, "train", validation=heap)
    assert isinstance(found.images, ImageFiles)
    before = found.images[:2]
    smooth(20, 20, 1000).save(found.images.path(0))
    after = found.images[:2]
    assert not torch.equal(after[0], before[0])
    assert torch.equal(after[1], before[1])


def test_a_classifier_is_evaluated_on_held_out_files(
    tmp_path: Path, weights: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("hat", "shoe, left", "bag"):
        (tmp_path / "clothes" / name).mkdir(parents=True)
        for number in range(11):
            smooth(12, 9, number).convert("L").save(tmp_path / "clothes" / name / f"{number}.png")
    call_command(
        "evaluate_classifier",
        str(weights["vanilla"]),
        data=tmp_path / "clothes",
        buckets=[0],
        format="json",
        attack_steps=1,
        restarts=0,
    )
    # Of eleven images of each class two are held out: a tenth, rounded up.
    assert '"images": 6' in capsys.readouterr().out


def test_rows_are_read_in_the_order_asked_for(heap: Path) -> None:
    found = load_dataset(heap, COLOUR, "train", validation=heap)
    rows = list(range(32))
    random.Random(0).shuffle(rows)
    shuffled, _ = found.batch(np.array(rows), unaugmented(32, 16))
    assert torch.equal(shuffled, found.images[:][rows])
    assert torch.equal(found.images[torch.tensor(rows)], shuffled)
    assert found.images[0:0].shape == (0, 3, 16, 16)
