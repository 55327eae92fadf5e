"""Reference batches: guided-diffusion's `.npz` form, read and written."""

import json
import os
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from analysis.metrics.errors import MetricsError
from analysis.metrics.extraction import extract
from analysis.metrics.features import Extractor, Features
from analysis.metrics.frechet import Gaussian, fit, from_statistics
from analysis.metrics.images import IMAGES, Array, ImageArray, ImageSet, npz_keys, open_images
from analysis.metrics.moments import Moments
from generation.processes import ALONE, Processes

PROVENANCE = "sameseed"
"""An array beside guided-diffusion's own, which its code passes over: what the statistics were made with."""
POOL, SPATIAL = ("mu", "sigma"), ("mu_s", "sigma_s")
BATCH_SIZE = 64


@dataclass(frozen=True)
class Reference:
    """What generated images are compared with.

    Attributes:
        path: the folder or file.
        count: images; None where the file holds statistics only.
        features: of the images, where there are any.
        pool: the pool features' Gaussian.
        spatial: the spatial features', where there are any.
        statistics: where the Gaussians come from, in words.
    """

    path: Path
    count: int | None
    features: Features | None
    pool: Gaussian
    spatial: Gaussian | None
    statistics: str


def provenance(extractor: Extractor) -> dict[str, str]:
    """Return what decides features, as plain values."""
    return {
        "features": extractor.name,
        "protocol": extractor.protocol.name,
        "weights_sha256": extractor.weights_sha256,
    }


def load_reference(
    path: Path,
    extractor: Extractor,
    *,
    batch_size: int,
    on_batch: Callable[[int], object] | None = None,
    processes: Processes = ALONE,
) -> Reference:
    """Read a reference: a folder of images, or an `.npz` with images, statistics or both.

    A file of `make_reference` has its statistics computed anew from its images, whose influences are then known.
    Statistics of other files, as the published ones, are taken on trust, and as exact: they may be of more images than
    the file holds. Of several processes the first reads it, and the others `assist` with its images.

    Raises:
        MetricsError: The path holds neither images nor statistics, or statistics of other features only.
    """
    images = reference_images(path)
    keys = npz_keys(path) if path.is_file() else ()
    made_with = _provenance(path) if PROVENANCE in keys else None
    if images is not None and (made_with or not set(POOL) <= set(keys)):
        return _computed(
            path, extract(images, extractor, batch_size=batch_size, on_batch=on_batch, processes=processes)
        )
    if made_with and made_with != provenance(extractor):
        raise MetricsError(
            f"{path} was made with features {made_with['features']} and protocol {made_with['protocol']} (weights "
            f"{made_with['weights_sha256'][:12]}), not with what is asked for: make the reference anew."
        )
    features = None
    if images is not None:
        features = extract(images, extractor, batch_size=batch_size, on_batch=on_batch, processes=processes)
    return _stored(path, keys, features, known=made_with is not None)


def reference_images(path: Path) -> ImageSet | None:
    """Return a reference's images, or None for an `.npz` of statistics only.

    Raises:
        MetricsError: The path holds neither images nor statistics.
    """
    if not path.is_file():
        return open_images(path)
    keys = npz_keys(path)
    if IMAGES not in keys and not set(POOL) <= set(keys):
        raise MetricsError(
            f"{path} holds {', '.join(keys) or 'nothing'}, but a reference holds {IMAGES}, or mu and sigma, or all."
        )
    return open_images(path) if IMAGES in keys else None


def _computed(path: Path, features: Features) -> Reference:
    spatial = None if features.spatial is None else fit(features.spatial)
    return Reference(path, len(features), features, fit(features.pool), spatial, "computed from these images")


def _stored(path: Path, keys: tuple[str, ...], features: Features | None, *, known: bool) -> Reference:
    spatial = None
    if set(SPATIAL) <= set(keys):
        spatial = _gaussian(path, SPATIAL)
    elif features is not None and features.spatial is not None:
        spatial = fit(features.spatial)
    said = "stored in the file" if known else "stored in the file, which does not say how they were made"
    return Reference(
        path, len(features) if features else None, features, _gaussian(path, POOL), spatial, f"{said}; taken as exact"
    )


def _gaussian(path: Path, names: tuple[str, str]) -> Gaussian:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            mean, covariance = (torch.from_numpy(arrays[name]).double() for name in names)
    except (OSError, ValueError, zipfile.BadZipFile, TypeError) as error:
        raise MetricsError(f"{path}: {names[0]} and {names[1]} cannot be read ({error}): make it again.") from error
    try:
        return from_statistics(mean, covariance)
    except MetricsError as error:
        raise MetricsError(f"{path}: {error}") from error


def _provenance(path: Path) -> dict[str, str]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            values = json.loads(str(arrays[PROVENANCE]))
        return {name: str(values[name]) for name in ("features", "protocol", "weights_sha256")}
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise MetricsError(f"{path}: {PROVENANCE} cannot be read ({error}): make the reference anew.") from error


def write_reference(path: Path, images: ImageSet, features: Features, extractor: Extractor) -> None:
    """Write images and statistics as guided-diffusion's evaluator reads them, whole or not at all.

    Args:
        path: the `.npz` file.
        images: (N, H, W, C) uint8 as `arr_0`.
        features: the images'; their means and covariances are `mu`, `sigma`, `mu_s`, `sigma_s`.
        extractor: what made them.

    Raises:
        MetricsError: The file cannot be written.
    """
    arrays = dict(zip(POOL, _statistics(features.pool), strict=True))
    if features.spatial is not None:
        arrays |= zip(SPATIAL, _statistics(features.spatial), strict=True)
    arrays[PROVENANCE] = np.array(json.dumps(provenance(extractor)))
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        os.close(descriptor)
        temporary = Path(name)
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
            _write_images(archive, images)
            for key, array in arrays.items():
                with archive.open(f"{key}.npy", "w", force_zip64=True) as file:
                    np.lib.format.write_array(file, array, allow_pickle=False)
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        raise MetricsError(f"{path} cannot be written ({error}): free space, or choose another place.") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _statistics(features: torch.Tensor) -> tuple[Array, Array]:
    moments = Moments.of(features)
    return moments.mean.numpy(), moments.covariance.numpy()


def _write_images(archive: zipfile.ZipFile, images: ImageSet) -> None:
    header: dict[str, Any] = {
        "descr": "|u1",
        "fortran_order": False,
        "shape": (len(images), *images.size, images.channels),
    }
    with archive.open(f"{IMAGES}.npy", "w", force_zip64=True) as file:
        np.lib.format.write_array_header_1_0(file, header)
        for batch in _plain_batches(images):
            file.write(np.ascontiguousarray(batch).tobytes())


def _plain_batches(images: ImageSet) -> Iterator[Array]:
    if isinstance(images, ImageArray):
        yield from images.stream(BATCH_SIZE)
        return
    for index in range(len(images)):
        yield images.read(index)[None]
