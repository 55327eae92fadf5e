import math

import numpy as np
import pytest
import torch

from analysis.metrics.errors import MetricsError
from analysis.metrics.estimates import Estimate, interval
from analysis.metrics.frechet import fit, frechet_estimate
from analysis.metrics.inception_score import inception_score
from tests.analysis.metrics.samples import normal


def test_the_error_adds_both_sets_variances() -> None:
    # Variances 2 and 4/3 over 2 and 3 images.
    estimate = Estimate(1.0, torch.tensor([0.0, 2.0]), torch.tensor([0.0, 0.0, 2.0]))

    assert estimate.standard_error == pytest.approx(math.sqrt(2 / 2 + (4 / 3) / 3))


def test_without_influences_there_is_no_error() -> None:
    assert Estimate(1.0).standard_error is None


def test_what_pairs_share_falls_out_of_their_difference() -> None:
    shared = torch.tensor([0.0, 5.0, -5.0])
    first = Estimate(3.0, shared + torch.tensor([1.0, 0.0, 0.0]), shared)
    second = Estimate(1.0, shared, shared)

    matched, unmatched = first.minus(second, matched=True), first.minus(second, matched=False)

    assert matched.value == unmatched.value == 2.0
    assert matched.standard_error == pytest.approx(math.sqrt((1 / 3) / 3))
    assert unmatched.standard_error is not None
    assert unmatched.standard_error > 4


def test_the_matched_differences_error_is_its_spread() -> None:
    drawn = []
    for seed in range(120):
        noise, reference = normal(200, 3, seed=seed), fit(normal(300, 3, seed=3000 + seed))
        arms = [frechet_estimate(fit(noise * scale + 0.3), reference) for scale in (1.4, 1.2)]
        drawn.append(arms[0].minus(arms[1], matched=True))
    spread = np.std([difference.value for difference in drawn], ddof=1)

    errors = [difference.standard_error for difference in drawn if difference.standard_error is not None]
    assert np.mean(errors) == pytest.approx(spread, rel=0.25)


def test_arms_of_different_sizes_are_no_pairs() -> None:
    with pytest.raises(MetricsError, match="3 and 2 images"):
        Estimate(0, torch.zeros(3)).minus(Estimate(0, torch.zeros(2)), matched=True)


def test_the_interval_is_normal() -> None:
    assert interval(10, 2, 0.95) == pytest.approx((10 - 2 * 1.959964, 10 + 2 * 1.959964), abs=1e-5)


def test_a_sure_and_balanced_classifier_scores_the_number_of_classes() -> None:
    assert inception_score(100 * torch.eye(4)).value == pytest.approx(4, rel=1e-12)
    assert inception_score(torch.zeros(6, 4)).value == pytest.approx(1, rel=1e-12)


def test_the_score_is_averaged_over_splits() -> None:
    # Two images of one class, then two of two: 1 and 2.
    logits = 100 * torch.eye(2)[[0, 0, 0, 1]]

    assert inception_score(logits, split=2).value == pytest.approx(1.5, rel=1e-12)


def test_the_scores_error_is_its_spread() -> None:
    drawn = [inception_score(normal(400, 5, seed=seed, scale=2)) for seed in range(150)]
    spread = np.std([estimate.value for estimate in drawn], ddof=1)

    errors = [estimate.standard_error for estimate in drawn if estimate.standard_error is not None]
    assert np.mean(errors) == pytest.approx(spread, rel=0.25)


def test_no_image_has_no_score() -> None:
    with pytest.raises(MetricsError, match="at least 1 image"):
        inception_score(torch.zeros(0, 3))
