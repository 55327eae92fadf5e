"""Image files as raters get them: pixels and nothing else."""

import hashlib
import io
import random
from pathlib import Path

from PIL import Image, ImageOps

from generation.models import GeneratedImage
from generation.selectors import image_bytes

from .errors import UnreadableImage

SURROUND = (117, 117, 117)
"""The page's mid-grey, shown through transparent pixels."""


Source = GeneratedImage | Path


def measure(image: GeneratedImage) -> tuple[int, int]:
    """Return an image's (width, height) in pixels, once its bytes are known to be the generated ones.

    Raises:
        UnreadableImage: The file is missing, is no image, or its digest is not the recorded one.
    """
    data, name = _read(image)
    if (found := hashlib.sha256(data).hexdigest()) != image.sha256:
        raise UnreadableImage(
            f"{name} has changed since it was generated (sha256 {found[:12]}…, recorded {image.sha256[:12]}…): "
            "restore it or make the pairs again"
        )
    return _decode(data, name).size


def read(image: Source) -> Image.Image:
    """Return the decoded image, upright.

    Raises:
        UnreadableImage: The file is missing or is no image.
    """
    return _decode(*_read(image))


def plain_png(image: Source) -> bytes:
    """Return the image as an 8-bit RGB PNG without any metadata.

    Whatever the file's format, mode and chunks, what is sent has one form, so that nothing but the pixels can tell one
    generator's files from another's. Equal pixels give equal bytes.

    Raises:
        UnreadableImage: The file is missing or is no image.
    """
    decoded = read(image)
    flat = Image.new("RGB", decoded.size, SURROUND)
    rgba = decoded.convert("RGBA")
    flat.paste(rgba, mask=rgba.getchannel("A"))
    return _encode(flat)


def noise_png(size: tuple[int, int], *, seed: str) -> bytes:
    """Return a PNG of uniform noise of that (width, height), which the seed decides."""
    width, height = size
    return _encode(Image.frombytes("RGB", size, random.Random(seed).randbytes(3 * width * height)))  # noqa: S311


def _encode(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def _read(image: Source) -> tuple[bytes, str]:
    """Return a file's bytes and its name for messages."""
    name = str(image if isinstance(image, Path) else image.path)
    try:
        return image.read_bytes() if isinstance(image, Path) else image_bytes(image), name
    except OSError as error:
        raise UnreadableImage(
            f"{name} cannot be read ({error.strerror or error}): restore it, or make the pairs again, and upload them "
            "if they are kept in a store"
        ) from error


def _decode(data: bytes, name: str) -> Image.Image:
    """Return the decoded image, upright."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            return ImageOps.exif_transpose(image)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UnreadableImage(f"{name} is not an image that can be read: restore it or make the pairs again") from error
