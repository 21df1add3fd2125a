"""How good a detector is on near and far, hidden and visible, small and large objects, and by how much it is wrong there.

Why    One average precision does not say where objects are missed, nor which of their numbers is wrong
How    Every object is in one group, and every false alarm too, by its own distance or height. The matching is that of all
       objects, so that hits and alarms of the groups add up to those of all. A false alarm is not hidden by anything, so by
       occlusion there is recall and no average precision. Errors are those of an object's match, see ``oracle_matches``
Source docs/method/monoddle.md#oracle-analysis
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.data.rectified_camera import unproject_pixels
from model.monoddle.analysis.oracle_matches import NO_OBJECT, Matches, centres_m, seen_at_px
from model.monoddle.heading import wrap_angle
from model.monoddle.precision.average_precision import NO_ANGLE_RAD, Difficulty, Group, counts_at, measured_groups
from model.monoddle.precision.box_overlap import Floats, overlap_3d, solid_boxes
from model.monoddle.precision.overlap_pairs import World, is_of

DISTANCE_EDGES_M = (10.0, 20.0, 30.0, 40.0, 50.0, 60.0)
"""Between the groups of distances, metres along the optical axis."""

HEIGHT_EDGES_PX = (40.0, 60.0, 100.0, 160.0)
"""Between the groups of heights of the image box; times the evaluation's height scale."""

OCCLUSIONS = ("visible", "partly hidden", "largely hidden")
"""What KITTI's 0, 1 and 2 mean."""

_TABLES = (("3d", "strict"), ("bev", "strict"), ("3d", "loose"), ("bev", "loose"))


class GroupRow(NamedTuple):
    """One category in one group of objects; NaN where there is nothing to measure.

    Attributes:
        by: all, distance, occlusion or height.
        group: which of them, e.g. "10-20 m".
        category: of the objects.
        difficulty: objects that count at it are looked at.
        num_truth: such objects.
        num_matched: those of them that a detection means.
        recall_image: per cent of the objects that a detection means.
        recall_3d_strict: per cent that KITTI's matching finds in space when every detection counts.
        recall_3d_loose: likewise, with the loose overlap.
        r40_3d_strict: average precision of the group, per cent; NaN by occlusion.
        r40_bev_strict: likewise from above.
        r40_3d_loose: likewise.
        r40_bev_loose: likewise.
        depth_bias_m: mean of found less true depth of matched objects; errors below are of the same objects.
        depth_mae_m: mean absolute error of depth.
        depth_mae_percent: the same over the true depth.
        centre_mae_px: mean distance of the projected centres.
        lateral_mae_m: mean absolute error to the side that is left with the right depth.
        vertical_mae_m: mean absolute error of the height above ground that is left with it.
        height_mae_m: mean absolute error of the height.
        width_mae_m: of the width.
        length_mae_m: of the length.
        heading_mae_deg: of the turn about the vertical.
        turned_percent: per cent of the objects whose turn is wrong by more than 90 degrees.
        overlap_3d: mean overlap in space.
    """

    by: str
    group: str
    category: str
    difficulty: str
    num_truth: int
    num_matched: int
    recall_image: float
    recall_3d_strict: float
    recall_3d_loose: float
    r40_3d_strict: float
    r40_bev_strict: float
    r40_3d_loose: float
    r40_bev_loose: float
    depth_bias_m: float
    depth_mae_m: float
    depth_mae_percent: float
    centre_mae_px: float
    lateral_mae_m: float
    vertical_mae_m: float
    height_mae_m: float
    width_mae_m: float
    length_mae_m: float
    heading_mae_deg: float
    turned_percent: float
    overlap_3d: float


class NamedGroup(NamedTuple):
    """A group of objects with the words for it; see ``GroupRow``."""

    by: str
    name: str
    group: Group


def group_rows(
    world: World,
    matches: Matches,
    projections: Floats,
    *,
    classes: Sequence[str],
    difficulty: Difficulty,
    height_scale: float,
) -> list[GroupRow]:
    """Measure each group of each category.

    Args:
        world: annotated objects and detections.
        matches: of the detections.
        projections: (d, 3, 4) of the detections' frames.
        classes: categories that are measured.
        difficulty: which objects are looked at.
        height_scale: the edges between heights are multiplied by it.
    """
    groups, rows = _groups(world, height_scale), list[GroupRow]()
    errors = _errors(world, matches, projections)
    for category in classes:
        every_group = [one.group for one in groups]
        measured = measured_groups(world, every_group, category=category, difficulty=difficulty, tables=_TABLES)
        is_counted = counts_at(world.truth, category, difficulty)
        for number, (by, name, group) in enumerate(groups):
            strict, bev_strict, loose, bev_loose = (of_table[number] for of_table in measured)
            num_truth = strict.row.num_truth
            in_group = np.flatnonzero((matches.truth != NO_OBJECT) & is_of(world.detections, category))
            in_group = in_group[(is_counted & group.is_counted)[matches.truth[in_group]]]
            has_precision = num_truth > 0 and by != "occlusion"
            precisions = [of.row.r40 if has_precision else math.nan for of in (strict, bev_strict, loose, bev_loose)]
            recalls = [_percent(count, num_truth) for count in (len(in_group), strict.num_hits, loose.num_hits)]
            means = [_mean(values[in_group]) for values in errors]
            rows.append(GroupRow(by, name, category, difficulty.name, num_truth, len(in_group), *recalls, *precisions, *means))
    return rows


def _groups(world: World, height_scale: float) -> list[NamedGroup]:
    """Return every group; those of a kind hold each object once, and but by occlusion each detection too."""
    height_px = [np.abs(part.box_px[:, 3] - part.box_px[:, 1]) for part in (world.truth, world.detections)]
    every = Group(np.ones(len(world.truth), bool), np.ones(len(world.detections), bool))
    nothing = np.zeros(len(world.detections), bool)
    return [
        NamedGroup("all", "all", every),
        *distance_groups(world),
        *(
            NamedGroup("occlusion", name, Group(world.truth.occlusion == number, nothing))
            for number, name in enumerate(OCCLUSIONS)
        ),
        *_bins("height", tuple(height_scale * edge for edge in HEIGHT_EDGES_PX), "px", *height_px),
    ]


def distance_groups(world: World) -> list[NamedGroup]:
    """Return the groups of objects by their distance; of detections, by that which they say."""
    depth_m = [part.location_m[:, 2] for part in (world.truth, world.detections)]
    return _bins("distance", DISTANCE_EDGES_M, "m", *depth_m)


def _bins(by: str, edges: Sequence[float], unit: str, of_truth: Floats, of_found: Floats) -> list[NamedGroup]:
    """Return the groups between edges; the first begins anywhere, and the last has no end."""
    truth_bin, found_bin = np.digitize(of_truth, edges), np.digitize(of_found, edges)
    between = [f"{low:g} to {high:g} {unit}" for low, high in itertools.pairwise(edges)]
    names = [f"below {edges[0]:g} {unit}", *between, f"from {edges[-1]:g} {unit}"]
    return [NamedGroup(by, name, Group(truth_bin == number, found_bin == number)) for number, name in enumerate(names)]


def _errors(world: World, matches: Matches, projections: Floats) -> list[Floats]:
    """Return the errors of ``GroupRow`` from depth_bias_m on, (d,) each; NaN of detections that are no match."""
    is_match = matches.truth != NO_OBJECT
    found, truth, projections = world.detections[is_match], world.truth[matches.truth[is_match]], projections[is_match]
    depth_m, true_m = found.location_m[:, 2], truth.location_m[:, 2]
    apart_px = seen_at_px(found, projections) - seen_at_px(truth, projections)
    at_true_depth = unproject_pixels(projections, seen_at_px(found, projections), true_m) - centres_m(truth)
    turn_deg = np.degrees(np.abs(wrap_angle(found.rotation_y_rad - truth.rotation_y_rad)))
    turn_deg = np.where((found.rotation_y_rad == NO_ANGLE_RAD) | (truth.rotation_y_rad == NO_ANGLE_RAD), np.nan, turn_deg)
    size = np.abs(found.size_hwl_m - truth.size_hwl_m)
    of_matches = [
        depth_m - true_m,
        np.abs(depth_m - true_m),
        100.0 * np.abs(depth_m - true_m) / true_m,
        np.hypot(apart_px[:, 0], apart_px[:, 1]),
        np.abs(at_true_depth[:, 0]),
        np.abs(at_true_depth[:, 1]),
        *size.T,
        turn_deg,
        np.where(np.isnan(turn_deg), np.nan, 100.0 * (turn_deg > 90.0)),
        overlap_3d(solid_boxes(truth), solid_boxes(found)),
    ]
    spread = []
    for values in of_matches:
        of_all = np.full(len(world.detections), np.nan)
        of_all[is_match] = values
        spread.append(of_all)
    return spread


def _mean(values: NDArray[np.float64]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else math.nan


def _percent(count: int, of: int) -> float:
    return 100.0 * count / of if of else math.nan


class MatchCounts(NamedTuple):
    """What became of the objects and the detections of a category at a difficulty.

    Detections that are too low for it are left out, but for the matches of objects that count.

    Attributes:
        category: of both.
        difficulty: name of it.
        num_truth: objects that count.
        num_matched: those that a detection means.
        num_missed: the others.
        num_found: detections.
        num_passed_over: those that are the match of an object that does not count: too hard, or of the neighbour.
        num_duplicates: those that mean an object which has a surer one.
        num_alarms: those that mean nothing.
    """

    category: str
    difficulty: str
    num_truth: int
    num_matched: int
    num_missed: int
    num_found: int
    num_passed_over: int
    num_duplicates: int
    num_alarms: int


def match_counts(
    world: World, matches: Matches, *, classes: Sequence[str], difficulties: Sequence[Difficulty]
) -> list[MatchCounts]:
    """Count what is matched, for each category and difficulty."""
    rows = []
    for category in classes:
        for difficulty in difficulties:
            is_counted = counts_at(world.truth, category, difficulty)
            height_px = np.abs(world.detections.box_px[:, 3] - world.detections.box_px[:, 1])
            is_match = is_of(world.detections, category) & (matches.truth != NO_OBJECT)
            is_matched = is_match & np.append(is_counted, False)[matches.truth]  # NO_OBJECT is the last, which does not count
            is_high = is_of(world.detections, category) & (height_px >= difficulty.min_height_px)
            is_found, is_match = is_high | is_matched, is_match & (is_high | is_matched)
            matched = int(np.count_nonzero(is_matched))
            num_truth = int(np.count_nonzero(is_counted))
            duplicates = int(np.count_nonzero(is_found & matches.is_duplicate))
            found, of_objects = int(np.count_nonzero(is_found)), int(np.count_nonzero(is_match))
            rows.append(
                MatchCounts(
                    category,
                    difficulty.name,
                    num_truth,
                    matched,
                    num_truth - matched,
                    found,
                    of_objects - matched,
                    duplicates,
                    found - of_objects - duplicates,
                )
            )
    return rows
