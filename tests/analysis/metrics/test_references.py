import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from analysis.metrics.errors import MetricsError
from analysis.metrics.extraction import extract
from analysis.metrics.features import Extractor, load_extractor
from analysis.metrics.images import open_images
from analysis.metrics.references import load_reference, write_reference
from tests.analysis.metrics.pictures import noise_images, write_folder


@pytest.fixture
def extractor(tmp_path: Path) -> Extractor:
    """Features by a script: the mean and the spread of each image."""

    class Shades(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            flat = images.flatten(1)
            return torch.stack([flat.mean(1), flat.std(1)], 1)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.script(Shades()).save(tmp_path / "shades.pt")  # type: ignore[no-untyped-call]
    return load_extractor(str(tmp_path / "shades.pt"))


def test_a_reference_is_written_in_guided_diffusions_form(tmp_path: Path, extractor: Extractor) -> None:
    images = open_images(write_folder(tmp_path / "a", noise_images(9, seed=0, channels=3)))
    features = extract(images, extractor, batch_size=4)

    write_reference(tmp_path / "ref.npz", images, features, extractor)

    with np.load(tmp_path / "ref.npz") as arrays:
        np.testing.assert_array_equal(arrays["arr_0"], noise_images(9, seed=0, channels=3))
        np.testing.assert_allclose(arrays["mu"], features.pool.double().mean(0), rtol=1e-12)
        np.testing.assert_allclose(arrays["sigma"], np.cov(features.pool.double().numpy(), rowvar=False), rtol=1e-9)
    assert [file.name for file in tmp_path.glob(".ref*")] == []


def test_what_was_written_is_read_back_with_its_images(tmp_path: Path, extractor: Extractor) -> None:
    images = open_images(write_folder(tmp_path / "a", noise_images(9, seed=0)))
    features = extract(images, extractor)
    write_reference(tmp_path / "ref.npz", images, features, extractor)

    reference = load_reference(tmp_path / "ref.npz", extractor, batch_size=4)

    assert reference.count == 9
    assert reference.statistics == "computed from these images"
    assert reference.features is not None
    torch.testing.assert_close(reference.features.pool, features.pool)
    torch.testing.assert_close(reference.pool.mean, features.pool.double().mean(0))


def test_statistics_alone_are_a_reference(tmp_path: Path, extractor: Extractor) -> None:
    np.savez(tmp_path / "stats.npz", mu=np.zeros(2), sigma=np.eye(2))

    reference = load_reference(tmp_path / "stats.npz", extractor, batch_size=4)

    assert reference.count is None
    assert reference.pool.trace == pytest.approx(2)
    assert "does not say" in reference.statistics


def test_statistics_of_other_features_are_computed_anew_or_refused(tmp_path: Path, extractor: Extractor) -> None:
    said = '{"features": "inception", "protocol": "clean", "weights_sha256": "0123456789abcdef"}'
    wrong = {"mu": np.zeros(2), "sigma": np.eye(2), "sameseed": np.array(said)}
    np.savez(tmp_path / "alone.npz", **wrong)  # type: ignore[arg-type]
    np.savez(tmp_path / "both.npz", noise_images(5, seed=0), **wrong)  # type: ignore[arg-type]

    assert load_reference(tmp_path / "both.npz", extractor, batch_size=4).statistics == "computed from these images"
    with pytest.raises(MetricsError, match="features inception and protocol clean"):
        load_reference(tmp_path / "alone.npz", extractor, batch_size=4)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"mean": np.zeros(2)}, "holds mean, but a reference holds arr_0, or mu and sigma"),
        ({"mu": np.zeros(2), "sigma": np.eye(3)}, "do not belong together"),
        ({"mu": np.zeros(2), "sigma": np.array([[1.0, 3.0], [3.0, 1.0]])}, "negative eigenvalue"),
        ({"mu": np.array(["a", "b"]), "sigma": np.eye(2)}, "mu and sigma cannot be read"),
    ],
)
def test_what_is_no_reference_is_refused(
    tmp_path: Path, extractor: Extractor, arrays: dict[str, np.ndarray], message: str
) -> None:
    np.savez(tmp_path / "other.npz", **arrays)  # type: ignore[arg-type]

    with pytest.raises(MetricsError, match=message):
        load_reference(tmp_path / "other.npz", extractor, batch_size=4)


def test_batch_size_and_form_change_no_feature(tmp_path: Path, extractor: Extractor) -> None:
    images = noise_images(9, seed=0)
    np.savez(tmp_path / "samples.npz", images)
    folder = open_images(write_folder(tmp_path / "a", images))

    features = [extract(folder, extractor, batch_size=size).pool for size in (1, 4, 50)]
    features.append(extract(open_images(tmp_path / "samples.npz"), extractor, batch_size=2).pool)

    for other in features[1:]:
        torch.testing.assert_close(other, features[0], rtol=1e-6, atol=1e-7)


def test_one_image_is_refused(tmp_path: Path, extractor: Extractor) -> None:
    folder = open_images(write_folder(tmp_path / "a", noise_images(1, seed=0)))

    with pytest.raises(MetricsError, match="holds 1 image: metrics need at least 2"):
        extract(folder, extractor)
