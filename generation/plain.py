"""Anybody's image file as plain pixels: upright, opaque, in sRGB, eight bits a channel, and nothing else."""

import io
import struct
import warnings
import zlib
from functools import cache
from pathlib import Path

from PIL import Image as PillowImage
from PIL import ImageCms, ImageOps

from generation.errors import DatasetError

# Of those that Pillow knows, the formats that people keep images in; reading some others would start other programs.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "JPEG2000", "AVIF")
# What Pillow raises on files that are cut off or broken.
UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, OverflowError, struct.error, zlib.error)
GREY_MODES, COLOUR_MODES, CLEAR_MODES = {"1", "L"}, {"RGB", "P", "CMYK", "YCbCr"}, {"LA", "La", "PA", "RGBA", "RGBa"}


def plain_image(file: Path) -> PillowImage.Image:
    """Decode an image file.

    What an image viewer does, is done: the EXIF orientation is followed, and colours of an embedded profile become
    sRGB's. What would need a choice is refused.

    Returns:
        The image, of mode L where the file is grey, else RGB.

    Raises:
        DatasetError: no image that can be read, one of several frames, partly transparent, of more than 8 bits a
            channel, or huge; the message is meant to follow the file's name.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", PillowImage.DecompressionBombWarning)
            warnings.simplefilter("ignore", UserWarning)  # of metadata, which does not stay
            with PillowImage.open(file, formats=known_formats()) as image:
                if getattr(image, "n_frames", 1) > 1:
                    raise DatasetError(f"has {image.n_frames} frames; give one image.")  # type: ignore[attr-defined]
                image.load()
                upright = ImageOps.exif_transpose(image)
    except (PillowImage.DecompressionBombError, PillowImage.DecompressionBombWarning) as error:
        raise DatasetError(f"is too large for an image that raters look at ({error}); scale it down.") from error
    except UNREADABLE as error:
        raise DatasetError(f"is no image that can be read ({error}).") from error
    return _in_srgb(_opaque(upright))


@cache
def known_formats() -> tuple[str, ...]:
    """Return those of FORMATS that this Pillow was built with."""
    PillowImage.init()
    return tuple(name for name in FORMATS if name in PillowImage.OPEN)


def file_within(folder: Path, name: str) -> Path | None:
    """Return the file of that name, its links followed, or None where there is none.

    Raises:
        DatasetError: it is not in the folder; the message is meant to follow the file's name.
    """
    try:
        file = (folder / name).resolve()
        inside, there = file.is_relative_to(folder.resolve()), file.is_file()
    except (OSError, ValueError, RuntimeError):
        # No path can be like that, or its links go round in a circle.
        return None
    if not inside:
        raise DatasetError("lies outside the manifest's folder; put it there.")
    return file if there else None


def _opaque(image: PillowImage.Image) -> PillowImage.Image:
    """Drop an alpha channel in which every pixel is opaque."""
    if image.mode in CLEAR_MODES or "transparency" in image.info:
        profile = image.info.get("icc_profile")
        clear = image.convert("RGBA")
        if clear.getchannel("A").getextrema() != (255, 255):
            raise DatasetError("is transparent in places; lay it on a background.")
        grey = image.mode in {"LA", "La"} | GREY_MODES
        image = clear.convert("RGB").convert("L") if grey else clear.convert("RGB")
        image.info = {"icc_profile": profile} if profile else {}
    if image.mode not in GREY_MODES | COLOUR_MODES:
        raise DatasetError(f"is of mode {image.mode}; save it as 8-bit RGB or grey.")
    return image


def _in_srgb(image: PillowImage.Image) -> PillowImage.Image:
    """Return the image in sRGB, or grey: colours of another profile are converted."""
    profile = image.info.get("icc_profile")
    if image.mode == "P":
        image = image.convert("RGB")
    if profile and image.mode in {"L", "RGB", "CMYK"}:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            if "sRGB" not in ImageCms.getProfileDescription(source):
                converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
                image = converted or image
        except (ImageCms.PyCMSError, OSError) as error:
            raise DatasetError(f"has a colour profile that cannot be read ({error}); save it as sRGB.") from error
    return image.convert("L" if image.mode in GREY_MODES else "RGB")
