"""Where a detector is wrong: what each right quantity would be worth, errors by group, and the price of an error of the centre.

Reads  the objects and the cameras that an evaluation keeps, see ``measured_objects`` and ``measured_cameras``
Source docs/method/monoddle.md#oracle-analysis, #shift-experiment
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.monoddle.analysis.centre_shift import ShiftRow, farthest_m, shift_rows
from model.monoddle.analysis.oracle import OracleDistanceRow, OracleRow, oracle_rows
from model.monoddle.analysis.oracle_matches import NO_OBJECT, Matches, match_by_centre
from model.monoddle.evaluation import AP_FILE, read_average_precision, scaled_difficulties
from model.monoddle.measured_cameras import FrameCamera, has_measured_cameras, read_measured_cameras
from model.monoddle.measured_objects import MeasuredObjects, has_measured_objects, read_measured_objects
from model.monoddle.precision.average_precision import NEIGHBOUR, NUM_STEPS
from model.monoddle.precision.box_overlap import Floats
from model.monoddle.precision.overlap_pairs import World, is_of, joined_world, some_pairs
from model.monoddle.precision.precision_groups import GroupRow, MatchCounts, group_rows, match_counts
from storage_schemas.detection_evaluation import CAMERAS_FILE, DETECTION_FILES
from storage_schemas.errors import StoreError


class Analysis(NamedTuple):
    """Everything that is said of one evaluation.

    Attributes:
        num_frames: frames that were measured.
        oracle: average precisions by what is replaced.
        oracle_by_distance: the same of groups of objects.
        groups: by distance, occlusion and height, and of all.
        shifts: by the error that is added to every centre.
        counts: what is matched, missed, found twice, or found where nothing is.
    """

    num_frames: int
    oracle: list[OracleRow]
    oracle_by_distance: list[OracleDistanceRow]
    groups: list[GroupRow]
    shifts: list[ShiftRow]
    counts: list[MatchCounts]


def can_be_analysed(folder: Path) -> bool:
    """Say whether an evaluation keeps what an analysis needs; those of former versions do not."""
    return has_measured_objects(folder) and has_measured_cameras(folder)


def read_analysis(folder: Path) -> Analysis:
    """Analyse the evaluation in a folder.

    Raises:
        StoreError: a file is missing or damaged, or the evaluation is of a former version; names it.
    """
    classes = tuple(dict.fromkeys(row.category for row in read_average_precision(folder)))
    if missing := [name for name in (*DETECTION_FILES, CAMERAS_FILE) if not (folder / name).is_file()]:
        raise StoreError(
            f"evaluation '{folder}' cannot be analysed: it keeps no {missing[0]}. It was stopped while it was written, or is "
            "of a former version. Run depthmill evaluate, and analyse what that writes"
        )
    if not classes:
        raise StoreError(f"evaluation '{folder}' measured no category ({AP_FILE} has no row), so there is nothing to analyse")
    measured = read_measured_objects(folder)
    return analysis_of(measured, read_measured_cameras(folder, list(measured.frames)), classes)


def analysis_of(measured: MeasuredObjects, cameras: Sequence[FrameCamera], classes: Sequence[str]) -> Analysis:
    """Analyse an evaluation.

    Args:
        measured: its objects, which stay as they are.
        cameras: of its frames, in their order.
        classes: categories that are measured.

    Raises:
        AveragePrecisionError: a number is not finite.
    """
    frames, difficulties = list(measured.frames.values()), scaled_difficulties(measured.height_scale)
    every = joined_world([frame.truth for frame in frames], [frame.found for frame in frames])
    matches = match_by_centre(every, cameras, classes)
    projections = np.stack([camera.projection for camera in cameras])[every.found_frame]
    farthest = farthest_m(every.detections, projections, cameras)
    world = some_pairs(every, _may_touch(every, matches, farthest) & _may_count(every, classes))
    moderate, hard = difficulties[1:]
    return Analysis(
        len(frames),
        *oracle_rows(world, matches, projections, classes=classes, difficulties=difficulties),
        group_rows(world, matches, projections, classes=classes, difficulty=hard, height_scale=measured.height_scale),
        shift_rows(world, cameras, classes=classes, difficulty=moderate),
        match_counts(world, matches, classes=classes, difficulties=difficulties),
    )


def _may_touch(world: World, matches: Matches, farthest_m: Floats) -> NDArray[np.bool_]:
    """Return (p,) which pairs may ever share something: what may be replaced, or touches now or after the farthest shift."""
    first, second = world.pair_truth, world.pair_found
    reach = [np.hypot(part.size_hwl_m[:, 1], part.size_hwl_m[:, 2]) / 2 for part in (world.truth, world.detections)]
    both = reach[0][first] + (reach[1] + farthest_m)[second]
    apart = [np.abs(world.detections.location_m[second, axis] - world.truth.location_m[first, axis]) for axis in (0, 2)]
    is_near = (apart[0] < both) & (apart[1] < both)
    may_touch: NDArray[np.bool_] = is_near | (world.overlap["2d"] > 0) | (matches.truth != NO_OBJECT)[second]
    return may_touch


def _may_count(world: World, classes: Sequence[str]) -> NDArray[np.bool_]:
    """Return (p,) which pairs have an object that counts or is passed over in one of the categories."""
    names = [*classes, *(NEIGHBOUR[category] for category in classes if category in NEIGHBOUR)]
    may_count: NDArray[np.bool_] = np.any([is_of(world.truth, name) for name in names], axis=0)[world.pair_truth]
    return may_count


def few_objects_text(counts: Sequence[MatchCounts]) -> list[str]:
    """Return a warning for each category of which too few objects count for 100 per cent, or none."""
    step, texts = 100 / NUM_STEPS, []
    for category in dict.fromkeys(row.category for row in counts):
        rows = [row for row in counts if row.category == category]
        few = ", ".join(f"{row.difficulty} {step * max(0, row.num_truth - 1):g}" for row in rows if row.num_truth <= NUM_STEPS)
        if not any(row.num_truth for row in rows):
            texts.append(f"{category}: no object counts, so nothing is measured.")
        elif few:
            texts.append(
                f"{category}: AP says little where fewer than {NUM_STEPS + 1} objects count: with N of them perfect detections "
                f"get {step:g} times N - 1: {few}."
            )
    return texts
