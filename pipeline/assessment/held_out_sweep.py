"""The key sweep as a reference for what was accumulated without it.

Why    Where no exact depth is known, a sweep that nothing else used is the only measurement that an error can be read from
Reads  the scene's tables, the key sweep's file
Writes depth of the key sweep (height, width) uint16, 1/256 m, 0 = not compared; groups of its pixels
Source docs/method/pipeline.md#measuring-supervision

Left out of the comparison: returns of the own car; pixels whose nearest return lies in a moving box; and returns behind the key
sweep's own closed surface, which the LiDAR sees over the top of things that the camera has before it.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import radians, tan

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pipeline.assessment.point_readers import PointReader, WithoutOwnCar
from pipeline.assessment.reference_groups import class_labels, returns_of_pixels, shape_labels
from pipeline.kernels.boxes import SceneBoxes
from pipeline.kernels.depth_errors import Labels
from pipeline.kernels.project_frames import project_frames
from pipeline.kernels.scene_points import Moving, read_scene_points
from pipeline.lidar_windows import LidarSweeps, chosen_sweeps
from pipeline.stages import accumulate_lidar
from storage_schemas.encoding import STEPS_PER_M
from storage_schemas.layout import Columns, rows

OWN_CAR_M = 2.5
"""Returns nearer to the scanner are the own car: the lowest beam of a roof scanner meets the road at 3.6 m."""

CLOSING_DEGREES = 1.4
"""Window that closes a single sweep: a little more than the widest space between two beams of a 32-beam scanner (1.33)."""

BEHIND_M, BEHIND_SHARE = 1.0, 0.1
"""A return is behind the closed surface if it is farther by more than both."""

KEPT_AND_DROPPED: tuple[Moving, Moving] = ("keep", "drop")
"""The key sweep with the returns in moving boxes, and without."""


@dataclass(frozen=True)
class Reference:
    """What a map is compared with.

    Attributes:
        steps: (height, width) uint16 depth of the key sweep, 1/256 m, 0 = not compared.
        held: files that nothing else may use.
        groups: whose box holds each pixel that is compared, and whether the returns around it scatter.
    """

    steps: NDArray[np.uint16]
    held: frozenset[str]
    groups: tuple[Labels, ...]


def held_out_reference(
    points: PointReader, tables: dict[str, Columns], p: accumulate_lidar.Params, *, scene: str, neighbours: int
) -> Reference:
    """Return the reference of one key frame.

    Args:
        points: reader of LiDAR files.
        tables: of the scene, with one row of ``keyframes``.
        p: of the accumulation: which LiDARs there are, and which boxes move.
        scene: its name, for errors.
        neighbours: sweeps on either side of the key sweep that are held out as well, for scanners whose revolutions overlap.

    Raises:
        SourceError: the scene has no LiDAR, the key frame no sweep, or a file is missing or broken.
    """
    (keyframe,) = rows(tables["keyframes"])
    lidars = chosen_sweeps(rows(tables["sweeps"]), p.lidar, scene=scene, only_keyframes=p.neighbors == "keyframes")
    keys = [window.start for window in lidars.windows([keyframe], 1, scene=scene)[0]]
    sweeps = [lidars.sweeps[key] for key in keys]
    boxes = SceneBoxes(tables["boxes"], moving_mps=p.moving_mps, movable=p.movable)
    reader, window = WithoutOwnCar(points, nearest_m=OWN_CAR_M), [[range(len(sweeps))]]
    height, width = int(keyframe["height"]), int(keyframe["width"])
    every, static = (
        project_frames(
            read_scene_points(reader, sweeps, boxes, moving=moving), [keyframe], window, height=height, width=width
        ).steps[0]
        for moving in KEPT_AND_DROPPED
    )
    is_hidden = behind_own_surface(every, window_px=window_px(float(keyframe["intrinsic_px"][0])))
    steps = np.where((static == every) & ~is_hidden, static, np.uint16(0))
    returns = [returns_of_pixels(reader.read_points(sweep["file"]), sweep, keyframe, steps) for sweep in sweeps]
    of_frame = [box for box in rows(tables["boxes"]) if box["sample_index"] == keyframe["sample_index"]]
    groups = (class_labels(returns, of_frame, steps), shape_labels(returns, steps))
    return Reference(steps, _held_files(lidars, keys, neighbours), groups)


def window_px(focal_px: float) -> int:
    """Return the side of the closing window in pixels, odd: ``CLOSING_DEGREES`` at the middle of the image."""
    return 2 * int(focal_px * tan(radians(CLOSING_DEGREES / 2))) + 1


def _held_files(lidars: LidarSweeps, keys: list[int], neighbours: int) -> frozenset[str]:
    files = set()
    for key in keys:
        span = next(span for span in lidars.spans.values() if key in span)
        held = range(max(span.start, key - neighbours), min(span.stop, key + neighbours + 1))
        files |= {lidars.sweeps[number]["file"] for number in held}
    return frozenset(files)


def behind_own_surface(steps: NDArray[np.uint16], *, window_px: int) -> NDArray[np.bool_]:
    """Say which pixels of a sparse map lie behind the surface that the map closes to.

    The surface is the grey closing of inverse depth, 0 where nothing is measured: in every window that holds the pixel there is
    something at least as near.

    Args:
        steps: (height, width) uint16, 1/256 m, 0 = no measurement.
        window_px: side of the closing window, odd.
    """
    inverse_depth = np.where(steps > 0, np.float32(STEPS_PER_M) / np.maximum(steps, 1), np.float32(0)).astype(np.float32)
    half = window_px // 2
    spread = np.empty_like(inverse_depth)
    _largest(inverse_depth, half, spread)
    _largest(-spread, half, inverse_depth)  # the smallest of the spread
    depth_m, nearest = steps.astype(np.float32) / STEPS_PER_M, -inverse_depth
    with np.errstate(divide="ignore"):
        surface_m = np.where(nearest > 0, np.float32(1) / nearest, np.float32(np.inf))
        is_behind = (depth_m - surface_m > BEHIND_M) & (depth_m > (1 + BEHIND_SHARE) * surface_m)
    return np.asarray((steps > 0) & is_behind)


@njit(cache=True, error_model="numpy")
def _largest(values, half, out):  # type: ignore[no-untyped-def]  # numba reads no annotations
    """Write the largest of the square window around each pixel, cut at the border, of float32 (height, width) to ``out``."""
    height, width = values.shape
    by_row = np.empty_like(values)
    for y in range(height):
        by_row[y] = values[y]
        for shift in range(1, half + 1):
            for x in range(width - shift):
                by_row[y, x] = max(by_row[y, x], values[y, x + shift])
            for x in range(shift, width):
                by_row[y, x] = max(by_row[y, x], values[y, x - shift])
    for y in range(height):
        out[y] = by_row[y]
        for row in range(max(0, y - half), min(height, y + half + 1)):
            for x in range(width):
                out[y, x] = max(out[y, x], by_row[row, x])
