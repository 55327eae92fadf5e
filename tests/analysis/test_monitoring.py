"""Always-valid evidence: what it promises, held against studies that are looked at after every rater."""

import numpy as np
import pandas as pd
import pytest

from analysis.absent import Absent
from analysis.monitoring import Monitoring, confidence_sequence, log_wealth, monitor, rater_scores


def answers(choices: list[str], times: list[str] | None = None) -> pd.DataFrame:
    """Return one answer per rater, robust on the left."""
    frame = pd.DataFrame({
        "rater": [f"r{place:04}" for place in range(len(choices))],
        "pair": "0",
        "left_arm": "robust",
        "right_arm": "vanilla",
        "choice": choices,
    })  # fmt: skip
    return frame if times is None else frame.assign(answered_at=pd.to_datetime(pd.Series(times), utc=True))


def found(frame: pd.DataFrame) -> Monitoring:
    result = monitor(frame)
    assert isinstance(result, Monitoring)
    return result


def test_a_fair_game_is_won_by_looking_at_most_as_often_as_promised() -> None:
    """Of 600 studies without a preference, each looked at after every rater, 30 at most would reach 20."""
    rng = np.random.default_rng(0)
    reached = sum(log_wealth(rng.integers(0, 3, 200) / 2, 0.5).max() >= np.log(20) for _ in range(600))
    assert reached <= 30


def test_one_step_of_wealth_is_fair() -> None:
    """Over two scores of mean 0.3 the expected wealth is 1."""
    low, high = (np.exp(log_wealth(np.array([score]), 0.3)[0]) for score in (0.0, 1.0))
    assert 0.7 * low + 0.3 * high == pytest.approx(1)


def test_the_sequence_holds_the_mean_throughout() -> None:
    """Of 60 studies of 300 raters, 57 at least."""
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(60):
        low, high = confidence_sequence(rng.random(300) ** 0.5, 0.95)
        held += bool((low <= 2 / 3).all() and (high >= 2 / 3).all())
    assert held >= 57


def test_the_sequence_narrows_and_ends_near_the_mean() -> None:
    low, high = confidence_sequence(np.random.default_rng(2).random(2000) * 0.2 + 0.5, 0.95)
    assert (np.diff(low) >= 0).all()
    assert (np.diff(high) <= 0).all()
    assert 0.55 < low[-1] <= 0.6 <= high[-1] < 0.65


@pytest.mark.parametrize("score", [0.0, 1.0, 0.5])
def test_scores_that_are_all_alike_stay_within_their_interval(score: float) -> None:
    low, high = confidence_sequence(np.full(400, score), 0.95)
    assert low[-1] <= score <= high[-1]
    assert high[-1] - low[-1] < 0.1


def test_a_clear_preference_says_when_it_was_safe_to_stop() -> None:
    times = [f"2024-05-{1 + place // 10:02}T08:{place % 10:02}:00Z" for place in range(60)]
    result = found(answers(["left"] * 60, times))
    assert result.stop_after is not None
    assert result.log_e_values[result.stop_after - 1] >= np.log(20) > result.log_e_values[result.stop_after - 2]
    assert result.stop_at == f"{times[result.stop_after - 1]}"


def test_the_date_is_of_the_answers_in_time_and_not_in_the_file() -> None:
    times = [f"2024-05-{1 + place // 10:02}T08:{place % 10:02}:00Z" for place in range(60)]
    frame = answers(["left"] * 60, times)
    assert found(frame.iloc[::-1].reset_index(drop=True)).stop_at == found(frame).stop_at


def test_without_times_there_is_no_date() -> None:
    result = found(answers(["left"] * 40))
    assert result.stop_after is not None
    assert result.stop_at is None


def test_an_even_split_is_never_safe_to_stop() -> None:
    result = found(answers(["left", "right", "same"] * 30))
    assert result.stop_after is None
    assert result.low[-1] < 0.5 < result.high[-1]


def test_a_raters_score_counts_same_as_half() -> None:
    frame = answers(["left", "same", "right", "left"]).assign(rater=["a", "a", "b", "b"], pair=["0", "1", "0", "1"])
    assert rater_scores(frame)[0].tolist() == [0.75, 0.5]


def test_swapping_the_arms_mirrors_the_sequence() -> None:
    frame = answers(["left", "left", "right", "same"] * 20)
    one = found(frame)
    other = found(frame.assign(choice=frame["choice"].map({"left": "right", "right": "left", "same": "same"})))
    assert one.low == pytest.approx(1 - other.high)
    assert one.log_e_values == pytest.approx(other.log_e_values)


def test_many_raters_are_counted_several_at_a_step() -> None:
    rng = np.random.default_rng(3)
    frame = answers(rng.choice(["left", "right"], 30_000, p=[0.55, 0.45]).tolist())
    result = found(frame)
    assert len(result.after) <= 20_000
    assert result.after[-1] == 30_000
    assert result.stop_after is not None


def test_one_rater_or_none_is_not_enough() -> None:
    assert isinstance(monitor(answers(["left"])), Absent)
    assert isinstance(monitor(answers([])), Absent)
