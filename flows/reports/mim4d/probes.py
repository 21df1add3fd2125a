"""The section "Probes": what linear layers find in the frozen features, beside random weights and beside no features.

Reads  probe/probes.json
Writes HTML with a chart
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from flows.reports.html.markup import Cell, bar, number, percent, plural, section, table, text
from flows.reports.mim4d.results import range_chart
from model.mim4d.probes.depth_probe import ANY_RANGE, DepthRow
from model.mim4d.probes.occupancy_probe import OccupancyRow
from model.mim4d.probes.probe_files import (
    IMAGENET,
    MEDIAN,
    RANDOM,
    ROW_MEDIAN,
    TRAINED,
    VOXEL_FREQUENCY,
    ProbeAbout,
    ProbeResults,
    has_probes,
    read_probes,
)

FEATURE_WORDS = {
    TRAINED: "This training",
    IMAGENET: "Classification weights",
    RANDOM: "Random weights",
    ROW_MEDIAN: "No features: median of the image row",
    MEDIAN: "No features: median of all",
    VOXEL_FREQUENCY: "No features: frequency of the voxel",
}
"""Words by what was probed, in the order of the tables; all but the first are controls."""

DRAWN = {TRAINED: "on", IMAGENET: "third", RANDOM: "off", ROW_MEDIAN: "fourth"}
"""What gets a line in the chart, and the class of its colour."""

Row = Sequence[Cell | str]


def probes_section(folder: Path) -> str | None:
    """Return the section of the training in a folder, None without probes.

    Raises:
        StoreError: the probes are damaged.
    """
    if not has_probes(folder):
        return None
    results = read_probes(folder)
    whole = [row for row in results.depth if row.range_m == ANY_RANGE]
    body = (
        _intro(results.about)
        + _verdict(results)
        + _depth_table(whole)
        + _range_chart(results.depth)
        + _occupancy_words(results.occupancy)
        + _occupancy_table(results.occupancy)
    )
    return section("probes", "Probes of the frozen backbone", body)


def _intro(about: ProbeAbout) -> str:
    return (
        "<p>Nothing of the network is trained here: one linear layer, a 1x1 convolution, is learned on its unmasked features "
        f"of key frames. {plural(about.num_train_clips, 'clip')} of split {text(about.train_split)} with "
        f"{plural(about.num_train_points, 'LiDAR point')} to learn from, {plural(about.num_clips, 'clip')} of split "
        f"{text(about.split)} to measure on. Depth is told from the pyramid's cells of {about.stride_px} pixels, and runs along "
        "the optical axis. The same network with the random weights of its seed, and what is known without looking at an "
        "image, say how much of it is pre-training.</p>"
    )


def _verdict(results: ProbeResults) -> str:
    """Return in words which controls the trained network does not beat, "" where it beats all."""
    notes = []
    errors = {row.features: row.abs_rel for row in results.depth if row.range_m == ANY_RANGE}
    precisions = {row.features: row.average_precision for row in results.occupancy}
    for what, values, sign in (("depth", errors, 1), ("occupancy", precisions, -1)):
        better = [_feature_name(name) for name in values if name != TRAINED and not sign * values[TRAINED] < sign * values[name]]
        if TRAINED in values and better:
            notes.append(f"Of {what} the trained features tell no more than: {'; '.join(better)}.")
    return f'<p class="note">{text(" ".join(notes))}</p>' if notes else ""


def _depth_table(rows: Sequence[DepthRow]) -> str:
    top = max((row.abs_rel for row in rows), default=1.0) or 1.0
    lines: list[Row] = [
        [
            text(_feature_name(row.features)),
            Cell(number(row.abs_rel, digits=3) + bar(row.abs_rel / top, _css(row.features))),
            number(row.rmse_m, digits=2),
            percent(row.delta1),
            number(row.num_points),
        ]
        for row in rows
    ]
    heads = ("Features", "AbsRel", "RMSE, m", "ratio<br>below 1.25", "held-out<br>points")
    return table(heads, lines, caption="Depth probe")


def _range_chart(rows: Sequence[DepthRow]) -> str:
    lines = [
        (
            _feature_name(name),
            css,
            {row.range_m: row.abs_rel for row in rows if row.features == name and row.range_m != ANY_RANGE},
        )
        for name, css in DRAWN.items()
    ]
    title = "AbsRel of the depth probe"
    chart = range_chart(lines, title, x_label="depth of the point, m", alt="AbsRel of the depth probe by depth")
    return f'<div class="charts">{chart}</div>' if chart else ""


def _occupancy_words(rows: Sequence[OccupancyRow]) -> str:
    if not rows:
        return ""
    first = rows[0]
    return (
        f"<p>Occupancy is asked of the {plural(first.num_voxels, 'voxel')} that a camera sees; "
        f"{percent(first.num_occupied / first.num_voxels)} of them hold a LiDAR point of any frame of the clip. What is hidden "
        "behind a surface counts as empty, and things that move leave a trace. The threshold of the IoU is the best one on the "
        "training clips, and need not suit others; average precision needs none.</p>"
    )


def _occupancy_table(rows: Sequence[OccupancyRow]) -> str:
    lines: list[Row] = [
        [
            text(_feature_name(row.features)),
            Cell(number(row.iou, digits=3) + bar(row.iou, _css(row.features))),
            number(row.average_precision, digits=3),
            number(row.threshold, digits=3),
        ]
        for row in rows
    ]
    return table(("Features", "IoU", "average<br>precision", "threshold"), lines, caption="Occupancy probe") if rows else ""


def _feature_name(features: str) -> str:
    return FEATURE_WORDS.get(features, features)


def _css(features: str) -> str:
    return "on" if features == TRAINED else "off"
