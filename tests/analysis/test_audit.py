"""The audit: what stands out, with answers made so that it must."""

import numpy as np
import pandas as pd
import pytest

from analysis.absent import Absent
from analysis.audit import (
    Catches,
    Order,
    Repeats,
    Times,
    Trend,
    audit,
    catch_trials,
    flagged_raters,
    influence,
    order_effects,
    repeat_trials,
    response_times,
)
from analysis.clustered import ClusteredShare
from analysis.sides import sides


def study(raters: int = 8, pairs: int = 30, seed: int = 0) -> pd.DataFrame:
    """Return answers by chance: sides even, a fifth "same", positions in order, two to nine seconds each."""
    rng = np.random.default_rng(seed)
    size = raters * pairs
    left = rng.random(size) < 0.5
    return pd.DataFrame({
        "rater": np.repeat([f"r{place}" for place in range(raters)], pairs),
        "pair": np.tile([str(place) for place in range(pairs)], raters),
        "left_arm": np.where(left, "robust", "vanilla"),
        "right_arm": np.where(left, "vanilla", "robust"),
        "choice": rng.choice(["left", "right", "same"], size, p=[0.4, 0.4, 0.2]),
        "position": pd.Series(np.tile(np.arange(1, pairs + 1), raters), dtype="Int64"),
        "response_ms": pd.Series(rng.integers(2000, 9000, size), dtype="Int64"),
    })  # fmt: skip


def reasons(frame: pd.DataFrame) -> dict[str, tuple[str, ...]]:
    return {flag.rater: flag.reasons for flag in flagged_raters(frame)}


def test_answers_by_chance_flag_nobody() -> None:
    assert reasons(study(raters=40)) == {}


def test_a_rater_who_is_too_fast_is_flagged() -> None:
    frame = study()
    frame.loc[(frame["rater"] == "r3") & (frame["position"] <= 7), "response_ms"] = 300
    assert reasons(frame) == {"r3": ("fast",)}
    frame.loc[(frame["rater"] == "r3") & (frame["position"] == 7), "response_ms"] = 500
    assert reasons(frame) == {}


def test_a_rater_who_always_takes_one_side_is_one_sided_and_straight_lining() -> None:
    frame = study()
    frame.loc[frame["rater"] == "r2", "choice"] = "left"
    assert reasons(frame) == {"r2": ("one-sided", "straight-lining")}


def test_a_long_run_in_the_order_shown_is_flagged_whatever_the_order_of_rows() -> None:
    frame = study()
    frame.loc[(frame["rater"] == "r5") & frame["position"].between(4, 18), "choice"] = "same"
    shuffled = frame.sample(frac=1, random_state=1)
    assert reasons(frame) == reasons(shuffled) == {"r5": ("straight-lining",)}


def with_kinds(frame: pd.DataFrame, rows: list[dict[str, str]]) -> pd.DataFrame:
    extra = pd.DataFrame(rows)
    return pd.concat([frame.assign(kind="ordinary"), extra], ignore_index=True)


def catch(rater: str, choice: str, expected: str = "left", pair: str = "c0") -> dict[str, str]:
    return {
        "rater": rater, "pair": pair, "left_arm": "image", "right_arm": "noise", "choice": choice, "kind": "catch",
        "expected": expected,
    }  # fmt: skip


def test_catch_trials_are_counted_and_failing_them_is_flagged() -> None:
    frame = with_kinds(study(), [catch("r1", "left"), catch("r2", "right"), catch("r2", "left", pair="c1")])
    assert catch_trials(frame) == Catches(trials=3, right=2, raters=2)
    assert reasons(frame) == {"r2": ("catch",)}


def test_repeats_are_compared_by_arm_and_not_by_side() -> None:
    """Left and right swapped with the arms is the same answer; the winners are robust, robust of robust, same."""
    first = study(raters=1, pairs=2)
    first = first.assign(left_arm="robust", right_arm="vanilla", choice=["left", "same"])
    again = {"rater": "r0", "left_arm": "vanilla", "right_arm": "robust", "choice": "right", "kind": "repeat"}
    frame = with_kinds(first, [{**again, "pair": "0"}, {**again, "pair": "1"}])
    assert repeat_trials(frame) == Repeats(trials=2, same_answer=1, expected=0.5, raters=1)


def test_the_surveys_own_flags_are_taken_along() -> None:
    frame = study().assign(flags="")
    frame.loc[frame["rater"] == "r4", "flags"] = "left the page;odd clock"
    assert reasons(frame) == {"r4": ("left the page", "odd clock")}


def test_results_stand_with_and_without_the_flagged_side_by_side() -> None:
    frame = study()
    frame.loc[frame["rater"] == "r2", "choice"] = "left"
    found = audit(frame, sides(frame))
    assert isinstance(found.with_flagged, ClusteredShare)
    assert isinstance(found.without_flagged, ClusteredShare)
    assert found.with_flagged.raters - found.without_flagged.raters == 1
    others = frame[frame["rater"] != "r2"]
    assert found.without_flagged == audit(others, sides(others)).with_flagged


def test_a_side_bias_is_found() -> None:
    frame = study(raters=20)
    frame["choice"] = np.random.default_rng(1).choice(["left", "right"], len(frame), p=[0.65, 0.35])
    bias = audit(frame, sides(frame)).side_bias
    assert isinstance(bias, ClusteredShare)
    assert 0.5 < bias.low < 0.65 < bias.high


def test_fatigue_shows_as_a_slope() -> None:
    frame = study(raters=20)
    late = frame["position"].to_numpy() > 15
    chance = np.random.default_rng(2).random(len(frame))
    frame.loc[late & (chance < 0.6), "choice"] = "same"
    frame.loc[late, "response_ms"] = 1000
    found = order_effects(frame, sides(frame))
    assert isinstance(found, Order)
    for trend, rises in ((found.same, True), (found.seconds, False)):
        assert isinstance(trend, Trend)
        assert trend.p_value is not None
        assert trend.p_value < 0.001
        assert (trend.end > trend.start) is rises
    assert found.bins[0][:2] == (1, 3)


def test_response_times_are_summarised_by_hand() -> None:
    frame = study(raters=1, pairs=5).assign(
        response_ms=pd.Series([100, 200, 300, 400, None], dtype="Int64"),
        choice=["left", "left", "right", "left", "same"],
    )
    found = response_times(frame)
    assert isinstance(found, Times)
    assert (found.known, found.missing, found.fast) == (4, 1, 4)
    assert found.quantiles[2] == 250
    assert found.median_by_choice == {"left": 200, "right": 300, "same": None}


def test_without_optional_columns_it_says_what_is_not_known() -> None:
    frame = study()[["rater", "pair", "left_arm", "right_arm", "choice"]]
    found = audit(frame, sides(frame))
    for part in (found.order, found.times, found.catches, found.repeats):
        assert isinstance(part, Absent)
    assert isinstance(found.with_flagged, ClusteredShare)


def test_influence_is_the_share_computed_without_the_rater() -> None:
    frame = study()
    chosen = sides(frame)
    for one in influence(chosen):
        rest = sides(frame[frame["rater"] != one.rater])
        assert one.share == pytest.approx(rest.first.mean())
        assert one.change == pytest.approx(rest.first.mean() - chosen.first.mean())
    changes = [abs(one.change) for one in influence(chosen)]
    assert changes == sorted(changes, reverse=True)
