"""Is it faster to send both arms through the U-Net in one batch, or in two?

Prints, for several numbers of pairs, the time of the two calls over that of the one: above 1, one batch is faster.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from generation.devices import choose_device
from generation.diffusion.unet import build_unet
from generation.presets import load_preset


def seconds(call: Callable[[], object], device: torch.device) -> float:
    """Return how long a call takes, the device's work included."""
    start = time.perf_counter()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


@torch.no_grad()
def ratio(preset_name: str, pairs: int, rounds: int, device: torch.device) -> float:
    """Return the median ratio, over rounds in which both ways take turns."""
    preset = load_preset(preset_name)
    unet = build_unet(preset).to(device).eval()
    size, channels = preset.image.size, preset.image.channels
    x_t = torch.randn(2 * pairs, channels, size, size, device=device)
    timestep = torch.full((2 * pairs,), 500, device=device)
    label = torch.zeros(2 * pairs, dtype=torch.int64, device=device)

    def one_batch() -> None:
        unet(x_t, timestep, label)

    def two_batches() -> None:
        for half in (slice(None, pairs), slice(pairs, None)):
            unet(x_t[half], timestep[half], label[half])

    one_batch()
    two_batches()
    return statistics.median(seconds(two_batches, device) / seconds(one_batch, device) for _ in range(rounds))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="fashion32")
    parser.add_argument("--pairs", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    options = parser.parse_args()
    device = choose_device(options.device)
    print(f"{options.preset} on {device.type}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    for pairs in options.pairs:
        print(f"{pairs:4} pairs: two batches / one batch = {ratio(options.preset, pairs, options.rounds, device):.2f}")


if __name__ == "__main__":
    main()
