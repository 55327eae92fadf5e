import dataclasses
import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from generation.datasets import load_dataset, to_bytes, to_unit_range
from generation.errors import DatasetError
from generation.presets import Preset
from tests.generation.conftest import write_idx


def test_images_are_padded_with_black_to_the_presets_size(data: Path, tiny: Preset) -> None:
    found = load_dataset(data, tiny.image, "train")
    images = found.images[:]
    assert found.name == "bright"
    assert images.shape == (24, 1, 8, 8)
    assert found.labels.tolist() == [0, 1, 2] * 8
    border = images.clone()
    border[:, :, 2:6, 2:6] = 0
    assert int(border.max()) == 0
    assert int(images[2, 0, 2:6, 2:6].min()) >= 200


def test_files_may_be_unpacked(data: Path, tiny: Preset) -> None:
    before = load_dataset(data, tiny.image, "test").images[:]
    for path in data.glob("*.gz"):
        path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
        path.unlink()
    assert torch.equal(load_dataset(data, tiny.image, "test").images[:], before)


def test_pixels_go_to_the_unit_range_and_back() -> None:
    pixels = torch.arange(256, dtype=torch.uint8)
    assert to_unit_range(pixels)[[0, 255]].tolist() == [-1, 1]
    assert torch.equal(to_bytes(to_unit_range(pixels) + 1e-4), pixels)
    assert to_bytes(torch.tensor([-3.0, 3.0])).tolist() == [0, 255]


def test_a_missing_folder_or_file_is_named(data: Path, tiny: Preset) -> None:
    with pytest.raises(DatasetError, match=r"No folder .*/absent"):
        load_dataset(data / "absent", tiny.image, "train")
    (data / "train-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DatasetError, match=r"has no train-labels-idx1-ubyte\.gz"):
        load_dataset(data, tiny.image, "train")


@pytest.mark.parametrize("keep", [0, 1, 40, -20])
def test_a_truncated_archive_is_refused(data: Path, tiny: Preset, keep: int) -> None:
    path = data / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DatasetError, match=r"train-images-idx3-ubyte.gz .* fetch it again"):
        load_dataset(data, tiny.image, "train")


def test_fewer_values_than_the_header_says_are_refused(data: Path, tiny: Preset) -> None:
    path = data / "train-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())[:-5]))
    with pytest.raises(DatasetError, match="holds 379 values, its header says 384"):
        load_dataset(data, tiny.image, "train")


def test_another_kind_of_file_is_refused(data: Path, tiny: Preset) -> None:
    (data / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(b"not an image"))
    with pytest.raises(DatasetError, match="is no IDX file"):
        load_dataset(data, tiny.image, "train")


def test_images_and_labels_must_be_as_many(data: Path, tiny: Preset) -> None:
    write_idx(data / "train-labels-idx1-ubyte.gz", np.zeros(23))
    with pytest.raises(DatasetError, match=r"24 images, .* 23 labels"):
        load_dataset(data, tiny.image, "train")


def test_a_label_out_of_range_is_refused(data: Path, tiny: Preset) -> None:
    write_idx(data / "train-labels-idx1-ubyte.gz", np.full(24, 3))
    with pytest.raises(DatasetError, match="the label 3, but the preset has 3 classes"):
        load_dataset(data, tiny.image, "train")


@pytest.mark.parametrize(("change", "message"), [({"size": 7}, "cannot be padded"), ({"channels": 3}, "1 channel")])
def test_images_of_another_form_than_the_presets_are_refused(
    data: Path, tiny: Preset, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(DatasetError, match=message):
        load_dataset(data, dataclasses.replace(tiny.image, **change), "train")
