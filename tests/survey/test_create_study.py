"""Which runs make a study, and what is said about those that do not."""

from pathlib import Path

import pytest

from generation.models import GeneratedImage, GenerationRun
from survey.errors import InvalidStudy
from survey.models import QUESTION, Arm, Pair, Study
from survey.services import create_study

from .factories import png, write_pairs, write_run

pytestmark = pytest.mark.django_db


def refusal(**arguments: object) -> str:
    """Return what create_study says when it refuses, having written nothing."""
    before = Study.objects.count()
    with pytest.raises(InvalidStudy) as caught:
        create_study(**{"slug": "demo", "pairs_name": "toys"} | arguments)  # type: ignore[arg-type]
    assert (Study.objects.count(), Arm.objects.count(), Pair.objects.count()) == (before, 0, 0)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_two_arms_make_a_pair_of_each_index(tmp_path: Path) -> None:
    robust, vanilla = write_pairs(tmp_path, count=5, size=8)
    study = create_study(slug="demo", pairs_name="toys")
    assert (study.status, study.question) == ("open", QUESTION)
    assert list(study.arms.values_list("name", "run")) == [("robust", robust.pk), ("vanilla", vanilla.pk)]
    pairs = list(study.pairs.all())
    assert [pair.index for pair in pairs] == [0, 1, 2, 3, 4]
    assert [pair.class_name for pair in pairs] == ["sneaker", "bag", "coat", "sneaker", "bag"]
    assert {(pair.width, pair.height, pair.small) for pair in pairs} == {(8, 8, True)}
    for pair in pairs:
        assert (pair.first_image.run, pair.second_image.run) == (robust, vanilla)
        assert pair.first_image.pair_index == pair.second_image.pair_index == pair.index


def test_three_arms_make_every_unordered_pair_of_arms(tmp_path: Path) -> None:
    write_pairs(tmp_path, arms=("robust", "vanilla", "unguided"), count=2)
    study = create_study(slug="demo", pairs_name="toys")
    of_index_0 = study.pairs.filter(index=0).values_list("first_arm__name", "second_arm__name")
    assert set(of_index_0) == {("robust", "unguided"), ("robust", "vanilla"), ("unguided", "vanilla")}
    assert study.pairs.count() == 6


def test_an_unknown_name_is_refused_and_the_known_ones_are_told(tmp_path: Path) -> None:
    write_pairs(tmp_path, name="shoes")
    assert "no pairs named 'toys' (known: shoes)" in refusal()


def test_one_complete_arm_is_not_enough(tmp_path: Path) -> None:
    write_run(tmp_path, arm="robust")
    write_run(tmp_path, arm="vanilla", complete=False)
    assert "robust complete, vanilla unfinished" in refusal()


def test_an_unfinished_third_arm_is_left_out(tmp_path: Path) -> None:
    write_pairs(tmp_path)
    write_run(tmp_path, arm="unguided", count=1, complete=False)
    study = create_study(slug="demo", pairs_name="toys")
    assert set(study.arms.values_list("name", flat=True)) == {"robust", "vanilla"}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"seed": 12}, "vanilla has class 0, seed 12"),
        ({"class_index": 2}, "vanilla has class 2, seed 11"),
        ({"pair_index": 9}, "vanilla has no image"),
    ],
)
def test_arms_of_other_classes_seeds_or_indices_are_refused(tmp_path: Path, change: dict[str, int], told: str) -> None:
    _, vanilla = write_pairs(tmp_path)
    GeneratedImage.objects.filter(run=vanilla, pair_index=3).update(**change)
    message = refusal()
    assert "pair 3 of 'toys'" in message
    assert told in message


def test_runs_without_images_are_refused(tmp_path: Path) -> None:
    write_pairs(tmp_path, count=0)
    assert "has no images" in refusal()


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    write_pairs(tmp_path)
    (tmp_path / "toys" / "vanilla" / "00002.png").unlink()
    message = refusal()
    assert "pair 2, arm 'vanilla'" in message
    assert "No such file" in message


def test_a_changed_file_is_refused(tmp_path: Path) -> None:
    write_pairs(tmp_path)
    (tmp_path / "toys" / "vanilla" / "00002.png").write_bytes(png("another"))
    assert "has changed since it was generated" in refusal()


def test_images_of_two_sizes_are_refused(tmp_path: Path) -> None:
    write_run(tmp_path, arm="robust", size=8)
    write_run(tmp_path, arm="vanilla", size=16)
    assert "differ in size (robust 8x8, vanilla 16x16)" in refusal()


def test_a_taken_slug_is_refused(tmp_path: Path) -> None:
    write_pairs(tmp_path)
    Study.objects.create(slug="demo")
    assert "exists already" in refusal()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"slug": "two words"}, "slug"),
        ({"slug": ""}, "slug"),
        ({"slug": "a" * 81}, "slug"),
        ({"question": ""}, "question"),
        ({"question": "?" * 301}, "question"),
        ({"title": "t" * 201}, "title"),
        ({"pairs_per_rater": 0}, "pairs_per_rater"),
        ({"raters_per_pair": 0}, "raters_per_pair"),
        ({"pairs_per_rater": 5}, "there are 4"),
    ],
)
def test_arguments_out_of_range_are_refused(tmp_path: Path, arguments: dict[str, object], told: str) -> None:
    write_pairs(tmp_path)
    assert told in refusal(**arguments)


def test_a_run_that_a_study_shows_cannot_be_deleted(tmp_path: Path) -> None:
    write_pairs(tmp_path)
    create_study(slug="demo", pairs_name="toys")
    with pytest.raises(Exception, match="protected"):
        GenerationRun.objects.filter(name="toys").delete()
