"""How many pairs a second does this sampler make, beside the published guided-diffusion code?

    python -m benchmarks.sampling --reference DIR

DIR is a checkout of that code (openai/guided-diffusion), which is no part of this project. Both sample pairs of two
arms with the same weights, steps and batch, in processes of their own that take turns: here both arms at once, there
two runs, one for each arm, as its script makes them. Without trained weights the networks get random ones.

The ratio is the published code's time over this one's: by the clock, the median over rounds; of the processor, that of
the least times, which says more where others use the machine too (and with `--threads 1`, for threads that wait count
as well). Memory is the most that the process took, or on a GPU its tensors. The difference is the largest between any
two pixels in fp32, in [-1, 1], from the same noise. The share is that of the rate at which this machine multiplies
large matrices, in the precision of the networks; fp32 convolutions of a processor may be better at it.
"""

import argparse
import json
import statistics
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.guided import PublishedSampling
from benchmarks.measuring import Measured, Worker, answer, measured
from generation.checkpoints import load_classifier, load_diffusion
from generation.devices import PRECISIONS, choose_device, keep_freed_memory
from generation.diffusion.frozen import freeze
from generation.diffusion.lanes import Lanes
from generation.diffusion.process import Process
from generation.diffusion.sampler import reverse_steps
from generation.diffusion.schedule import build_schedule, respaced
from generation.diffusion.unet import UNet, build_unet
from generation.guidance.classifier import TimeClassifier, build_classifier
from generation.guidance.score import Guidance
from generation.noise import PairNoise
from generation.presets import Preset, load_preset
from generation.provenance import describe_device
from generation.shipped import PRETRAINED

MATRIX = {"cpu": 2048, "cuda": 8192}
CODES = ("ours", "published")
ARMS = ("vanilla", "robust")


@dataclass(frozen=True)
class Setting:
    """What both codes are put to."""

    preset: str
    reference: Path
    device: str
    precision: str
    threads: int
    seed: int


@dataclass(frozen=True)
class Row:
    """What was measured at one batch size and number of steps."""

    precision: str
    pairs: int
    steps: int
    ours_pairs_per_second: float
    published_pairs_per_second: float
    ratio_clock: float
    ratio_processor: float
    ours_peak_mib: float
    published_peak_mib: float
    largest_difference: float | None
    share_of_matrix_rate: float


def load(preset: Preset, seed: int) -> tuple[UNet, list[TimeClassifier]]:
    """Return the shipped networks, or such with random weights."""
    folder = PRETRAINED / preset.name
    if folder.is_dir():
        unet = load_diffusion(folder / "diffusion.safetensors", preset)
        return unet, [load_classifier(folder / f"{arm}.safetensors", preset) for arm in ARMS]
    torch.manual_seed(seed)
    networks = build_unet(preset), [build_classifier(preset) for _ in ARMS]
    for network in (networks[0], *networks[1]):
        for parameter in network.parameters():
            if not parameter.any():  # a block that begins as the identity
                nn.init.normal_(parameter, std=0.02)
    return networks


class OurSampling:
    """Sampling by this project's code."""

    def __init__(self, setting: Setting, device: torch.device) -> None:
        self.preset, self.device, self.lanes = load_preset(setting.preset), device, None
        if device.type == "cpu":
            keep_freed_memory()
            self.lanes = Lanes(setting.threads)
        precision = PRECISIONS[setting.precision]
        unet, classifiers = load(self.preset, setting.seed)
        self.unet = freeze(unet.to(device), precision)
        frozen = [freeze(classifier.to(device), precision) for classifier in classifiers]
        self.guidances = [Guidance(each, scale) for each, scale in zip(frozen, scales(self.preset), strict=True)]

    def sample(self, pairs: int, respacing: str, seed: int) -> Tensor:
        """Return (A, N, C, H, W) images."""
        schedule = respaced(build_schedule(self.preset.schedule), respacing)
        learned, told = self.preset.diffusion.learn_sigma, self.preset.diffusion.class_conditional
        process = Process(schedule, learn_sigma=learned, device=self.device)
        label = labels(self.preset, pairs).to(self.device)
        draw = noise(self.preset, pairs, seed).draw
        *_, last = reverse_steps(self.unet, process, self.guidances, label, draw, conditional=told, lanes=self.lanes)
        if self.lanes is not None:
            self.lanes.wait()
        return last.x


def scales(preset: Preset) -> tuple[float, float]:
    """Return the arms' guidance scales."""
    return preset.sampling.vanilla_scale, preset.sampling.robust_scale


def labels(preset: Preset, pairs: int) -> Tensor:
    """Return the pairs' classes."""
    return torch.arange(pairs) % preset.image.classes


def noise(preset: Preset, pairs: int, seed: int) -> PairNoise:
    """Return the pairs' noise, from its beginning."""
    image = preset.image
    return PairNoise(seed, range(pairs), (image.channels, image.size, image.size))


def work(end: Connection, kind: str, setting: Setting) -> None:
    """Answer ("images", pairs, respacing) by what both arms look like, and ("time", pairs, respacing) by `Measured`."""
    torch.set_num_threads(setting.threads)
    device, preset = choose_device(setting.device), load_preset(setting.preset)
    if setting.precision == "fp32":
        # TF32 would be another precision.
        torch.backends.cudnn.allow_tf32 = False
    if kind == "ours":
        ours = OurSampling(setting, device)
        answer(
            end,
            {
                "images": lambda pairs, respacing: ours.sample(pairs, respacing, setting.seed).cpu(),
                "time": lambda pairs, respacing: measured(lambda: ours.sample(pairs, respacing, setting.seed), device),
            },
        )
        return
    unet, classifiers = load(preset, setting.seed)
    arms = [(each.state_dict(), scale) for each, scale in zip(classifiers, scales(preset), strict=True)]
    half = setting.precision != "fp32" and device.type == "cuda"
    published = PublishedSampling(setting.reference, preset, unet.state_dict(), arms, device=device, half=half)

    def images(pairs: int, respacing: str) -> Tensor:
        streams = [noise(preset, pairs, setting.seed).draw for _ in ARMS]
        return published.sample(labels(preset, pairs).to(device), respacing, streams).cpu()

    def timed(pairs: int, respacing: str) -> Measured:
        return measured(lambda: published.sample(labels(preset, pairs).to(device), respacing), device)

    answer(end, {"images": images, "time": timed})


def compare(setting: Setting, pairs: int, steps: int, rounds: int, rate: float) -> Row:
    """Put both codes to a batch in turn, after a round that warms up."""
    workers = [Worker(work, kind, setting) for kind in CODES]
    difference = apart(workers, pairs, steps) if setting.precision == "fp32" else None
    rows = [[worker.ask("time", pairs, str(steps)) for worker in workers] for _ in range(rounds + 1)][1:]
    for worker in workers:
        worker.close()
    speeds = [pairs / statistics.median(row[side].seconds for row in rows) for side in (0, 1)]
    processor = [min(row[side].processor for row in rows) for side in (0, 1)]
    return Row(
        precision=setting.precision,
        pairs=pairs,
        steps=steps,
        ours_pairs_per_second=speeds[0],
        published_pairs_per_second=speeds[1],
        ratio_clock=statistics.median(row[1].seconds / row[0].seconds for row in rows),
        ratio_processor=processor[1] / processor[0],
        ours_peak_mib=max(row[0].peak for row in rows),
        published_peak_mib=max(row[1].peak for row in rows),
        largest_difference=difference,
        share_of_matrix_rate=speeds[0] * len(ARMS) * steps * work_of_an_image(setting.preset) / rate,
    )


def apart(workers: list[Worker], pairs: int, steps: int) -> float:
    """Return the largest difference between any two pixels of both codes."""
    ours, published = (worker.ask("images", pairs, str(steps)) for worker in workers)
    return float((ours - published).abs().max())


def apart_in_fp32(setting: Setting, pairs: int, steps: int) -> float:
    """Return the same for networks in fp32."""
    workers = [Worker(work, kind, replace(setting, precision="fp32")) for kind in CODES]
    difference = apart(workers, pairs, steps)
    for worker in workers:
        worker.close()
    return difference


def work_of_an_image(name: str) -> float:
    """Return the floating-point operations of an image's step: the U-Net, and the classifier with its gradient."""
    preset = load_preset(name)
    image = preset.image
    with torch.device("meta"):
        unet, classifier = build_unet(preset), build_classifier(preset).requires_grad_(requires_grad=False)
        x_t = torch.zeros(1, image.channels, image.size, image.size)
        timestep = torch.zeros(1, dtype=torch.int64)
        label = timestep if preset.diffusion.class_conditional else None
        with FlopCounterMode(display=False) as counter:
            with torch.no_grad():
                unet(x_t, timestep, label)
            classifier(x_t.requires_grad_(), timestep).sum().backward()
    return float(counter.get_total_flops())


def matrix_rate(device: torch.device, precision: torch.dtype) -> float:
    """Return the operations a second of a large matrix product, the best of ten."""
    size = MATRIX[device.type]
    left, right = torch.randn(2, size, size, device=device, dtype=precision).unbind()
    best = float("inf")
    for _ in range(10):
        start = time.perf_counter()
        torch.mm(left, right)
        if device.type == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best


def table(row: Row) -> str:
    """Return a row as Markdown."""
    difference = "" if row.largest_difference is None else f"{row.largest_difference:.1e}"
    return (
        f"| {row.precision} | {row.pairs} | {row.steps} "
        f"| {row.ours_pairs_per_second:.3g} | {row.published_pairs_per_second:.3g} "
        f"| {row.ratio_clock:.2f} | {row.ratio_processor:.2f} | {row.ours_peak_mib:.0f} | {row.published_peak_mib:.0f} "
        f"| {difference} | {row.share_of_matrix_rate:.0%} |"
    )


def rows(setting: Setting, options: argparse.Namespace, rate: float) -> Iterator[Row]:
    """Yield each batch size at the first number of steps, then the first batch size at the others."""
    first, *others = options.steps
    for pairs in options.pairs:
        yield compare(setting, pairs, first, options.rounds, rate)
    for steps in others:
        yield compare(setting, options.pairs[0], steps, options.rounds, rate)


def main() -> None:
    """Print the table, and write it as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reference", type=Path, required=True, help="checkout of the published code")
    parser.add_argument("--preset", help="fashion32 on a processor and imagenet128 on a GPU, unless given")
    parser.add_argument("--pairs", type=int, nargs="+", default=[8, 1, 4, 16], help="a batch")
    parser.add_argument("--steps", type=int, nargs="+", default=[5, 10, 20])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument(
        "--precision", choices=sorted(PRECISIONS), nargs="+", help="fp16 on a GPU, fp32 and bf16 else, unless given"
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="a file for the same numbers")
    options = parser.parse_args()
    device = choose_device(options.device)
    cuda = device.type == "cuda"
    torch.set_num_threads(options.threads)
    name = options.preset or ("imagenet128" if cuda else "fashion32")
    where = f"{describe_device(device)['name']}, {options.threads} threads, torch {torch.__version__}"
    print(f"{name} on {where}; {work_of_an_image(name) / 1e9:.3g} GFLOP an image and step")
    results = []
    for precision in options.precision or (["fp16"] if cuda else ["fp32", "bf16"]):
        setting = Setting(
            preset=name,
            reference=options.reference,
            device=options.device,
            precision=precision,
            threads=options.threads,
            seed=options.seed,
        )
        results.append(measure(setting, options, device))
    if options.json:
        about = {"preset": name, "seed": options.seed, "where": where, "results": results}
        options.json.write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")


def measure(setting: Setting, options: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Print the table of a precision; return it with what it is measured by."""
    rate = matrix_rate(device, PRECISIONS[setting.precision])
    print(f"\n{setting.precision}: large matrices {rate / 1e12:.3g} TFLOP/s")
    print(
        "| networks | pairs | steps | ours, pairs/s | published, pairs/s | ratio | ratio, processor | peak, ours, MiB "
        "| peak, published, MiB | largest difference | share of the matrix rate |"
    )
    print("| ---: " * 11 + "|")
    done = []
    for row in rows(setting, options, rate):
        print(table(row), flush=True)
        done.append(asdict(row))
    difference = None
    if setting.precision != "fp32":
        pairs, steps = min(options.pairs), min(options.steps)
        difference = apart_in_fp32(setting, pairs, steps)
        print(f"Largest difference in fp32, {pairs} pairs, {steps} steps: {difference:.1e}")
    return {
        "precision": setting.precision,
        "operations_per_image_and_step": work_of_an_image(setting.preset),
        "matrix_operations_per_second": rate,
        "largest_difference_fp32": difference,
        "rows": done,
    }


if __name__ == "__main__":
    main()
