import math

import numpy as np
import pytest
import torch
from torch import Tensor

from analysis.metrics.errors import MetricsError
from analysis.metrics.extrapolation import frechet_infinity
from analysis.metrics.frechet import Gaussian, fit, frechet_distance, frechet_estimate, from_statistics
from tests.analysis.metrics.samples import normal, rotation


def gaussian(mean: list[float], covariance: list[list[float]]) -> Gaussian:
    return from_statistics(torch.tensor(mean, dtype=torch.float64), torch.tensor(covariance, dtype=torch.float64))


def features_of(count: int, *, seed: int, dimensions: int = 6) -> Tensor:
    """Correlated features."""
    return normal(count, dimensions, seed=seed) @ normal(dimensions, dimensions, seed=99)


def test_diagonal_gaussians_have_their_closed_form() -> None:
    # Per dimension (mean - mean')² + (sigma - sigma')²: 9 + (2 - 5)², 1 + (3 - 1)².
    first = gaussian([0.0, 1.0], [[4.0, 0.0], [0.0, 9.0]])
    second = gaussian([3.0, 2.0], [[25.0, 0.0], [0.0, 1.0]])

    assert frechet_distance(first, second) == pytest.approx(9 + 9 + 1 + 4, rel=1e-14)


def test_covariances_that_do_not_commute() -> None:
    # tr √(AB) = √(tr AB + 2 √det AB) for 2x2: tr AB = 2·1 + 2·3 = 8, det AB = 9.
    first = gaussian([0.0, 0.0], [[2.0, 1.0], [1.0, 2.0]])
    second = gaussian([0.0, 0.0], [[1.0, 0.0], [0.0, 3.0]])

    distance = frechet_distance(first, second)

    assert distance == pytest.approx(8 - 2 * math.sqrt(8 + 2 * 3), rel=1e-14)
    assert distance == pytest.approx(0.5166852, abs=5e-8)


def test_singular_covariances_need_nothing_on_their_diagonals() -> None:
    # Rank one each, along x and along y: nothing is shared, so the distance is both traces.
    first = gaussian([0.0, 0.0], [[4.0, 0.0], [0.0, 0.0]])
    second = gaussian([0.0, 0.0], [[0.0, 0.0], [0.0, 9.0]])

    assert frechet_distance(first, second) == pytest.approx(13, rel=1e-14)
    assert frechet_distance(first, first) == 0


@pytest.mark.parametrize("count", [3, 6, 7, 8, 200])
def test_identical_sets_have_distance_0(count: int) -> None:
    features = features_of(count, seed=0)

    assert 0 <= frechet_distance(fit(features), fit(features.clone())) < 1e-10


@pytest.mark.parametrize("counts", [(4, 5), (4, 50), (50, 4), (50, 60)], ids=str)
def test_fewer_images_than_dimensions_give_what_their_covariances_give(counts: tuple[int, int]) -> None:
    first, second = (features_of(count, seed=seed) for seed, count in enumerate(counts))
    by_covariance = [
        from_statistics(features.mean(0), torch.from_numpy(np.cov(features.numpy(), rowvar=False)))
        for features in (first, second)
    ]

    assert frechet_distance(fit(first), fit(second)) == pytest.approx(frechet_distance(*by_covariance), abs=1e-6)


@pytest.mark.parametrize("count", [4, 80])
def test_rotation_translation_order_and_swapping_change_nothing_and_scale_squares(count: int) -> None:
    first, second = features_of(count, seed=1), features_of(70, seed=2) + 0.3
    turn = rotation(6, seed=3)
    distance = frechet_distance(fit(first), fit(second))

    assert frechet_distance(fit(second), fit(first)) == pytest.approx(distance, rel=1e-9)
    assert frechet_distance(fit(first.flip(0)), fit(second.flip(0))) == pytest.approx(distance, rel=1e-9)
    assert frechet_distance(fit(first @ turn), fit(second @ turn)) == pytest.approx(distance, rel=1e-9)
    assert frechet_distance(fit(first + 1000), fit(second + 1000)) == pytest.approx(distance, rel=1e-8)
    assert frechet_distance(fit(first * 7), fit(second * 7)) == pytest.approx(49 * distance, rel=1e-9)


@pytest.mark.parametrize("count", [5, 400])
def test_the_influence_is_the_distances_derivative_by_an_images_weight(count: int) -> None:
    # An image counted 1 + h times: the difference quotient of the distance of the weighted moments.
    generated, reference = features_of(count, seed=4), features_of(300, seed=5) + 0.2
    other = fit(reference)

    def distance(weights: Tensor) -> float:
        share = weights / weights.sum()
        mean = share @ generated
        rows = share.sqrt()[:, None] * (generated - mean) * math.sqrt(count / (count - 1))
        return frechet_distance(Gaussian(mean, rows), other)

    estimate = frechet_estimate(fit(generated), other)
    assert estimate.generated is not None
    influence = estimate.generated - estimate.generated.mean()
    for image in (0, 3):
        step = 1e-5
        up, down = torch.ones(count, dtype=torch.float64), torch.ones(count, dtype=torch.float64)
        up[image] += step
        down[image] -= step
        slope = (distance(up) - distance(down)) / (2 * step) * count
        # The unbiased covariance is n / (n - 1) larger than the weighted one.
        assert slope == pytest.approx(
            float(influence[image]), rel=2 / count + 1e-4, abs=2 * abs(estimate.value) / count
        )


def test_the_standard_error_is_the_spread_of_repeated_measurements() -> None:
    count, repeats = 300, 150
    drawn = []
    for seed in range(repeats):
        generated = normal(count, 4, seed=1000 + seed, shift=0.4, scale=1.3)
        drawn.append(frechet_estimate(fit(generated), fit(normal(count, 4, seed=5000 + seed))))
    errors = [estimate.standard_error for estimate in drawn]

    # 150 repeats know their spread to 6 %, and the mean error is known better than that.
    spread = np.std([estimate.value for estimate in drawn], ddof=1)
    assert np.mean([error for error in errors if error is not None]) == pytest.approx(spread, rel=0.2)


def test_a_reference_without_images_is_taken_as_exact() -> None:
    reference = gaussian([0.0] * 6, np.eye(6).tolist())

    estimate = frechet_estimate(fit(features_of(50, seed=6)), reference)

    assert estimate.reference is None
    assert estimate.standard_error is not None


def test_the_extrapolation_recovers_the_distance_that_few_images_overstate() -> None:
    # Equal distributions: the truth is 0, and the bias falls as 1 / count.
    generated, reference = normal(4000, 8, seed=7), gaussian([0.0] * 8, np.eye(8).tolist())
    plain = frechet_distance(fit(generated[:400]), reference)

    extrapolated = frechet_infinity(generated, reference, seed=0)

    assert extrapolated is not None
    assert len(extrapolated.counts) == 15
    assert abs(extrapolated.value) < plain / 10


def test_the_extrapolation_needs_more_images_than_dimensions() -> None:
    assert frechet_infinity(normal(31, 8, seed=8), gaussian([0.0] * 8, np.eye(8).tolist()), seed=0) is None


@pytest.mark.parametrize(
    ("mean", "covariance", "message"),
    [
        ([0.0], [[1.0, 0.0], [0.0, 1.0]], "do not belong together"),
        ([0.0, 0.0], [[1.0, 0.5], [0.0, 1.0]], "not symmetric"),
        ([0.0, 0.0], [[1.0, 2.0], [2.0, 1.0]], "negative eigenvalue"),
        ([0.0, 0.0], [[1.0, math.nan], [math.nan, 1.0]], "not symmetric, or not finite"),
    ],
)
def test_what_is_no_covariance_is_refused(mean: list[float], covariance: list[list[float]], message: str) -> None:
    with pytest.raises(MetricsError, match=message):
        gaussian(mean, covariance)


def test_sets_of_different_features_are_refused() -> None:
    with pytest.raises(MetricsError, match="6 and 5 dimensions"):
        frechet_distance(fit(features_of(20, seed=0)), fit(features_of(20, seed=0, dimensions=5)))


def test_one_image_and_broken_features_are_refused() -> None:
    with pytest.raises(MetricsError, match="at least 2 images"):
        fit(torch.zeros(1, 3))
    with pytest.raises(MetricsError, match="not all finite"):
        fit(torch.tensor([[1.0], [math.inf], [2.0]]))
