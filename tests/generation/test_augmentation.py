import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from generation.datasets import load_dataset
from generation.datasets.augmentation import Augmentation, Draws, augment, draw_augmentation
from generation.guidance.classifier import build_classifier
from generation.presets import Preset
from generation.training.acceleration import build_accelerator
from generation.training.loop import Batch, Recipe, Trainer

ALL = Augmentation(random_crop=True, random_flip=True)


def picture() -> np.ndarray:
    # Pillow cuts off what overshoots after each direction: nothing does here.
    return np.random.default_rng(0).integers(70, 186, (32, 32, 3), dtype=np.uint8)


def draws(side: int, top: float, left: float, *, flip: bool) -> Draws:
    return Draws(np.array([side]), np.array([[top, left]]), np.array([flip]))


@pytest.mark.parametrize("flip", [False, True])
def test_a_crop_is_a_square_of_pillows_enlarged_image(*, flip: bool) -> None:
    image = picture()
    larger = np.asarray(Image.fromarray(image).resize((40, 40), Image.Resampling.BICUBIC))
    # Nine places fit between top and bottom: 0.5 is the fifth, 0.99 the last.
    expected = larger[4:36, 8:40]
    if flip:
        expected = expected[:, ::-1]
    found = augment(torch.from_numpy(image).permute(2, 0, 1)[None], draws(40, 0.5, 0.99, flip=flip))
    # Pillow rounds after each direction, so one level more or less is allowed.
    assert np.abs(found[0].permute(1, 2, 0).numpy().astype(int) - expected.astype(int)).max() <= 1


@pytest.mark.parametrize("flip", [False, True])
def test_an_image_that_stays_its_size_keeps_every_pixel(*, flip: bool) -> None:
    image = torch.from_numpy(picture()).permute(2, 0, 1)[None]
    expected = image.flip(-1) if flip else image
    assert torch.equal(augment(image, draws(32, 0.7, 0.7, flip=flip)), expected)
    # Beside an image that is enlarged, too.
    both = Draws(np.array([32, 40]), np.full((2, 2), 0.7), np.array([flip, flip]))
    assert torch.equal(augment(image.repeat(2, 1, 1, 1), both)[:1], expected)


@given(st.integers(1, 12), st.integers(0, 50))
def test_a_part_of_a_batch_is_augmented_as_the_whole(count: int, seed: int) -> None:
    images = torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (count, 1, 8, 8), dtype=np.uint8))
    drawn = draw_augmentation(ALL, seed, 3, count, 8)
    whole = augment(images, drawn)
    half = slice(count // 2, None)
    assert torch.equal(augment(images[half], drawn[half]), whole[half])


def test_sides_places_and_flips_are_drawn_evenly_from_what_the_reference_allows() -> None:
    drawn = draw_augmentation(ALL, 0, 0, 90_000, 32)
    # 32 / 0.8 = 40: nine lengths. Five standard deviations of 90 000 draws are 500 of 10 000 and 750 of 45 000.
    lengths, counts = np.unique(drawn.sides, return_counts=True)
    assert lengths.tolist() == list(range(32, 41))
    assert np.abs(counts - 10_000).max() < 500
    assert abs(int(drawn.flips.sum()) - 45_000) < 750
    assert drawn.places.min() >= 0
    assert drawn.places.max() < 1


def test_draws_follow_the_seed_and_the_iteration_alone() -> None:
    first, again, later = (draw_augmentation(ALL, 7, step, 16, 32) for step in (4, 4, 5))
    assert (first.sides == again.sides).all()
    assert (first.places == again.places).all()
    assert (first.flips == again.flips).all()
    assert (first.places != later.places).any()
    only_flips = draw_augmentation(Augmentation(random_flip=True), 7, 4, 16, 32)
    assert (only_flips.flips == first.flips).all()
    assert (only_flips.sides == 32).all()
    assert not draw_augmentation(Augmentation(random_crop=True), 7, 4, 16, 32).flips.any()


def test_the_trainer_augments_as_its_recipe_says(tiny: Preset, data: Path) -> None:
    images = load_dataset(data, tiny.image, "train")
    seen: dict[Augmentation, torch.Tensor] = {}

    @dataclasses.dataclass
    class Look:
        augmentation: Augmentation
        timesteps: int = 1

        def __call__(self, network: torch.nn.Module, batch: Batch, /) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
            seen[self.augmentation] = batch.x_0
            return next(network.parameters()).sum(), {}

    for augmentation in (Augmentation(), Augmentation(random_flip=True)):
        recipe = Recipe(1, 24, 1e-3, None, 0.0, None, 0, augmentation)
        Trainer(build_classifier(tiny), recipe, build_accelerator("cpu")).run(
            images, Look(augmentation), lambda *_: True
        )
    plain, flipped = seen.values()
    flips = draw_augmentation(Augmentation(random_flip=True), 0, 0, 24, 8).flips
    for row, flip in enumerate(flips):
        assert torch.equal(flipped[row], plain[row].flip(-1) if flip else plain[row])
