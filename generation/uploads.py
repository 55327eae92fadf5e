"""Putting images where the settings keep them: into a store that web workers on any machine can read."""

import hashlib
from collections.abc import Iterator

from django.core.files.base import ContentFile
from django.core.files.storage import Storage

from .errors import GenerationError
from .models import GeneratedImage
from .selectors import image_store, images_of, runs_named, stored_name


def upload_images(*, name: str) -> Iterator[tuple[int, int]]:
    """Copy a set's images into the store, and yield (images there, images in all) after each.

    What is there already stays: an upload that was stopped goes on.

    Raises:
        GenerationError: The settings name no store, there are no such pairs, or a file is not what was generated.
    """
    store = image_store()
    if store is None:
        raise GenerationError("SAMESEED_IMAGES names no store: set it to s3://bucket/folder")
    images = [image for run in runs_named(name) for image in images_of(run)]
    if not images:
        raise GenerationError(f"there are no pairs named '{name}': make them with generate_pairs")
    for done, image in enumerate(images, start=1):
        if not store.exists(stored_name(image)):
            _upload(image, store)
        yield done, len(images)


def _upload(image: GeneratedImage, store: Storage) -> None:
    try:
        data = image.path.read_bytes()
    except OSError as error:
        raise GenerationError(f"{image.path} cannot be read ({error.strerror}): restore it") from error
    if hashlib.sha256(data).hexdigest() != image.sha256:
        raise GenerationError(f"{image.path} has changed since it was generated: restore it or make the pairs again")
    store.save(stored_name(image), ContentFile(data))
