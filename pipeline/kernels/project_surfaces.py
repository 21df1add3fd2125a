"""Project a scene's LiDAR points into every key frame of one camera by more than "the nearest return wins".

Each addition can be chosen alone: the front surface instead of the nearest return, and the mask behind moving boxes. All of it
runs on the CPU; the engines of ``pipeline.kernels.engine`` do the nearest return without additions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.kernels.accumulate import (
    EMPTY,
    FrozenGroups,
    Scratch,
    finish_frame,
    frustum_planes,
    gather_returns,
    new_scratch,
    project_nearest,
)
from pipeline.kernels.confidence import write_confidence
from pipeline.kernels.front_surface import TILE, form_surface, new_tile_memory, sort_into_tiles
from pipeline.kernels.moving_mask import EntryDepths, blank_nearest
from pipeline.kernels.project_frames import ProjectedFrames, Window, chosen_groups
from pipeline.kernels.scene_points import BOX_TIME_TOLERANCE_US, ScenePoints
from pipeline.poses import intrinsic_of, world_from_cam


@dataclass(frozen=True)
class SurfaceRule:
    """Which additions form a depth map.

    Attributes:
        is_front: the mean inverse depth of the front layer, instead of the nearest return.
        hides_behind_moving: what lies behind the entry into a moving box at the image's time is dropped.
        least_front_share: with ``is_front``, a pixel whose front layer holds less than this share of its returns stays empty.
        has_confidence: with ``is_front``, what is known of the returns of each pixel is told, too.
    """

    is_front: bool = False
    hides_behind_moving: bool = False
    least_front_share: float = 0.0
    has_confidence: bool = False

    @property
    def is_nearest_alone(self) -> bool:
        """Say that nothing is added to "the nearest return wins"."""
        return not (self.is_front or self.hides_behind_moving)


@dataclass(frozen=True)
class _Returns:
    """What one image's window gives: groups, matrices and planes, static groups first."""

    chosen: NDArray[np.int64]
    matrices: NDArray[np.float32]
    planes: NDArray[np.float32]
    num_static: int

    def part(self, groups: slice) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]:
        return self.chosen[groups], self.matrices[groups], self.planes[groups]

    @property
    def static(self) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]:
        return self.part(slice(self.num_static))

    @property
    def carried(self) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]:
        return self.part(slice(self.num_static, None))


def project_surfaces(
    points: ScenePoints,
    keyframes: Sequence[dict[str, Any]],
    windows: Sequence[Window],
    rule: SurfaceRule,
    *,
    height: int,
    width: int,
) -> ProjectedFrames:
    """Project each key frame's window of sweeps into its image, and form the depth map by a rule.

    Args:
        points: the scene's points; with ``hides_behind_moving`` they have boxes.
        keyframes: rows of ``frames.keyframes`` of one camera.
        windows: per key frame the sweeps to use, as numbers within ``points``; a range for each scanner.
        rule: the additions.
        height: image rows.
        width: image columns.
    """
    steps = np.empty((len(keyframes), height, width), np.uint16)
    num_measured = np.zeros(len(keyframes), np.int32)
    num_points = np.zeros(len(keyframes), np.int64)
    groups = points.groups
    entry = EntryDepths(height=height, width=width)
    form = (_FrontSurface if rule.is_front else _Nearest)(groups, rule, height=height, width=width)
    told = np.empty((5, len(keyframes) if rule.has_confidence else 0, height * width), np.uint8)
    facts, has_votes = np.zeros(height * width if rule.has_confidence else 0, np.uint32), groups.free_votes is not None
    for frame, (keyframe, window) in enumerate(zip(keyframes, windows, strict=True)):
        chosen, matrices = chosen_groups(points, keyframe, window)
        planes = frustum_planes(matrices, height=height, width=width)
        num_static = int(np.count_nonzero(groups.instance[chosen] < 0))
        if rule.hides_behind_moving and points.boxes is not None:
            boxes = points.boxes.moving_at_image(keyframe, tolerance_us=BOX_TIME_TOLERANCE_US)
            entry.find(boxes, world_from_cam(keyframe), intrinsic_of(keyframe))
        num_points[frame] = groups.num_points_of(chosen)
        returns = _Returns(chosen, matrices.astype(np.float32), planes, num_static)
        out = steps[frame].reshape(-1)
        num_measured[frame] = form.form(returns, int(num_points[frame]), entry, out, facts)
        if rule.has_confidence:
            write_confidence(out, facts, told[:, frame], has_votes=has_votes)
    names = ("confidence", "num_returns", "front_share", "spread", *(["free_votes"] if has_votes else []))
    of_pixels = dict(zip(names, told.reshape(5, -1, height, width), strict=False)) if rule.has_confidence else {}
    return ProjectedFrames(steps, num_measured, num_points, of_pixels)


class _Nearest:
    """The nearest return of every pixel, without what moving boxes hide."""

    def __init__(self, groups: FrozenGroups, _: SurfaceRule, *, height: int, width: int) -> None:
        self._groups, self._size = groups, (height, width)
        self._zbuffer = np.full(height * width, EMPTY, np.uint16)
        self._scratch = new_scratch()

    def form(self, returns: _Returns, _: int, entry: EntryDepths, out: NDArray[np.uint16], __: NDArray[np.uint32]) -> int:
        """Fill ``out`` (height * width,) with depth; return the number of measured pixels."""
        self._project(*returns.static)
        blank_nearest(self._zbuffer, entry.steps, entry.windows, self._size[1])
        if len(returns.chosen) > returns.num_static:
            self._project(*returns.carried)
        return int(finish_frame(self._zbuffer, out))

    def _project(self, chosen: NDArray[np.int64], matrices: NDArray[np.float32], planes: NDArray[np.float32]) -> None:
        g = self._groups
        points = (g.xyz_m, g.first_block, g.block_start, g.block_bounds_m)
        project_nearest(*points, chosen, matrices, planes, *self._size, self._zbuffer, self._scratch)


class _FrontSurface:
    """The mean inverse depth of every pixel's front layer, without what moving boxes hide."""

    def __init__(self, groups: FrozenGroups, rule: SurfaceRule, *, height: int, width: int) -> None:
        self._groups, self._size, self._rule = groups, (height, width), rule
        votes = groups.free_votes if rule.has_confidence else None
        self._free_votes = np.empty(0, np.uint8) if votes is None else votes
        self._starts = np.zeros(-(-height * width // TILE) + 1, np.int64)
        self._scratch: Scratch = new_scratch(0)
        self._keys, self._memory = np.empty(0, np.uint32), new_tile_memory(0)

    def form(
        self, returns: _Returns, num_points: int, entry: EntryDepths, out: NDArray[np.uint16], facts: NDArray[np.uint32]
    ) -> int:
        """Fill ``out`` (height * width,) with depth, and ``facts``, too; return the number of measured pixels."""
        has_votes = len(self._free_votes) > 0
        if len(self._keys) < num_points:  # pages that no return is written to cost nothing
            self._scratch = new_scratch(num_points, has_votes=has_votes)
            self._memory = new_tile_memory(num_points, has_votes=has_votes)
            self._keys = np.empty(num_points, np.uint64 if has_votes else np.uint32)
        num_static = self._gather(*returns.static, 0)
        count = self._gather(*returns.carried, num_static)
        packed = self._scratch.packed_slot, self._scratch.packed_step, self._scratch.packed_vote
        sort_into_tiles(*packed, num_static, count, self._starts, self._keys)
        hidden = entry.steps if len(entry.windows) else entry.steps[:0]
        return int(form_surface(self._starts, self._keys, hidden, self._rule.least_front_share, self._memory, out, facts))

    def _gather(self, chosen: NDArray[np.int64], matrices: NDArray[np.float32], planes: NDArray[np.float32], packed: int) -> int:
        g = self._groups
        points = (g.xyz_m, g.first_block, g.block_start, g.block_bounds_m, self._free_votes)
        return int(gather_returns(*points, chosen, matrices, planes, *self._size, self._scratch, packed))
