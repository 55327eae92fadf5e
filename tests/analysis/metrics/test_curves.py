"""A plot's marks lie where the numbers are; one that is empty, or cut off, would pass for a plot otherwise."""

import itertools
import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from typing import Any

import pytest

from analysis.metrics.curves import check_format, draw
from analysis.metrics.errors import MetricsError

SVG = "{http://www.w3.org/2000/svg}"


def swept(values: dict[str, Sequence[tuple[float, float]]]) -> dict[str, Any]:
    """A result with an FID and its error, 0.1, at each arm's places."""
    arms = {
        f"{arm}@{place}": {"arm": arm, "sweep": place, "values": {"fid": fid}, "errors": {"fid": 0.1}}
        for arm, points in values.items()
        for place, fid in points
    }
    return {"arms": arms}


def numbers(element: ET.Element | None) -> list[tuple[float, float]]:
    assert element is not None
    path = next(element.iter(f"{SVG}path"))
    pairs = re.findall(r"(-?[\d.]+) (-?[\d.]+)", path.get("d", ""))
    return [(float(x), float(y)) for x, y in pairs]


def curve_and_panel(result: dict[str, Any], name: str) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    drawing = ET.fromstring(draw(result, "guidance scale", "svg"))
    by_name = {each.get("id"): each for each in drawing.iter() if each.get("id")}
    return numbers(by_name[name]), numbers(by_name["fid"])


def test_a_curve_lies_in_its_panel_and_falls_where_its_values_fall() -> None:
    result = swept({"vanilla": [(0, 8.0), (1, 6.0), (2, 7.0)], "robust": [(0, 8.0), (1, 5.0), (2, 9.0)]})
    vanilla, panel = curve_and_panel(result, "fid-0")
    robust, _ = curve_and_panel(result, "fid-1")
    (left, top), (right, bottom) = map(min, zip(*panel, strict=True)), map(max, zip(*panel, strict=True))
    for curve in (vanilla, robust):
        assert len(curve) == 3
        assert all(left < x < right and top < y < bottom for x, y in curve)
        # Evenly spaced values are evenly spaced.
        assert curve[1][0] - curve[0][0] == pytest.approx(curve[2][0] - curve[1][0], rel=1e-4)
    # In a picture y grows downwards; a unit of FID is as high everywhere.
    unit = (vanilla[1][1] - vanilla[0][1]) / 2
    assert unit > 0
    assert vanilla[2][1] == pytest.approx(vanilla[0][1] + unit, rel=1e-4)
    assert robust[0][1] == pytest.approx(vanilla[0][1], rel=1e-4)
    assert robust[1][1] == pytest.approx(vanilla[0][1] + 3 * unit, rel=1e-4)
    # Side by side, so that no bar hides the other's.
    assert robust[0][0] - vanilla[0][0] == pytest.approx(2.5, rel=1e-4)


def test_scales_that_double_are_told_apart_near_0() -> None:
    """The paper's, 0 to 4: a line from 0 to 4 would put 0.25 at a sixteenth of it."""
    curve, _ = curve_and_panel(swept({"robust": [(s, 3.0) for s in (0, 0.25, 0.5, 1, 2, 4)]}), "fid-0")
    gaps = [after - before for (before, _), (after, _) in itertools.pairwise(curve)]
    assert min(gaps) > 0.1 * sum(gaps)


def test_arms_side_by_side_have_a_row_each() -> None:
    arms = {name: {"values": {"fid": fid}, "errors": {"fid": None}} for name, fid in (("a_$x^2$", 3.0), ("b", 4.0))}
    drawing = ET.fromstring(draw({"arms": arms}, None, "svg"))
    texts = [each.text for each in drawing.iter(f"{SVG}text")]
    assert {"a_$x^2$", "b", "FID (lower is better)"} <= set(texts)


@pytest.mark.parametrize(("form", "begins"), [("svg", b"<?xml"), ("png", b"\x89PNG"), ("pdf", b"%PDF")])
def test_the_same_numbers_give_the_same_bytes(form: str, begins: bytes) -> None:
    result = swept({"robust": [(0, 3.0), (1, 2.0)]})
    first = draw(result, "guidance scale", form)
    assert first.startswith(begins)
    assert first == draw(result, "guidance scale", form)


def test_a_drawing_is_told_in_words_too() -> None:
    drawing = draw(swept({"robust": [(0, 3.0), (1, 2.5)]}), "guidance scale", "svg").decode()
    assert "robust@0: fid 3; robust@1: fid 2.5" in drawing


def test_a_plots_name_ends_as_its_format() -> None:
    assert check_format("a.b.PNG") == "png"
    for name in ("plot", "plot.jpg"):
        with pytest.raises(MetricsError, match=r"must end in \.svg, \.png or \.pdf"):
            check_format(name)


def test_a_classifier_has_one_colour_in_every_plot_and_shares_it_with_none() -> None:
    def colours(names: Sequence[str]) -> list[str]:
        drawing = ET.fromstring(draw(swept({name: [(0, 8.0), (1, 6.0)] for name in names}), "guidance scale", "svg"))
        lines = {
            each.get("id"): next(each.iter(f"{SVG}path")).get("style", "")
            for each in drawing.iter(f"{SVG}g")
            if (each.get("id") or "").startswith("fid-")
        }
        found = [re.search(r"stroke: (#\w{6})", lines[f"fid-{number}"]) for number in range(len(names))]
        return [match[1] for match in found if match]

    blue, orange = "#0072b2", "#e69f00"
    assert colours(["vanilla", "robust"]) == [orange, blue]
    assert colours(["robust", "vanilla"]) == [blue, orange]
    assert colours(["vanilla"]) == [orange]
    models = colours(["l2 0.5", "vanilla", "l2 1", "unguided"])
    assert models[1] == orange
    assert len(set(models)) == 4
    # Two scales of one classifier are one colour's, side by side; the others keep theirs.
    assert colours(["unguided", "vanilla 0.5", "vanilla 1", "robust 1"])[1:] == [orange, orange, blue]
