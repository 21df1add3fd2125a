"""From rows of frames to the table of a paper: means over frames, by cap, day and night, with and without radar.

Source docs/method/semodepth.md#depth-metrics: a metric is the mean over the frames that have pixels, each frame counting once
Reads  columns of ``storage_schemas.evaluation`` (FRAME_METRICS, RANGE_ERRORS)
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby, product
from operator import itemgetter
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from storage_schemas.evaluation import RADAR
from storage_schemas.layout import Columns


class MetricFormat(NamedTuple):
    """How a metric is printed: head of its column, the same in LaTeX, decimals."""

    head: str
    latex_head: str
    decimals: int


METRIC_FORMATS = {
    "mae_mm": MetricFormat("MAE [mm]", "MAE [mm]", 0),
    "rmse_mm": MetricFormat("RMSE [mm]", "RMSE [mm]", 0),
    "imae_per_km": MetricFormat("iMAE [1/km]", "iMAE [1/km]", 2),
    "irmse_per_km": MetricFormat("iRMSE [1/km]", "iRMSE [1/km]", 2),
    "abs_rel": MetricFormat("AbsRel", "AbsRel", 4),
    "sq_rel_m": MetricFormat("SqRel [m]", "SqRel [m]", 3),
    "delta1": MetricFormat("delta1", r"$\delta_1$", 4),
    "delta2": MetricFormat("delta2", r"$\delta_2$", 4),
    "delta3": MetricFormat("delta3", r"$\delta_3$", 4),
}
"""Every metric, in the field's order."""

_NUM_TEXT_COLUMNS = 2  # radar and group; the others are numbers

_LATEX_ESCAPES = str.maketrans(
    {
        **{character: "\\" + character for character in "&%$#_{}"},
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",  # these three are other characters in LaTeX's default font encoding
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
    }
)


class SummaryRow(NamedTuple):
    """Means of each metric over the frames of a group that have pixels.

    Attributes:
        radar: "on" or "off".
        group: "all", "day" or "night".
        cap_m: largest target depth that counts.
        num_frames: frames with such pixels.
    """

    radar: str
    group: str
    cap_m: float
    num_frames: int
    mae_mm: float
    rmse_mm: float
    imae_per_km: float
    irmse_per_km: float
    abs_rel: float
    sq_rel_m: float
    delta1: float
    delta2: float
    delta3: float


class RangeRow(NamedTuple):
    """Error of all pixels of a group whose target is in a range, each pixel counting once.

    Attributes:
        radar: "on" or "off".
        group: "all", "day" or "night".
        low_m: lower edge, not included.
        high_m: upper edge, included.
        num_pixels: pixels in the range.
        mae_mm: their mean |error|.
    """

    radar: str
    group: str
    low_m: float
    high_m: float
    num_pixels: int
    mae_mm: float


def groups_of(is_night: NDArray[np.bool_]) -> dict[str, NDArray[np.bool_]]:
    """Return the mask of each group of frames: all, day, night."""
    return {"all": np.ones_like(is_night), "day": ~is_night, "night": is_night}


NOTHING_MEASURED = "Nothing was measured: no frame has a pixel with a target up to the largest cap."


def summarise(frames: Columns) -> list[SummaryRow]:
    """Average over frames: radar on, then off; in each all, day, night; in each the caps, ascending.

    Args:
        frames: columns of FRAME_METRICS, of one evaluation; None or NaN in a metric only where num_pixels is 0.

    Returns:
        A row for each of them that has a frame with pixels.
    """
    radar, cap_m = np.array(frames["radar"], dtype=str), np.array(frames["cap_m"], dtype=np.float64)
    has_pixels = np.array(frames["num_pixels"], dtype=np.int64) > 0
    values = {name: np.array(frames[name], dtype=np.float64) for name in METRIC_FORMATS}
    summary_rows = []
    for state, (group, is_member), cap in product(RADAR, groups_of(_is_night(frames)).items(), np.unique(cap_m)):
        is_in_row = (radar == state) & is_member & (cap_m == cap) & has_pixels
        if is_in_row.any():
            means = {name: float(column[is_in_row].mean()) for name, column in values.items()}
            summary_rows.append(SummaryRow(state, group, float(cap), int(is_in_row.sum()), **means))
    return summary_rows


def summarise_ranges(ranges: Columns) -> list[RangeRow]:
    """Pool the pixels of each range, in the order of ``summarise``: sum of errors over number of pixels.

    Args:
        ranges: columns of RANGE_ERRORS, of one evaluation.

    Returns:
        A row for each bin that has pixels.
    """
    radar, num_pixels = np.array(ranges["radar"], dtype=str), np.array(ranges["num_pixels"], dtype=np.int64)
    low_m, high_m, sum_error_m = (np.array(ranges[name], dtype=np.float64) for name in ("low_m", "high_m", "sum_error_m"))
    bins = sorted(set(zip(low_m.tolist(), high_m.tolist(), strict=True)))
    range_rows = []
    for state, (group, is_member), (low, high) in product(RADAR, groups_of(_is_night(ranges)).items(), bins):
        is_in_row = (radar == state) & is_member & (low_m == low) & (high_m == high)
        if total := int(num_pixels[is_in_row].sum()):
            range_rows.append(RangeRow(state, group, low, high, total, 1000.0 * float(sum_error_m[is_in_row].sum()) / total))
    return range_rows


def markdown_table(rows: Sequence[SummaryRow] | Sequence[RangeRow], *, title: str) -> str:
    """Return a Markdown heading and table, numbers to the right; without rows a sentence that says so."""
    if not rows:
        return f"### {' '.join(title.split())}\n\n{NOTHING_MEASURED}\n"
    heads = _heads(rows)
    marks = ["---"] * _NUM_TEXT_COLUMNS + ["---:"] * (len(heads) - _NUM_TEXT_COLUMNS)
    lines = [f"### {' '.join(title.split())}", ""]
    lines += [f"| {' | '.join(cells)} |" for cells in (heads, marks, *map(_cells, rows))]
    return "\n".join(lines) + "\n"


def latex_table(rows: Sequence[SummaryRow] | Sequence[RangeRow], *, caption: str) -> str:
    """Return a LaTeX table (needs the package booktabs), a rule between radar on and off.

    Args:
        rows: rows of one summary.
        caption: plain text; characters that mean something to LaTeX are escaped.
    """
    heads = _heads(rows, is_latex=True)
    columns = "l" * _NUM_TEXT_COLUMNS + "r" * (len(heads) - _NUM_TEXT_COLUMNS)
    lines = [r"\begin{table}", r"\centering", rf"\caption{{{escape_latex(caption)}}}", rf"\begin{{tabular}}{{{columns}}}"]
    lines += [r"\toprule", " & ".join(heads) + r" \\"]
    for _, body in groupby(map(_cells, rows), key=itemgetter(0)):
        lines += [r"\midrule", *(" & ".join(cells) + r" \\" for cells in body)]
    lines += [r"\bottomrule", r"\end{tabular}", r"\end{table}"]
    return "\n".join(lines) + "\n"


def escape_latex(text: str) -> str:
    """Return plain text so that LaTeX prints it as it stands, on one line."""
    return " ".join(text.split()).translate(_LATEX_ESCAPES)


def _heads(rows: Sequence[SummaryRow] | Sequence[RangeRow], *, is_latex: bool = False) -> list[str]:
    if rows and isinstance(rows[0], RangeRow):
        return ["radar", "frames", "range [m]", "pixels", "MAE [mm]"]
    metrics = [form.latex_head if is_latex else form.head for form in METRIC_FORMATS.values()]
    return ["radar", "frames", "cap [m]", "number", *metrics]


def _cells(row: SummaryRow | RangeRow) -> list[str]:
    if isinstance(row, RangeRow):
        return [row.radar, row.group, f"({row.low_m:g}, {row.high_m:g}]", str(row.num_pixels), f"{row.mae_mm:.0f}"]
    metrics = [f"{getattr(row, name):.{form.decimals}f}" for name, form in METRIC_FORMATS.items()]
    return [row.radar, row.group, f"{row.cap_m:g}", str(row.num_frames), *metrics]


def _is_night(columns: Columns) -> NDArray[np.bool_]:
    return np.array(columns["is_night"], dtype=np.bool_)
