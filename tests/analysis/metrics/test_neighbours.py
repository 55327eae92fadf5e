import math

import numpy as np
import pytest
import torch
from torch import Tensor

from analysis.metrics import distances
from analysis.metrics.errors import MetricsError
from analysis.metrics.neighbours import Neighbourhoods, expected_coverage, neighbourhood_metrics
from tests.analysis.metrics.samples import line, normal, rotation


def values(metrics: Neighbourhoods) -> tuple[float, float, float, float]:
    return metrics.precision.value, metrics.recall.value, metrics.density.value, metrics.coverage.value


def by_definition(generated: Tensor, reference: Tensor, k: int, density_k: int) -> tuple[float, ...]:
    """The four metrics from whole matrices of float64 distances."""

    def apart(first: Tensor, second: Tensor) -> Tensor:
        return (first.double()[:, None] - second.double()[None]).square().sum(-1)

    across = apart(generated, reference)
    real, fake = apart(reference, reference).sort(1).values, apart(generated, generated).sort(1).values
    dense = across <= real[:, density_k]
    return (
        float((across <= real[:, k]).any(1).double().mean()),
        float((across <= fake[:, k, None]).any(0).double().mean()),
        float(dense.sum()) / density_k / len(generated),
        float(dense.any(0).double().mean()),
    )


def test_the_worked_example_on_a_line() -> None:
    # Each real point reaches 1 far: 0.5 lies within 0's and 1's, 1.5 within 1's and 2's, 10 and 11 within none's.
    metrics = neighbourhood_metrics(line(0.5, 1.5, 10, 11), line(0, 1, 2, 3), k=1, density_k=1)

    assert values(metrics) == (0.5, 0.75, 1.0, 0.75)


def test_a_point_at_exactly_the_neighbours_distance_is_within() -> None:
    # 1 reaches to 2 and no further; 2 is the generated point at exactly that distance.
    assert neighbourhood_metrics(line(2, 4), line(0, 1), k=1, density_k=1).precision.value == 0.5


def test_a_set_against_itself_is_wholly_precise_recalled_and_covered() -> None:
    features = normal(60, 5, seed=0).float()

    metrics = neighbourhood_metrics(features, features.clone())

    assert (metrics.precision.value, metrics.recall.value, metrics.coverage.value) == (1, 1, 1)


@pytest.mark.parametrize(("rows", "columns"), [(7, 7), (1, 3), (16, 64), (512, 2048)])
def test_blocks_of_any_size_give_what_the_definition_gives(
    monkeypatch: pytest.MonkeyPatch, rows: int, columns: int
) -> None:
    monkeypatch.setattr(distances, "ROWS", rows)
    monkeypatch.setattr(distances, "BLOCK", columns)
    generated, reference = normal(130, 8, seed=1, shift=0.4).float(), normal(90, 8, seed=2).float()

    assert values(neighbourhood_metrics(generated, reference)) == pytest.approx(
        by_definition(generated, reference, 3, 5)
    )


def test_ties_far_from_the_origin_are_decided_exactly() -> None:
    # A grid's points have many neighbours at one distance, and a product in float32 would lose them at this offset.
    axis = torch.arange(6.0)
    grid = torch.cartesian_prod(axis, axis) + 4096.0
    generated = grid[::2] + torch.tensor([1.0, 0.0])

    assert values(neighbourhood_metrics(generated, grid)) == by_definition(generated, grid, 3, 5)


def test_many_equal_images_are_no_trouble() -> None:
    collapsed = torch.ones(500, 3)
    metrics = neighbourhood_metrics(collapsed, normal(100, 3, seed=3).float(), k=3, density_k=5)

    assert metrics.precision.value in (0.0, 1.0)
    assert metrics.recall.value == 0.0


def test_translation_rotation_scale_and_order_change_nothing() -> None:
    generated, reference = normal(80, 4, seed=4, shift=0.3), normal(70, 4, seed=5)
    turn = rotation(4, seed=6)
    expected = values(neighbourhood_metrics(generated, reference))

    assert values(neighbourhood_metrics(generated + 1e4, reference + 1e4)) == expected
    assert values(neighbourhood_metrics(generated @ turn, reference @ turn)) == expected
    assert values(neighbourhood_metrics(generated * 1e12, reference * 1e12)) == expected
    assert values(neighbourhood_metrics(generated.flip(0), reference.flip(0))) == pytest.approx(expected, rel=1e-12)


def test_equal_samples_are_covered_as_expected() -> None:
    assert expected_coverage(100, 100, 5) == pytest.approx(0.97107, abs=5e-6)
    # (99·98·97·96·95) / (199·198·197·196·195)
    assert expected_coverage(100, 100, 5) == pytest.approx(1 - math.perm(99, 5) / math.perm(199, 5), rel=1e-12)
    drawn = [
        neighbourhood_metrics(normal(60, 2, seed=seed), normal(40, 2, seed=900 + seed)).coverage.value
        for seed in range(60)
    ]
    assert np.mean(drawn) == pytest.approx(expected_coverage(60, 40, 5), abs=0.01)


def test_the_error_is_that_of_a_share() -> None:
    metrics = neighbourhood_metrics(line(0.5, 1.5, 10, 11), line(0, 1, 2, 3), k=1, density_k=1)

    # Two of four: variance 1/3 over four images.
    assert metrics.precision.standard_error == pytest.approx(math.sqrt(1 / 3 / 4))


def test_too_few_images_for_a_neighbour_are_refused() -> None:
    with pytest.raises(MetricsError, match=r"5\. nearest neighbour needs more than 5 images, this set has 5"):
        neighbourhood_metrics(normal(9, 2, seed=7), normal(5, 2, seed=8))


def test_sets_of_different_features_are_refused() -> None:
    with pytest.raises(MetricsError, match="2 and 3 dimensions"):
        neighbourhood_metrics(normal(9, 2, seed=7), normal(9, 3, seed=8))
