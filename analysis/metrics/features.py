"""Feature networks."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from analysis.metrics import fashion
from analysis.metrics.errors import MetricsError
from analysis.metrics.images import ImageSet
from analysis.metrics.inception import Inception, load_inception
from analysis.metrics.protocols import NATIVE, PROTOCOLS, Protocol
from generation.checkpoints import sha256_of

__all__ = ["Extractor", "Features", "load_extractor", "load_inception"]

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Features:
    """A set's features, float32 on the processor.

    Attributes:
        pool: (N, D).
        spatial: (N, E), for sFID; None where the network has none.
    """

    pool: Tensor
    spatial: Tensor | None = None

    def __len__(self) -> int:
        return len(self.pool)


@dataclass(frozen=True)
class Extractor:
    """A feature network with its protocol.

    Attributes:
        name: `inception`, `fashion`, or a TorchScript file's name.
        protocol: how images become its input.
        weights: the weights' file.
        weights_sha256: of that file.
        channels: that the network takes.
        run: the network's input to pool and spatial features.
        logits: pool features to class scores; None where the network has none.
        device: where it runs.
        precision: its arithmetic.
    """

    name: str
    protocol: Protocol
    weights: Path
    weights_sha256: str
    channels: int | None
    run: Callable[[Tensor], tuple[Tensor, Tensor | None]]
    logits: Callable[[Tensor], Tensor] | None
    device: torch.device
    precision: torch.dtype = torch.float32

    def check(self, images: ImageSet) -> None:
        """Raise MetricsError unless the network can take these images."""
        if self.channels == 1 and images.channels != 1:
            raise MetricsError(
                f"{images.path} holds colour images, but --features {self.name} takes grey ones: take inception."
            )
        if self.name == "fashion" and images.size not in ((28, 28), (32, 32)):
            raise MetricsError(
                f"{images.path} holds {images.size[1]}x{images.size[0]} images, but --features fashion takes 28x28 or "
                "32x32."
            )

    def __call__(self, batch: Array) -> Features:
        """Return the features of (N, H, W, C) images, uint8 or as the protocol's `each` made them."""
        images = torch.from_numpy(np.ascontiguousarray(batch)).to(self.device).permute(0, 3, 1, 2)
        if self.channels == 3 and images.shape[1] == 1:
            images = images.expand(-1, 3, -1, -1)
        context = torch.autocast(self.device.type, self.precision, enabled=self.precision != torch.float32)
        with torch.inference_mode(), context:
            pool, spatial = self.run(self.protocol.batch(images))
        if pool.ndim != 2 or len(pool) != len(batch):
            raise MetricsError(
                f"{self.weights} returned shape {tuple(pool.shape)} for {len(batch)} images: it must return (N, D)."
            )
        return Features(pool.float().cpu(), None if spatial is None else spatial.float().cpu())


def load_extractor(
    name: str,
    *,
    weights: Path | None = None,
    protocol: str | None = None,
    device: torch.device | None = None,
    precision: torch.dtype = torch.float32,
) -> Extractor:
    """Load a feature network.

    Args:
        name: `inception`, `fashion`, or the path of a TorchScript file, which is called on (N, C, H, W) images in
            [0, 1] and returns (N, D).
        weights: Inception's weights, or other weights of `fashion`.
        protocol: of `PROTOCOLS`, for Inception; `adm` unless given. The others take images as they are.
        device: the processor unless given.
        precision: of the network's arithmetic.

    Raises:
        MetricsError: An unknown name or protocol, or no weights for Inception.
        CheckpointError: The weights are missing, broken or of another network.
    """
    device = device or torch.device("cpu")
    if name == "inception":
        return _inception(weights, protocol or "adm", device, precision)
    if protocol not in (None, NATIVE.name):
        raise MetricsError(f"--protocol {protocol} is one of Inception's; --features {name} takes images as they are.")
    if name == "fashion":
        return _fashion(weights or fashion.WEIGHTS, device, precision)
    if weights is not None:
        raise MetricsError(f"--features {name} is a file that holds its weights: leave --weights away.")
    return _script(Path(name), device, precision)


def _inception(weights: Path | None, protocol: str, device: torch.device, precision: torch.dtype) -> Extractor:
    if weights is None:
        raise MetricsError(
            "--features inception needs its published weights: get them with `fetch_weights inception --output DIR` "
            "and name the file with --weights."
        )
    if protocol not in PROTOCOLS:
        raise MetricsError(f"There is no protocol {protocol!r}: choose from {', '.join(PROTOCOLS)}.")
    network: Inception = load_inception(weights).to(device)
    return Extractor(
        "inception",
        PROTOCOLS[protocol],
        weights,
        sha256_of(weights),
        3,
        network.features,
        lambda pool: network.logits(pool.to(device)).cpu(),
        device,
        precision,
    )


def _fashion(weights: Path, device: torch.device, precision: torch.dtype) -> Extractor:
    network = fashion.load_fashion(weights).to(device)

    def run(images: Tensor) -> tuple[Tensor, None]:
        margin = (fashion.SIZE - images.shape[-1]) // 2
        return network(F.pad(images, (margin, margin, margin, margin))), None

    return Extractor(
        "fashion",
        NATIVE,
        weights,
        sha256_of(weights),
        1,
        run,
        lambda pool: network.logits(pool.to(device)).cpu(),
        device,
        precision,
    )


def _script(path: Path, device: torch.device, precision: torch.dtype) -> Extractor:
    if not path.is_file():
        raise MetricsError(f"There are no features {path}: choose inception, fashion or a TorchScript file.")
    try:
        with warnings.catch_warnings():
            # torch means to give the format up; published feature networks come in it.
            warnings.simplefilter("ignore", DeprecationWarning)
            module = torch.jit.load(path, map_location=device).eval()  # type: ignore[no-untyped-call]
    except (RuntimeError, ValueError, OSError) as error:
        first_line = str(error).splitlines()[0]
        raise MetricsError(f"{path} is no TorchScript file ({first_line}): save one with torch.jit.save.") from error

    def run(images: Tensor) -> tuple[Tensor, None]:
        try:
            return module(images), None
        except RuntimeError as error:
            last_line = str(error).strip().splitlines()[-1]
            raise MetricsError(f"{path} cannot take images of shape {tuple(images.shape)}: {last_line}") from error

    return Extractor(path.name, NATIVE, path, sha256_of(path), None, run, None, device, precision)
