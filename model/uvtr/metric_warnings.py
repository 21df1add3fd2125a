"""What misleads in the figures of the nuScenes metric, in named sentences.

Source docs/method/uvtr.md#warnings
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from model.uvtr.detection_metric import PRESENT, MetricRow
from model.uvtr.frame_matches import Matches
from model.uvtr.metric_groups import absent_classes
from model.uvtr.objects import FrameObjects
from model.uvtr.world_boxes import ATTRIBUTES

ABSENT_CLASSES = "absent classes"
TIED_SCORES = "tied scores"
SIZE_YAW_SLIP = "sizes or headings of another convention"
NOTHING_FOUND = "nothing found"
NO_COUNTS = "no counts of returns"
OTHER_ATTRIBUTES = "other attributes"
VELOCITY = "velocity adds nothing"

_SLIP_ASE, _SLIP_AOE_RAD = 0.6, 1.4


def metric_warnings(rows: Sequence[MetricRow], matches: Matches, *, num_tied: int, were_tied_broken: bool) -> list[str]:
    """Return what a reader of the figures must know, each with its name before a colon; empty = nothing.

    Args:
        rows: of the metric.
        matches: of all key frames.
        num_tied: detections that share their score with another one of their class.
        were_tied_broken: equal scores were lowered by a rounding before the metric was computed.
    """
    present = next(row for row in rows if row.name == PRESENT)
    warnings = []
    if absent := absent_classes(matches):
        warnings.append(
            f"{ABSENT_CLASSES}: {', '.join(absent)} have no object that counts. mAP and NDS take each for a class of which "
            f"nothing was found. Read the row '{PRESENT}'"
        )
    if not len(matches.score):
        warnings.append(
            f"{NOTHING_FOUND}: no detection counts in any key frame. The devkit's own program stops at such a file with 'Invalid "
            "box type: None'"
        )
    if num_tied:
        consequence = (
            "They were told apart by a rounding, the earlier first"
            if were_tied_broken
            else "The metric takes the errors of all of them from the first. Write scores that differ"
        )
        warnings.append(
            f"{TIED_SCORES}: {num_tied:,} detections share their score with another one of their class. {consequence}"
        )
    if present.ase > _SLIP_ASE and present.aoe_rad > _SLIP_AOE_RAD:
        warnings.append(
            f"{SIZE_YAW_SLIP}: a scale error of {present.ase:.2f} together with an orientation error of {present.aoe_rad:.2f} is "
            "what exchanged width and length look like, with the heading turned by a quarter. Boxes of mmdetection3d 1.0 and "
            "later were read as those of 0.x, or the reverse"
        )
    if present.ave_mps > 1.0 and len(matches.score):
        warnings.append(
            f"{VELOCITY}: the velocity error is {present.ave_mps:.2f} m/s, and from 1 m/s on it adds nothing to NDS. A network "
            "that looks at one key frame cannot know velocities: read mAP, or raise train.network.num_frames"
        )
    return warnings


def truth_warnings(frames: Sequence[FrameObjects]) -> list[str]:
    """Return what a reader must know of the annotations of all key frames, each with its name before a colon."""
    warnings = []
    objects = sum(map(len, frames))
    unsaid = sum(int((frame.num_points < 0).sum()) for frame in frames)
    if unsaid:
        warnings.append(
            f"{NO_COUNTS}: {unsaid:,} of {objects:,} objects do not say how many LiDAR and radar returns they have. They count, "
            "also those that no sensor met"
        )
    attributes = [str(name) for frame in frames for name in frame.attributes[~np.isin(frame.attributes, ["", *ATTRIBUTES])]]
    if attributes:
        warnings.append(
            f"{OTHER_ATTRIBUTES}: {len(attributes):,} of {objects:,} objects have an attribute that the task does not know, or "
            f"several, e.g. '{attributes[0]}'. Their attribute is not measured"
        )
    return warnings
