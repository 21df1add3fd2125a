"""The numbers by which detectors are compared: their names in a recipe, how they are printed, and where a training has them.

``present/ap`` is a row of the metric's table and a column: ``present`` and ``official`` are the means, others are classes.
``present/ap_at_2_and_4_m`` is the mean of two columns: what small studies decide by, because boxes half a metre off count there.

Reads  <training>/evaluation/nuscenes_metric.csv and segmentation.csv
Source docs/method/uvtr.md#metric
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from model.train.measures import Measure
from model.uvtr.classes import CLASSES
from model.uvtr.detection_metric import OFFICIAL, PRESENT, MetricRow

DECIDES = "present/ap_at_2_and_4_m"
"""What the best checkpoint is chosen by, and a champion if nothing else is said."""

SEGMENTATION = "segmentation/iou"

_SHORT = {OFFICIAL: "official", PRESENT: "present"}
_NEAR = "ap_at_2_and_4_m"
_HEADS = {
    "ap": ("AP", 4, True),
    _NEAR: ("AP@2, 4 m", 4, True),
    "ap_at_0_5_m": ("AP@0.5 m", 4, True),
    "ap_at_1_m": ("AP@1 m", 4, True),
    "ap_at_2_m": ("AP@2 m", 4, True),
    "ap_at_4_m": ("AP@4 m", 4, True),
    "nds": ("NDS", 4, True),
    "ate_m": ("ATE [m]", 3, False),
    "ase": ("ASE", 3, False),
    "aoe_rad": ("AOE [rad]", 3, False),
    "ave_mps": ("AVE [m/s]", 3, False),
    "aae": ("AAE", 3, False),
}
"""Columns of the metric's table, and their heads and decimals; the last says whether more is better."""

HEADLINE = (DECIDES, "present/ap", "official/ap", "official/nds")
ERRORS_OF_PRESENT = tuple(f"present/{error}" for error in ("ate_m", "ase", "aoe_rad", "ave_mps", "aae"))


def metric_measures(*, classes: Sequence[str] = CLASSES, with_segmentation: bool = False) -> dict[str, Measure]:
    """Return every measure of a detector of some classes, by name; what decides comes first."""
    names = [DECIDES]
    for row in ("present", "official", *classes):
        names += [f"{row}/{column}" for column in _HEADS if column != "nds" or row in _SHORT.values()]
    measures = {name: measure_of(name) for name in dict.fromkeys(names)}
    if with_segmentation:
        measures[SEGMENTATION] = measure_of(SEGMENTATION)
    return measures


def measure_of(name: str) -> Measure:
    """Return the measure of a name that ``metric_measures`` has."""
    if name == SEGMENTATION:
        return Measure(name, "vehicles on the ground IoU", 4, True)
    row, _, column = name.partition("/")
    head, decimals, is_higher_better = _HEADS[column]
    words = {"official": f"m{head}" if column != "nds" else head, "present": f"{head} of present classes"}
    return Measure(name, words.get(row, f"{row} {head}"), decimals, is_higher_better)


def values_of(rows: Iterable[MetricRow]) -> dict[str, float]:
    """Return what rows of the metric say, by the measures' names; those that are not measured are not there."""
    values: dict[str, float] = {}
    for row in rows:
        name = _SHORT.get(row.name, row.name)
        columns = {column: getattr(row, column) for column in _HEADS if column != _NEAR}
        columns[_NEAR] = (row.ap_at_2_m + row.ap_at_4_m) / 2
        if row.num_truth or name == "official":
            values |= {f"{name}/{column}": value for column, value in columns.items() if value == value}
    return values
