"""The features of a set of images, by one process or several.

Batches are dealt out to whichever process asks next. A batch is made whole and always of the same images, so that the
features are those of one process, whoever made them; the first process collects them, in the images' order.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch import distributed as dist

from analysis.metrics.errors import MetricsError
from analysis.metrics.features import Extractor, Features
from analysis.metrics.images import ImageArray, ImageSet
from analysis.metrics.protocols import Protocol
from generation.processes import ALONE, Processes

BATCH_SIZE = 32
DECODERS = 4
"""Threads that decode; Pillow lets others run meanwhile."""

Array = np.ndarray[Any, np.dtype[Any]]


def extract(
    images: ImageSet,
    extractor: Extractor,
    *,
    batch_size: int = BATCH_SIZE,
    on_batch: Callable[[int], object] | None = None,
    processes: Processes = ALONE,
) -> Features:
    """Return the features of a set of images, in its order, whatever the batch size and the number of processes.

    Images are decoded by threads while the network runs on the batch before.

    Args:
        images: the set.
        extractor: the network.
        batch_size: images at once.
        on_batch: told how many images were done, after each batch.
        processes: of which this is the first; the others call `assist`.

    Raises:
        MetricsError: There are fewer than two images, an image is unreadable, or the network cannot take them.
    """
    _check(images, extractor)
    made = _Gathered(len(images))
    told = on_batch or (lambda _count: None)
    for start, part in _parts(images, extractor, batch_size, processes):
        made.enter(start, part)
        told(len(part))
    shares = processes.gather(_share([]))
    processes.from_first(lambda: None)
    for rank, share in enumerate(shares[1:], start=1):
        for start in share["starts"]:
            count = min(batch_size, len(images) - start)
            room = [torch.empty(count, width) for width in share["widths"]]
            for tensor in room:
                _hand_over(dist.recv, tensor, rank)
            made.enter(start, Features(*room))
            told(count)
    if made.pool is None or not bool(torch.isfinite(made.pool).all()):
        raise MetricsError(f"The features of {images.path} are not all finite numbers: check the weights.")
    return Features(made.pool, made.spatial)


def assist(images: ImageSet, extractor: Extractor, *, batch_size: int, processes: Processes) -> None:
    """Make a share of the features that the first process extracts, and hand them over once it has made its own.

    Raises:
        MetricsError: As `extract`, or the first process is lost.
    """
    _check(images, extractor)
    made = list(_parts(images, extractor, batch_size, processes))
    processes.gather(_share(made))
    # The first may still be busy with what it measures of another set, for longer than a transfer would wait.
    processes.from_first(lambda: None)
    for _, features in made:
        for tensor in _tensors(features):
            _hand_over(dist.send, tensor.contiguous(), 0)


def _check(images: ImageSet, extractor: Extractor) -> None:
    if len(images) < 2:
        raise MetricsError(f"{images.path} holds {len(images)} image: metrics need at least 2.")
    extractor.check(images)


def _share(made: Sequence[tuple[int, Features]]) -> dict[str, list[int]]:
    """Return where a process's batches start, and how wide their features are."""
    widths = [part.shape[1] for _, features in made[:1] for part in _tensors(features)]
    return {"starts": [start for start, _ in made], "widths": widths}


class _Gathered:
    """Features in the order of their images, with room for all once the first have come."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.pool: Tensor | None = None
        self.spatial: Tensor | None = None

    def enter(self, start: int, part: Features) -> None:
        if self.pool is None:
            self.pool = torch.empty(self.count, part.pool.shape[1])
            self.spatial = None if part.spatial is None else torch.empty(self.count, part.spatial.shape[1])
        self.pool[start : start + len(part)] = part.pool
        if self.spatial is not None and part.spatial is not None:
            self.spatial[start : start + len(part)] = part.spatial


def _tensors(features: Features) -> list[Tensor]:
    return [features.pool] if features.spatial is None else [features.pool, features.spatial]


def _hand_over(transfer: Callable[[Tensor, int], object], tensor: Tensor, peer: int) -> None:
    try:
        transfer(tensor, peer)
    except RuntimeError as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise MetricsError(
            f"Process {peer} was lost while features were handed over ({reason}): start the same command again."
        ) from error


def _parts(
    images: ImageSet, extractor: Extractor, batch_size: int, processes: Processes
) -> Iterator[tuple[int, Features]]:
    """Yield this process's batches' features and where they start; the next batch is being made meanwhile."""
    with ThreadPoolExecutor(DECODERS) as decoders, ThreadPoolExecutor(1) as ahead:
        places = (batch_size * place for place in processes.deal(-(-len(images) // batch_size)))
        source = _read(images, extractor.protocol, batch_size, places, decoders)
        following = ahead.submit(next, source, None)
        while (batch := following.result()) is not None:
            following = ahead.submit(next, source, None)
            yield batch[0], extractor(batch[1])


def _read(
    images: ImageSet, protocol: Protocol, batch_size: int, starts: Iterator[int], decoders: ThreadPoolExecutor
) -> Iterator[tuple[int, Array]]:
    """Yield the batches that start at these places, ascending, prepared."""
    each = protocol.each or (lambda image: image)
    if isinstance(images, ImageArray):
        for start, batch in images.batches(batch_size, starts):
            yield start, np.stack(list(decoders.map(each, batch))) if protocol.each else batch
        return
    for start in starts:
        rows = range(start, min(start + batch_size, len(images)))
        yield start, np.stack(list(decoders.map(lambda row: each(images.read(row)), rows)))
