"""Computing a plan's images, a batch at a time, in parts where the memory is too small for a batch."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from generation.checkpoints import load_classifier, load_diffusion, settle_classes
from generation.datasets import to_bytes
from generation.devices import keep_freed_memory
from generation.diffusion.frozen import freeze
from generation.diffusion.lanes import Lanes
from generation.diffusion.process import Process
from generation.diffusion.sampler import SamplingStep, reverse_steps
from generation.diffusion.schedule import build_schedule, respaced
from generation.errors import SettingsError
from generation.guidance.score import Guidance, Predict, label_tensor
from generation.noise import PairNoise, choose_labels
from generation.plans import SamplingPlan, knowing_classes

# A plan of fewer pixels, over all steps and arms, is done in seconds: before a core's own process has started.
WORTH_PROCESSES = 1_000_000
CPU_OUT_OF_MEMORY = "can't allocate memory"  # torch tells it by a plain RuntimeError


@dataclass(frozen=True)
class Networks:
    """What a plan samples with, on its device: the U-Net, and a guidance for each arm."""

    unet: Predict
    guidances: tuple[Guidance, ...]


def load_networks(plan: SamplingPlan, device: torch.device) -> Networks:
    """Read a plan's networks and arrange them for sampling; arms whose classifiers' files are the same share one.

    Raises:
        CheckpointError: a file is missing, broken, or fits another network.
    """
    order = plan.class_order
    preset = settle_classes(plan.preset, knowing_classes(plan.preset, plan.diffusion, plan.arms), order)
    unet = freeze(load_diffusion(plan.diffusion, preset, class_order=order, device=device), plan.precision)
    sha256 = [plan.settings[arm.name]["classifier_sha256"] for arm in plan.arms]
    files = {digest: arm.classifier for digest, arm in zip(sha256, plan.arms, strict=True) if arm.classifier}
    classifiers = {
        digest: freeze(load_classifier(file, preset, class_order=order, device=device), plan.precision)
        for digest, file in files.items()
    }
    guidances = (Guidance(classifiers.get(digest), arm.scale) for digest, arm in zip(sha256, plan.arms, strict=True))
    return Networks(unet, tuple(guidances))


def is_out_of_memory(error: RuntimeError) -> bool:
    """Say whether that is torch's error for a lack of memory, on a GPU or on a processor."""
    return isinstance(error, torch.OutOfMemoryError) or CPU_OUT_OF_MEMORY in str(error)


def counted_from(start: float, on_progress: Callable[[float], None]) -> Callable[[float], None]:
    """Return what a part may tell its own progress, for the whole to hear it after `start`."""
    return lambda done: on_progress(start + done)


@dataclass
class BatchMaker:
    """Makes a plan's batches, and lowers how many pairs go through the networks at once where memory runs out.

    The noise of a pair is its own, so parts of a batch get the noise that the whole would have got; their arithmetic
    may round otherwise, and a pixel may differ by one level.

    Attributes:
        plan: what to make.
        networks: its networks, on `device`.
        device: where to compute.
        on_note: told, in a sentence, when `at_once` falls.
        at_once: the most pairs that go through the networks together; falls when memory runs out.
        process: the diffusion over the plan's steps.
        lanes: on a processor, where each of torch's threads at the maker's beginning takes some of the images.
    """

    plan: SamplingPlan
    networks: Networks
    device: torch.device
    on_note: Callable[[str], None] = lambda _note: None
    at_once: int = field(init=False)
    process: Process = field(init=False)
    lanes: Lanes | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.at_once = self.plan.batch_size
        self.process = Process(
            respaced(build_schedule(self.plan.preset.schedule), self.plan.respacing),
            learn_sigma=self.plan.preset.diffusion.learn_sigma,
            device=self.device,
        )
        if self.device.type == "cpu":
            keep_freed_memory()
            image = self.plan.preset.image
            pixels = self.plan.count * len(self.plan.arms) * len(self.process) * image.size**2
            self.lanes = Lanes(torch.get_num_threads(), processes=pixels >= WORTH_PROCESSES)

    def make(self, batch: range, on_progress: Callable[[float], None]) -> Tensor:
        """Make the images of some pairs.

        Args:
            batch: the pairs' indices.
            on_progress: told how many pairs' work is done, in fractions, after each step.

        Returns:
            (A, N, C, H, W) uint8 on the processor, in the plan's order of arms.

        Raises:
            SettingsError: the images are not finite, or there is not even memory for a single pair.
        """
        if len(batch) > self.at_once:
            return self._make_parts(batch, on_progress)
        images = self._try(batch, on_progress)
        if images is None:
            self._lower(len(batch))
            return self._make_parts(batch, on_progress)
        if not bool(images.isfinite().all()):
            raise SettingsError(
                f"The images of pairs {batch.start} to {batch.stop - 1} are not finite: lower the guidance scale, or "
                "take --precision fp32."
            )
        return to_bytes(images).cpu()

    def label(self, batch: range) -> Tensor:
        """Return the classes of some pairs, as `guidance.score` has them."""
        targets = [target.classes for target in choose_labels(self.plan.seed, batch, self.plan.classes)]
        return label_tensor(targets, self.plan.preset.image.classes, self.device)

    def noise(self, batch: range) -> PairNoise:
        """Return the noise of some pairs, from x_T on."""
        image = self.plan.preset.image
        return PairNoise(self.plan.seed, batch, (image.channels, image.size, image.size))

    def sample(self, batch: range) -> Iterator[SamplingStep]:
        """Yield each reverse step's outcome, float32; the last one's `x` are the finished images."""
        plan = self.plan
        return reverse_steps(
            self.networks.unet,
            self.process,
            self.networks.guidances,
            self.label(batch),
            self.noise(batch).draw,
            sampler=plan.sampler,
            eta=plan.eta,
            conditional=plan.preset.diffusion.class_conditional,
            precision=plan.precision,
            lanes=self.lanes,
        )

    def _make_parts(self, batch: range, on_progress: Callable[[float], None]) -> Tensor:
        size, parts = self.at_once, []
        for start in range(0, len(batch), size):
            part = batch[start : start + size]
            parts.append(self.make(part, counted_from(start, on_progress)))
        return torch.cat(parts, dim=1)

    def _try(self, batch: range, on_progress: Callable[[float], None]) -> Tensor | None:
        """Return the images, or None where memory ran out: whatever was allocated goes with this function's frame."""
        try:
            for number, step in enumerate(self.sample(batch), start=1):
                images = step.x
                on_progress(len(batch) * number / len(self.process))
        except RuntimeError as error:
            if is_out_of_memory(error):
                return None
            raise
        return images

    def _lower(self, failed: int) -> None:
        if failed == 1:
            raise SettingsError(
                f"{self.device} has too little memory for a single pair: take a smaller preset, --precision bf16, or "
                "another --device."
            )
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        self.at_once = failed // 2
        self.on_note(
            f"{self.device} has too little memory for {failed} pairs at once: going on with {self.at_once}, from the "
            "same noise."
        )
