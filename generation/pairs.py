"""Making same-seed pairs: from checkpoints to image files and a manifest, resumable, without a database."""

from pathlib import Path

import torch

from generation.errors import SettingsError
from generation.folders import MANIFEST, ImageFolder
from generation.manifests import ImageRecord, write_manifest
from generation.plans import SamplingPlan
from generation.processes import ALONE, Processes
from generation.runs import OnNote, OnProgress, run_plan


def make_pairs(
    plan: SamplingPlan,
    folder: Path,
    *,
    device: torch.device,
    on_progress: OnProgress,
    on_note: OnNote,
    processes: Processes = ALONE,
) -> list[ImageRecord]:
    """Make the plan's images that the folder does not have yet, and its manifest.

    Args:
        plan: what to make; of two arms or more.
        folder: gets `<arm>/<index>.png`, settings.json and manifest.csv, and sessions.json until `forget_sessions`.
        device: where this process computes.
        on_progress: told (pairs made, pairs in all) as they go, those found included.
        on_note: told what is worth knowing, in a sentence.
        processes: those that share the work.

    Returns:
        The manifest's lines, by pair, then arm; in the first process, and none in the others.

    Raises:
        GenerationError: a plan that cannot be, a checkpoint that does not fit, a folder with other pairs in it.
    """
    names = [arm.name for arm in plan.arms]
    if len(set(names)) < max(2, len(names)):
        raise SettingsError(f"Pairs need two arms of different names, not {', '.join(names) or 'none'}.")
    images = ImageFolder(plan, folder)
    run_plan(plan, images, device=device, on_progress=on_progress, on_note=on_note, processes=processes)
    if processes.rank:
        return []
    records = list(images.records())
    write_manifest(folder / MANIFEST, records)
    return records
