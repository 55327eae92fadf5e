"""What writes this room's rows."""

from collections.abc import Callable
from pathlib import Path

import torch
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from generation.errors import SettingsError
from generation.manifests import ImageRecord
from generation.models import GeneratedImage, GenerationRun
from generation.pairs import PairPlan, make_pairs

Runs = list[GenerationRun]


def generate_pairs(
    *, plan: PairPlan, folder: Path, name: str, device: torch.device, on_step: Callable[[int, int], None]
) -> Runs:
    """Make a plan's pairs and enter them, a run for each arm; rows appear when every image is there.

    Args:
        plan: what to make.
        folder: where the images go.
        name: the set's name, for `create_study --pairs`.
        device: where to compute.
        on_step: told (steps done, steps in all).

    Returns:
        The runs, in the plan's order of arms.

    Raises:
        GenerationError: a plan that cannot be, or a name that is taken by other pairs.
    """
    check_name(name)
    folder = folder.resolve()
    _check_name_is_free(plan, folder, name)
    records = make_pairs(plan, folder, device=device, on_step=on_step)
    return record_runs(plan=plan, folder=folder, name=name, device=device, records=records)


@transaction.atomic
def record_runs(*, plan: PairPlan, folder: Path, name: str, device: torch.device, records: list[ImageRecord]) -> Runs:
    """Enter finished pairs: all rows or none. Entering them again adds only what is new."""
    runs = []
    for arm in plan.arms:
        run, _ = GenerationRun.objects.get_or_create(
            name=name,
            arm=arm.name,
            defaults={
                "preset": plan.preset.name,
                "settings": {**plan.settings[arm.name], "device": device.type, "torch": torch.__version__},
                "directory": str(folder),
            },
        )
        there = set(run.images.values_list("pair_index", flat=True))
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
            if record.arm == arm.name and record.pair not in there
        )
        run.completed_at = timezone.now()
        run.save(update_fields=["completed_at"])
        runs.append(run)
    return runs


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


def _check_name_is_free(plan: PairPlan, folder: Path, name: str) -> None:
    for run in GenerationRun.objects.filter(name=name):
        arm = next((arm for arm in plan.arms if arm.name == run.arm), None)
        same = arm is not None and all(run.settings.get(key) == value for key, value in plan.settings[arm.name].items())
        if run.directory != str(folder) or not same:
            raise SettingsError(
                f"The name {name!r} is taken by other pairs, in {run.directory}: give --name another, or make these "
                "with the settings of those."
            )
