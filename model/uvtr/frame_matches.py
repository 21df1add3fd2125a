"""Which detection takes which annotated object, frame by frame, by the rules of the nuScenes metric.

Source nuScenes-devkit 1.2.0, ``nuscenes.eval.detection.algo``; docs/method/uvtr.md#metric
Rules  In each key frame and class, detections by falling score take the nearest object that is still free, by the level distance
       of the centres. Below the threshold it is a hit, otherwise a false alarm. Size and heading play no part.
Why    The devkit gives a figure of all frames together. An interval over scenes, and figures by range and by visibility, need to
       know the matches, which are those of single frames.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.uvtr.classes import CLASSES
from model.uvtr.detections import Detections
from model.uvtr.world_boxes import WorldBoxes, detected_in_world

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

THRESHOLDS_M = (0.5, 1.0, 2.0, 4.0)
"""Level distances below which a detection is a hit; average precision is the mean over them."""

ERRORS_AT_M = 2.0
"""Threshold of the matches whose errors are told."""

ERRORS = ("ate_m", "ase", "aoe_rad", "ave_mps", "aae")
"""Errors of a hit: distance of the centres, scale, heading, velocity and attribute."""

_AT = THRESHOLDS_M.index(ERRORS_AT_M)
_BARRIER = CLASSES.index("barrier")


class MeasuredFrame(NamedTuple):
    """One key frame; only boxes that count.

    Attributes:
        key: ``<scene>/<time of the rig, us>``.
        sample_token: its name in its source.
        truth: annotated objects.
        found: detections.
    """

    key: str
    sample_token: str
    truth: WorldBoxes
    found: WorldBoxes


@dataclass(frozen=True)
class Matches:
    """d detections and t annotated objects of all key frames, in the order of the frames.

    Attributes:
        frames: keys of all key frames, ``<scene>/<time>``; a key frame's number is its place here.
        found_label: (d,) int64 number in ``CLASSES``.
        found_frame: (d,) int64 number of the key frame.
        found_range_m: (d,) level distance from the rig.
        score: (d,) float64.
        taken: (d, 4) int64 row of the object that a detection took at each of ``THRESHOLDS_M``; -1 = false alarm.
        errors: (d, 5) float64 ``ERRORS`` of the match at ``ERRORS_AT_M``; NaN = none, or not to be told.
        truth_label: (t,) int64 number in ``CLASSES``.
        truth_frame: (t,) int64 number of the key frame.
        truth_range_m: (t,) level distance from the rig.
        truth_visibility: (t,) str visible share in the source's words.
    """

    frames: tuple[str, ...]
    found_label: Int64
    found_frame: Int64
    found_range_m: Float64
    score: Float64
    taken: Int64
    errors: Float64
    truth_label: Int64
    truth_frame: Int64
    truth_range_m: Float64
    truth_visibility: NDArray[np.str_]


COLUMNS = tuple(field.name for field in fields(Matches) if field.name != "frames")
"""Names of the arrays."""


def match_frames(frames: Iterable[MeasuredFrame]) -> Matches:
    """Match the detections of key frames."""
    keys: list[str] = []
    parts, num_truth = [_matches_of(_NO_FRAME, number=0, first=0)], 0
    for frame in frames:
        parts.append(_matches_of(frame, number=len(keys), first=num_truth))
        keys.append(frame.key)
        num_truth += len(frame.truth)
    columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in COLUMNS}
    return Matches(frames=tuple(keys), **columns)


def _matches_of(frame: MeasuredFrame, *, number: int, first: int) -> Matches:
    """Return the matches of one key frame, whose first object has the row ``first``."""
    truth, found = frame.truth, frame.found
    taken = match_frame(truth, found)
    return Matches(
        frames=(),
        found_label=found.labels,
        found_frame=np.full(len(found), number, np.int64),
        found_range_m=found.ranges_m,
        score=found.scores,
        taken=np.where(taken < 0, -1, taken + first),
        errors=errors_of(truth, found, taken[:, _AT]),
        truth_label=truth.labels,
        truth_frame=np.full(len(truth), number, np.int64),
        truth_range_m=truth.ranges_m,
        truth_visibility=truth.visibility,
    )


def match_frame(truth: WorldBoxes, found: WorldBoxes) -> Int64:
    """Return the row (k, 4) of the annotated object that each detection of a key frame takes at each threshold; -1 = none."""
    taken = np.full((len(found), len(THRESHOLDS_M)), -1, np.int64)
    for label in np.intersect1d(truth.labels, found.labels):
        rows, objects = np.flatnonzero(found.labels == label), np.flatnonzero(truth.labels == label)
        rows = rows[falling(found.scores[rows])]
        apart = found.centers_m[rows, None, :2] - truth.centers_m[objects, :2]
        distances = np.sqrt((apart**2).sum(axis=2))
        nearest_m = distances.min(axis=1)
        for number, threshold_m in enumerate(THRESHOLDS_M):
            free = distances.copy()
            for place in np.flatnonzero(nearest_m < threshold_m):
                choice = int(np.argmin(free[place]))
                if free[place, choice] < threshold_m:
                    taken[rows[place], number] = objects[choice]
                    free[:, choice] = np.inf
    return taken


def falling(scores: Float64) -> Int64:
    """Return the places of scores (n,) from the highest down; of equal scores the later comes first, as in the devkit."""
    order: Int64 = np.argsort(scores, kind="stable")[::-1]
    return order


def errors_of(truth: WorldBoxes, found: WorldBoxes, taken: Int64) -> Float64:
    """Return ``ERRORS`` (k, 5) of the detections of a key frame; NaN for a false alarm, and where one cannot be told.

    Args:
        truth: annotated objects.
        found: k detections.
        taken: (k,) row of the object that each took; -1 = none.
    """
    errors = np.full((len(found), len(ERRORS)), np.nan)
    hits = np.flatnonzero(taken >= 0)
    a, b = truth.where(taken[hits]), found.where(hits)
    errors[hits, 0] = np.sqrt(((a.centers_m[:, :2] - b.centers_m[:, :2]) ** 2).sum(axis=1))
    common = np.minimum(a.sizes_wlh_m, b.sizes_wlh_m).prod(axis=1)
    errors[hits, 1] = 1.0 - common / (a.sizes_wlh_m.prod(axis=1) + b.sizes_wlh_m.prod(axis=1) - common)
    period = np.where(a.labels == _BARRIER, np.pi, 2 * np.pi)  # a barrier looks the same from both sides
    errors[hits, 2] = np.abs((a.yaws_rad - b.yaws_rad + period / 2) % period - period / 2)
    errors[hits, 3] = np.sqrt(((a.velocities_mps - b.velocities_mps) ** 2).sum(axis=1))
    errors[hits, 4] = np.where(a.attributes == "", np.nan, (a.attributes != b.attributes).astype(np.float64))
    return errors


_NO_FRAME = MeasuredFrame(
    "", "", detected_in_world(Detections.none(), np.eye(4)), detected_in_world(Detections.none(), np.eye(4))
)
