"""How fast average precision falls with an error of the centre: all are moved alike, along their rays or across the image.

Why    The overlap that KITTI asks for makes localisation decide (MonoDLE, section 3.1). Two curves tell what an error costs:
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

from model.data.objects import Objects
from model.data.rectified_camera import bearing_rad, unproject_pixels
from model.monoddle.average_precision import Difficulty, counts_at, precision_rows
from model.monoddle.box_overlap import Floats
from model.monoddle.measured_cameras import FrameCamera
from model.monoddle.oracle import turned_with
from model.monoddle.oracle_matches import has_place, seen_at_px
from model.monoddle.overlap_pairs import Frames, World, paired_world, with_detections

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
    stands = has_place(detections)
    some, through = detections[stands], projections[stands]
    at_px, depth_m = seen_at_px(some, through), some.location_m[:, 2]
    rotation = detections.rotation_y_rad.copy()
    if by == "depth_m":
        depth_m = np.maximum(depth_m + shift, LEAST_DEPTH_M)
    else:
        before, at_px = at_px, at_px + np.array([shift, 0.0])
        rotation[stands] = turned_with(some.rotation_y_rad, bearing_rad(through, at_px) - bearing_rad(through, before))
    location = detections.location_m.copy()
    location[stands] = unproject_pixels(through, at_px, depth_m) + np.array([0.0, 0.5, 0.0]) * some.size_hwl_m[:, :1]
    return replace(detections, location_m=location, rotation_y_rad=rotation)


def _rows_of(name: str, world: World, cameras: Sequence[FrameCamera], category: str, difficulty: Difficulty) -> list[ShiftRow]:
    """Return the rows of one set of detections; only those that stand near an object are moved, as the others share nothing."""
    near = np.unique(world.pair_found)
    projections = np.stack([camera.projection for camera in cameras])[world.found_frame[near]]
    rows = []
    for by, shifts in (("depth_m", DEPTHS_M), ("side_px", sides_px(cameras))):
        for shift in shifts:
            moved_world = world
            if shift:
                moved = shifted(world.detections[near], projections, by, shift)
                location, rotation = world.detections.location_m.copy(), world.detections.rotation_y_rad.copy()
                location[near], rotation[near] = moved.location_m, moved.rotation_y_rad
                every = replace(world.detections, location_m=location, rotation_y_rad=rotation)
                moved_world = with_detections(world, every)
            for row in precision_rows(moved_world, classes=[category], difficulties=[difficulty], tables=_TABLES):
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
