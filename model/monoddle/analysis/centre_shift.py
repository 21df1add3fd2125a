"""How fast average precision falls with an error of the centre: all are moved alike, along their rays or across the image.

Why    The overlap that KITTI asks for makes localisation decide (MonoDLE, arXiv 2103.16237). Two curves tell what an error costs:
       of the annotated objects themselves as detections, all other numbers exact, and of the detector's own. Where the highest
       point of the second is not at 0, the detector is biased
Source docs/method/monoddle.md#shift-experiment
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.data.objects import Objects
from model.data.rectified_camera import bearing_rad, unproject_pixels
from model.monoddle.analysis.oracle import turned_with
from model.monoddle.analysis.oracle_matches import has_place, seen_at_px
from model.monoddle.measured_cameras import FrameCamera
from model.monoddle.precision.average_precision import Difficulty, counts_at, precision_rows
from model.monoddle.precision.box_overlap import Floats
from model.monoddle.precision.overlap_pairs import Frames, World, paired_world, with_detections

DEPTHS_M = (-3.0, -2.0, -1.5, -1.0, -0.75, -0.5, -0.25, 0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0)
"""Errors of depth, metres; more is deeper."""

SIDES_PX = (-16.0, -8.0, -6.0, -4.0, -2.0, -1.0, 0.0, 1.0, 2.0, 4.0, 6.0, 8.0, 16.0)
"""Errors of the projected centre's column, pixels of an image about 1,280 wide; more is to the right."""

LEAST_DEPTH_M = 0.1
"""A centre that would be moved behind the camera stays this far before it."""

_TABLES = (("3d", "strict"), ("bev", "strict"), ("3d", "loose"), ("bev", "loose"))

_PUBLISHED_WIDTH_PX = 1280


class ShiftRow(NamedTuple):
    """One average precision with all centres moved.

    Attributes:
        detections: truth or own.
        by: depth_m or side_px.
        shift: metres deeper, or pixels to the right.
        category: what is looked for.
        metric: 3d or bev.
        overlap: strict or loose.
        min_overlap: the number behind it.
        difficulty: name of it.
        r40: percent.
        num_truth: objects that count.
    """

    detections: str
    by: str
    shift: float
    category: str
    metric: str
    overlap: str
    min_overlap: float
    difficulty: str
    r40: float
    num_truth: int


def shift_rows(world: World, cameras: Sequence[FrameCamera], *, classes: Sequence[str], difficulty: Difficulty) -> list[ShiftRow]:
    """Measure every shift, of the truth and of the detector's own boxes.

    Args:
        world: the pairs that ``farthest_m`` leaves out may be missing.
        cameras: of the frames.
        classes: categories that are measured.
        difficulty: which objects count; of the truth as detections there are no others.
    """
    rows = []
    for category in classes:
        truth = _truth_as_detections(world, category, difficulty)
        for name, one in (("truth", truth), ("own", world)):
            rows += _rows_of(name, one, cameras, category, difficulty)
    return rows


def sides_px(cameras: Sequence[FrameCamera]) -> tuple[float, ...]:
    """Return the errors of the projected centre in pixels: halved or doubled for images of quite another width."""
    width = float(np.median([camera.image_px[1] for camera in cameras]))
    scale = 2.0 ** round(math.log2(width / _PUBLISHED_WIDTH_PX))
    return tuple(scale * side for side in SIDES_PX)


def farthest_m(detections: Objects, projections: Floats, cameras: Sequence[FrameCamera]) -> Floats:
    """Return (d,) how far on the ground each detection is moved at most, so that pairs farther apart can be left out."""
    at, most = detections.location_m, np.zeros(len(detections))
    sides = sides_px(cameras)
    for by, shift in (("depth_m", DEPTHS_M[0]), ("depth_m", DEPTHS_M[-1]), ("side_px", sides[0]), ("side_px", sides[-1])):
        moved = shifted(detections, projections, by, shift).location_m
        most = np.maximum(most, np.hypot(moved[:, 0] - at[:, 0], moved[:, 2] - at[:, 2]))
    return most


def shifted(detections: Objects, projections: Floats, by: str, shift: float) -> Objects:
    """Return copies of detections (d,) whose centres are deeper by so many metres, or farther right by so many pixels.

    Depth moves along the ray. To the side the depth and the observation angle stay, and the turn about the vertical follows.
    """
    return _moved(detections, _rays(detections, projections), by, shift)


class _Rays(NamedTuple):
    """What does not change with a shift: of the n detections that stand somewhere, where they are seen."""

    which: NDArray[np.intp]
    projections: Floats
    at_px: Floats
    bearing_rad: Floats


def _rays(detections: Objects, projections: Floats) -> _Rays:
    which = np.flatnonzero(has_place(detections))
    through = projections[which]
    at_px = seen_at_px(detections, projections)[which]
    return _Rays(which, through, at_px, bearing_rad(through, at_px))


def _moved(detections: Objects, rays: _Rays, by: str, shift: float) -> Objects:
    which, through, at_px = rays.which, rays.projections, rays.at_px
    location, rotation = detections.location_m.copy(), detections.rotation_y_rad
    depth_m = location[which, 2]
    if by == "depth_m":
        depth_m = np.maximum(depth_m + shift, LEAST_DEPTH_M)
    else:
        at_px, rotation = at_px + np.array([shift, 0.0]), rotation.copy()
        rotation[which] = turned_with(rotation[which], bearing_rad(through, at_px) - rays.bearing_rad)
    location[which] = unproject_pixels(through, at_px, depth_m)
    location[which, 1] += 0.5 * detections.size_hwl_m[which, 0]
    return replace(detections, location_m=location, rotation_y_rad=rotation)


def _rows_of(name: str, world: World, cameras: Sequence[FrameCamera], category: str, difficulty: Difficulty) -> list[ShiftRow]:
    """Return the rows of one set of detections; only those that stand near an object are moved, as the others share nothing."""
    near = np.unique(world.pair_found)
    projections = np.stack([camera.projection for camera in cameras])[world.found_frame]
    rays = _rays(world.detections, projections)
    is_near = np.isin(rays.which, near)
    rays = _Rays(rays.which[is_near], rays.projections[is_near], rays.at_px[is_near], rays.bearing_rad[is_near])
    rows = []
    for by, shifts in (("depth_m", DEPTHS_M), ("side_px", sides_px(cameras))):
        for shift in shifts:
            moved = with_detections(world, _moved(world.detections, rays, by, shift)) if shift else world
            for row in precision_rows(moved, classes=[category], difficulties=[difficulty], tables=_TABLES):
                rows.append(ShiftRow(name, by, shift, *row[:5], row.r40, row.num_truth))
    return rows


def _truth_as_detections(world: World, category: str, difficulty: Difficulty) -> World:
    """Return a world in which exactly the objects that count were found, all equally sure."""
    is_counted = counts_at(world.truth, category, difficulty)
    found, frame_of = world.truth[is_counted], world.truth_frame[is_counted]
    found = replace(found, score=np.ones(len(found)))
    num_frames = 1 + max(int(part.max(initial=-1)) for part in (world.truth_frame, world.found_frame))
    frames = [
        Frames(objects, np.bincount(of, minlength=num_frames), of)
        for objects, of in ((world.truth, world.truth_frame), (found, frame_of))
    ]
    return paired_world(*frames)
