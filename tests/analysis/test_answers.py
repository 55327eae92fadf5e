"""Reading an answers file: what it takes, and what it says of what it does not."""

from pathlib import Path

import pandas as pd
import pytest

from analysis.answers import (
    COLUMNS,
    AnswersError,
    of_kind,
    ordinary,
    parse_answers,
    read_answers,
    write_csv,
    write_json,
)

HEADER = "rater,pair,left_arm,right_arm,choice"
FULL = f"{HEADER},answered_at,response_ms,position,class_name"
GOOD = "r1,0,robust,vanilla,left"


def error(*lines: str, newline: str = "\n") -> str:
    with pytest.raises(AnswersError) as caught:
        parse_answers(newline.join(lines).encode())
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_required_columns_are_enough(tmp_path: Path) -> None:
    path = tmp_path / "answers.csv"
    path.write_text(f"{HEADER}\n{GOOD}\nr2,0,vanilla,robust,same\n")
    frame = read_answers(path)
    assert tuple(frame) == COLUMNS
    assert frame["choice"].tolist() == ["left", "same"]
    assert frame[["answered_at", "response_ms", "position", "class_name"]].isna().all(axis=None)


def test_columns_stand_in_any_order_and_unknown_ones_are_ignored() -> None:
    frame = parse_answers(b"mood,choice,right_arm,left_arm,pair,rater\nfine,right,b,a,7,x\n")
    assert frame.iloc[0][["rater", "pair", "left_arm", "right_arm", "choice"]].tolist() == ["x", "7", "a", "b", "right"]
    assert "mood" not in frame


def test_a_byte_order_mark_crlf_and_blanks_around_values_do_not_matter() -> None:
    data = "\ufeff" + f" {HEADER.replace(',', ' , ')} \r\n r1 , 0 ,robust, vanilla,left \r\n"
    assert parse_answers(data.encode()).iloc[0].dropna().tolist() == GOOD.split(",")


def test_optional_values_are_typed_and_may_be_empty() -> None:
    frame = parse_answers(
        f"{FULL}\n{GOOD},2024-05-06T09:08:07+02:00,1234,1,boot\nr2,0,robust,vanilla,same,,,,\n".encode()
    )
    assert frame["answered_at"].tolist() == [pd.Timestamp("2024-05-06T07:08:07Z"), pd.NaT]
    assert frame["response_ms"].tolist() == [1234, pd.NA]
    assert frame["position"].tolist() == [1, pd.NA]
    assert frame["class_name"].iloc[0] == "boot"
    assert frame["class_name"].isna().tolist() == [False, True]


def test_a_time_without_an_offset_is_utc() -> None:
    frame = parse_answers(f"{HEADER},answered_at\n{GOOD},2024-05-06 07:08:09\n".encode())
    assert frame["answered_at"].iloc[0] == pd.Timestamp("2024-05-06T07:08:09Z")


def test_whole_numbers_that_a_spreadsheet_wrote_as_decimals_are_taken() -> None:
    frame = parse_answers(f"{HEADER},response_ms\n{GOOD},1234.0\n".encode())
    assert frame["response_ms"].tolist() == [1234]


@pytest.mark.parametrize("choice", ["Left", "maybe", "robust", "L"])
def test_an_unknown_choice_is_named_with_its_line(choice: str) -> None:
    message = error(HEADER, GOOD, f"r2,0,robust,vanilla,{choice}")
    assert message.startswith(f"line 3: choice {choice!r} is not left, right or same")


def test_a_choice_in_capitals_gets_its_remedy() -> None:
    assert "lower case" in error(HEADER, "r2,0,robust,vanilla,LEFT")


@pytest.mark.parametrize("column", HEADER.split(","))
def test_a_missing_column_is_named(column: str) -> None:
    header = ",".join(name for name in HEADER.split(",") if name != column)
    assert error(header, "a,b,c,d").startswith(f"line 1: missing column {column};")


def test_semicolons_for_commas_are_explained() -> None:
    assert "separated by commas" in error(HEADER.replace(",", ";"), GOOD.replace(",", ";"))


def test_a_column_that_is_there_twice_is_an_error() -> None:
    assert error(f"{HEADER},choice", f"{GOOD},right").startswith("line 1: the column 'choice' is there twice")


@pytest.mark.parametrize("place", range(5))
def test_an_empty_required_value_is_named_with_its_line(place: int) -> None:
    cells = GOOD.split(",")
    cells[place] = "  "
    assert error(HEADER, "r9,9,robust,vanilla,same", ",".join(cells)).startswith(
        f"line 3: {HEADER.split(',')[place]} is empty"
    )


def test_a_duplicate_answer_names_both_lines_even_with_other_sides() -> None:
    message = error(HEADER, GOOD, "r2,0,robust,vanilla,left", "r1,0,vanilla,robust,same")
    assert message == "line 4: rater 'r1' has already answered pair '0' on line 2; keep one of the two"


def test_an_arm_against_itself_is_an_error() -> None:
    assert error(HEADER, "r1,0,robust,robust,left").startswith("line 2: left_arm and right_arm are both 'robust'")


def test_an_arm_called_none_is_an_error() -> None:
    assert error(HEADER, "r1,0,none,robust,left").startswith("line 2: an arm cannot be called 'none'")


def test_a_pair_shown_with_other_arms_names_both_lines() -> None:
    message = error(HEADER, GOOD, "r1,1,robust,vanilla,left", "r2,0,robust,unguided,left")
    assert message.startswith("line 4: pair '0' shows robust and unguided here and robust and vanilla on line 2")


def test_three_arms_in_pairs_of_their_own_are_fine() -> None:
    frame = parse_answers(f"{HEADER}\n{GOOD}\nr1,1,robust,unguided,left\nr1,2,vanilla,unguided,left\n".encode())
    assert len(frame) == 3


@pytest.mark.parametrize(
    "value", ["yesterday", "now", "2024-13-01", "2024-02-30T00:00:00", "06/05/2024", "1714979289", "2024-05-06T25:00Z"]
)
def test_a_bad_time_is_named_with_its_line(value: str) -> None:
    message = error(f"{HEADER},answered_at", f"{GOOD},", f"r2,0,robust,vanilla,left,{value}")
    assert message.startswith(f"line 3: answered_at {value!r} is not an ISO 8601 time")


@pytest.mark.parametrize("column", ["response_ms", "position"])
@pytest.mark.parametrize("value", ["fast", "-5", "12.5", "nan", "inf", "1e3", "1" * 30])
def test_a_bad_number_is_named_with_its_line(column: str, value: str) -> None:
    message = error(f"{HEADER},{column}", f"{GOOD},", f"r2,0,robust,vanilla,left,{value}")
    assert message.startswith(f"line 3: {column} {value!r} is not a whole number")


def test_the_first_line_at_fault_is_the_one_named() -> None:
    assert error(HEADER, GOOD, GOOD, "r3,0,robust,vanilla,maybe").startswith("line 3: rater")
    assert error(HEADER, GOOD, "r3,0,robust,vanilla,maybe", GOOD).startswith("line 3: choice")


def test_blank_lines_and_quoted_newlines_do_not_shift_the_line_number() -> None:
    lines = ["", HEADER + ",class_name", "", f'{GOOD},"ankle\nboot"', "  ", ",,,,,", "r2,0,robust,vanilla,no,boot"]
    for newline in ("\n", "\r\n"):
        assert error(*lines, newline=newline).startswith("line 8: choice 'no'")


@pytest.mark.parametrize("line", ["r2,0,robust,vanilla", "r2,0,robust,vanilla,left,right", "r2"])
def test_a_line_of_another_width_is_named(line: str) -> None:
    message = error(HEADER, GOOD, line)
    assert message.startswith(f"line 3: {line.count(',') + 1} values under a header of 5")


def test_empty_cells_beyond_the_header_are_tolerated() -> None:
    assert len(parse_answers(f"{HEADER}\n{GOOD},,\n".encode())) == 1


def test_an_open_quote_names_the_line_on_which_it_opens() -> None:
    assert error(HEADER, GOOD, 'r2,0,robust,"vanilla,left', GOOD).startswith("line 3: not CSV")


@pytest.mark.parametrize("data", [b"", b"\n\n", b"\xef\xbb\xbf", b"  \n"])
def test_an_empty_file_is_called_empty(data: bytes) -> None:
    with pytest.raises(AnswersError, match="the file is empty"):
        parse_answers(data)


def test_a_header_alone_has_no_answers() -> None:
    assert "no answers" in error(HEADER, "")


def test_a_file_that_is_not_utf_8_is_named_with_its_line() -> None:
    with pytest.raises(AnswersError, match=r"line 2: byte 0xe9 is not UTF-8"):
        parse_answers(f"{HEADER}\nrené,0,a,b,left\n".encode("latin-1"))
    with pytest.raises(AnswersError, match=r"not UTF-8"):
        parse_answers(f"{HEADER}\n{GOOD}\n".encode("utf-16"))


def test_what_is_written_is_read_back() -> None:
    frame = parse_answers(
        f'{FULL}\n{GOOD},2024-05-06T07:08:09.123456Z,1234,1,"a ""q"", name"\nr2,0,vanilla,robust,same,,,,\n'.encode()
    )
    text = write_csv(frame)
    assert "2024-05-06T07:08:09.123456Z,1234,1," in text
    pd.testing.assert_frame_equal(parse_answers(text.encode()), frame)


def test_json_has_null_for_what_is_missing() -> None:
    frame = parse_answers(f"{HEADER}\n{GOOD}\n".encode())
    assert '"answered_at":null' in write_json(frame)


EXTRAS = f"{HEADER},kind,expected,flags"


def test_trials_of_other_kinds_are_read_and_do_not_count_as_ordinary() -> None:
    lines = [
        "r1,0,robust,vanilla,left,ordinary,,",
        "r1,1,robust,vanilla,right,,,",
        "r1,0,vanilla,robust,right,repeat,,",
        "r1,c0,real,noise,left,catch,left,too fast;straight-lining",
    ]
    frame = parse_answers("\n".join([EXTRAS, *lines]).encode())
    assert ordinary(frame)["pair"].tolist() == ["0", "1"]
    assert of_kind(frame, "repeat")["pair"].tolist() == ["0"]
    assert of_kind(frame, "catch")["expected"].tolist() == ["left"]
    assert frame["flags"].iloc[3] == "too fast;straight-lining"
    pd.testing.assert_frame_equal(parse_answers(write_csv(frame).encode()), frame)


def test_a_file_without_kinds_is_all_ordinary() -> None:
    frame = parse_answers(f"{HEADER}\nr1,0,robust,vanilla,left\n".encode())
    assert len(ordinary(frame)) == 1
    assert of_kind(frame, "catch").empty


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("r1,0,robust,vanilla,left,other,,", "line 2: kind 'other' is none of ordinary, catch, repeat, practice"),
        ("r1,0,robust,vanilla,left,catch,up,", "line 2: expected 'up' is none of left, right, same"),
    ],
)
def test_an_unknown_kind_or_expected_choice_is_named(line: str, says: str) -> None:
    with pytest.raises(AnswersError, match=says):
        parse_answers(f"{EXTRAS}\n{line}\n".encode())
