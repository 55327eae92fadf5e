import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from generation.errors import SettingsError
from generation.noise import PairNoise, choose_labels, stream

SHAPE = (1, 4, 4)


@given(st.integers(0, 2**63), st.permutations([0, 1, 5, 9]))
def test_a_pairs_noise_is_the_same_in_any_company_and_order(seed: int, pairs: list[int]) -> None:
    together = PairNoise(seed, pairs, SHAPE)
    alone = {pair: PairNoise(seed, [pair], SHAPE) for pair in pairs}
    for _ in range(3):
        noise = together.draw()
        for place, pair in enumerate(pairs):
            assert torch.equal(noise[place], alone[pair].draw()[0])


def test_pairs_seeds_and_draws_all_differ() -> None:
    noise = PairNoise(1, [0, 1], SHAPE)
    first, second = noise.draw(), noise.draw()
    other = PairNoise(2, [0, 1], SHAPE).draw()
    drawn = [first[0], first[1], second[0], second[1], other[0], other[1]]
    assert len({tuple(noise.flatten().tolist()) for noise in drawn}) == 6


def test_noise_is_standard_normal() -> None:
    noise = PairNoise(0, range(20), (3, 32, 32)).draw()
    assert noise.dtype == torch.float32
    # 61440 values: the mean's standard error is 0.004, the standard deviation's 0.003.
    assert abs(noise.mean().item()) < 0.02
    assert abs(noise.std().item() - 1) < 0.02


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(SettingsError, match="seed = -1"):
        stream(-1)


@given(st.integers(0, 1000), st.integers(1, 30))
def test_every_class_comes_once_before_any_comes_twice(seed: int, classes: int) -> None:
    labels = choose_labels(seed, range(2 * classes), range(classes))
    assert sorted(labels[:classes]) == sorted(labels[classes:]) == list(range(classes))


def test_a_pairs_class_does_not_depend_on_which_pairs_are_asked() -> None:
    assert choose_labels(3, [7, 2, 31], [4, 5, 6]) == [choose_labels(3, range(40), [4, 5, 6])[i] for i in (7, 2, 31)]
