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
import multiprocessing
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

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
    while (request := end.recv()) is not None:
        what, batch = request
        batch = batch.to(device)
        if what == "attacked":
            end.send(training.attacked(batch).float().cpu())
        else:
            end.send(measured(training, batch, device))


@dataclass(frozen=True)
class Measured:
    """An iteration's time by the clock and of the processor, seconds, and the most memory it took, MiB."""

    seconds: float
    processor: float
    peak: float


def measured(training: OurTraining | PublishedTraining, batch: Batch, device: torch.device) -> Measured:
    """Run an iteration, the device's work included."""
    wait: Callable[[], None] = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    before = _begin_peak(device)
    wait()
    start, processor = time.perf_counter(), time.process_time()
    training.iterate(batch)
    wait()
    seconds, processor = time.perf_counter() - start, time.process_time() - processor
    return Measured(seconds, processor, _peak(device) - before)


def _begin_peak(device: torch.device) -> float:
    """Forget earlier peaks and return what is taken now, MiB."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated() / 2**20
    # Linux sets the process's high-water mark to what it has now.
    Path("/proc/self/clear_refs").write_text("5")
    return _peak(device)


def _peak(device: torch.device) -> float:
    """Return the most memory taken since, MiB: the device's, or the process's."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 2**10


class Worker:
    """A process that trains in one of the two ways."""

    def __init__(self, kind: str, setting: Setting) -> None:
        context = multiprocessing.get_context("spawn")
        self.end, other = context.Pipe()
        self.process = context.Process(target=work, args=(other, kind, setting), daemon=True)
        self.process.start()
        other.close()

    def ask(self, what: str, batch: Batch) -> Any:  # noqa: ANN401 -- as `work` answers
        """Send a request and wait for the answer."""
        self.end.send((what, batch))
        try:
            return self.end.recv()
        except EOFError:
            raise SystemExit("A process died; what it said stands above.") from None

    def close(self) -> None:
        """End the process."""
        self.end.send(None)
        self.process.join()


def compare(setting: Setting, batch: Batch, rounds: int) -> str:
    """Return a row of the table: both codes, in turn, on a batch."""
    ours, published = Worker("ours", setting), Worker("published", setting)
    apart = (ours.ask("attacked", batch) - published.ask("attacked", batch)).flatten(1).abs().amax(1)
    pairs = [(ours.ask("time", batch), published.ask("time", batch)) for _ in range(rounds + 1)][1:]
    for worker in (ours, published):
        worker.close()
    size = len(batch.label)
    speeds = [size / statistics.median(pair[side].seconds for pair in pairs) for side in (0, 1)]
    clock = statistics.median(theirs.seconds / own.seconds for own, theirs in pairs)
    processor = min(theirs.processor for _, theirs in pairs) / min(own.processor for own, _ in pairs)
    peaks = [max(pair[side].peak for pair in pairs) for side in (0, 1)]
    same = int((apart < SAME).sum())
    return (
        f"| {size} | {batch.fooled:.0%} | {batch.skipped:.0%} | {speeds[0]:.1f} | {speeds[1]:.1f} | {clock:.2f} "
        f"| {processor:.2f} | {peaks[0]:.0f} | {peaks[1]:.0f} | {same} |"
    )


def share(text: str) -> float | None:
    """Argparse's type of `--fooled`."""
    return None if text == "drawn" else float(text)


def main() -> None:
    """Print the table."""
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
    pool = Pool(setting)
    for size in options.batch_size:
        for fooled in options.fooled:
            print(compare(setting, pool.batch(size, fooled), options.rounds), flush=True)


if __name__ == "__main__":
    main()
