from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.semodepth.metrics import METRICS
from model.semodepth.summary import (
    METRIC_FORMATS,
    RangeRow,
    SummaryRow,
    escape_latex,
    latex_table,
    markdown_table,
    summarise,
    summarise_ranges,
)

ROW = SummaryRow("on", "all", 80.0, 5869, 1284.6, 3519.4, 3.456, 9.876, 0.05238, 0.5236, 0.94364, 0.97, 0.98765)


def frames_of(rows):
    """Columns of FRAME_METRICS from (key, is_night, radar, cap, pixels, value); the k-th metric is value + k."""
    columns = {name: [row[i] for row in rows] for i, name in enumerate(("frame_key", "is_night", "radar", "cap_m", "num_pixels"))}
    return columns | {name: [None if row[5] is None else row[5] + k for row in rows] for k, name in enumerate(METRICS)}


def test_summarise_when_worked_out_by_hand_then_each_frame_counts_once_and_empty_ones_not():
    found = summarise(
        frames_of(
            [
                ("b", True, "on", 80.0, 1, 40.0),
                ("a", False, "on", 80.0, 1000, 10.0),
                ("c", False, "on", 80.0, 0, None),
                ("d", False, "on", 80.0, 5, 25.0),
                ("b", True, "on", 50.0, 0, math.nan),
                ("a", False, "on", 50.0, 7, 2.0),
                ("b", True, "off", 80.0, 1, 50.0),
            ]
        )
    )
    assert [(row.radar, row.group, row.cap_m, row.num_frames, row.mae_mm) for row in found] == [
        ("on", "all", 50.0, 1, 2.0),
        ("on", "all", 80.0, 3, 25.0),
        ("on", "day", 50.0, 1, 2.0),
        ("on", "day", 80.0, 2, 17.5),
        ("on", "night", 80.0, 1, 40.0),  # no night frame has a pixel up to 50 m
        ("off", "all", 80.0, 1, 50.0),
        ("off", "night", 80.0, 1, 50.0),
    ]
    assert [found[1]._asdict()[name] for name in METRICS] == [25.0 + k for k in range(len(METRICS))]


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**32 - 1), num_frames=st.integers(0, 20))
def test_summarise_when_averaged_plainly_then_equal_in_any_order_of_rows(seed, num_frames):
    rng = np.random.default_rng(seed)
    rows = [
        (f"f{i}", bool(i % 3 == 0), radar, cap, pixels, float(rng.uniform(0, 1e4)) if pixels else None)
        for i in range(num_frames)
        for radar in ("on", "off")
        for cap in (50.0, 70.0, 80.0)
        for pixels in [int(rng.integers(0, 3))]
    ]
    shuffled = [rows[i] for i in rng.permutation(len(rows))]
    found = {(row.radar, row.group, row.cap_m): row for row in summarise(frames_of(shuffled))}
    for radar in ("on", "off"):
        for group, is_member in (("all", lambda night: True), ("day", lambda night: not night), ("night", lambda night: night)):
            for cap in (50.0, 70.0, 80.0):
                values = [r[5] for r in rows if r[2] == radar and r[3] == cap and r[4] and is_member(r[1])]
                row = found.pop((radar, group, cap), None)
                assert (row is None) == (not values)
                if row is not None:
                    assert row.num_frames == len(values)
                    assert row.delta3 == pytest.approx(sum(values) / len(values) + METRICS.index("delta3"), rel=1e-12)
    assert not found


def test_summarise_ranges_when_worked_out_by_hand_then_each_pixel_counts_once():
    found = summarise_ranges(
        {
            "frame_key": ["a", "a", "b", "b", "b"],
            "is_night": [False, False, True, True, True],
            "radar": ["on", "on", "on", "on", "off"],
            "low_m": [0.0, 10.0, 0.0, 10.0, 0.0],
            "high_m": [10.0, 20.0, 10.0, 20.0, 10.0],
            "num_pixels": [1, 4, 3, 0, 2],
            "sum_error_m": [5.0, 2.0, 3.0, 0.0, 1.0],
        }
    )
    assert found == [
        RangeRow("on", "all", 0.0, 10.0, 4, 2000.0),
        RangeRow("on", "all", 10.0, 20.0, 4, 500.0),
        RangeRow("on", "day", 0.0, 10.0, 1, 5000.0),
        RangeRow("on", "day", 10.0, 20.0, 4, 500.0),
        RangeRow("on", "night", 0.0, 10.0, 3, 1000.0),
        RangeRow("off", "all", 0.0, 10.0, 2, 500.0),
        RangeRow("off", "night", 0.0, 10.0, 2, 500.0),
    ]


def test_markdown_table_when_written_then_this_text():
    assert markdown_table([ROW, ROW._replace(radar="off", group="night", cap_m=50.0)], title="SemoDepth on\n val") == (
        "### SemoDepth on val\n"
        "\n"
        "| radar | frames | cap [m] | number | MAE [mm] | RMSE [mm] | iMAE [1/km] | iRMSE [1/km] | AbsRel | SqRel [m] | delta1 | delta2 | delta3 |\n"
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n"
        "| on | all | 80 | 5869 | 1285 | 3519 | 3.46 | 9.88 | 0.0524 | 0.524 | 0.9436 | 0.9700 | 0.9877 |\n"
        "| off | night | 50 | 5869 | 1285 | 3519 | 3.46 | 9.88 | 0.0524 | 0.524 | 0.9436 | 0.9700 | 0.9877 |\n"
    )


def test_latex_table_when_written_then_this_text():
    text = latex_table([ROW, ROW._replace(cap_m=50.0), ROW._replace(radar="off")], caption="100 % of night_runs & more")
    numbers = r"5869 & 1285 & 3519 & 3.46 & 9.88 & 0.0524 & 0.524 & 0.9436 & 0.9700 & 0.9877 \\"
    assert text.splitlines() == [
        r"\begin{table}",
        r"\centering",
        r"\caption{100 \% of night\_runs \& more}",
        r"\begin{tabular}{llrrrrrrrrrrr}",
        r"\toprule",
        r"radar & frames & cap [m] & number & MAE [mm] & RMSE [mm] & iMAE [1/km] & iRMSE [1/km] & AbsRel & SqRel [m]"
        r" & $\delta_1$ & $\delta_2$ & $\delta_3$ \\",
        r"\midrule",
        rf"on & all & 80 & {numbers}",
        rf"on & all & 50 & {numbers}",
        r"\midrule",
        rf"off & all & 80 & {numbers}",
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]


def test_tables_when_given_ranges_then_this_text():
    rows = [RangeRow("on", "day", 0.0, 10.0, 1234, 321.6), RangeRow("off", "day", 70.0, 80.0, 5, 9999.5)]
    assert markdown_table(rows, title="By range").splitlines()[2:] == [
        "| radar | frames | range [m] | pixels | MAE [mm] |",
        "| --- | --- | ---: | ---: | ---: |",
        "| on | day | (0, 10] | 1234 | 322 |",
        "| off | day | (70, 80] | 5 | 10000 |",
    ]
    assert r"off & day & (70, 80] & 5 & 10000 \\" in latex_table(rows, caption="By range")


def test_tables_when_there_are_no_rows_then_say_so_or_have_the_head_alone():
    said = "Nothing was measured: no frame has a pixel with a target up to the largest cap."
    assert markdown_table([], title="Nothing") == f"### Nothing\n\n{said}\n"
    assert latex_table([], caption="Nothing").splitlines()[-3:] == [r"\bottomrule", r"\end{tabular}", r"\end{table}"]


def test_escape_latex_when_text_holds_every_special_character_then_each_is_escaped_once():
    assert escape_latex(r"a\b{c}$d&e#f^g_h~i%j<k>l|m") == (
        r"a\textbackslash{}b\{c\}\$d\&e\#f\textasciicircum{}g\_h\textasciitilde{}i\%j\textless{}k\textgreater{}l\textbar{}m"
    )
    assert escape_latex("two\n\nlines") == "two lines"  # an empty line inside \caption ends the run of LaTeX


def test_formats_when_compared_with_the_metrics_then_the_same_names_in_order():
    assert tuple(METRIC_FORMATS) == METRICS == SummaryRow._fields[4:]
