from pathlib import Path

import numpy as np
import pytest

from generation.datasets import load_dataset
from generation.errors import DatasetError
from generation.presets import Image, load_preset

# The data set's own order, by its documentation.
NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
PLAIN = Image(32, 3, 10)


def pixels(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 3072), dtype=np.uint8)


@pytest.fixture
def cifar(tmp_path: Path) -> Path:
    """Five training files of 4 images and a test file of 10, of labels 0, 1, ... 9, 0, 1, ..."""
    folder = tmp_path / "cifar"
    folder.mkdir()
    for number in range(1, 6):
        labels = (np.arange(4) + 4 * (number - 1)) % 10
        records = np.column_stack([labels.astype(np.uint8), pixels(4, number)])
        (folder / f"data_batch_{number}.bin").write_bytes(records.tobytes())
    records = np.column_stack([np.arange(10, dtype=np.uint8), pixels(10, 6)])
    (folder / "test_batch.bin").write_bytes(records.tobytes())
    (folder / "batches.meta.txt").write_text("\n".join(NAMES) + "\n\n")
    return folder


def test_records_are_a_label_and_the_red_green_and_blue_planes(cifar: Path) -> None:
    found = load_dataset(cifar, PLAIN, "train")
    assert found.images[:].shape == (20, 3, 32, 32)
    assert found.labels.tolist() == [*range(10), *range(10)]
    assert found.class_names == NAMES
    # The sixth image is the second record of the second file: row by row, red first.
    expected = pixels(4, 2)[1]
    assert found.images[5:6][0, 0, 0, :3].tolist() == expected[:3].tolist()
    assert found.images[5:6][0, 1, 0, 0].item() == expected[1024]
    assert found.images[5:6][0, 2, 31, 31].item() == expected[3071]
    assert len(load_dataset(cifar, PLAIN, "test")) == 10


def test_the_archives_folder_is_found_in_the_one_it_was_unpacked_to(cifar: Path, tmp_path: Path) -> None:
    (tmp_path / "outer").mkdir()
    cifar.rename(tmp_path / "outer" / "cifar-10-batches-bin")
    assert len(load_dataset(tmp_path / "outer", PLAIN, "train")) == 20


def test_labels_are_in_the_presets_order(cifar: Path) -> None:
    preset = load_preset("cifar10")
    found = load_dataset(cifar, preset.image, "test")
    # The preset counts as the published networks: bird, car, cat, ... plane, ship, truck.
    names = [preset.image.class_names[label] for label in found.labels.tolist()]
    assert names == ["plane", "car", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    assert found.class_names == preset.image.class_names


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / "data_batch_3.bin").unlink(), "has no data_batch_3.bin"),
        (lambda folder: (folder / "batches.meta.txt").unlink(), "batches.meta.txt cannot be read"),
        (lambda folder: (folder / "data_batch_2.bin").write_bytes(b"short"), "holds 5 bytes, not records of 3073"),
        (lambda folder: (folder / "data_batch_2.bin").write_bytes(b""), "holds 0 bytes"),
        (lambda folder: (folder / "data_batch_2.bin").write_bytes(bytes([10]) * 3073), "the label 10, but names 10"),
        (lambda folder: (folder / "batches.meta.txt").write_text("cat dog"), r"has 2 classes \(cat, dog\)"),
    ],
)
def test_broken_files_are_one_clear_line(cifar: Path, change: object, message: str) -> None:
    change(cifar)  # type: ignore[operator]
    with pytest.raises(DatasetError, match=message):
        load_dataset(cifar, PLAIN, "train")


def test_a_class_without_images_is_named(cifar: Path) -> None:
    for number in range(1, 6):
        path = cifar / f"data_batch_{number}.bin"
        records = np.fromfile(path, dtype=np.uint8).reshape(-1, 3073)
        path.write_bytes(records[records[:, 0] != 8].tobytes())
    with pytest.raises(DatasetError, match=r"no image of class 8 \(ship\)"):
        load_dataset(cifar, PLAIN, "train")
    assert len(load_dataset(cifar, PLAIN, "test")) == 10


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (Image(64, 3, 10), "32x32 images of 3 channels, the preset has 64x64 of 3"),
        (Image(32, 1, 10), "32x32 images of 3 channels, the preset has 32x32 of 1"),
        (Image(32, 3, 9), "has 10 classes .* the preset has 9"),
        (Image(32, 3, 10, ("ant", *NAMES[1:])), "the class 'airplane', which is none of ant"),
    ],
)
def test_another_presets_images_are_refused(cifar: Path, image: Image, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        load_dataset(cifar, image, "train")


def test_the_pickled_form_is_never_read(tmp_path: Path) -> None:
    (tmp_path / "cifar-10-batches-py").mkdir()
    with pytest.raises(DatasetError, match="pickled objects, which might run code: get the binary version"):
        load_dataset(tmp_path, PLAIN, "train")
