"""The naive test and interval, against published numbers."""

import pytest

from analysis.significance import parse_confidence, side_choice


def test_the_papers_answers_give_its_p_value_z_and_wilson_interval() -> None:
    result = side_choice(2027, 1626).result
    assert result is not None
    assert result.p_value == pytest.approx(3.5e-11, rel=0.01)
    assert result.z == pytest.approx(6.63, abs=0.005)
    assert [result.low, result.high] == pytest.approx([0.5387, 0.5709], abs=5e-5)


def test_newcombes_81_of_263_gives_his_wilson_interval() -> None:
    """Newcombe (1998), Statistics in Medicine 17: 857-872, table I, methods 3 and 5."""
    result = side_choice(81, 263 - 81).result
    assert result is not None
    assert [result.low, result.high] == pytest.approx([0.2553, 0.3662], abs=5e-5)
    assert [result.exact_low, result.exact_high] == pytest.approx([0.2527, 0.3676], abs=5e-5)


@pytest.mark.parametrize(("first", "second", "p_value"), [(1, 0, 1.0), (5, 0, 2 / 32), (4, 1, 12 / 32), (3, 3, 1.0)])
def test_the_p_value_is_exact_and_two_sided(first: int, second: int, p_value: float) -> None:
    result = side_choice(first, second).result
    assert result is not None
    assert result.p_value == pytest.approx(p_value)


def test_swapping_the_arms_mirrors_the_interval() -> None:
    one, other = side_choice(30, 12).result, side_choice(12, 30).result
    assert one is not None
    assert other is not None
    assert one.p_value == pytest.approx(other.p_value)
    assert one.z == -other.z
    assert [one.low, one.high] == pytest.approx([1 - other.high, 1 - other.low])


def test_without_a_side_chosen_there_is_no_test() -> None:
    assert side_choice(0, 0).result is None


def test_all_answers_the_same_give_finite_numbers() -> None:
    result = side_choice(20, 0).result
    assert result is not None
    assert result.high == pytest.approx(1.0)
    assert 0.8 < result.low < 0.9


def test_more_confidence_gives_a_wider_interval() -> None:
    narrow, wide = side_choice(30, 12, 0.9).result, side_choice(30, 12, 0.99).result
    assert narrow is not None
    assert wide is not None
    assert wide.low < narrow.low < narrow.high < wide.high


@pytest.mark.parametrize("value", ["95", 0, 1, -0.1, "high", "nan", float("nan")])
def test_a_bad_confidence_is_named(value: float | str) -> None:
    with pytest.raises(ValueError, match="confidence"):
        parse_confidence(value)


def test_independence_is_named_as_assumed() -> None:
    assert any("independent" in sentence for sentence in side_choice(3, 2).assumes)
