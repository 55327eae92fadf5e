"""Image files as raters get them: pixels and nothing else."""

import hashlib
import io
from pathlib import Path

from PIL import Image, ImageOps

from .errors import UnreadableImage

SURROUND = (117, 117, 117)
"""The page's mid-grey, shown through transparent pixels."""


def measure(path: Path, *, sha256: str) -> tuple[int, int]:
    """Return an image file's (width, height) in pixels, once its bytes are known to be the generated ones.

    Raises:
        UnreadableImage: The file is missing, is no image, or its digest is not `sha256`.
    """
    data = _read(path)
    if (found := hashlib.sha256(data).hexdigest()) != sha256:
        raise UnreadableImage(
            f"{path} has changed since it was generated (sha256 {found[:12]}…, recorded {sha256[:12]}…): "
            "restore it or make the pairs again"
        )
    return _decode(data, path).size


def plain_png(path: Path) -> bytes:
    """Return the image as an 8-bit RGB PNG without any metadata.

    Whatever the file's format, mode and chunks, what is sent has one form, so that nothing but the pixels can tell one
    generator's files from another's. Equal pixels give equal bytes.

    Raises:
        UnreadableImage: The file is missing or is no image.
    """
    image = _decode(_read(path), path)
    flat = Image.new("RGB", image.size, SURROUND)
    rgba = image.convert("RGBA")
    flat.paste(rgba, mask=rgba.getchannel("A"))
    buffer = io.BytesIO()
    flat.save(buffer, format="PNG")
    return buffer.getvalue()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UnreadableImage(
            f"{path} cannot be read ({error.strerror}): restore it or make the pairs again"
        ) from error


def _decode(data: bytes, path: Path) -> Image.Image:
    """Return the decoded image, upright."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            return ImageOps.exif_transpose(image)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UnreadableImage(f"{path} is not an image that can be read: restore it or make the pairs again") from error
