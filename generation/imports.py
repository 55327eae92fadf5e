"""Entering pairs that another generator made."""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from django.db import transaction
from django.utils import timezone

from generation.checkpoints import sha256_of
from generation.errors import DatasetError, SettingsError
from generation.manifests import ImageRecord, NumberedRecord, load_images, read_manifest
from generation.models import GeneratedImage, GenerationRun
from generation.provenance import Session, describe_device, finished, new_session
from generation.services import check_name

IMPORTED = "imported"


def import_pairs(
    *, manifest: Path, name: str, folder: Path, on_image: Callable[[int, int], None]
) -> list[GenerationRun]:
    """Copy a manifest's images, encoded anew, and enter them: all or nothing.

    Every image becomes a PNG of the same mode without metadata, so that nothing but pixels differs between arms.

    Args:
        manifest: the CSV; its files are relative to it.
        name: the set's name, for `create_study --pairs`.
        folder: where the copies go; it must not exist.
        on_image: told (images done, images in all).

    Returns:
        A run for each arm, by name.

    Raises:
        SettingsError: the name is malformed or taken, or the folder exists.
        DatasetError: the manifest or an image is wrong, with the line's number.
    """
    check_name(name)
    if GenerationRun.objects.filter(name=name).exists():
        raise SettingsError(f"The name {name!r} is taken by other pairs: give --name another.")
    if folder.exists():
        raise SettingsError(f"{folder} exists already: give --name another, or move the folder away.")
    session = new_session([describe_device(torch.device("cpu"))])
    numbered = read_manifest(manifest)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{name}."))
    except OSError as error:
        raise SettingsError(f"{folder} cannot be made ({error}): check the folder above it.") from error
    try:
        copies = _copy(manifest, numbered, staging, on_image)
        staging.chmod(0o755)
        staging.replace(folder)
    except OSError as error:
        raise DatasetError(f"The copies cannot be written to {folder} ({error}): free space, and try again.") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    try:
        return _enter(manifest, name, folder, copies, finished(session))
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _copy(
    manifest: Path, numbered: list[NumberedRecord], staging: Path, on_image: Callable[[int, int], None]
) -> list[tuple[ImageRecord, str, str]]:
    """Write the copies; return each record with its copy's file and sha256."""
    copies = []
    for record, image in load_images(manifest, numbered):
        file = f"{record.arm}/{record.pair:06d}.png"
        path = staging / file
        path.parent.mkdir(exist_ok=True)
        image.info.clear()
        image.save(path, "PNG")
        copies.append((record, file, sha256_of(path)))
        on_image(len(copies), len(numbered))
    return copies


@transaction.atomic
def _enter(
    manifest: Path, name: str, folder: Path, copies: list[tuple[ImageRecord, str, str]], session: Session
) -> list[GenerationRun]:
    settings = {"manifest": str(manifest.resolve()), "manifest_sha256": sha256_of(manifest)}
    runs = {
        arm: GenerationRun.objects.create(
            name=name,
            arm=arm,
            preset=IMPORTED,
            settings=settings,
            sessions=[session],
            directory=str(folder.resolve()),
            completed_at=timezone.now(),
        )
        for arm in sorted({record.arm for record, _, _ in copies})
    }
    GeneratedImage.objects.bulk_create(
        GeneratedImage(
            run=runs[record.arm],
            pair_index=record.pair,
            class_index=record.class_index,
            class_name=record.class_name,
            seed=record.seed,
            file=file,
            sha256=sha256,
        )
        for record, file, sha256 in copies
    )
    return list(runs.values())
