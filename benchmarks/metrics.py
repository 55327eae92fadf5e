"""How fast are the metrics, against pytorch-fid and scipy on the same data, and how much memory do they take?

Takes turns with the reference in one run and prints ratios of medians: above 1, this project is faster. The reference
is a checkout of pytorch-fid, or a folder that `pip install --no-deps --target DIR pytorch-fid torchvision` filled; its
network gets the same random weights as ours.
"""

import argparse
import importlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image as Pillow
from scipy import linalg
from torch import Tensor

from analysis.metrics.extraction import extract
from analysis.metrics.features import load_extractor
from analysis.metrics.frechet import frechet_distance, from_statistics
from analysis.metrics.images import open_images
from analysis.metrics.inception import Inception
from analysis.metrics.moments import Moments
from analysis.metrics.neighbours import neighbourhood_metrics
from benchmarks.measuring import measured

DIMENSIONS = 2048


def random_features(count: int, seed: int) -> Tensor:
    """Features about as correlated and as far from 0 as Inception's."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(128, DIMENSIONS, generator=torch.Generator().manual_seed(0)) / 30
    features = torch.empty(count, DIMENSIONS)
    for start in range(0, count, 2048):
        rows = min(2048, count - start)
        features[start : start + rows] = torch.randn(rows, 128, generator=generator) @ mixing
        features[start : start + rows] += 0.1 * torch.rand(rows, DIMENSIONS, generator=generator)
    return features.relu_()


def seconds(action: Callable[[], object]) -> tuple[float, float]:
    """Return how long an action takes, by the clock and of processors, ended child processes' included."""
    start, used = time.perf_counter(), sum(os.times()[:4])
    action()
    return time.perf_counter() - start, sum(os.times()[:4]) - used


def compare(ours: Callable[[], object], theirs: Callable[[], object], rounds: int) -> tuple[list[float], list[float]]:
    """Return both medians of seconds, by the clock and of processors, in turns, after one of each to warm up."""
    times = [(seconds(ours), seconds(theirs)) for _ in range(rounds + 1)][1:]
    first, second = ([statistics.median(kind) for kind in zip(*side, strict=True)] for side in zip(*times, strict=True))
    return first, second


def ratios(own: list[float], other: list[float]) -> str:
    """Return how many times faster ours is."""
    return f"ratio {other[0] / own[0]:.2f} by the clock, {other[1] / own[1]:.2f} of processor time"


def write_weights(path: Path) -> dict[str, Tensor]:
    """Save random weights under the published names."""
    torch.manual_seed(0)
    tensors = {name: tensor for name, tensor in Inception().state_dict().items() if "num_batches" not in name}
    torch.save(tensors, path)
    return tensors


def write_images(folder: Path, count: int, size: int) -> list[Path]:
    """Save smooth random PNGs."""
    rng = np.random.default_rng(0)
    files = []
    for place in range(count):
        coarse = Pillow.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8))
        files.append(folder / f"{place:05}.png")
        coarse.resize((size, size), Pillow.Resampling.BICUBIC).save(files[-1])
    return files


def import_reference(folder: Path) -> tuple[Any, Any]:
    """Import pytorch-fid's two modules from a checkout or an installed folder."""
    sys.path[:0] = [str(folder), str(folder / "src")]
    # pytorch-fid needs torchvision's Python code only; where its compiled part is for another build of torch, its
    # operators are declared here and never called.
    for _ in range(50):
        try:
            importlib.import_module("torchvision")
            break
        except RuntimeError as error:
            name = str(error).partition("operator ")[2].split(" ")[0]
            if not name.startswith("torchvision::"):
                raise
            torch.library.define(name, "(Tensor x) -> Tensor")
            for module in [module for module in sys.modules if module.startswith("torchvision")]:
                del sys.modules[module]
    return importlib.import_module("pytorch_fid.inception"), importlib.import_module("pytorch_fid.fid_score")


def bench_features(reference: Path, count: int, size: int, rounds: int) -> None:
    """Print images per second of both networks, decoding included."""
    networks, scores = import_reference(reference)
    workers = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as place:
        tensors = write_weights(Path(place) / "weights.pth")
        networks.load_state_dict_from_url = lambda *_args, **_kwargs: tensors
        files = write_images(Path(place), count, size)
        theirs = networks.InceptionV3([3])
        extractor = load_extractor("inception", weights=Path(place) / "weights.pth", protocol="pytorch-fid")
        images = open_images(Path(place))
        found = extract(images, extractor).pool.numpy()
        wanted = scores.get_activations(files, theirs, 50, DIMENSIONS, "cpu", workers)
        print(f"features: largest difference {np.abs(found - wanted).max():.1e}")
        own, other = compare(
            lambda: extract(images, extractor),
            lambda: scores.get_activations(files, theirs, 50, DIMENSIONS, "cpu", workers),
            rounds,
        )
    rates = f"{count / own[0]:.2f} against {count / other[0]:.2f} images/s"
    print(f"features of {count} {size}x{size} PNGs: {rates}, {ratios(own, other)}", flush=True)


def bench_distance(rounds: int) -> None:
    """Print the Fréchet distance's seconds at 2048 dimensions against scipy's matrix square root."""
    moments = [Moments.of(random_features(6000, seed)) for seed in (1, 2)]
    (first, second), means = [part.covariance for part in moments], [part.mean for part in moments]
    numbers: dict[str, float] = {}

    def ours() -> None:
        gaussians = [from_statistics(mean, matrix) for mean, matrix in zip(means, (first, second), strict=True)]
        numbers["ours"] = frechet_distance(*gaussians)

    def theirs() -> None:
        root = linalg.sqrtm(first.numpy() @ second.numpy())
        shift = float((means[0] - means[1]).square().sum())
        numbers["theirs"] = shift + float(first.trace() + second.trace()) - 2 * float(np.trace(root).real)

    own, other = compare(ours, theirs, rounds)
    print(f"distance at {DIMENSIONS}: {own[0]:.2f} against {other[0]:.2f} s, {ratios(own, other)}; ", end="")
    print(f"{numbers['ours']:.9f} and {numbers['theirs']:.9f}", flush=True)


def bench_neighbours(count: int) -> None:
    """Print the seconds of precision, recall, density and coverage."""
    generated, reference = random_features(count, 1), random_features(count, 2)
    taken, used = seconds(lambda: neighbourhood_metrics(generated, reference))
    print(f"precision, recall, density, coverage of {count} x {count} at {DIMENSIONS}: {taken:.1f} s, ", end="")
    print(f"{used:.1f} s of processors", flush=True)


def bench_memory(counts: list[int]) -> None:
    """Print the peak memory of the neighbourhood metrics, each count in a process of its own."""
    for count in counts:
        command = [sys.executable, "-m", "benchmarks.metrics", "--memory-of", str(count)]
        print(subprocess.run(command, check=True, capture_output=True, text=True).stdout, end="", flush=True)


def print_memory(count: int) -> None:
    """Print this process's peak memory before and after."""
    processor = torch.device("cpu")
    empty = measured(lambda: None, processor)
    generated, reference = random_features(count, 1), random_features(count, 2)
    full = measured(lambda: neighbourhood_metrics(generated, reference), processor)
    print(f"N = {count:6}: peak {full.peak:6.0f} MiB, of which {empty.peak:.0f} before any image; ", end="")
    print(f"{full.seconds:.1f} s, {full.processor:.1f} s of processors")


def main() -> None:
    """Print all of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reference", type=Path, metavar="DIR", help="pytorch-fid; without it features are not timed")
    parser.add_argument("--images", type=int, default=96)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--neighbours", type=int, default=10_000)
    parser.add_argument("--memory", type=int, nargs="*", default=[1_000, 5_000, 10_000, 20_000, 50_000])
    parser.add_argument("--only", nargs="+", choices=["features", "distance", "neighbours", "memory"])
    parser.add_argument("--memory-of", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory_of:
        print_memory(options.memory_of)
        return
    chosen = options.only or ["features", "distance", "neighbours", "memory"]
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}", flush=True)
    if "features" in chosen and options.reference:
        bench_features(options.reference, options.images, options.size, options.rounds)
    if "distance" in chosen:
        bench_distance(options.rounds)
    if "neighbours" in chosen:
        bench_neighbours(options.neighbours)
    if "memory" in chosen:
        bench_memory(options.memory)


if __name__ == "__main__":
    main()
