"""Two-way clustering: against published numbers, arithmetic by hand, and studies whose truth is known."""

from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from statsmodels.regression.linear_model import OLS

from analysis.absent import Absent
from analysis.clustered import ClusteredShare, bootstrap_share, clustered_share, draw_counts, two_way_ols
from analysis.crossed import estimate, sums_of_answers, sums_of_grid
from analysis.sides import Codes
from analysis.simulation import Scenario, share_of, simulate


def grid(rows: list[str]) -> tuple[np.ndarray, Codes, Codes]:
    """Return ones, raters and pairs of a drawn study: a line per rater, 1 or 0 per pair, a dot for no answer."""
    cells = [
        (mark == "1", rater, pair) for rater, row in enumerate(rows) for pair, mark in enumerate(row) if mark != "."
    ]
    ones, rater, pair = zip(*cells, strict=True)
    return np.array(ones), np.array(rater), np.array(pair)


def found(share: ClusteredShare | Absent) -> ClusteredShare:
    assert isinstance(share, ClusteredShare)
    return share


def test_petersens_data_give_his_two_way_standard_errors() -> None:
    """Petersen (2009), test data of 500 firms over 10 years; clustered by firm and by year."""
    data = np.load(Path(__file__).parent / "data" / "petersen.npz")
    x, y = data["x"].astype(float), data["y"].astype(float)
    firm, year = np.repeat(np.arange(500), 10), np.tile(np.arange(10), 500)
    result = two_way_ols(np.column_stack([np.ones(5000), x]), y, [firm, year])
    assert result.coefficients == pytest.approx([0.0296797, 1.0348334], abs=1e-6)
    assert result.standard_errors == pytest.approx([0.065064, 0.053558], abs=5e-7)


def test_groups_of_another_length_are_refused_and_not_ignored() -> None:
    design, response = np.ones((4, 1)), np.arange(4.0)
    with pytest.raises(ValueError, match="two groupings of 4 codes"):
        two_way_ols(design, response, [np.arange(4)])
    with pytest.raises(ValueError, match="two groupings of 4 codes"):
        two_way_ols(design, response, [np.arange(4), np.arange(3)])
    with pytest.raises(ValueError, match="5 raters"):
        clustered_share(np.array([True, False]), np.arange(5), np.arange(2))


def test_a_design_of_dependent_columns_is_refused() -> None:
    with pytest.raises(ValueError, match="depend on each other"):
        two_way_ols(np.ones((4, 2)), np.arange(4.0), [np.arange(4), np.arange(4)])


def test_a_full_study_has_the_variance_of_its_analysis_of_variance() -> None:
    """Of a full grid the unbiased variance of the mean is (MS_raters + MS_pairs - MS_rest) / n.

    Rater means 1/2, 3/4, 1/4 and pair means 1, 1/3, 0, 2/3 around 1/2: SS_raters = 4·(1/8) = 1/2,
    SS_pairs = 3·(1/4 + 1/36 + 1/4 + 1/36) = 5/3, SS_all = 12/4 = 3, SS_rest = 3 - 1/2 - 5/3 = 5/6;
    (1/2/2 + 5/3/3 - 5/6/6) / 12 = 1/18.
    """
    result = found(clustered_share(*grid(["1001", "1101", "1000"])))
    assert result.share == 0.5
    assert result.standard_error**2 == pytest.approx(1 / 18)
    assert result.design_effect == pytest.approx((1 / 18) / (0.25 / 12))


def test_test_and_interval_agree() -> None:
    ones, rater, pair = grid(["1100101", "11.1010", "0101001", "1.11010", "1100011"])
    result = found(clustered_share(ones, rater, pair))
    half = stats.t.ppf(0.975, result.freedom) * result.standard_error
    assert [result.low, result.high] == pytest.approx([result.share - half, result.share + half])
    at_the_edge = found(clustered_share(ones, rater, pair, confidence=1 - result.p_value))
    assert min(abs(at_the_edge.low - 0.5), abs(at_the_edge.high - 0.5)) == pytest.approx(0, abs=1e-9)


def test_swapping_the_arms_mirrors_everything() -> None:
    ones, rater, pair = grid(["1101", "11.1", "0101", "1.11"])
    one, other = found(clustered_share(ones, rater, pair)), found(clustered_share(~ones, rater, pair))
    assert (one.p_value, one.freedom) == pytest.approx((other.p_value, other.freedom))
    assert [one.low, one.high] == pytest.approx([1 - other.high, 1 - other.low])


def test_a_grid_and_its_long_table_have_the_same_sums() -> None:
    rng = np.random.default_rng(3)
    ones, answered = next(simulate(Scenario(9, 7, 0.3, 1.0, 0.5, 0.2, stops_early=True), rng, 1))
    rater, pair = np.nonzero(answered[0])
    chose = ones[0][rater, pair]
    one = estimate(sums_of_grid(ones, answered))
    other = estimate(sums_of_answers(chose, rater, pair, np.ones(len(chose))))
    assert [float(other.share), float(other.variance), float(other.freedom)] == pytest.approx(
        [one.share[0], one.variance[0], one.freedom[0]]
    )


def test_the_variance_does_not_depend_on_the_scale_of_the_weights() -> None:
    ones, rater, pair = grid(["1101", "11.1", "0101", "1.11"])
    one, other = (
        estimate(sums_of_answers(ones.astype(float), rater, pair, np.full(len(ones), size))) for size in (1.0, 7.0)
    )
    assert float(one.variance) == pytest.approx(float(other.variance))
    assert float(one.freedom) == pytest.approx(float(other.freedom))


def test_where_pairs_weigh_alike_the_share_is_the_mean_of_the_pairs() -> None:
    ones, rater, pair = grid(["11", "0.", "0.", "01"])
    assert found(clustered_share(ones, rater, pair, by_pair=True)).share == pytest.approx((1 / 4 + 1) / 2)
    assert found(clustered_share(ones, rater, pair)).share == pytest.approx(3 / 6)


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        (["1101"], "one rater"),
        (["1", "0", "1"], "one pair"),
        (["11", "11"], "chose the same"),
        (["00", "00"], "chose the same"),
    ],
)
def test_what_cannot_be_judged_says_why(rows: list[str], reason: str) -> None:
    ones, rater, pair = grid(rows)
    for result in (
        clustered_share(ones, rater, pair),
        bootstrap_share(ones, rater, pair, np.random.default_rng(0), draws=10),
    ):
        assert isinstance(result, Absent)
        assert reason in result.reason


def test_no_answer_at_all_says_so() -> None:
    nothing = np.array([], dtype=np.intp)
    assert clustered_share(nothing.astype(bool), nothing, nothing) == Absent("no answer chose a side")


@pytest.mark.parametrize("ones", [[1, 0, 1, 1, 0, 1], [1, 1, 0, 0, 1, 0]])
def test_raters_of_one_answer_each_leave_clustering_by_pair(ones: list[int]) -> None:
    pair = np.array([0, 0, 0, 1, 1, 1])
    result = found(clustered_share(np.array(ones, dtype=bool), np.arange(6), pair))
    assert result.components[0] == 0
    assert np.isfinite([result.low, result.high, result.p_value, result.freedom]).all()


def test_a_hundred_thousand_raters_of_one_answer_each_are_quick_and_finite() -> None:
    rng = np.random.default_rng(0)
    result = found(clustered_share(rng.random(100_000) < 0.55, np.arange(100_000), rng.integers(0, 200, 100_000)))
    assert result.low < 0.55 < result.high
    assert result.freedom > 100


@pytest.mark.parametrize("rater_sd", [0.0, 0.8])
@pytest.mark.parametrize("partial", [False, True])
def test_the_variance_is_on_average_that_of_the_share(rater_sd: float, *, partial: bool) -> None:
    """1500 studies tell the ratio of the mean estimate to the truth to about 4 %."""
    scenario = Scenario(60, 12, 0.4, 1.07, rater_sd, 0.2, stops_early=partial)
    blocks = [estimate(sums_of_grid(*block)) for block in simulate(scenario, np.random.default_rng(7), 1500)]
    share, variance, freedom = (
        np.concatenate([getattr(block, name) for block in blocks]) for name in ("share", "variance", "freedom")
    )
    assert variance.mean() / share.var() == pytest.approx(1, abs=0.13)
    t = np.abs(share - share_of(scenario)) / np.sqrt(variance)
    assert 0.93 < (t <= stats.t.ppf(0.975, freedom)).mean() < 0.975


def test_the_bootstrap_is_near_the_sandwich_where_answers_are_many() -> None:
    scenario = Scenario(80, 40, 0.3, 1.07, 0.5)
    ones, answered = next(simulate(scenario, np.random.default_rng(1), 1))
    rater, pair = np.nonzero(answered[0])
    chose = ones[0][rater, pair] > 0
    sandwich = found(clustered_share(chose, rater, pair))
    bootstrap = bootstrap_share(chose, rater, pair, np.random.default_rng(2), draws=600)
    assert not isinstance(bootstrap, Absent)
    assert bootstrap.standard_error == pytest.approx(sandwich.standard_error, rel=0.15)
    assert bootstrap.low < sandwich.share < bootstrap.high


def test_a_draw_takes_as_many_as_there_are() -> None:
    counts = draw_counts(np.random.default_rng(0), 30, 500)
    assert (counts.sum(axis=1) == 30).all()
    assert counts.var() == pytest.approx(1 - 1 / 30, rel=0.05)


def test_regressions_have_statsmodels_two_way_covariance() -> None:
    rng = np.random.default_rng(5)
    rater, pair = np.repeat(np.arange(12), 15), np.tile(np.arange(15), 12)
    design = np.column_stack([np.ones(180), rng.standard_normal((180, 2))])
    response = rng.standard_normal(180) + rng.standard_normal(12)[rater] + rng.standard_normal(15)[pair]
    theirs = OLS(response, design).fit(cov_type="cluster", cov_kwds={"groups": np.column_stack([rater, pair])})
    assert two_way_ols(design, response, [rater, pair]).covariance == pytest.approx(theirs.cov_params(), rel=1e-9)
