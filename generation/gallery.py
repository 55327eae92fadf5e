"""Where pictures lie, so that the commands that make them and the pages that show them agree. Loads no torch.

Under one folder, the site's own:

    pairs/NAME/000003-0123456789ab-trajectory.png     of a pair; the digest is that of its images
    classifiers/0123456789ab-0123456789ab/            of a vanilla and a robust classifier, by their files' digests
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

DIGITS = 12

TRAJECTORY = "trajectory"
STEERING = "gradients"
PAIR_PICTURES = (TRAJECTORY, STEERING)

GRADIENTS = "gradients.png"
ENERGY = "gradient-energy"
TARGETED = "targeted.png"
TARGETED_SHARES = "targeted"
CLASSIFIER_FILES = (
    GRADIENTS,
    *(f"{ENERGY}.{ending}" for ending in ("svg", "png", "json", "csv")),
    TARGETED,
    *(f"{TARGETED_SHARES}.{ending}" for ending in ("json", "csv")),
)


def pair_picture(root: Path, name: str, pair_index: int, sha256: Sequence[str], picture: str) -> Path:
    """Return where a pair's picture lies.

    A picture is of certain images and no others: where they are made anew and differ, its name is another one.

    Args:
        root: the pictures' folder.
        name: the set's name.
        pair_index: the pair's.
        sha256: of the pair's images, in the order of the arms' names.
        picture: one of `PAIR_PICTURES`.
    """
    digest = hashlib.sha256(" ".join(sha256).encode()).hexdigest()[:DIGITS]
    return root / "pairs" / name / f"{pair_index:06d}-{digest}-{picture}.png"


def classifiers_folder(root: Path, vanilla_sha256: str, robust_sha256: str) -> Path:
    """Return where the pictures of two classifiers lie."""
    return root / "classifiers" / f"{vanilla_sha256[:DIGITS]}-{robust_sha256[:DIGITS]}"
