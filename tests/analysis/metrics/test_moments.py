import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.metrics.errors import MetricsError
from analysis.metrics.moments import Moments, merge, moments_of_batches
from tests.analysis.metrics.samples import normal


def test_moments_are_numpys_mean_and_unbiased_covariance() -> None:
    features = normal(50, 4, seed=0) + 3

    moments = Moments.of(features)

    assert moments.count == 50
    np.testing.assert_allclose(moments.mean, features.numpy().mean(0), rtol=1e-12)
    np.testing.assert_allclose(moments.covariance, np.cov(features.numpy(), rowvar=False), rtol=1e-12)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_batches_of_any_sizes_in_any_order_merge_to_the_same_moments(sizes: list[int], random: object) -> None:
    features = normal(sum(sizes) + 1, 3, seed=1, shift=100.0)
    parts = list(torch.split(features, [*sizes, 1]))
    random.shuffle(parts)  # type: ignore[attr-defined]

    merged, whole = moments_of_batches(parts), Moments.of(features)

    torch.testing.assert_close(merged.mean, whole.mean, rtol=1e-13, atol=0)
    torch.testing.assert_close(merged.covariance, whole.covariance, rtol=1e-10, atol=1e-12)


def test_a_large_offset_costs_no_digits() -> None:
    features = torch.tensor([[1e8], [1e8 + 1], [1e8 + 2]], dtype=torch.float64)

    assert merge(map(Moments.of, torch.split(features, 1))).covariance.item() == pytest.approx(1.0, abs=1e-12)


def test_float32_features_are_summed_in_float64() -> None:
    features = torch.full((40_000, 1), 0.1, dtype=torch.float32)

    assert Moments.of(features).mean.item() == pytest.approx(float(np.float32(0.1)), abs=1e-15)


@pytest.mark.parametrize("processes", [1, 2, 7])
def test_what_processes_send_each_other_merges_to_what_one_gives(processes: int) -> None:
    features = normal(300, 5, seed=2)
    sent = [pickle.dumps(Moments.of(part)) for part in torch.tensor_split(features, processes)]

    merged = merge(pickle.loads(part) for part in sent)

    torch.testing.assert_close(merged.covariance, Moments.of(features).covariance, rtol=1e-11, atol=1e-13)


def test_a_covariance_needs_two_vectors() -> None:
    with pytest.raises(MetricsError, match="at least 2 images, this set has 1"):
        _ = Moments.of(torch.zeros(1, 3)).covariance


def test_no_features_have_no_moments() -> None:
    with pytest.raises(MetricsError, match="no features"):
        moments_of_batches([])
