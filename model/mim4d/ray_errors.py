"""Errors of rendered rays, added up by kind of frame, of pixel and by range; and of one depth and one colour for all rays.

Source  docs/method/mim4d.md#evaluation
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise, product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from model.mim4d.composite import Rendered
from model.mim4d.loss import DIRECT, RECONSTRUCT
from model.mim4d.rays import Rays
from model.train.measures import RANGE_EDGES_M

COPIED = "copied"
"""The volume of the nearest other frame, as if the vehicle stood still."""

COPIED_WARPED = "copied_warped"
"""The same, moved to where the vehicle is."""

SWAPPED = "swapped"
"""The same frame's volume of a clip of another scene."""

REBUILT_SWAPPED = "reconstruct_swapped"
"""Rebuilt like ``reconstruct``, from the other frames of a clip of another scene, driven as this one is. A network whose rebuilt
volumes are no better than these has learned what drives look like, not what its frames show."""

CONSTANT = "constant"
"""No volume: the median depth and the mean colour of all rays that are measured on."""

VOLUMES = (DIRECT, RECONSTRUCT, COPIED, COPIED_WARPED, SWAPPED, REBUILT_SWAPPED, CONSTANT)

_FRAMES = {"all": slice(None), "key": slice(1, 2), "history": slice(0, 1)}
_PIXELS = {"all": slice(None), "masked": slice(1, 2), "visible": slice(0, 1)}
"""Names of frames and pixels, and their cells in a table."""

ANY_RANGE = "all"
_NUM_RANGES = len(RANGE_EDGES_M) - 1

_NEAREST_M = 0.1
"""Rendered depths below this many metres count as this, because ratios are taken."""


class RenderRow(NamedTuple):
    """How well one kind of volume shows one kind of ray.

    Attributes:
        volume: one of ``VOLUMES``.
        frames: rendered frames: all, the key frame, or the others (history).
        pixels: all, those in hidden patches (masked), or those the network saw (visible).
        range_m: distance of the LiDAR point along the ray, "low-high", or all.
        num_rays: rays to held-out points.
        abs_rel: mean of the error over the distance; NaN without such rays.
        rmse_m: root of the mean squared error, metres.
        delta1: share of rays whose ratio to the truth, or its inverse, is below 1.25.
        num_colours: rays whose colour was compared, with or without a point; 0 for a single range.
        rgb_l1: mean absolute difference of their colours, 0 to 1; NaN without any.
    """

    volume: str
    frames: str
    pixels: str
    range_m: str
    num_rays: int
    abs_rel: float
    rmse_m: float
    delta1: float
    num_colours: int
    rgb_l1: float


class RayCells(NamedTuple):
    """Which rays (r) count, and to which cell of a table each belongs, on the CPU.

    Attributes:
        is_ray: the slot holds a ray.
        is_measured: it goes to a held-out point.
        group: whether the frame is the key frame (2), times whether the pixel was hidden (2).
        range_bin: of the point.
    """

    is_ray: NDArray[np.bool_]
    is_measured: NDArray[np.bool_]
    group: NDArray[np.int64]
    range_bin: NDArray[np.int64]


def cells_of(rays: Rays, frame: int) -> RayCells:
    """Return the cells of the rays of one frame of a single clip (1, r); frame 0 is the key frame."""
    distance = _array(rays.depth_m)
    range_bin = np.clip(np.searchsorted(RANGE_EDGES_M, distance) - 1, 0, _NUM_RANGES - 1)
    is_masked = _array(rays.is_masked).astype(np.int64)
    return RayCells(_array(rays.is_ray), _array(rays.is_measured), 2 * int(frame == 0) + is_masked, range_bin)


def _array(values: Tensor) -> NDArray[Any]:
    """Return the rays of a single clip (1, r, ...)."""
    array: NDArray[Any] = values[0].cpu().numpy()
    return array


@dataclass
class RayErrors:
    """Adds up errors: of depth by (frame, mask, range), of colour by (frame, mask)."""

    depth: NDArray[np.float64] = field(default_factory=lambda: np.zeros((4, 2 * 2 * _NUM_RANGES)))
    """rows: count, relative error, squared error, ratios below 1.25"""
    colour: NDArray[np.float64] = field(default_factory=lambda: np.zeros((2, 2 * 2)))
    """rows: count, absolute difference"""

    def add(self, seen: Rendered, rays: Rays, cells: RayCells) -> None:
        """Count one frame of one clip; rays that miss the box of voxels count nowhere."""
        is_hit = _array(seen.is_hit).astype(bool)
        cells = cells._replace(is_ray=cells.is_ray & is_hit, is_measured=cells.is_measured & is_hit)
        difference = _array((seen.rgb - rays.rgb).abs().mean(dim=-1))
        self.add_values(_array(seen.depth_m), _array(rays.depth_m), difference, cells)

    def add_values(self, predicted_m: NDArray[Any], true_m: NDArray[Any], difference: NDArray[Any], cells: RayCells) -> None:
        """Count rays (r): depths found and true, differences of colour."""
        counted = cells.is_measured
        predicted = np.maximum(predicted_m[counted].astype(np.float64), _NEAREST_M)
        true = true_m[counted].astype(np.float64)
        error = np.abs(predicted - true)
        is_near = np.maximum(predicted / true, true / predicted) < 1.25
        cell = cells.group[counted] * _NUM_RANGES + cells.range_bin[counted]
        values = (np.ones_like(true), error / true, error**2, is_near.astype(np.float64))
        self.depth += [np.bincount(cell, weights, minlength=self.depth.shape[1]) for weights in values]
        group, colour = cells.group[cells.is_ray], difference[cells.is_ray].astype(np.float64)
        self.colour += [np.bincount(group, weights, minlength=self.colour.shape[1]) for weights in (np.ones_like(colour), colour)]

    def include(self, other: RayErrors) -> None:
        """Count what another one counted."""
        self.depth += other.depth
        self.colour += other.colour

    def rows(self, name: str) -> Iterator[RenderRow]:
        """Yield the rows of a volume: by frames and pixels over all ranges, then by ranges."""
        depth = self.depth.reshape(4, 2, 2, _NUM_RANGES)
        colour = self.colour.reshape(2, 2, 2)
        for (frames, at_frames), (pixels, at_pixels) in product(_FRAMES.items(), _PIXELS.items()):
            of_depth = depth[:, at_frames, at_pixels].sum(axis=(1, 2, 3))
            of_colour = colour[:, at_frames, at_pixels].sum(axis=(1, 2))
            if of_depth[0] or of_colour[0]:
                yield _row(name, frames, pixels, ANY_RANGE, of_depth, of_colour)
        for place, (low, high) in enumerate(pairwise(RANGE_EDGES_M)):
            of_depth = depth[..., place].sum(axis=(1, 2))
            if of_depth[0]:
                yield _row(name, "all", "all", f"{low}-{high}", of_depth, np.zeros(2))


def _row(name: str, frames: str, pixels: str, range_m: str, depth: NDArray[np.float64], colour: NDArray[np.float64]) -> RenderRow:
    with np.errstate(invalid="ignore"):
        _, abs_rel, squared, delta1 = (float(mean) for mean in depth / depth[0])
        rgb_l1 = float(colour[1] / colour[0])
    return RenderRow(
        name, frames, pixels, range_m, int(depth[0]), abs_rel, float(np.sqrt(squared)), delta1, int(colour[0]), rgb_l1
    )


class RayTruth:
    """Keeps what all rays should show, to compare it with one depth and one colour at the end."""

    def __init__(self) -> None:
        self._parts: list[tuple[str, NDArray[np.float32], NDArray[np.float32], RayCells]] = []
        self.num_measured = 0

    def add(self, rays: Rays, cells: RayCells, *, clip: str) -> None:
        """Keep the rays of one frame of a clip."""
        self._parts.append((clip, _array(rays.depth_m).astype(np.float32), _array(rays.rgb).astype(np.float32), cells))
        self.num_measured += int(cells.is_measured.sum())

    def compared_with_constants(self) -> dict[str, RayErrors]:
        """Return the errors of the median depth and of the mean colour of all rays, by clip."""
        median_m = float(np.median(np.concatenate([depth[cells.is_measured] for _, depth, _, cells in self._parts])))
        mean = np.concatenate([rgb[cells.is_ray] for _, _, rgb, cells in self._parts]).mean(axis=0)
        sums: dict[str, RayErrors] = {}
        for clip, depth, rgb, cells in self._parts:
            errors = sums.setdefault(clip, RayErrors())
            errors.add_values(np.full_like(depth, median_m), depth, np.abs(rgb - mean).mean(axis=-1), cells)
        return sums
