"""What writes this room's rows."""

from collections.abc import Sequence
from pathlib import Path

import torch
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from generation.errors import SettingsError
from generation.manifests import ImageRecord
from generation.models import GeneratedImage, GenerationRun
from generation.pairs import make_pairs
from generation.plans import SamplingPlan
from generation.processes import ALONE, Processes
from generation.provenance import Session, forget_sessions, read_sessions
from generation.runs import OnNote, OnProgress

Runs = list[GenerationRun]


def generate_pairs(
    *,
    plan: SamplingPlan,
    folder: Path,
    name: str,
    device: torch.device,
    on_progress: OnProgress,
    on_note: OnNote,
    processes: Processes = ALONE,
) -> Runs:
    """Make a plan's pairs and enter them, a run for each arm; rows appear when every image is there.

    Args:
        plan: what to make.
        folder: where the images go.
        name: the set's name, for `create_study --pairs`.
        device: where this process computes.
        on_progress: told (pairs made, pairs in all).
        on_note: told what is worth knowing, in a sentence.
        processes: those that share the work; the first alone touches the database.

    Returns:
        The runs, in the plan's order of arms; none in processes other than the first.

    Raises:
        GenerationError: a plan that cannot be, or a name that is taken by other pairs.
    """
    folder = folder.resolve()
    processes.from_first(lambda: check_name_is_free(plan, folder, name))
    records = make_pairs(plan, folder, device=device, on_progress=on_progress, on_note=on_note, processes=processes)
    if processes.rank:
        return []
    runs = record_runs(plan=plan, folder=folder, name=name, records=records, sessions=read_sessions(folder))
    forget_sessions(folder)
    return runs


@transaction.atomic
def record_runs(
    *, plan: SamplingPlan, folder: Path, name: str, records: list[ImageRecord], sessions: Sequence[Session]
) -> Runs:
    """Enter finished pairs: all rows or none. Entering them again adds and corrects only what is new.

    Args:
        plan: what was made.
        folder: where the images are.
        name: the set's name.
        records: the images.
        sessions: who computed them, with which code, and when.

    Returns:
        The runs, in the plan's order of arms.
    """
    runs = []
    for arm in plan.arms:
        run, _ = GenerationRun.objects.get_or_create(
            name=name,
            arm=arm.name,
            defaults={"preset": plan.preset.name, "settings": plan.settings[arm.name], "directory": str(folder)},
        )
        _enter_images(run, [record for record in records if record.arm == arm.name])
        run.sessions = [*run.sessions, *(session for session in sessions if session not in run.sessions)]
        run.completed_at = timezone.now()
        run.save(update_fields=["sessions", "completed_at"])
        runs.append(run)
    return runs


def _enter_images(run: GenerationRun, records: Sequence[ImageRecord]) -> None:
    """Add a run's new images; an image that was made again in a larger last batch may have other last bits."""
    there = {image.pair_index: image for image in run.images.all()}
    GeneratedImage.objects.bulk_create(
        GeneratedImage(
            run=run,
            pair_index=record.pair,
            class_index=record.class_index,
            class_name=record.class_name,
            seed=record.seed,
            file=record.file,
            sha256=record.sha256,
        )
        for record in records
        if record.pair not in there
    )
    changed = [record for record in records if record.pair in there and there[record.pair].sha256 != record.sha256]
    for record in changed:
        there[record.pair].sha256 = record.sha256
    GeneratedImage.objects.bulk_update([there[record.pair] for record in changed], ["sha256"])


def check_name(name: str) -> None:
    """Refuse a name that could not stand in an address.

    Raises:
        SettingsError: it has other characters than letters, digits, hyphens and underscores, or more than 80.
    """
    field = GenerationRun._meta.get_field("name")  # noqa: SLF001 -- documented, for all its underscore
    try:
        field.clean(name, None)
    except ValidationError as error:
        raise SettingsError(
            f"--name {name!r} cannot be: use at most {field.max_length} letters, digits, hyphens and underscores."
        ) from error


def check_name_is_free(plan: SamplingPlan, folder: Path, name: str) -> None:
    """Refuse a name that cannot be, or that other pairs than the plan's have.

    Raises:
        SettingsError: the name is malformed or taken.
    """
    check_name(name)
    for run in GenerationRun.objects.filter(name=name):
        arm = next((arm for arm in plan.arms if arm.name == run.arm), None)
        same = arm is not None and all(run.settings.get(key) == value for key, value in plan.settings[arm.name].items())
        if run.directory != str(folder) or not same:
            raise SettingsError(
                f"The name {name!r} is taken by other pairs, in {run.directory}: give --name another, or make these "
                "with the settings of those."
            )
