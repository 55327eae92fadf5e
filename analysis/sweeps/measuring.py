"""A point's images, made and measured."""

import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from analysis.metrics.evaluation import Settings, evaluate
from analysis.metrics.extraction import extract
from analysis.metrics.features import Extractor, load_extractor
from analysis.metrics.images import IMAGES, check_alike, open_images
from analysis.metrics.references import Reference, load_reference, provenance, reference_images
from analysis.metrics.results import circumstances
from analysis.sweeps.definition import HELD_OUT, Sweep, SweepError
from analysis.sweeps.points import Point, digest
from analysis.sweeps.store import Measured, Store, name_data, name_files
from generation.archives import write_member
from generation.checkpoints import settle_classes, write_atomically
from generation.datasets import LabelledImages, load_dataset
from generation.devices import choose_precision
from generation.plans import ArmPlan, SamplingPlan, choose_eta, knowing_classes
from generation.presets import Preset
from generation.provenance import describe_device, finished, new_session
from generation.runs import OnNote, OnProgress
from generation.samples import make_samples, provenance_path
from generation.targets import resolve_targets

GUIDED, UNGUIDED = "guided", "unguided"
BLOCK = 256


@dataclass(frozen=True)
class Laboratory:
    """Where a sweep's points are made and measured.

    Attributes:
        sweep: whose points.
        store: where they are kept.
        device: where this process computes.
    """

    sweep: Sweep
    store: Store
    device: torch.device

    def data(self, split: str) -> LabelledImages:
        """Return the data set's training images, `train`, or held-out ones, `test`.

        Raises:
            SweepError: nobody said where it is.
            DatasetError: it is not what the preset describes.
        """
        if self.sweep.data is None:
            raise SweepError(f"Sweep {self.sweep.name} needs its data set: give --data FOLDER.")
        return load_dataset(Path(self.sweep.data), self.sweep.preset.image, "train" if split == "train" else "test")

    @cached_property
    def training_data(self) -> LabelledImages:
        """The training images; read once."""
        return self.data("train")

    @cached_property
    def extractor(self) -> Extractor:
        """The feature network."""
        wanted = self.sweep.metrics
        return load_extractor(
            wanted.features,
            weights=Path(wanted.weights) if wanted.weights else None,
            protocol=wanted.protocol,
            device=self.device,
            precision=choose_precision(wanted.precision, self.device),
        )

    @cached_property
    def reference_key(self) -> str:
        """Names the reference's content."""
        if self.sweep.metrics.reference != HELD_OUT:
            return name_files(Path(self.sweep.metrics.reference))
        image = self.sweep.preset.image
        return digest([name_data(self.held_out), image.size, image.channels])

    @cached_property
    def held_out(self) -> LabelledImages:
        """The held-out images; read once."""
        return self.data("test")

    @cached_property
    def reference_path(self) -> Path:
        """Where the reference is; held-out images are written there first."""
        if self.sweep.metrics.reference != HELD_OUT:
            return Path(self.sweep.metrics.reference)
        path = self.store.reference(self.reference_key)
        if not path.is_file():
            write_images(path, self.held_out)
        return path

    @cached_property
    def reference(self) -> Reference:
        """What the images are compared with; its features are computed once in each process."""
        return load_reference(self.reference_path, self.extractor, batch_size=self.sweep.metrics.batch_size)

    @property
    def settings(self) -> Settings:
        """What decides the metrics beside images and features."""
        wanted = self.sweep.metrics
        return Settings(wanted.names, wanted.k, wanted.density_k, self.sweep.sampling.seed)

    def plan(self, point: Point) -> SamplingPlan:
        """Return the plan of a point's images; its networks must be there.

        Raises:
            CheckpointError: one is missing, broken, or does not say how it counts the classes.
        """
        classifier = self.store.checkpoint(point.classifier) if point.classifier else None
        # Not named for a method: points of the same images are one, whichever arm they stand for.
        arm = ArmPlan(GUIDED if classifier else UNGUIDED, classifier, point.scale)
        diffusion, preset = self.store.checkpoint(point.diffusion), self.sweep.preset
        order = self.sweep.networks.class_order
        return self.plan_with(settle_classes(preset, knowing_classes(preset, diffusion, (arm,)), order), diffusion, arm)

    def plan_with(self, preset: Preset, diffusion: Path, arm: ArmPlan) -> SamplingPlan:
        """Return the plan of some networks' images, whether or not their files are there."""
        sampling = self.sweep.sampling
        sampler = sampling.sampler or preset.sampling.sampler
        return SamplingPlan(
            preset=preset,
            count=sampling.count,
            seed=sampling.seed,
            classes=resolve_targets(preset, ()),
            diffusion=diffusion,
            arms=(arm,),
            respacing=sampling.respacing or preset.sampling.respacing,
            sampler=sampler,
            eta=choose_eta(preset, sampler, sampling.eta),
            precision=choose_precision(sampling.precision, self.device),
            batch_size=sampling.batch_size,
            class_order=self.sweep.networks.class_order,
        )

    def identity(self, plan: SamplingPlan) -> dict[str, Any]:
        """Return all that decides a point's values, as JSON has it."""
        wanted = self.sweep.metrics
        return {
            "samples": {"settings": plan.settings, "count": plan.count},
            "metrics": {
                "names": sorted(wanted.names),
                "k": wanted.k,
                "density_k": wanted.density_k,
                "seed": self.settings.seed,
                "precision": wanted.precision,
                **provenance(self.extractor),
            },
            "reference": self.reference_key,
        }

    def measure(
        self, plan: SamplingPlan, identity: dict[str, Any], *, on_progress: OnProgress, on_note: OnNote
    ) -> Measured:
        """Make the images that are not there yet, and measure them.

        Raises:
            GenerationError: the plan, its networks or the reference cannot be.
        """
        began = time.monotonic()
        session = new_session([describe_device(self.device)])
        path = self.store.samples(digest(identity["samples"]))
        make_samples(plan, path, device=self.device, on_progress=on_progress, on_note=on_note)
        sampled = time.monotonic()
        images = open_images(path)
        compared_with = reference_images(self.reference_path)
        if compared_with and (warning := check_alike(images, compared_with)):
            on_note(warning)
        features = extract(images, self.extractor, batch_size=self.sweep.metrics.batch_size)
        metrics = evaluate(features, self.reference, self.extractor, self.settings)
        seconds = {"sampling": sampled - began, "measuring": time.monotonic() - sampled}
        record = {
            "identity": identity,
            "samples": str(path),
            "kept": self.sweep.keep_samples,
            "seconds": {name: round(value, 1) for name, value in seconds.items()},
            "session": finished(session),
        }
        return Measured(metrics, circumstances(self.reference, self.extractor, self.settings), record)

    def drop_samples(self, identity: dict[str, Any]) -> None:
        """Remove a measured point's images, where the sweep does not keep them."""
        if not self.sweep.keep_samples:
            path = self.store.samples(digest(identity["samples"]))
            path.unlink(missing_ok=True)
            provenance_path(path).unlink(missing_ok=True)


def write_images(path: Path, data: LabelledImages) -> None:
    """Write a split's images as `arr_0` (N, H, W, C) uint8 of an `.npz`, whole or not at all.

    Raises:
        CheckpointError: it cannot be written.
    """
    channels, size = data.images[:1].shape[1], data.size

    def blocks() -> Iterator[bytes]:
        for start in range(0, len(data), BLOCK):
            part = data.images[start : start + BLOCK]
            yield part.permute(0, 2, 3, 1).contiguous().numpy().tobytes()

    def write(temporary: Path) -> None:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
            write_member(archive, IMAGES, (len(data), size, size, channels), np.uint8, blocks())

    write_atomically(path, write)
