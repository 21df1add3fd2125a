"""The sections "Metric" and "By range and visibility": figures of every class, and the sentences that say what misleads.

Reads  evaluation/nuscenes_metric.csv, metric_groups.csv, segmentation.csv
Writes HTML
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flows.reports.html.markup import number, section, table, text, tiles
from flows.reports.uvtr.files import BoxFiles
from model.uvtr.detection_metric import OFFICIAL, PRESENT, MetricRow
from model.uvtr.metric_groups import RANGE

_PRECISIONS = (
    ("AP", "ap"),
    ("0.5 m", "ap_at_0_5_m"),
    ("1 m", "ap_at_1_m"),
    ("2 m", "ap_at_2_m"),
    ("4 m", "ap_at_4_m"),
)
_ERRORS = (
    ("place, m", "ate_m"),
    ("size", "ase"),
    ("heading, rad", "aoe_rad"),
    ("velocity, m/s", "ave_mps"),
    ("attribute", "aae"),
)


def metric_section(training: BoxFiles) -> str | None:
    """Return the section, None without an evaluation."""
    if not training.metric:
        return None
    official, present = training.metric[:2]
    shown = [
        ("NDS", number(official.nds, digits=3), "ten classes"),
        ("mAP", number(official.ap, digits=3), "ten classes"),
        ("AP of present classes", number(present.ap, digits=3), f"at 2 m {number(present.ap_at_2_m, digits=3)}"),
    ]
    if training.segmentation is not None:
        shown.append(("Vehicles on the ground, IoU", number(training.segmentation.iou, digits=3), "all key frames together"))
    notes = "".join(f'<p class="note">{text(note)}</p>' for note in training.notes)
    intro = (
        f"<p>Measured on {text(training.split_words)}. A detection is right if its centre is nearer than the threshold to an "
        "object of its class, seen from above; errors are those of detections that are right at 2 m. A class without an object "
        f"counts as not found in <b>{OFFICIAL}</b> and not at all in <b>{PRESENT}</b>.</p>"
    )
    rows = [row for row in training.metric if row.num_truth or row.name == OFFICIAL]
    heads = ["", "objects", "found", *(head for head, _ in (*_PRECISIONS, *_ERRORS))]
    lines = [_line(row) for row in rows]
    return section("metric", "Metric", tiles(shown) + intro + notes + table(heads, lines, caption="nuScenes detection metric"))


def _line(row: MetricRow) -> list[str]:
    figures = [number(getattr(row, name), digits=3) for _, name in (*_PRECISIONS, *_ERRORS)]
    return [text(row.name), number(row.num_truth), number(row.num_found), *figures]


def groups_section(training: BoxFiles) -> str | None:
    """Return the section by range and visibility, None without an evaluation."""
    if not training.groups:
        return None
    lines = [
        [
            text(f"{row.name} m" if row.group == RANGE else f"visibility {row.name}"),
            number(row.num_truth),
            number(row.num_classes),
            number(row.ap, digits=3),
            number(row.ap_at_2_m, digits=3),
        ]
        for row in training.groups
    ]
    intro = (
        "<p>Means over the classes that have objects in a group. A false alarm counts in the range where it lies, and in every "
        "level of visibility.</p>"
    )
    heads = ["", "objects", "classes", "AP", "AP at 2 m"]
    return section("groups", "By range and visibility", intro + table(heads, lines, caption="AP by range and visibility"))


def best_precision(about: Mapping[str, Any]) -> tuple[str, str]:
    """Return the average precision that the kept checkpoint had, as a big number."""
    return "AP of present classes at 2 and 4 m", number((about.get("best") or {}).get("present_ap"), digits=3)
