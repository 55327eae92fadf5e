"""Plots of estimates: where their marks stand, by hand, and that nothing but SVG is in them."""

import re
import xml.etree.ElementTree as ET
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

from analysis.charts import caterpillar, forest, heat_map, preference_curve, sequence
from analysis.comparison import Caterpillar
from analysis.heterogeneity import Shrunken
from analysis.monitoring import Monitoring, monitor
from analysis.svg import FIRST, SECOND, shorten
from tests.analysis.paper import answers_frame

SVG = "{http://www.w3.org/2000/svg}"
ROWS = (
    Shrunken("7", "sneaker", 9, 1, 0.8, 0.6, 0.9),
    Shrunken("3", "<bag> & a name that is far too long", 5, 5, 0.5, 0.25, 0.75),
    Shrunken("12", "", 0, 9, 0.1, 0.0, 0.3),
)


def drawn(text: str) -> ET.Element:
    """Parse a plot, which must need nothing else and not be code."""
    assert not re.search(r"<script|<style|style=|onload|https?://(?!www\.w3\.org/2000/svg)", text)
    return ET.fromstring(text)


def numbers(root: ET.Element, kind: str, *names: str) -> list[list[float]]:
    return [[float(mark.attrib[name]) for name in names] for mark in root.iter(f"{SVG}{kind}")]


def texts(root: ET.Element) -> list[str]:
    return [mark.text or "" for mark in root.iter(f"{SVG}text")]


def spoken(root: ET.Element) -> str:
    return root.findtext(f"{SVG}desc") or ""


def test_a_forest_has_a_row_each_with_its_share_on_an_axis_from_0_to_100() -> None:
    """The axis runs from 150 to 384: share s stands at 150 + 234·s."""
    root = drawn(forest("By pair", ROWS, overall=0.55))
    dots = numbers(root, "circle", "cx", "cy")
    assert [x for x, _ in dots] == pytest.approx([150 + 234 * share for share in (0.8, 0.5, 0.1)], abs=0.01)
    assert [y for _, y in dots] == sorted(y for _, y in dots)
    assert [mark.attrib["fill"] for mark in root.iter(f"{SVG}circle")] == [FIRST, FIRST, SECOND]
    ends = [mark for mark in numbers(root, "line", "x1", "x2") if mark[0] != mark[1]]
    assert ends == [pytest.approx([150 + 234 * low, 150 + 234 * high], abs=0.01)
                    for low, high in ((0.6, 0.9), (0.25, 0.75), (0, 0.3))]  # fmt: skip
    upright = [x for x, other in numbers(root, "line", "x1", "x2") if x == other]
    assert upright == pytest.approx([150 + 234 * 0.5, 150 + 234 * 0.55], abs=0.01)
    assert texts(root)[:6] == ["7 sneaker", "80 (60–90)", "3 <bag> & a name th…", "50 (25–75)", "12", "10 (0–30)"]
    assert texts(root)[6:] == ["0", "25", "50", "75", "100"]
    assert spoken(root) == "7: 80 (60–90); 3: 50 (25–75); 12: 10 (0–30)"


def test_a_forest_shows_both_images_of_the_rows_that_have_them() -> None:
    root = drawn(forest("By pair", ROWS, thumbnails={"7": ("/a.png?x=1&y=2", "data:image/png;base64,AA==")}))
    assert [mark.attrib["href"] for mark in root.iter(f"{SVG}image")] == [
        "/a.png?x=1&y=2",
        "data:image/png;base64,AA==",
    ]
    (left, *_), (right, *_) = numbers(root, "image", "x", "y")
    sizes = numbers(root, "image", "width", "height")
    assert sizes[0] == sizes[1]
    assert left + sizes[0][0] <= right
    assert min(x for x, _ in numbers(root, "circle", "cx", "cy")) > right + sizes[1][0]


def test_a_caterpillar_of_many_is_thinned_and_says_so() -> None:
    effects = Caterpillar(
        tuple(map(str, range(1000))), tuple(np.linspace(-2, 1, 1000)), tuple(np.full(1000, 0.25))
    )  # fmt: skip
    root = drawn(caterpillar("Effects", effects, 2.0))
    dots = numbers(root, "circle", "cx", "cy")
    assert len(dots) == 300
    assert "300 of 1000 drawn; from -2.00 to 1.00" in spoken(root)
    # The furthest end is -2 - 2·0.25; 0 stands in the middle of 150 from 8 on, and effects rise to the right.
    assert texts(root) == ["-2.5", "0.0", "2.5"]
    assert dots[0][1] == pytest.approx(8 + 75 * (1 + 2 / 2.5), abs=0.01)
    assert dots[-1][1] == pytest.approx(8 + 75 * (1 - 1 / 2.5), abs=0.01)
    assert dots == sorted(dots)
    assert "3 drawn" in spoken(drawn(caterpillar("Few", Caterpillar(("a", "b", "c"), (-1, 0, 1), (1, 1, 1)), 2.0)))


def test_the_curve_falls_from_the_first_threshold_to_the_last() -> None:
    """To 70 % from 50 on; the scale ends at 80, the next twenty above 61.5. 422 wide from 46, 170 high from 10."""
    root = drawn(
        preference_curve("robust", "<v>", [50, 60, 70], np.array([61.5, 51, 35]), np.array([31.5, 20.5, 13.5]))
    )  # fmt: skip
    paths = [mark.attrib for mark in root.iter(f"{SVG}path")]
    assert [mark["stroke"] for mark in paths] == [FIRST, SECOND]
    points = [[float(number) for number in re.findall(r"[\d.]+", mark["d"])] for mark in paths]
    for line, shares in zip(points, ((61.5, 51, 35), (31.5, 20.5, 13.5)), strict=True):
        assert line[::2] == pytest.approx([46, 257, 468], abs=0.06)
        assert line[1::2] == pytest.approx([10 + 170 * (1 - share / 80) for share in shares], abs=0.06)
    assert texts(root)[:8] == ["0%", "20%", "40%", "60%", "80%", "50", "60", "70"]
    assert spoken(root) == "at 50: robust 61.5%, <v> 31.5%"


def watched() -> Monitoring:
    frame = answers_frame([(24, 6, 2)] * 12)
    when = pd.Series([datetime(2024, 5, 6, 7, tzinfo=UTC)] * len(frame)).dt.as_unit("us")
    result = monitor(frame.assign(answered_at=when))
    assert isinstance(result, Monitoring)
    return result


def test_the_sequence_ends_at_the_last_rater_and_marks_where_it_was_safe_to_stop() -> None:
    found = watched()
    assert found.stop_after is not None
    root = drawn(sequence("robust", found))
    (stroke,) = [mark for mark in root.iter(f"{SVG}line") if mark.attrib["stroke"] == SECOND]
    assert float(stroke.attrib["x1"]) == pytest.approx(46 + 422 * found.stop_after / found.raters, abs=0.01)
    assert f"from {100 * found.low[-1]:.1f}% to {100 * found.high[-1]:.1f}%" in spoken(root)
    (area,) = [mark.attrib["d"] for mark in root.iter(f"{SVG}path")]
    across = [float(point.split()[0]) for point in re.findall(r"[\d.]+ [\d.]+", area)]
    assert max(across) == pytest.approx(468, abs=0.06)


def test_a_heat_map_writes_every_number_where_its_row_and_column_cross() -> None:
    root = drawn(heat_map((50, 1000), (10, 20, 40), np.array([[0.1, 0.25, 0.5], [0.62, 0.8, 1.0]])))
    boxes = numbers(root, "rect", "x", "y")
    assert len(boxes) == 6
    assert boxes[0][1] > boxes[3][1], "more pairs stand higher"
    assert boxes[0][0] < boxes[1][0] < boxes[2][0]
    assert [mark.attrib["fill"] for mark in root.iter(f"{SVG}rect")][-1] == "#004878"
    assert [text for text in texts(root) if text.isdecimal()] == [
        "50", "10", "25", "50", "62", "80", "100", "10", "20", "40",
    ]  # fmt: skip
    assert "1,000" in texts(root)
    assert "1000 pairs, 40 raters: 100%" in spoken(root)


def test_a_name_is_cut_to_its_length_and_not_before() -> None:
    assert shorten("sixteen letters!") == "sixteen letters!"
    assert shorten("seventeen letters") == "seventeen lette…"
