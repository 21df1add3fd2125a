"""What a detector's average precision would be if one of the quantities that it says were right.

Why    A box counts or not as a whole; which of its numbers keeps it from counting is seen by replacing them one at a time.
       MonoDLE does so to show that depth and the projected centre are what is wrong
How    A detection that is an object's match takes the object's depth, projected centre, size, heading or image box. Its score
       stays, so that the ranking never changes, and so do the detections that mean nothing. All is done on copies: the public
       tool changes its maps in place, so that each of its columns ranks in another way
Source the diagnosis of MonoDLE, arXiv 2103.16237; docs/method/monoddle.md#oracle-analysis
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from model.data.objects import Objects
from model.data.rectified_camera import bearing_rad, unproject_pixels
from model.monoddle.analysis.oracle_matches import NO_OBJECT, Matches, centres_m, seen_at_px
from model.monoddle.heading import wrap_angle
from model.monoddle.precision.average_precision import NO_ANGLE_RAD, ApRow, Difficulty, measured_groups, precision_rows
from model.monoddle.precision.box_overlap import Floats
from model.monoddle.precision.overlap_pairs import World, with_detections
from model.monoddle.precision.precision_groups import distance_groups

REPLACEMENTS = {
    "nothing": frozenset[str](),
    "depth": frozenset({"depth"}),
    "centre": frozenset({"centre"}),
    "location": frozenset({"depth", "centre"}),
    "size": frozenset({"size"}),
    "heading": frozenset({"heading"}),
    "box": frozenset({"box"}),
    "everything": frozenset({"depth", "centre", "size", "heading", "box"}),
}
"""What is replaced, by the word for it: centre is the projected centre, location both, box the image box."""

_IN_SPACE = (("3d", "strict"), ("3d", "loose"))


class OracleRow(NamedTuple):
    """One average precision after a replacement; the fields after the first are those of ``ApRow``."""

    replaced: str
    category: str
    metric: str
    overlap: str
    min_overlap: float
    difficulty: str
    r40: float
    r11: float
    num_truth: int
    num_found: int


class OracleDistanceRow(NamedTuple):
    """One average precision of the objects of a group of distances, after a replacement; NaN where none counts."""

    replaced: str
    group: str
    category: str
    metric: str
    overlap: str
    min_overlap: float
    difficulty: str
    r40: float
    num_truth: int


class OracleRows(NamedTuple):
    """What replacements are worth: of all objects, and by distance."""

    every: list[OracleRow]
    by_distance: list[OracleDistanceRow]


def oracle_rows(
    world: World, matches: Matches, projections: Floats, *, classes: Sequence[str], difficulties: Sequence[Difficulty]
) -> OracleRows:
    """Measure every replacement; the rows of "nothing" are those of ``average_precision``.

    Args:
        world: the pairs may be some of all, see ``overlap_pairs.some_pairs``.
        matches: of its detections.
        projections: (d, 3, 4) of the detections' frames.
        classes: categories that are measured.
        difficulties: which objects count; by distance those of the second, which is moderate.
    """
    every, by_distance = list[OracleRow](), list[OracleDistanceRow]()
    for name, parts in REPLACEMENTS.items():
        changed = with_detections(world, with_truth(world, matches, projections, parts)) if parts else world
        every += [OracleRow(name, *row) for row in precision_rows(changed, classes=classes, difficulties=difficulties)]
        groups = distance_groups(changed)
        for category in classes:
            tables = measured_groups(
                changed, [group.group for group in groups], category=category, difficulty=difficulties[1], tables=_IN_SPACE
            )
            for of_table in tables:
                for group, (row, _) in zip(groups, of_table, strict=True):
                    r40 = row.r40 if row.num_truth else math.nan
                    by_distance.append(OracleDistanceRow(name, group.name, *row[:5], r40, row.num_truth))
    return OracleRows(every, by_distance)


def ap_row_of(row: OracleRow) -> ApRow:
    """Return a row without the word for what was replaced."""
    return ApRow(*row[1:])


def with_truth(world: World, matches: Matches, projections: Floats, parts: frozenset[str]) -> Objects:
    """Return copies of the detections, of which those that are matches have the parts of their objects."""
    is_match = matches.truth != NO_OBJECT
    truth = world.truth[matches.truth[is_match]]
    changed = replaced(world.detections[is_match], truth, projections[is_match], parts)
    columns = {}
    for name in ("alpha_rad", "box_px", "size_hwl_m", "location_m", "rotation_y_rad"):
        columns[name] = getattr(world.detections, name).copy()
        columns[name][is_match] = getattr(changed, name)
    return replace(world.detections, **columns)


def replaced(found: Objects, truth: Objects, projections: Floats, parts: frozenset[str]) -> Objects:
    """Return detections with parts of the truth.

    Depth moves the box along the ray of its centre. With another size the centre stays, not the bottom face. Where the projected
    centre moves, the observation angle stays, as a network says that, and the turn about the vertical follows; a replaced heading
    is the truth's turn, and the observation angle follows from where the box then is. With everything replaced the box is the
    truth's to the bit.

    Args:
        found: (m,) detections.
        truth: (m,) the objects that they mean.
        projections: (m, 3, 4).
        parts: of depth, centre, size, heading and box.
    """
    if parts == REPLACEMENTS["everything"]:
        return replace(truth, category=found.category, score=found.score)
    at_px = seen_at_px(truth if "centre" in parts else found, projections)
    depth_m = (truth if "depth" in parts else found).location_m[:, 2]
    size = truth.size_hwl_m if "size" in parts else found.size_hwl_m
    location = found.location_m.copy()
    if {"depth", "centre"} <= parts:
        location = centres_m(truth) + _half_height(size)
    elif parts & {"depth", "centre"}:
        location = unproject_pixels(projections, at_px, depth_m) + _half_height(size)
    elif "size" in parts:
        location = centres_m(found) + _half_height(size)
    alpha, rotation = found.alpha_rad, found.rotation_y_rad
    bearing = bearing_rad(projections, at_px)
    if "heading" in parts:
        is_known = truth.rotation_y_rad != NO_ANGLE_RAD
        rotation = np.where(is_known, truth.rotation_y_rad, rotation)
        alpha = np.where(is_known & (alpha != NO_ANGLE_RAD), wrap_angle(rotation - bearing), alpha)
    elif "centre" in parts:
        rotation = turned_with(rotation, bearing - bearing_rad(projections, seen_at_px(found, projections)))
    return replace(
        found,
        alpha_rad=alpha,
        box_px=truth.box_px if "box" in parts else found.box_px,
        size_hwl_m=size,
        location_m=location,
        rotation_y_rad=rotation,
    )


def turned_with(rotation_y_rad: Floats, bearing_change_rad: Floats) -> Floats:
    """Return the turns (n,) of boxes that are seen in another direction from the same side; KITTI's -10 stays."""
    return np.where(rotation_y_rad == NO_ANGLE_RAD, NO_ANGLE_RAD, wrap_angle(rotation_y_rad + bearing_change_rad))


def _half_height(size_hwl_m: Floats) -> Floats:
    """Return (n, 3) from the centres of boxes to the centres of their bottom faces; y points down."""
    half: Floats = np.array([0.0, 0.5, 0.0]) * size_hwl_m[:, :1]
    return half
