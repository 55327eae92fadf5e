"""Who reads images that were changed to deceive others: a classifier that had no part in it."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from analysis.metrics.fashion import SIZE, WEIGHTS, load_fashion
from generation.checkpoints import class_names_of, load_classifier, sha256_of
from generation.datasets import to_unit_range
from generation.errors import SettingsError
from generation.pictures.targeted import Judge
from generation.presets import Image, Preset

FASHION = "fashion"


def has_shipped_judge(image: Image) -> bool:
    """Say whether the shipped feature network of Fashion-MNIST was trained on a preset's classes, at its size."""
    return (image.size, image.channels) == (SIZE, 1) and image.class_names == class_names_of(WEIGHTS)


def load_judge(
    name: str, preset: Preset, against: Sequence[str], *, class_order: str | None, device: torch.device
) -> tuple[Judge, str]:
    """Return a judge and its file's SHA-256.

    Args:
        name: `fashion`, the shipped network, or the path of a third time-dependent classifier of the preset, which is
            asked at t = 0.
        preset: its classes and size are the images'.
        against: the SHA-256s of the classifiers that it is to judge.
        class_order: as `load_classifier`.
        device: where it computes.

    Raises:
        SettingsError: the judge is one of those that it is to judge, or was trained on other classes.
        CheckpointError: the file is missing, broken or of another network.
    """
    path = WEIGHTS if name == FASHION else Path(name)
    if (digest := sha256_of(path)) in against:
        raise SettingsError(f"--judge {name} is one of the classifiers that it is to judge: give a third one.")
    if name == FASHION:
        if not has_shipped_judge(preset.image):
            raise SettingsError(
                f"--judge {FASHION} knows {SIZE}x{SIZE} grey images of Fashion-MNIST's classes only, not preset "
                f"{preset.name}'s: give a third classifier's file."
            )
        network = load_fashion().to(device)

        def read_features(images: Tensor) -> Tensor:
            with torch.inference_mode():
                return network.logits(network(images.float() / 255))

        return read_features, digest
    classifier = load_classifier(path, preset, class_order=class_order, device=device)

    def read(images: Tensor) -> Tensor:
        with torch.inference_mode():
            timestep = torch.zeros(len(images), dtype=torch.long, device=images.device)
            logits: Tensor = classifier(to_unit_range(images), timestep)
        return logits

    return read, digest
