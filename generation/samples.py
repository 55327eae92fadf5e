"""One arm's samples for metrics: a folder of PNGs, or an `.npz` as the reference writes it."""

import json
from pathlib import Path
from typing import Any

import torch

from generation.archives import ArchiveParts
from generation.checkpoints import write_atomically
from generation.errors import SettingsError
from generation.folders import MANIFEST, SETTINGS, ImageFolder, first_difference, read_settings
from generation.manifests import write_manifest
from generation.plans import SamplingPlan
from generation.processes import ALONE, Processes
from generation.provenance import forget_sessions, read_sessions
from generation.runs import OnNote, OnProgress, run_plan


def make_samples(
    plan: SamplingPlan,
    output: Path,
    *,
    device: torch.device,
    on_progress: OnProgress,
    on_note: OnNote,
    processes: Processes = ALONE,
) -> None:
    """Make the samples that are not there yet.

    Sample i is what arm and pair i of a plan of pairs with the same settings would get: the same class and noise. A
    file `<output>.provenance.json` tells the settings, and who made the samples when.

    Args:
        plan: what to make; of one arm.
        output: an `.npz`, with `arr_0` (N, H, W, C) uint8 (C is 1 for grey images) and `arr_1` (N,) int64 classes; or
            else a folder, which gets `<index>.png` and manifest.csv.
        device: where this process computes.
        on_progress: told (samples made, samples in all).
        on_note: told what is worth knowing, in a sentence.
        processes: those that share the work.

    Raises:
        GenerationError: a plan that cannot be, a checkpoint that does not fit, an output that holds anything else.
    """
    images = store_of(plan, output)
    finished = processes.from_first(lambda: is_finished(images, output))
    if not finished:
        run_plan(plan, images, device=device, on_progress=on_progress, on_note=on_note, processes=processes)
    if processes.rank:
        return
    if isinstance(images, ImageFolder):
        write_manifest(output / MANIFEST, images.records())
        _document(plan, output, output)
        forget_sessions(output)
    else:
        if not finished:
            images.pack(output)
            _document(plan, output, images.folder)
        images.remove()
    on_progress(plan.count, plan.count)


def store_of(plan: SamplingPlan, output: Path) -> ImageFolder | ArchiveParts:
    """Return where a plan's samples go while they are made: into the folder itself, or beside the archive.

    Raises:
        SettingsError: the plan has several arms.
    """
    if len(plan.arms) != 1:
        raise SettingsError(f"Samples are of one arm, not of {len(plan.arms)}: use generate_pairs for more.")
    if output.suffix.lower() == ".npz":
        return ArchiveParts(plan, output.with_name(f"{output.name}.parts"))
    return ImageFolder(plan, output, flat=True)


def provenance_path(output: Path) -> Path:
    """Return where the samples' settings and sessions are told: beside them, so that they are equal bytes each time."""
    return output.with_name(f"{output.name}.provenance.json")


def is_finished(images: ImageFolder | ArchiveParts, output: Path) -> bool:
    """Say whether an archive is finished, so that nothing is left to look at; one that is not has its parts beside it.

    Raises:
        SettingsError: another file is in the way.
    """
    if isinstance(images, ImageFolder) or not output.exists():
        return False
    document, plan = provenance_path(output), images.plan
    if document.exists():
        before = _read(document)
        if before.get("settings") != plan.settings:
            raise SettingsError(
                f"{output} holds samples made with another {first_difference(before.get('settings'), plan.settings)}: "
                "give --output another name, or the settings of these."
            )
        if before.get("count") != plan.count:
            raise SettingsError(
                f"{output} is finished, with {before.get('count')} samples: give --output another name for "
                f"{plan.count}."
            )
        return True
    if (images.folder / SETTINGS).exists():
        return False
    raise SettingsError(f"{output} exists already, and {document.name} does not say of what: give --output another.")


def _document(plan: SamplingPlan, output: Path, folder: Path) -> None:
    """Tell the settings and all sessions beside the samples."""
    path = provenance_path(output)
    before = _read(path).get("sessions", []) if path.exists() else []
    sessions = [session for session in read_sessions(folder) if session not in before]
    contents = {"settings": plan.settings, "count": plan.count, "sessions": [*before, *sessions]}
    text = json.dumps(contents, indent=2) + "\n"
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def _read(path: Path) -> dict[str, Any]:
    contents = read_settings(path)
    return contents if isinstance(contents, dict) else {}
