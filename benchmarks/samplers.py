"""What do the samplers make in few steps, and what does it cost?

    python -m benchmarks.samplers --picture docs/samplers.png --samples 200 --data DATA

Samples `fashion32` with the robust guidance, by every sampler at several numbers of steps, from the same noise. The
picture has a row for each sampler and number of steps and a column for each class. The table says

- how often the U-Net is called, and the classifier with its gradient: once a step each;
- how long that took, over the time of the preset's own sampler and steps in this run, of the processor;
- how far a pixel is, as a root mean square in [-1, 1], from where the sampler goes with `--limit` steps. DDIM without
  noise and dpmpp2m solve one equation and share a limit; a sampler that draws noise has none for a single image;
- with `--samples`, the Fréchet distance of so many images to the test images in DATA, by the `fashion` features. It is
  too large for few images, and equally so for all: it compares rows of one table, and no others.
"""

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from analysis.metrics.features import Extractor, load_extractor
from analysis.metrics.frechet import Gaussian, fit, frechet_distance
from generation.checkpoints import load_classifier, load_diffusion
from generation.datasets import load_dataset, to_bytes
from generation.devices import keep_freed_memory
from generation.diffusion.frozen import freeze
from generation.diffusion.lanes import Lanes
from generation.diffusion.process import Process
from generation.diffusion.sampler import reverse_steps
from generation.diffusion.schedule import build_schedule, respaced
from generation.guidance.score import Guidance
from generation.noise import PairNoise
from generation.plans import pretrained_checkpoint
from generation.presets import SamplerName, load_preset

SAMPLERS: tuple[tuple[SamplerName, float], ...] = (("ddpm", 0.0), ("ddim", 1.0), ("ddim", 0.0), ("dpmpp2m", 0.0))
ZOOM = 2
MARGIN = 2
GREY = 128


@dataclass(frozen=True)
class Row:
    """A sampler at a number of steps: its images (N, C, H, W), and the seconds of the processor that they took."""

    sampler: SamplerName
    eta: float
    steps: int
    images: Tensor
    seconds: float

    @property
    def name(self) -> str:
        """The sampler, with its eta where it has one."""
        return f"ddim, eta {self.eta:g}" if self.sampler == "ddim" else self.sampler


class Bench:
    """The shipped networks, with the robust guidance."""

    def __init__(self, seed: int) -> None:
        keep_freed_memory()
        self.preset, self.seed = load_preset("fashion32"), seed
        self.unet = freeze(load_diffusion(pretrained_checkpoint(self.preset, "diffusion"), self.preset))
        classifier = freeze(load_classifier(pretrained_checkpoint(self.preset, "robust"), self.preset))
        self.guidance = Guidance(classifier, self.preset.sampling.robust_scale)
        # What is timed runs on one core, and what is many on all.
        self.one, self.all = Lanes(1), Lanes(torch.get_num_threads())

    def sample(self, sampler: SamplerName, eta: float, steps: int, count: int, lanes: Lanes | None = None) -> Row:
        """Make images, of every class in turn."""
        image = self.preset.image
        process = Process(respaced(build_schedule(self.preset.schedule), str(steps)), learn_sigma=True)
        noise = PairNoise(self.seed, range(count), (image.channels, image.size, image.size))
        label, start = torch.arange(count) % image.classes, time.process_time()
        *_, last = reverse_steps(
            self.unet,
            process,
            [self.guidance],
            label,
            noise.draw,
            sampler=sampler,
            eta=eta,
            conditional=True,
            lanes=lanes or self.one,
        )
        return Row(sampler, eta, steps, last.x[0], time.process_time() - start)


def sheet(rows: list[Tensor]) -> Image.Image:
    """Return a sheet of (N, 1, H, W) images, a row for each."""
    high, wide = (MARGIN + ZOOM * side for side in rows[0].shape[2:])
    pixels = np.full((MARGIN + len(rows) * high, MARGIN + len(rows[0]) * wide), GREY, dtype=np.uint8)
    for down, images in enumerate(rows):
        for across, each in enumerate(to_bytes(images)[:, 0].numpy()):
            top, left = MARGIN + down * high, MARGIN + across * wide
            large = each.repeat(ZOOM, axis=0).repeat(ZOOM, axis=1)
            pixels[top : top + len(large), left : left + large.shape[1]] = large
    return Image.fromarray(pixels)


class Quality:
    """The Fréchet distance to real images."""

    def __init__(self, data: Path, bench: Bench) -> None:
        self.extractor: Extractor = load_extractor("fashion")
        images = load_dataset(data, bench.preset.image, "test").images
        if not isinstance(images, Tensor):
            raise SystemExit(f"{data} holds image files: give Fashion-MNIST's own.")
        self.real = self._fit(images)

    def distance(self, images: Tensor) -> float:
        """Return the distance of (N, 1, H, W) images in [-1, 1]."""
        return frechet_distance(self._fit(to_bytes(images)), self.real)

    def _fit(self, images: Tensor) -> Gaussian:
        """Fit (N, 1, H, W) uint8 images' features."""
        parts = [self.extractor(part.permute(0, 2, 3, 1).numpy()).pool for part in torch.split(images, 500)]
        return fit(torch.cat(parts))


def lines(bench: Bench, options: argparse.Namespace, rows: list[Row]) -> Iterator[str]:
    """Yield the table, a line at a time."""
    image, sampling = bench.preset.image, bench.preset.sampling
    usual = bench.sample(sampling.sampler, sampling.eta, int(sampling.respacing), image.classes).seconds
    limit = bench.sample("dpmpp2m", 0.0, options.limit, image.classes).images
    quality = Quality(options.data, bench) if options.samples else None
    yield "| sampler | steps | calls of each network | time | distance from the limit | Fréchet distance |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: |"
    for sampler, eta in SAMPLERS:
        for steps in options.steps:
            row = bench.sample(sampler, eta, steps, image.classes)
            rows.append(row)
            drawn = sampler == "ddpm" or eta > 0
            apart = "" if drawn else f"{(row.images - limit).square().mean().sqrt():.3f}"
            many = None if quality is None else bench.sample(sampler, eta, steps, options.samples, bench.all).images
            distance = "" if quality is None or many is None else f"{quality.distance(many):.1f}"
            yield f"| {row.name} | {steps} | {steps} | {row.seconds / usual:.2f} | {apart} | {distance} |"


def main() -> None:
    """Print the table and draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--picture", type=Path, help="a PNG of all samplers and steps")
    parser.add_argument("--steps", type=int, nargs="+", default=[5, 10, 25, 50])
    parser.add_argument("--limit", type=int, default=250, help="steps that count as many")
    parser.add_argument("--samples", type=int, default=0, help="images for the Fréchet distance; none unless given")
    parser.add_argument("--data", type=Path, default=Path("/usr/share/datasets/fashion-mnist"))
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    bench, rows = Bench(options.seed), list[Row]()
    for line in lines(bench, options, rows):
        print(line, flush=True)
    if options.picture:
        sheet([row.images for row in rows]).save(options.picture, optimize=True)


if __name__ == "__main__":
    main()
