"""Images in folders."""

from pathlib import Path

import numpy as np
from PIL import Image as Pillow


def noise_images(count: int, *, seed: int, size: int = 32, channels: int = 1, shift: int = 0) -> np.ndarray:
    """Blocks of random shades, (N, size, size, C) uint8."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 200, (count, size // 4, size // 4, channels))
    return (blocks.repeat(4, 1).repeat(4, 2) + shift).astype(np.uint8)


def write_folder(folder: Path, images: np.ndarray) -> Path:
    """Save images as 0000.png and so on."""
    folder.mkdir(parents=True, exist_ok=True)
    for place, image in enumerate(images):
        Pillow.fromarray(image[:, :, 0] if image.shape[2] == 1 else image).save(folder / f"{place:04}.png")
    return folder
