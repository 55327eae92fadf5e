import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from analysis.metrics.errors import MetricsError
from analysis.metrics.images import ImageArray, ImageFolder, check_alike, open_images
from tests.analysis.metrics.pictures import noise_images, write_folder


def test_a_folder_is_read_in_the_order_of_its_names(tmp_path: Path) -> None:
    images = noise_images(3, seed=0, channels=3)
    folder = open_images(write_folder(tmp_path / "a", images))

    assert isinstance(folder, ImageFolder)
    assert (len(folder), folder.size, folder.channels) == (3, (32, 32), 3)
    assert folder.names == ("0000", "0001", "0002")
    np.testing.assert_array_equal(folder.read(2), images[2])


def test_images_in_class_folders_are_one_set(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        write_folder(tmp_path / name, noise_images(2, seed=0))

    assert open_images(tmp_path).names == ("cat/0000", "cat/0001", "dog/0000", "dog/0001")


def test_a_set_of_pairs_asks_for_one_arm(tmp_path: Path) -> None:
    for name in ("robust", "vanilla"):
        write_folder(tmp_path / name, noise_images(2, seed=0))
    (tmp_path / "manifest.csv").touch()

    with pytest.raises(MetricsError, match=r"several arms: name one of .*robust, .*vanilla"):
        open_images(tmp_path)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_guided_diffusions_sample_files_are_streamed(tmp_path: Path, save: object) -> None:
    images = noise_images(7, seed=1, channels=3)
    save(tmp_path / "samples.npz", images, np.arange(7))  # type: ignore[operator]

    array = open_images(tmp_path / "samples.npz")

    assert isinstance(array, ImageArray)
    batches = list(array.stream(3))
    assert [len(batch) for batch in batches] == [3, 3, 1]
    np.testing.assert_array_equal(np.concatenate(batches), images)


def test_palettes_are_colour_and_bits_are_grey(tmp_path: Path) -> None:
    Pillow.new("P", (4, 4)).save(tmp_path / "palette.png")
    assert open_images(tmp_path).channels == 3
    (tmp_path / "palette.png").unlink()
    Pillow.new("1", (4, 4)).save(tmp_path / "bits.png")
    assert open_images(tmp_path).channels == 1


def test_images_of_mixed_sizes_are_refused(tmp_path: Path) -> None:
    write_folder(tmp_path, noise_images(2, seed=0))
    Pillow.new("L", (28, 30)).save(tmp_path / "odd.png")

    with pytest.raises(MetricsError, match=r"odd.png and 0000.png are of sizes 28x30 and 32x32"):
        open_images(tmp_path)


def test_grey_beside_colour_is_refused(tmp_path: Path) -> None:
    write_folder(tmp_path, noise_images(2, seed=0))
    Pillow.new("RGB", (32, 32)).save(tmp_path / "odd.png")

    with pytest.raises(MetricsError, match=r"odd.png is colour, but 0000.png is grey"):
        open_images(tmp_path)


def test_grey_against_colour_is_refused_and_other_sizes_are_told(tmp_path: Path) -> None:
    grey = open_images(write_folder(tmp_path / "grey", noise_images(2, seed=0)))
    small = open_images(write_folder(tmp_path / "small", noise_images(2, seed=0, size=28)))
    colour = open_images(write_folder(tmp_path / "colour", noise_images(2, seed=0, channels=3)))

    with pytest.raises(MetricsError, match=r"grey images, .* colour ones"):
        check_alike(grey, colour)
    assert "28x28 and 32x32" in check_alike(small, grey)
    assert not check_alike(grey, grey)


def test_an_empty_folder_and_no_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MetricsError, match="holds no images"):
        open_images(tmp_path)
    with pytest.raises(MetricsError, match=r"is no folder of images and no \.npz file"):
        open_images(tmp_path / "absent")


@pytest.mark.parametrize("cut", [0, 5, 60])
def test_an_unreadable_image_is_named(tmp_path: Path, cut: int) -> None:
    write_folder(tmp_path, noise_images(2, seed=0))
    content = (tmp_path / "0001.png").read_bytes()
    (tmp_path / "0001.png").write_bytes(content[:cut])

    with pytest.raises(MetricsError, match=r"0001.png cannot be read as an image"):
        open_images(tmp_path).read(1)  # type: ignore[union-attr]


def test_sixteen_bits_are_refused(tmp_path: Path) -> None:
    Pillow.new("I;16", (4, 4)).save(tmp_path / "deep.png")

    with pytest.raises(MetricsError, match=r"deep.png is of mode I;16: save it as 8-bit"):
        open_images(tmp_path)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": np.zeros((2, 4, 4, 3), np.uint8)}, "holds images, but images must be called arr_0"),
        ({"arr_0": np.zeros((2, 4, 4, 3), np.float32)}, "is float32 of shape"),
        ({"arr_0": np.zeros((2, 3, 4, 4), np.uint8)}, r"shape \(2, 3, 4, 4\), but must be uint8"),
        ({"arr_0": np.zeros((0, 4, 4, 3), np.uint8)}, "holds no images"),
    ],
)
def test_other_arrays_are_refused(tmp_path: Path, arrays: dict[str, np.ndarray], message: str) -> None:
    np.savez(tmp_path / "other.npz", **arrays)  # type: ignore[arg-type]

    with pytest.raises(MetricsError, match=message):
        open_images(tmp_path / "other.npz")


def test_a_broken_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "broken.npz").write_bytes(b"PK no archive")
    with pytest.raises(MetricsError, match=r"cannot be read as an \.npz file"):
        open_images(tmp_path / "broken.npz")
    with zipfile.ZipFile(tmp_path / "short.npz", "w") as archive, archive.open("arr_0.npy", "w") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": (5, 4, 4, 3)}
        np.lib.format.write_array_header_1_0(file, header)
        file.write(bytes(100))
    with pytest.raises(MetricsError, match="ends before its 5 images do"):
        list(open_images(tmp_path / "short.npz").stream(2))  # type: ignore[union-attr]
