import numpy as np
import pytest
import torch

from analysis.metrics import kernel
from analysis.metrics.errors import MetricsError
from analysis.metrics.kernel import kernel_distance
from tests.analysis.metrics.samples import line, normal


def test_the_worked_example() -> None:
    # k(0,1) = 1, k(2,3) = 7³ = 343, across (1 + 1 + 27 + 64) / 4: 1 + 343 - 2·23.25.
    assert kernel_distance(line(0, 1), line(2, 3)).value == pytest.approx(297.5, rel=1e-12)


def test_blocks_order_and_the_definition_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    generated, reference = normal(50, 3, seed=0, shift=0.2), normal(40, 3, seed=1)

    def gram(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        return (first @ second.T / 3 + 1) ** 3

    own, other = gram(generated, generated), gram(reference, reference)
    expected = float(
        (own.sum() - own.trace()) / (50 * 49)
        + (other.sum() - other.trace()) / (40 * 39)
        - 2 * gram(generated, reference).mean()
    )
    assert kernel_distance(generated, reference).value == pytest.approx(expected, rel=1e-12)
    monkeypatch.setattr(kernel, "BLOCK", 7)
    assert kernel_distance(generated.flip(0), reference).value == pytest.approx(expected, rel=1e-12)


def test_it_is_unbiased_and_its_error_is_the_spread() -> None:
    # x ~ N(a, 1) in one dimension: E k(x, y) = E (xy + 1)³ = m3 m3' + 3 m2 m2' + 3 m1 m1' + 1 by the moments.
    def moments(mean: float) -> tuple[float, float, float]:
        return mean, mean**2 + 1, mean**3 + 3 * mean

    def mean_kernel(first: float, second: float) -> float:
        (a1, a2, a3), (b1, b2, b3) = moments(first), moments(second)
        return a3 * b3 + 3 * a2 * b2 + 3 * a1 * b1 + 1

    truth = mean_kernel(0.5, 0.5) + mean_kernel(0, 0) - 2 * mean_kernel(0.5, 0)
    drawn = [
        kernel_distance(normal(100, 1, seed=seed, shift=0.5), normal(100, 1, seed=7000 + seed)) for seed in range(200)
    ]
    spread = np.std([estimate.value for estimate in drawn], ddof=1)

    assert np.mean([estimate.value for estimate in drawn]) == pytest.approx(truth, abs=4 * spread / np.sqrt(200))
    squares = [estimate.standard_error**2 for estimate in drawn if estimate.standard_error is not None]
    assert np.sqrt(np.mean(squares)) == pytest.approx(spread, rel=0.3)


def test_one_image_is_refused() -> None:
    with pytest.raises(MetricsError, match="at least 2 images"):
        kernel_distance(line(1), line(1, 2))
