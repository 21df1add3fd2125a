"""Average precision by range and by visibility, over the classes that have objects there.

Source docs/method/uvtr.md#groups
Rules  Objects of one group count. A detection that took an object of another group is passed over. One that took none counts as a
       false alarm: by range in the group that it lies in, by visibility in all of them, since nobody knows where it belongs
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.uvtr.classes import CLASSES
from model.uvtr.detection_metric import class_curve, precision_of, recall_curve
from model.uvtr.frame_matches import THRESHOLDS_M, Matches

RANGES_M = ((0, 10), (10, 20), (20, 30), (30, 40), (40, 50))
"""Level distances from the rig that groups reach from and to; the metric counts nothing beyond."""

RANGE, VISIBILITY = "range_m", "visibility"


class GroupRow(NamedTuple):
    """Average precision of one group of objects.

    Attributes:
        group: ``RANGE`` or ``VISIBILITY``.
        name: e.g. 10-20 or v40-60.
        num_truth: objects that count.
        num_classes: classes that have objects in the group.
        ap: mean over these classes and the four thresholds, 0 to 1.
        ap_at_2_m: mean over these classes at 2 m.
    """

    group: str
    name: str
    num_truth: int
    num_classes: int
    ap: float
    ap_at_2_m: float


def group_rows(matches: Matches) -> list[GroupRow]:
    """Return a row of every group that has objects."""
    return [
        _row(matches, group, name, truth, false_alarms) for group, name, truth, false_alarms in _groups(matches) if truth.any()
    ]


def _groups(matches: Matches) -> Iterator[tuple[str, str, NDArray[np.bool_], NDArray[np.bool_]]]:
    """Yield kind and name of each group, its objects (t,), and the detections (d,) that are its false alarms if they are any."""
    for low, high in RANGES_M:
        truth, found = ((ranges_m >= low) & (ranges_m < high) for ranges_m in (matches.truth_range_m, matches.found_range_m))
        yield RANGE, f"{low}-{high}", truth, found
    everything = np.ones(len(matches.score), bool)
    for name in np.unique(matches.truth_visibility[matches.truth_visibility != ""]):
        yield VISIBILITY, str(name), matches.truth_visibility == name, everything


def _row(matches: Matches, group: str, name: str, truth: NDArray[np.bool_], false_alarms: NDArray[np.bool_]) -> GroupRow:
    present = np.unique(matches.truth_label[truth])
    ap = np.zeros((len(present), len(THRESHOLDS_M)))
    in_group = np.append(truth, False)
    for place, label in enumerate(present):
        curve = class_curve(matches, int(label))
        num_truth = int((truth & (matches.truth_label == label)).sum())
        for number in range(len(THRESHOLDS_M)):
            taken = curve.taken[:, number]
            counts = np.where(taken < 0, false_alarms[curve.rows], in_group[taken]).astype(np.float64)
            ap[place, number] = precision_of(recall_curve(curve, number, counts, num_truth))
    at_2_m = ap[:, THRESHOLDS_M.index(2.0)]
    return GroupRow(group, name, int(truth.sum()), len(present), float(ap.mean()), float(at_2_m.mean()))


def absent_classes(matches: Matches) -> list[str]:
    """Return the names of the classes without an object that counts."""
    return [name for label, name in enumerate(CLASSES) if not (matches.truth_label == label).any()]
