"""Quality flags: by hand-made answers."""

import pytest

from survey.quality import Answer, Rules, flags_of, longest_run, parse_rules


def answers(*choices: str, ms: int = 1000) -> list[Answer]:
    return [Answer(choice, ms) for choice in choices]


def test_a_careful_rater_has_no_flag() -> None:
    given = [
        *answers("left", "right", "same"),
        Answer("same", 900, right="same"),
        Answer("left", 900, contradicts=False),
    ]
    assert flags_of(given, Rules()) == ()
    assert flags_of([], Rules()) == ()


@pytest.mark.parametrize(
    ("given", "rules", "flags"),
    [
        (answers("left", "right", ms=399), Rules(), ("too_fast",)),
        (answers("left", "right", ms=400), Rules(), ()),
        (answers("left", "right", ms=1), Rules(fast_ms=0), ()),
        (answers("left", "left", "left"), Rules(straight_run=3), ("straight_lining",)),
        (answers("left", "left", "right", "left"), Rules(straight_run=3), ()),
        ([Answer("left", 900, right="same")] * 2, Rules(), ("failed_catches",)),
        ([Answer("left", 900, right="same")], Rules(), ()),
        ([Answer("left", 900, contradicts=True)], Rules(), ("contradicted_repeats",)),
        ([Answer("left", 900, contradicts=side) for side in (True, False)], Rules(), ()),
    ],
)
def test_each_rule_flags_from_its_own_limit_on(given: list[Answer], rules: Rules, flags: tuple[str, ...]) -> None:
    assert flags_of(given, rules) == flags


def test_the_longest_run_is_counted() -> None:
    assert longest_run(["left", "same", "same", "left"]) == 2
    assert longest_run([]) == 0


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"fast": 3}, "no rule 'fast'"),
        ({"fast_ms": -1}, "fast_ms"),
        ({"straight_run": True}, "straight_run"),
        ({"contradicted_share": 1.5}, "contradicted_share"),
        ({"contradicted_share": float("nan")}, "contradicted_share"),
        ({"exclude": ["lazy"]}, "exclude"),
        ({"exclude": "too_fast"}, "exclude"),
    ],
)
def test_a_rule_that_cannot_be_is_named(given: dict[str, object], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        parse_rules(given)
