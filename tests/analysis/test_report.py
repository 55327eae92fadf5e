"""The report as a value and in each format."""

import csv
import io
import json
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.answers import parse_answers
from analysis.clustered import ClusteredShare
from analysis.document import to_dict
from analysis.latex import render_latex
from analysis.plots import share_bins, share_histogram, threshold_bars
from analysis.preference import check_printed_row, parse_thresholds
from analysis.rendering import render_files, render_html, render_json, render_text
from analysis.report import Report, build_report
from analysis.wording import p_text, verdict
from tests.analysis.paper import HEADER, Counts, answers_frame, paper_counts


@pytest.fixture(scope="module")
def paper() -> Report:
    return build_report(answers_frame(paper_counts()), title="The paper's survey")


def test_totals_are_the_papers(paper: Report) -> None:
    answers = to_dict(paper)["answers"]
    assert (answers["total"], answers["same"]) == (5018, 1365)
    assert answers["per_arm"] == {"robust": 2027, "vanilla": 1626}
    assert answers["per_pair"] == {"min": 19, "mean": 25.09, "max": 36}
    assert (paper.pairs, paper.raters) == (200, 36)


def test_percents_are_the_papers(paper: Report) -> None:
    assert [(row["threshold"], row["percent"]) for row in to_dict(paper)["thresholds"]] == [
        (50, {"robust": 61.5, "vanilla": 31.5, "none": 7.0}),
        (60, {"robust": 51.0, "vanilla": 20.5, "none": 28.5}),
        (70, {"robust": 35.0, "vanilla": 13.5, "none": 51.5}),
        (80, {"robust": 21.5, "vanilla": 8.5, "none": 70.0}),
    ]


def test_the_verdict_says_who_by_how_much_and_under_which_assumption(paper: Report) -> None:
    headline = paper.comparisons[0].headline
    assert isinstance(headline, ClusteredShare)
    assert headline.low < 0.5387 < 0.5709 < headline.high
    assert verdict(paper.comparisons[0]) == (
        "Raters preferred robust: of 3,653 answers that chose a side, 55.5% chose robust (95% interval "
        f"{100 * headline.low:.1f}–{100 * headline.high:.1f}%, p {p_text(headline.p_value)}, allowing for raters and "
        "pairs). For comparison, if every answer were independent, the interval would be 53.9–57.1% and p = 3.5e-11."
    )


def test_each_part_of_the_json_says_what_it_assumes(paper: Report) -> None:
    report = to_dict(paper)
    parts = [report["answers"], *report["thresholds"], report["significance"]]
    assert all(part["assumes"] and all(part["assumes"]) for part in parts)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(*[st.integers(0, 4)] * 3), min_size=1, max_size=8).filter(lambda rows: any(map(sum, rows))))
def test_any_answers_make_consistent_strict_json_and_html(pairs: list[Counts]) -> None:
    report = build_report(answers_frame(pairs))
    answered = sum(1 for pair in pairs if sum(pair))
    read = json.loads(render_json(report), parse_constant=pytest.fail)
    assert sum(read["answers"]["per_arm"].values()) + read["answers"]["same"] == read["answers"]["total"]
    for row in read["thresholds"]:
        assert sum(row["pairs"].values()) == answered
        assert sum(row["percent"].values()) == pytest.approx(100)
    assert "nan" not in re.sub(r"<style>.*?</style>", "", render_html(report), flags=re.DOTALL).lower().split()


def test_without_answers_the_report_says_so_and_has_zero_rows() -> None:
    report = build_report(answers_frame([(1, 0, 0)]).iloc[:0], arms=("vanilla", "robust"))
    read = json.loads(render_json(report), parse_constant=pytest.fail)
    assert read["answers"]["per_arm"] == {"robust": 0, "vanilla": 0}
    assert read["answers"]["per_pair"] == {"min": None, "mean": None, "max": None}
    assert read["thresholds"][0]["pairs"] == {"robust": 0, "vanilla": 0, "none": 0}
    assert read["thresholds"][0]["percent"] == {"robust": None, "vanilla": None, "none": None}
    assert read["significance"]["available"] is False
    for text in (render_html(report), render_text(report)):
        assert "There are no answers yet" in text
    assert all(render_files(report, ["html", "json", "csv", "latex"]).values())
    assert render_files(report, ["svg"]) == {}


def test_when_all_answers_are_same_there_is_no_test_and_nobody_is_preferred() -> None:
    report = build_report(answers_frame([(0, 0, 3), (0, 0, 2)]))
    read = json.loads(render_json(report), parse_constant=pytest.fail)
    assert read["significance"]["available"] is False
    assert read["thresholds"][0]["percent"] == {"robust": 0.0, "vanilla": 0.0, "none": 100.0}
    assert "No answer has chosen a side yet" in render_html(report)


def test_an_even_split_is_no_clear_preference() -> None:
    even = build_report(answers_frame([(6, 4, 0), (4, 6, 0), (5, 5, 2)])).comparisons[0]
    assert verdict(even).startswith("No clear preference: of 30 ")


@pytest.mark.parametrize(("pairs", "why"), [([(5, 5, 0)], "of one pair"), ([(1, 0, 0), (0, 1, 0)], "of one rater")])
def test_a_result_of_one_pair_or_one_rater_claims_nothing_and_says_why(pairs: list[Counts], why: str) -> None:
    report = build_report(answers_frame(pairs))
    assert verdict(report.comparisons[0]).startswith("No claim beyond these answers: ")
    read = json.loads(render_json(report), parse_constant=pytest.fail)
    assert read["significance"]["clustered"]["available"] is False
    assert why in read["significance"]["clustered"]["reason"]


def test_the_verdict_speaks_of_the_arm_that_leads() -> None:
    led = build_report(answers_frame([(20, 80, 0), (30, 70, 0)])).comparisons[0]
    assert "75.0% chose vanilla" in verdict(led)


def three_arms() -> Report:
    lines = [HEADER]
    lines += [f"r{rater},0,robust,vanilla,left" for rater in range(3)]
    lines += [f"r{rater},1,unguided,robust,right" for rater in range(4)]
    lines += [f"r{rater},2,unguided,vanilla,{choice}" for rater, choice in enumerate(["same", "left"])]
    return build_report(parse_answers("\n".join(lines).encode()))


def test_with_three_arms_each_two_are_compared_apart() -> None:
    read = to_dict(three_arms())
    assert read["answers"]["per_arm"] == {"robust": 7, "unguided": 1, "vanilla": 0}
    assert read["thresholds"] == []
    assert read["significance"]["available"] is False
    assert "comparisons" in read["significance"]["reason"]
    assert [(part["arms"], part["thresholds"][0]["pairs"]) for part in read["comparisons"]] == [
        (["robust", "unguided"], {"robust": 1, "unguided": 0, "none": 0}),
        (["robust", "vanilla"], {"robust": 1, "vanilla": 0, "none": 0}),
        (["unguided", "vanilla"], {"unguided": 1, "vanilla": 0, "none": 0}),
    ]


def test_csv_tables_of_three_arms_leave_the_absent_arm_empty() -> None:
    rows = list(csv.DictReader(io.StringIO(render_files(three_arms(), ["csv"])["pairs.csv"])))
    assert rows[0] == {
        "pair": "1", "class_name": "", "answers": "4", "chose_robust": "4", "chose_unguided": "0",
        "chose_vanilla": "", "same": "0",
    }  # fmt: skip


def test_csv_tables_hold_the_papers_numbers(paper: Report) -> None:
    files = render_files(paper, ["csv"])
    assert files["thresholds.csv"].splitlines()[:3] == [
        "comparison,threshold,pairs,pairs_robust,pairs_vanilla,pairs_none,percent_robust,percent_vanilla,percent_none",
        "robust:vanilla,50,200,123,63,14,61.5,31.5,7.0",
        "robust:vanilla,60,200,102,41,57,51.0,20.5,28.5",
    ]
    assert files["pairs.csv"].splitlines()[:2] == [
        "pair,class_name,answers,chose_robust,chose_vanilla,same",
        "0,,26,16,3,7",
    ]
    assert "answers,5018" in files["totals.csv"].splitlines()
    assert "answers_per_pair_mean,25.09" in files["totals.csv"].splitlines()


def test_what_is_printed_is_consistent(paper: Report) -> None:
    for line in csv.DictReader(io.StringIO(render_files(paper, ["csv"])["thresholds.csv"])):
        shares = {name: line[f"percent_{name}"] for name in ("robust", "vanilla", "none")}
        assert check_printed_row(shares, int(line["pairs"])) == []


def test_latex_has_the_papers_layout_and_escapes_names(paper: Report) -> None:
    assert r"60\% & 51.0\% & 20.5\% & 28.5\% \\" in render_latex(paper)
    odd = build_report(answers_frame([(1, 0, 0)], arms=("a_b", "c%d\\")))
    assert r"Threshold & A\_b & C\%d\textbackslash{} & No preference" in render_latex(odd)


class Resources(HTMLParser):
    """Collects tags and attributes that would load something, run something or break a strict CSP."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in {"script", "link", "img", "iframe", "object", "embed", "base"}:
            self.found.append((tag, ""))
        self.found += [
            (tag, name) for name, _ in attrs if name in {"src", "href", "style", "srcset"} or name.startswith("on")
        ]


def test_the_html_file_needs_nothing_else_and_has_no_inline_style(paper: Report) -> None:
    text = render_html(paper)
    resources = Resources()
    resources.feed(text)
    assert resources.found == []
    assert "url(" not in text
    assert "@import" not in text
    for cell in ("61.5%", "20.5%", "25.09", "p = 3.5e-11", "0.5387–0.5709", "independent"):
        assert cell in text


def test_names_in_the_html_are_escaped() -> None:
    line = "r1,<b>0</b>,<i>a</i>,b&b,left,<script>x</script>"
    text = render_html(build_report(parse_answers(f"{HEADER},class_name\n{line}\n".encode()), title="<u>t</u>"))
    for raw in ("<b>0", "<i>a", "b&b", "<script>", "<u>t"):
        assert raw not in text


def test_a_long_list_of_pairs_is_closed_and_a_very_long_one_is_cut_with_a_word() -> None:
    assert re.search(r"<details[^>]*\bopen", render_html(build_report(answers_frame([(1, 0, 0)] * 200))))
    long = render_html(build_report(answers_frame([(1, 0, 0)] * 2001)))
    assert not re.search(r"<details[^>]*\bopen", long)
    assert "1 more pair" in long


def test_rendering_twice_gives_the_same_bytes(paper: Report) -> None:
    again = build_report(answers_frame(paper_counts()).iloc[::-1], title="The paper's survey")
    assert render_files(again, ["html", "json", "csv", "latex"]) == render_files(
        paper, ["html", "json", "csv", "latex"]
    )


def test_share_bins_split_at_tenths_and_mirror_when_the_arms_swap() -> None:
    counts = [(1, 0), (9, 1), (8, 2), (6, 4), (11, 9), (5, 5), (4, 6), (0, 7), (0, 0), (2, 1)]
    assert share_bins(counts) == [1, 0, 0, 0, 1, 1, 2, 1, 1, 1, 1]
    assert share_bins([(second, first) for first, second in counts]) == share_bins(counts)[::-1]


def test_plots_tell_their_numbers_to_screen_readers(paper: Report) -> None:
    comparison = paper.comparisons[0]
    assert "over 60%: robust 51.0%, vanilla 20.5%, neither 28.5%" in threshold_bars(
        "robust", "vanilla", comparison.thresholds
    )
    assert "50%: 14;" in share_histogram("robust", "vanilla", [(pair.first, pair.second) for pair in comparison.pairs])


def test_decimal_thresholds_keep_their_decimals() -> None:
    report = build_report(answers_frame([(2, 1, 0)]), thresholds=parse_thresholds(["66.6", "66.7"]))
    assert [row["threshold"] for row in to_dict(report)["thresholds"]] == [66.6, 66.7]
    assert [row["pairs"]["robust"] for row in to_dict(report)["thresholds"]] == [1, 0]
    assert "66.7%" in render_text(report)
