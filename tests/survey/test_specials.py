"""Practice, catch trials, repeats, time limits and pairs that cannot be shown."""

from datetime import timedelta
from pathlib import Path

import pytest
from django.test import Client
from django.utils import timezone

from analysis.frames import responses
from survey.errors import ConflictingResponse, InvalidResponse, ScreenedOut, TimeOver
from survey.models import Balance, ImageFault, Rater, Response, Trial
from survey.selectors import Progress, answers_total, is_complete, pair_loads, progress_of
from survey.services import LOOKAHEAD, record_response, skip_trial

from .conftest import browser_of
from .factories import answer, answer_all, first_trial, make_rater, make_study, next_trial, write_pairs

pytestmark = pytest.mark.django_db


def kinds(rater: Rater) -> list[str]:
    return list(rater.trials.order_by("position").values_list("kind", flat=True))


def test_a_rater_gets_what_the_study_asks_for_and_only_ordinary_answers_count(tmp_path: Path) -> None:
    study = make_study(tmp_path, count=8, practice_trials=1, same_catches=1, noise_catches=2, repeats=2)
    rater = make_rater(study)
    answer_all(rater, "left")
    assert sorted(kinds(rater)) == ["noise"] * 2 + ["ordinary"] * 8 + ["practice", "repeat", "repeat", "same"]
    assert kinds(rater)[0] == "practice"
    assert progress_of(rater) == Progress(answered=13, total=13)
    assert Response.objects.count() == 14
    assert answers_total(study) == 8
    assert len(responses(study)) == 8
    assert {load.served for load in pair_loads(study)} == {1}


def test_a_repeat_shows_an_earlier_pair_with_sides_swapped(tmp_path: Path) -> None:
    rater = make_rater(make_study(tmp_path, count=8, repeats=3))
    answer_all(rater)
    repeats = rater.trials.filter(kind="repeat")
    assert repeats.count() == 3
    for repeat in repeats:
        original = rater.trials.get(kind="ordinary", pair=repeat.pair)
        assert original.position < repeat.position
        assert original.first_is_left is not repeat.first_is_left
        assert original.left_image == repeat.right_image


def test_a_catch_with_the_same_image_sends_the_same_pixels_and_asks_for_same(tmp_path: Path) -> None:
    rater = make_rater(make_study(tmp_path, same_catches=1))
    answer_all(rater)
    catch = rater.trials.get(kind="same")
    browser = browser_of(rater)
    left, right = (browser.get(f"/s/demo/image/{catch.token}/{side}.png") for side in ("left", "right"))
    assert left.content == right.content
    assert catch.right_answer == "same"


def test_a_catch_against_noise_has_noise_on_one_side_and_the_same_on_each_request(tmp_path: Path) -> None:
    rater = make_rater(make_study(tmp_path, noise_catches=1))
    answer_all(rater)
    catch = rater.trials.get(kind="noise")
    assert (catch.left_image is None) is (catch.right_answer == "right")
    assert (catch.right_image is None) is (catch.right_answer == "left")
    browser = browser_of(rater)
    side = "left" if catch.left_image is None else "right"
    pages = [browser.get(f"/s/demo/image/{catch.token}/{side}.png") for _ in range(2)]
    assert pages[0].status_code == 200
    assert pages[0].content == pages[1].content


def fail_catches(rater: Rater) -> None:
    """Answer until nothing is left, catch trials wrongly."""
    while (trial := next_trial(rater)) is not None:
        answer(rater, "left" if trial.right_answer != "left" else "right")


def test_failed_catches_screen_out_once_the_study_says_so(tmp_path: Path) -> None:
    study = make_study(
        tmp_path, count=8, same_catches=3, screen_out_after=2, screen_out_code="OUT-7", completion_code="DONE-1"
    )
    rater = make_rater(study)
    fail_catches(rater)
    rater.refresh_from_db()
    assert rater.failed_catches == 2
    assert rater.screened_out_at is not None
    assert not is_complete(rater)
    page = browser_of(rater).get("/s/demo/", follow=True)
    assert b"OUT-7" in page.content
    assert b"DONE-1" not in page.content
    answered = rater.trials.filter(kind="ordinary", response__isnull=False).count()
    assert sum(load.served for load in pair_loads(study)) == answered, "what they held is free for others"
    void = rater.trials.filter(state=Trial.State.VOID).first()
    assert void is not None
    with pytest.raises(ScreenedOut):
        record_response(trial=void, choice="left")


def test_a_corrected_catch_is_not_failed(tmp_path: Path) -> None:
    rater = make_rater(make_study(tmp_path, same_catches=1, screen_out_after=2))
    while (trial := next_trial(rater)) is not None and trial.kind != "same":
        answer(rater, "left")
    assert trial is not None
    record_response(trial=trial, choice="left")
    rater.refresh_from_db()
    assert rater.failed_catches == 1
    record_response(trial=trial, choice="same", revises=True)
    rater.refresh_from_db()
    assert rater.failed_catches == 0


def test_a_trial_out_of_time_is_settled_without_an_answer(tmp_path: Path) -> None:
    study = make_study(tmp_path, trial_limit_s=5)
    rater = make_rater(study)
    trial = first_trial(rater)
    for _ in range(2):
        skip_trial(trial=trial, reason="timeout")
    assert progress_of(rater) == Progress(answered=1, total=4)
    assert not Response.objects.exists()
    with pytest.raises(ConflictingResponse, match="skipped"):
        record_response(trial=trial, choice="left")
    answer_all(rater)
    assert progress_of(rater) == Progress(answered=4, total=4)
    assert is_complete(rater)
    assert sum(load.served for load in pair_loads(study)) == 3


def test_without_a_limit_nothing_is_out_of_time(tmp_path: Path) -> None:
    trial = first_trial(make_rater(make_study(tmp_path)))
    with pytest.raises(InvalidResponse, match="sets no time"):
        skip_trial(trial=trial, reason="timeout")
    with pytest.raises(InvalidResponse, match="unknown reason 'tired'"):
        skip_trial(trial=trial, reason="tired")


def test_answers_after_the_session_is_over_are_refused_when_they_cannot_have_been_given_in_time(
    tmp_path: Path,
) -> None:
    rater = make_rater(make_study(tmp_path, session_limit_s=60))
    record_response(trial=first_trial(rater), choice="left", now=timezone.now() + timedelta(seconds=120))
    with pytest.raises(TimeOver):
        record_response(trial=rater.trials.get(position=2), choice="left", now=timezone.now() + timedelta(hours=1))
    Rater.objects.update(consented_at=timezone.now() - timedelta(seconds=61))
    page = browser_of(rater).get("/s/demo/trial/", follow=True)
    assert b"Your time for this survey is over" in page.content


def test_another_pair_takes_the_place_of_one_that_cannot_be_shown(tmp_path: Path) -> None:
    study = make_study(tmp_path, count=8, pairs_per_rater=4)
    rater = make_rater(study)
    trial = first_trial(rater)
    for _ in range(2):
        skip_trial(trial=trial, reason="image")
    answer_all(rater)
    assert progress_of(rater) == Progress(answered=4, total=4)
    assert is_complete(rater)
    assert ImageFault.objects.get().confirmed is False
    assert not Balance.objects.filter(set_aside=True).exists(), "one browser's word is not enough"


def test_a_pair_whose_file_is_gone_is_set_aside_at_the_first_report(tmp_path: Path) -> None:
    study = make_study(tmp_path, count=3)
    rater = make_rater(study)
    trial = first_trial(rater)
    assert trial.right_image is not None
    trial.right_image.path.unlink()
    skip_trial(trial=trial, reason="image")
    assert list(Balance.objects.filter(set_aside=True).values_list("pair", flat=True)) == [trial.pair_id]
    other = make_rater(study, seed=2)
    answer_all(other)
    assert progress_of(other) == Progress(answered=2, total=2)


def test_a_pair_that_three_raters_cannot_see_is_set_aside(tmp_path: Path) -> None:
    study = make_study(tmp_path, count=1)
    for seed in range(3):
        assert not Balance.objects.get(simulated=False).set_aside
        skip_trial(trial=first_trial(make_rater(study, seed=seed)), reason="image")
    assert Balance.objects.get(simulated=False).set_aside


def test_practice_is_followed_by_feedback_without_javascript_too(tmp_path: Path) -> None:
    study = make_study(tmp_path, practice_trials=2)
    rater = make_rater(study)
    browser = browser_of(rater)
    for expected in (b"That is right.", b"The other answer was expected"):
        trial = next_trial(rater)
        assert trial is not None
        assert trial.right_answer is not None
        choice = "same" if b"other" in expected else trial.right_answer
        reply = browser.post("/s/demo/trial/", {"trial": trial.token, "choice": choice})
        page = browser.get(reply["Location"])
        assert expected in page.content
        assert b"Practice" in page.content or rater.trials.filter(response__isnull=False).count() == 2
    assert progress_of(rater).answered == 0


def test_a_study_of_three_arms_may_compare_chosen_ones(tmp_path: Path) -> None:
    from survey.services import create_study  # noqa: PLC0415

    write_pairs(tmp_path, arms=("robust", "vanilla", "unguided"), count=2)
    study = create_study(slug="demo", pairs_name="toys", comparisons=[("vanilla", "robust"), ("unguided", "vanilla")])
    found = set(study.pairs.values_list("first_arm__name", "second_arm__name"))
    assert found == {("robust", "vanilla"), ("unguided", "vanilla")}


def test_lookahead_is_what_the_browser_is_told(tmp_path: Path) -> None:
    rater = make_rater(make_study(tmp_path, count=8))
    page: Client = browser_of(rater)
    assert len(page.get("/s/demo/trial/").context["state"]["next"]) == LOOKAHEAD
