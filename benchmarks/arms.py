"""Is it faster to send both arms through the U-Net in one batch, or in two?

Samples the same pairs both ways, in turn, and prints the time of two batches over that of one: above 1, one batch is
faster.
"""

import argparse
import statistics
import time

import torch

from generation.devices import choose_device
from generation.diffusion.process import Process
from generation.diffusion.sampler import reverse_steps
from generation.diffusion.schedule import build_schedule, respaced
from generation.diffusion.unet import UNet, build_unet
from generation.guidance.classifier import build_classifier
from generation.guidance.score import Guidance
from generation.noise import PairNoise
from generation.presets import Preset, load_preset


class Bench:
    """A preset's networks with random weights, and a short walk to time."""

    def __init__(self, preset: Preset, device: torch.device, steps: int) -> None:
        self.preset, self.device = preset, device
        self.unet: UNet = build_unet(preset).to(device).eval().requires_grad_(requires_grad=False)
        self.arms = [
            Guidance(build_classifier(preset).to(device).eval().requires_grad_(requires_grad=False), 1.0)
            for _ in range(2)
        ]
        schedule = respaced(build_schedule(preset.schedule), str(steps))
        self.process = Process(schedule, learn_sigma=preset.diffusion.learn_sigma, device=device)

    def seconds(self, pairs: int, *, shared: bool) -> float:
        """Return how long it takes to walk to x_0, the device's work included."""
        start = time.perf_counter()
        image = self.preset.image
        noise = PairNoise(0, range(pairs), (image.channels, image.size, image.size))
        label = torch.zeros(pairs, dtype=torch.int64, device=self.device)
        for _ in reverse_steps(self.unet, self.process, self.arms, label, noise.draw, shared=shared):
            pass
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start

    def ratio(self, pairs: int, rounds: int) -> float:
        """Return the median ratio, over rounds in which both ways take turns, after a round that warms up."""
        ratios = [self.seconds(pairs, shared=False) / self.seconds(pairs, shared=True) for _ in range(rounds + 1)]
        return statistics.median(ratios[1:])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="fashion32")
    parser.add_argument("--pairs", type=int, nargs="+", default=[1, 2, 4, 8, 16])
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    options = parser.parse_args()
    device = choose_device(options.device)
    bench = Bench(load_preset(options.preset), device, options.steps)
    print(f"{options.preset} on {device.type}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    for pairs in options.pairs:
        print(f"{pairs:4} pairs: two batches / one batch = {bench.ratio(pairs, options.rounds):.2f}", flush=True)


if __name__ == "__main__":
    main()
