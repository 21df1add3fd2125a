"""Average precision, true-positive errors and NDS of matched detections: the nuScenes detection metric on arrays.

Why    The devkit is not there on every Python version, takes minutes for a validation split, and cannot measure a draw of scenes
       or one range. This computes the same figures; tests hold the two together
Source nuScenes-devkit 1.2.0, configuration ``detection_cvpr_2019``; docs/method/uvtr.md#metric
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.uvtr.classes import CLASSES
from model.uvtr.frame_matches import ERRORS, ERRORS_AT_M, THRESHOLDS_M, Matches, falling

Float64 = NDArray[np.float64]

OFFICIAL = "ten classes"
PRESENT = "present classes"
"""Rows of means: over all classes of the task, where one without objects counts as not found, and over those with objects."""

NOT_MEASURED = {"traffic_cone": ("aoe_rad", "ave_mps", "aae"), "barrier": ("ave_mps", "aae")}
"""Errors that the task does not measure of a class."""

_RECALLS = np.linspace(0.0, 1.0, 101)
_FIRST = 11  # recalls up to 0.1 are left out
_MIN_PRECISION = 0.1
_AT = THRESHOLDS_M.index(ERRORS_AT_M)
_AP_WEIGHT = 5  # of mAP in NDS, beside five errors


class MetricRow(NamedTuple):
    """What the metric says of one class, or of several together; NaN = nothing to say.

    Attributes:
        name: a class, ``OFFICIAL`` or ``PRESENT``.
        num_truth: annotated objects that count.
        num_found: detections that count.
        ap: average precision, 0 to 1, the mean over the four thresholds.
        ap_at_0_5_m: at 0.5 m, and the others likewise.
        ap_at_1_m: see above.
        ap_at_2_m: see above.
        ap_at_4_m: see above.
        ate_m: mean distance of the centres of hits.
        ase: mean of 1 - overlap of the sizes, both boxes laid on each other.
        aoe_rad: mean angle between the headings.
        ave_mps: mean distance of the velocities.
        aae: share of wrong attributes.
        nds: the nuScenes detection score, of rows of means.
    """

    name: str
    num_truth: int
    num_found: int
    ap: float
    ap_at_0_5_m: float
    ap_at_1_m: float
    ap_at_2_m: float
    ap_at_4_m: float
    ate_m: float
    ase: float
    aoe_rad: float
    ave_mps: float
    aae: float
    nds: float


class ClassCurve(NamedTuple):
    """The d detections of one class by falling score.

    Attributes:
        score: (d,).
        taken: (d, 4) row of the object taken at each threshold; -1 = false alarm.
        hits: for each of the four thresholds the places (h,) of ``taken`` that have an object, rising.
        errors: (d, 5) of the hit at 2 m.
        rows: (d,) int64 their places in ``Matches``.
        frames: (d,) int64 numbers of their key frames.
    """

    score: Float64
    taken: NDArray[np.int64]
    hits: tuple[NDArray[np.int64], ...]
    errors: Float64
    rows: NDArray[np.int64]
    frames: NDArray[np.int64]


def class_curve(matches: Matches, label: int) -> ClassCurve:
    """Return the detections of one class by falling score."""
    rows = np.flatnonzero(matches.found_label == label)
    rows = rows[falling(matches.score[rows])]
    taken = matches.taken[rows]
    hits = tuple(np.flatnonzero(column >= 0) for column in taken.T)
    return ClassCurve(matches.score[rows], taken, hits, matches.errors[rows], rows, matches.found_frame[rows])


class RecallCurve(NamedTuple):
    """Precision and score (101,) at every percent of recall; 0 beyond the recall that is reached."""

    precision: Float64
    score: Float64


def recall_curve(
    curve: ClassCurve, threshold: int, weight: Float64, num_truth: float, *, sums: Float64 | None = None
) -> RecallCurve | None:
    """Return the curve of one class at one threshold; None without a hit.

    Between two hits recall stands still, and of such points only the last one counts (``np.interp``). So the curve is made of the
    hits and of what is right before them. False alarms, which are most of all detections, enter as one sum.

    Args:
        curve: d detections.
        threshold: its number in ``THRESHOLDS_M``.
        weight: (d,) how often each counts; those of weight 0 are not there.
        num_truth: objects, as often as they count.
        sums: (d,) cumulative sum of the weights, where the caller has it.
    """
    hits = curve.hits[threshold]
    hits = hits[weight[hits] > 0]
    if not len(hits) or not num_truth:
        return None
    sums = np.cumsum(weight) if sums is None else sums
    hits_until, all_until = np.cumsum(weight[hits]), sums[hits]
    hits_before, all_before = hits_until - weight[hits], all_until - weight[hits]
    is_first = int(all_before[0] == 0)  # nothing is before the first detection
    num_hits = _woven(hits_before, hits_until, hits_until[-1])[is_first:]
    num_all = _woven(all_before, all_until, sums[-1])[is_first:]
    # a sum is first reached by the last detection that is there
    places = _woven(np.searchsorted(sums, all_before), hits, np.searchsorted(sums, sums[-1]))[is_first:]
    recall = num_hits / num_truth
    return RecallCurve(
        np.interp(_RECALLS, recall, num_hits / num_all, right=0.0), np.interp(_RECALLS, recall, curve.score[places], right=0.0)
    )


def _woven(before: NDArray[Any], at: NDArray[Any], end: Any) -> NDArray[Any]:
    """Return the values (2 h + 1,) before each of h hits and at it, in turn, and that of the last detection."""
    woven = np.empty(2 * len(at) + 1, at.dtype)
    woven[:-1:2], woven[1::2], woven[-1] = before, at, end
    return woven


def precision_of(curve: RecallCurve | None) -> float:
    """Return the average precision, 0 to 1: over recalls above 0.1, what precision has above 0.1, as a share of the most."""
    if curve is None:
        return 0.0
    return float(np.maximum(curve.precision[_FIRST:] - _MIN_PRECISION, 0.0).mean() / (1.0 - _MIN_PRECISION))


def mean_error(curve: RecallCurve | None, score: Float64, error: Float64, weight: Float64) -> float:
    """Return the mean over recalls above 0.1 of the running mean of an error; 1 if no such recall is reached.

    Args:
        curve: at the threshold of the errors.
        score: (h,) of the hits, falling.
        error: (h,) of the hits; NaN = cannot be told, passed over.
        weight: (h,) how often each counts, above 0.
    """
    if curve is None:
        return 1.0
    reached = np.flatnonzero(curve.score)
    last = int(reached[-1]) if len(reached) else 0
    if last < _FIRST:
        return 1.0
    is_told = ~np.isnan(error)
    if not is_told.any():
        return 1.0
    sums, counts = np.nancumsum(weight * error), np.cumsum(weight * is_told)
    running = np.divide(sums, counts, out=np.zeros_like(sums), where=counts > 0)
    at_recalls = np.interp(curve.score[::-1], score[::-1], running[::-1])[::-1]
    return float(at_recalls[_FIRST : last + 1].mean())


class ClassFigures(NamedTuple):
    """Figures of c classes.

    Attributes:
        ap: (c, 4) average precision at each threshold.
        errors: (c, 5) errors; NaN = not measured of the class.
    """

    ap: Float64
    errors: Float64


def figures_of(matches: Matches, times: NDArray[np.int64] | None = None) -> ClassFigures:
    """Return the figures of the ten classes.

    Args:
        matches: of all key frames.
        times: (f,) how often each key frame counts; None = once. Copies of a detection are taken together.
    """
    curves = [class_curve(matches, label) for label in range(len(CLASSES))]
    return figures_of_curves(matches, curves, times)


def figures_of_curves(matches: Matches, curves: Sequence[ClassCurve], times: NDArray[Any] | None = None) -> ClassFigures:
    """Return the figures of the ten classes, whose curves were made before; see ``figures_of``."""
    weights = np.ones(len(matches.frames)) if times is None else times.astype(np.float64)
    num_truth = np.bincount(matches.truth_label, weights[matches.truth_frame], minlength=len(CLASSES))
    ap, errors = np.zeros((len(CLASSES), len(THRESHOLDS_M))), np.ones((len(CLASSES), len(ERRORS)))
    for label, curve in enumerate(curves):
        weight = weights[curve.frames]
        sums = np.cumsum(weight)
        by_threshold = [recall_curve(curve, number, weight, num_truth[label], sums=sums) for number in range(len(THRESHOLDS_M))]
        ap[label] = [precision_of(one) for one in by_threshold]
        hits = curve.hits[_AT][weight[curve.hits[_AT]] > 0]
        errors[label] = [
            mean_error(by_threshold[_AT], curve.score[hits], curve.errors[hits, number], weight[hits])
            for number in range(len(ERRORS))
        ]
    for name, unmeasured in NOT_MEASURED.items():
        errors[CLASSES.index(name), [ERRORS.index(error) for error in unmeasured]] = np.nan
    return ClassFigures(ap, errors)


def nuscenes_score(ap: float, errors: Sequence[float]) -> float:
    """Return NDS of a mean average precision and five mean errors; an error of 1 or more adds nothing, NaN gives NaN."""
    if np.isnan(errors).any():
        return np.nan
    return float(_AP_WEIGHT * ap + sum(max(0.0, 1.0 - error) for error in errors)) / (_AP_WEIGHT + len(ERRORS))


def metric_rows(figures: ClassFigures, num_truth: NDArray[np.int64], num_found: NDArray[np.int64]) -> list[MetricRow]:
    """Return the rows of a table: means over the ten classes and over those present, then every class.

    Args:
        figures: of the ten classes.
        num_truth: (10,) objects that count.
        num_found: (10,) detections that count.
    """
    rows = [_mean_row(OFFICIAL, figures, num_truth, num_found, np.ones(len(CLASSES), bool))]
    rows.append(_mean_row(PRESENT, figures, num_truth, num_found, num_truth > 0))
    for label, name in enumerate(CLASSES):
        counts, mean_ap = (int(num_truth[label]), int(num_found[label])), float(figures.ap[label].mean())
        rows.append(_row(name, counts, mean_ap, figures.ap[label], figures.errors[label].tolist(), np.nan))
    return rows


def _mean_row(
    name: str,
    figures: ClassFigures,
    num_truth: NDArray[np.int64],
    num_found: NDArray[np.int64],
    is_meant: NDArray[np.bool_],
) -> MetricRow:
    counts = int(num_truth[is_meant].sum()), int(num_found[is_meant].sum())
    if not is_meant.any():
        return _row(name, counts, np.nan, np.full(len(THRESHOLDS_M), np.nan), [np.nan] * len(ERRORS), np.nan)
    errors = mean_errors(figures.errors[is_meant])
    mean_ap = float(figures.ap[is_meant].mean())
    return _row(name, counts, mean_ap, figures.ap[is_meant].mean(axis=0), errors, nuscenes_score(mean_ap, errors))


def _row(name: str, counts: tuple[int, int], mean_ap: float, ap: Float64, errors: Sequence[float], nds: float) -> MetricRow:
    at_0_5, at_1, at_2, at_4 = ap.tolist()
    ate_m, ase, aoe_rad, ave_mps, aae = errors
    return MetricRow(name, *counts, mean_ap, at_0_5, at_1, at_2, at_4, ate_m, ase, aoe_rad, ave_mps, aae, nds)


def mean_errors(errors: Float64) -> list[float]:
    """Return the means (5) of errors (c, 5) over the classes that they are measured of; NaN if of none."""
    is_measured = ~np.isnan(errors)
    counts = is_measured.sum(axis=0)
    sums = np.where(is_measured, errors, 0.0).sum(axis=0)
    means: list[float] = np.divide(sums, counts, out=np.full(len(ERRORS), np.nan), where=counts > 0).tolist()
    return means


def counts_of(matches: Matches) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return how many objects and detections (10,) of each class count."""
    truth, found = (np.bincount(labels, minlength=len(CLASSES)) for labels in (matches.truth_label, matches.found_label))
    return truth, found
