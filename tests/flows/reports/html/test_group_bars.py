"""Bars in groups, and a chart as a file of its own."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET

import pytest

from flows.reports.html.chart_file import chart_file
from flows.reports.html.group_bars import BarGroup, group_bars
from flows.reports.html.markup import MISSING

GROUPS = [BarGroup("near <10 m", (80.0, 40.0)), BarGroup("far", (math.nan, 0.0))]


def test_bars_when_drawn_then_as_long_as_their_values_and_a_dash_where_there_is_none():
    chart = group_bars(GROUPS, css=("on", "off"), x_label="per cent", alt="shares", top=100.0)
    lengths = [float(value) for value in re.findall(r'class="bars \w+" d="M[\d.]+ [\d.]+h([\d.]+)"', chart)]
    assert len(lengths) == 3 and lengths[0] == pytest.approx(2 * lengths[1]) and lengths[2] == 0.1
    assert re.findall(r'class="small"[^>]*>([^<]+)<', chart) == ["80.0", "40.0", MISSING, "0.0"]
    assert "near &lt;10 m" in chart and ">100<" in chart
    top = group_bars(GROUPS[:1], css=("on", "off"), x_label="", alt="", top=40.0)
    first, second = re.findall(r"h([\d.]+)\"", top)[:2]
    assert first == second  # a value beyond the axis ends with it


def test_chart_when_written_as_a_file_then_it_is_svg_with_title_keys_and_style():
    chart = group_bars(GROUPS, css=("on", "off"), x_label="per cent", alt="shares", top=100.0)
    names = [("a rather long name for it", "on"), ("another one as long as that", "off"), ("short", "third")]
    root = ET.fromstring(chart_file(chart, "A & B", names))
    texts = [element.text for element in root.iter() if element.tag.endswith("text")]
    assert root.tag == "{http://www.w3.org/2000/svg}svg" and texts[:4] == ["A & B", *(name for name, _ in names)]
    places = [float(element.get("y", "0")) for element in root.iter() if element.text in dict(names)]
    assert places[0] == places[1] - 18 and places[1] == places[2]  # what does not fit beside the others begins a new line
