"""How fast is an iteration of adversarial training, beside the code that was published with the paper?

    python -m benchmarks.training --reference DIR

DIR is a checkout of that code (bahjat-kawar/enhancing-diffusion-robust), which is no part of this project. Both train
the same network with the same weights on the same batch against the same threat model, in processes of their own that
take turns. Timed are the attack, the pass through the network, its gradient and the optimiser's step; loading data,
adding noise and writing logs are not. The rate is 0, so that every round does the same work.

The batches are as late in a training: the weights are trained, and so many of the samples (`--fooled`, half) are seen
fooled before the attack's last step. They are drawn from noisy training images whose timesteps are uniform, as in a
training. `--fooled drawn` takes batches as they come.

The ratio is the published code's time over this one's: by the clock, the median over rounds; of the processor, that of
the least times, which says more where others use the machine too. Peak memory is what an iteration adds to what was
taken before it. The last column counts the samples that both attacks leave alike.
"""

import argparse
import json
import statistics
from dataclasses import asdict, dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.measuring import Measured, Worker, answer, measured
from benchmarks.published import PublishedTraining
from generation.checkpoints import load_classifier
from generation.datasets import load_dataset, to_unit_range
from generation.devices import choose_device
from generation.diffusion.process import Process
from generation.diffusion.schedule import build_schedule
from generation.guidance.attack import attack
from generation.plans import pretrained_checkpoint
from generation.presets import Attack, Preset, load_preset

POOL = 4  # times a batch, to choose one from
BUCKETS = 8  # sizes that a compiled network meets
SAME = 1e-3  # in pixels, between attacked images


@dataclass(frozen=True)
class Setting:
    """What both codes are put to."""

    preset: str
    checkpoint: Path
    data: Path
    reference: Path
    device: str
    mixed: bool
    compiled: bool
    threads: int
    seed: int


@dataclass(frozen=True)
class Batch:
    """Noisy images to train on, which share of them the attack fools in time, and which share of its work it skips."""

    x_t: Tensor
    timestep: Tensor
    label: Tensor
    fooled: float = 0.0
    skipped: float = 0.0

    def __getitem__(self, rows: Tensor) -> "Batch":
        return Batch(self.x_t[rows], self.timestep[rows], self.label[rows])

    def to(self, device: torch.device) -> "Batch":
        """Return the batch on a device."""
        return replace(self, x_t=self.x_t.to(device), timestep=self.timestep.to(device), label=self.label.to(device))


class Pool:
    """Late in a training: trained weights, and noisy training images of uniformly drawn timesteps."""

    def __init__(self, setting: Setting) -> None:
        self.preset = load_preset(setting.preset)
        self.settings = attack_of(self.preset)
        self.classifier = load_classifier(setting.checkpoint, self.preset)
        self.data = load_dataset(setting.data, self.preset.image, "train")
        self.process = Process(build_schedule(self.preset.schedule), learn_sigma=False)
        self.generator = torch.Generator().manual_seed(setting.seed)

    def batch(self, size: int, fooled: float | None) -> Batch:
        """Return a batch of which the given share is fooled; where it is None, as it comes."""
        batch = self._draw(size if fooled is None else POOL * size)
        if fooled is not None:
            seen, wanted = self._attack(batch).fooled, round(fooled * size)
            rows = torch.cat([seen.nonzero()[:wanted, 0], (~seen).nonzero()[: size - wanted, 0]])
            if len(rows) < size:
                raise SystemExit(f"Of {POOL * size} samples too few or too many are fooled for {fooled:.0%} of {size}.")
            batch = batch[rows[torch.randperm(size, generator=self.generator)]]
        outcome = self._attack(batch)
        skipped = 1 - outcome.classified / (size * self.settings.steps)
        return replace(batch, fooled=outcome.fooled.float().mean().item(), skipped=skipped)

    def _draw(self, size: int) -> Batch:
        rows = torch.randint(len(self.data), (size,), generator=self.generator)
        step = torch.randint(len(self.process), (size,), generator=self.generator)
        x_0 = to_unit_range(self.data.images[rows])
        noise = torch.randn(x_0.shape, generator=self.generator)
        return Batch(self.process.add_noise(x_0, step, noise), self.process.timesteps[step], self.data.labels[rows])

    def _attack(self, batch: Batch) -> Any:  # noqa: ANN401 -- attack's outcome
        return attack(self.classifier, batch.x_t, batch.timestep, batch.label, self.settings)


class OurTraining:
    """An iteration of this project's code."""

    def __init__(self, setting: Setting, preset: Preset, device: torch.device) -> None:
        self.device, self.settings, self.compiled = device, attack_of(preset), setting.compiled
        self.mixed = setting.mixed
        self.network: nn.Module = load_classifier(setting.checkpoint, preset).to(device).train().requires_grad_()
        if setting.compiled:
            self.network.compile(dynamic=False)
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=0.0, weight_decay=0.05)

    def attacked(self, batch: Batch) -> Tensor:
        """Return the images as this project's attack leaves them."""
        return attack(self.network, batch.x_t, batch.timestep, batch.label, self.settings).x_t

    def iterate(self, batch: Batch) -> None:
        """Attack, classify, count, and step."""
        bucket = max(1, len(batch.label) // BUCKETS) if self.compiled else 1
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.mixed):
            outcome = attack(self.network, batch.x_t, batch.timestep, batch.label, self.settings, bucket=bucket)
            logits = self.network(outcome.x_t, batch.timestep)
        (logits.argmax(1) == batch.label).float().mean().item()
        outcome.fooled.float().mean().item()
        loss = F.cross_entropy(logits, batch.label)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()


def attack_of(preset: Preset) -> Attack:
    """Return the preset's attack, its step as Appendix E and the published code have it."""
    if preset.attack is None:
        raise SystemExit(f"Preset {preset.name} has no [attack]: take one that has.")
    return replace(preset.attack, step_size=2.5 * preset.attack.epsilon / preset.attack.steps)


def work(end: Connection, kind: str, setting: Setting) -> None:
    """Answer requests: ("attacked", batch) by the images, ("time", batch) by seconds and the peak memory, MiB."""
    torch.set_num_threads(setting.threads)
    device, preset = choose_device(setting.device), load_preset(setting.preset)
    training: OurTraining | PublishedTraining
    if kind == "ours":
        training = OurTraining(setting, preset, device)
    else:
        weights = load_classifier(setting.checkpoint, preset).state_dict()
        settings = attack_of(preset)
        training = PublishedTraining(setting.reference, preset, settings, weights, device=device, mixed=setting.mixed)

    def attacked(batch: Batch) -> Tensor:
        return training.attacked(batch.to(device)).float().cpu()

    def timed(batch: Batch) -> Measured:
        batch = batch.to(device)
        return measured(lambda: training.iterate(batch), device)

    answer(end, {"attacked": attacked, "time": timed})


@dataclass(frozen=True)
class Row:
    """What was measured on a batch."""

    batch: int
    fooled: float
    skipped: float
    ours_images_per_second: float
    published_images_per_second: float
    ratio_clock: float
    ratio_processor: float
    ours_peak_mib: float
    published_peak_mib: float
    attacked_alike: int


def compare(setting: Setting, batch: Batch, rounds: int) -> Row:
    """Put both codes to a batch, in turn."""
    ours, published = Worker(work, "ours", setting), Worker(work, "published", setting)
    apart = (ours.ask("attacked", batch) - published.ask("attacked", batch)).flatten(1).abs().amax(1)
    pairs = [(ours.ask("time", batch), published.ask("time", batch)) for _ in range(rounds + 1)][1:]
    for worker in (ours, published):
        worker.close()
    size = len(batch.label)
    speeds = [size / statistics.median(pair[side].seconds for pair in pairs) for side in (0, 1)]
    clock = statistics.median(theirs.seconds / own.seconds for own, theirs in pairs)
    processor = min(theirs.processor for _, theirs in pairs) / min(own.processor for own, _ in pairs)
    peaks = [max(pair[side].peak - pair[side].before for pair in pairs) for side in (0, 1)]
    return Row(
        batch=size,
        fooled=batch.fooled,
        skipped=batch.skipped,
        ours_images_per_second=speeds[0],
        published_images_per_second=speeds[1],
        ratio_clock=clock,
        ratio_processor=processor,
        ours_peak_mib=peaks[0],
        published_peak_mib=peaks[1],
        attacked_alike=int((apart < SAME).sum()),
    )


def table(row: Row) -> str:
    """Return a row as Markdown."""
    return (
        f"| {row.batch} | {row.fooled:.0%} | {row.skipped:.0%} | {row.ours_images_per_second:.1f} "
        f"| {row.published_images_per_second:.1f} | {row.ratio_clock:.2f} | {row.ratio_processor:.2f} "
        f"| {row.ours_peak_mib:.0f} | {row.published_peak_mib:.0f} | {row.attacked_alike} |"
    )


def share(text: str) -> float | None:
    """Argparse's type of `--fooled`."""
    return None if text == "drawn" else float(text)


def main() -> None:
    """Print the table, and write it as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reference", type=Path, required=True, help="checkout of the published code")
    parser.add_argument("--preset", default="fashion32")
    parser.add_argument("--checkpoint", type=Path, help="trained classifier; the shipped robust one, unless given")
    parser.add_argument("--data", type=Path, default=Path("/usr/share/datasets/fashion-mnist"))
    parser.add_argument("--batch-size", type=int, nargs="+", default=[32, 64, 128])
    parser.add_argument("--fooled", type=share, nargs="+", default=[0.5, None], metavar="SHARE", help="or `drawn`")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--mixed", action="store_true", help="bf16 here; there fp16 on CUDA, and fp32 on a processor")
    parser.add_argument("--compile", action="store_true", help="compile the network here")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="a file for the same numbers")
    options = parser.parse_args()
    setting = Setting(
        preset=options.preset,
        checkpoint=options.checkpoint or pretrained_checkpoint(load_preset(options.preset), "robust"),
        data=options.data,
        reference=options.reference,
        device=options.device,
        mixed=options.mixed,
        compiled=options.compile,
        threads=options.threads,
        seed=options.seed,
    )
    device = choose_device(setting.device)
    print(f"{setting.preset} on {device.type}, {setting.threads} threads, torch {torch.__version__}")
    print(
        "| batch | fooled | attack skipped | ours, images/s | published, images/s | ratio | ratio, processor", end=" "
    )
    print("| peak, ours, MiB | peak, published, MiB | attacked alike |")
    print("| ---: " * 10 + "|")
    pool, rows = Pool(setting), []
    for size in options.batch_size:
        for fooled in options.fooled:
            rows.append(compare(setting, pool.batch(size, fooled), options.rounds))
            print(table(rows[-1]), flush=True)
    if options.json:
        about = {key: str(value) for key, value in asdict(setting).items()}
        contents = {**about, "torch": torch.__version__, "rows": [asdict(row) for row in rows]}
        options.json.write_text(json.dumps(contents, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
