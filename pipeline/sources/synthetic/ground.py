"""What everything stands on: a plane, or slopes along the streets with a crowned carriageway and kerbs.

The ground is made of slabs, and its height at a place is that of the highest slab there, so that whoever asks
`height_at` stands on exactly the surface that rays meet.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np

from pipeline.geometry import rotation_matrix
from pipeline.sources.synthetic.drive import Drive, positions_along
from pipeline.sources.synthetic.rigid import Floats, Motion, quaternion_from_yaw_pitch_roll, quaternion_product
from pipeline.sources.synthetic.solids import Piece

if TYPE_CHECKING:
    from pipeline.sources.synthetic.world import World

BURIED_M = 0.5
STEEPEST = 0.045
WHEELBASE_M = 2.6
TRACK_M = 1.6
SMOOTHED_M = 1.5
_STEP_M = 0.25


@dataclass(frozen=True)
class Ground:
    """The ground: its slabs, and the height in metres of the plane under all of them, which is the ground where none is."""

    pieces: tuple[Piece, ...] = ()
    plane_m: float = 0.0

    @cached_property
    def _slabs(self) -> Floats:
        """The slabs (k, 10) as `Primitives` has them."""
        return np.array([piece.numbers for piece in self.pieces], dtype=np.float64).reshape(-1, 10)

    def height_at(self, xy_m: Floats) -> Floats:
        """Return the height (n,) in metres of the ground at places (n, 2), world frame."""
        from pipeline.sources.synthetic.ground_kernels import highest_tops

        xy = np.ascontiguousarray(np.asarray(xy_m, dtype=np.float64).reshape(-1, 2))
        if not self.pieces:
            return np.full(len(xy), self.plane_m)
        height: Floats = highest_tops(self._slabs, xy, self.plane_m)
        return height


FLAT: Final = Ground()
"""The plane z = 0."""


def stand(pieces: Sequence[Piece], ground: Ground) -> list[Piece]:
    """Return standing pieces, made for a plane at z = 0, raised by the ground below their middles.

    What reaches the plane goes on 0.5 m below it, a long house farther, so that no gap opens at the lower side of a slope.
    """
    if not ground.pieces or not pieces:
        return list(pieces)
    heights = ground.height_at(np.array([piece.numbers[:2] for piece in pieces]))
    return [raised(piece, height, buried_m=BURIED_M) for piece, height in zip(pieces, heights.tolist(), strict=True)]


def raised(piece: Piece, height_m: float, *, buried_m: float = 0.0) -> Piece:
    """Return a piece lifted by a height; what reaches down to 0 goes on `buried_m` below its place."""
    numbers = list(piece.numbers)
    if piece.shape == "cylinder":
        numbers[3], numbers[4] = numbers[3] + height_m - (buried_m if numbers[3] <= 0.0 else 0.0), numbers[4] + height_m
    elif piece.shape == "box" and numbers[2] - numbers[5] <= 1e-9:
        buried_m = max(buried_m, STEEPEST * math.hypot(numbers[3], numbers[4])) if buried_m else 0.0
        numbers[2], numbers[5] = numbers[2] + height_m - buried_m / 2, numbers[5] + buried_m / 2
    else:
        numbers[2] += height_m
    return Piece(piece.shape, tuple(numbers), piece.material, piece.colour, piece.surface, piece.owner)


def on_ground(drive: Drive, world: World) -> Drive:
    """Return the drive with the ego vehicle on the ground: its height, and the pitch and roll of the slope under its wheels.

    Heights are smoothed over 1.5 m of way, as tyres and springs do. A drive on a plane comes back as it is.
    """
    ground = world.ground
    if not ground.pieces:
        return drive
    motion = drive.world_from_ego
    _, xy, travelled = positions_along(drive)
    forward = rotation_matrix(motion.quaternions)[:, :2, 0]
    forward = forward / np.linalg.norm(forward, axis=1, keepdims=True)
    left = np.stack([-forward[:, 1], forward[:, 0]], axis=1)
    rear, front, left_m, right_m = (
        _smoothed(ground, xy + offset, forward, travelled)
        for offset in (0.0, WHEELBASE_M * forward, TRACK_M / 2 * left, -TRACK_M / 2 * left)
    )
    pitch, roll = -np.arctan2(front - rear, WHEELBASE_M), np.arctan2(left_m - right_m, TRACK_M)
    yaw = np.arctan2(forward[:, 1], forward[:, 0])
    nod = quaternion_product(quaternion_from_yaw_pitch_roll(-yaw, 0.0, 0.0), motion.quaternions)
    quaternions = quaternion_product(quaternion_from_yaw_pitch_roll(yaw, pitch, roll), nod)
    translations = motion.translations_m + np.stack([0 * rear, 0 * rear, rear], axis=1)
    return replace(drive, world_from_ego=Motion(motion.knot_us, quaternions, translations))


def _smoothed(ground: Ground, xy_m: Floats, forward: Floats, travelled_m: Floats) -> Floats:
    """Return the mean ground height (n,) over 1.5 m along the way around places (n, 2)."""
    shifts = np.arange(-SMOOTHED_M / 2, SMOOTHED_M / 2 + 1e-9, _STEP_M)
    _, first = np.unique(np.round(travelled_m / 0.1), return_index=True)
    places = (xy_m[first, None] + shifts[:, None] * forward[first, None]).reshape(-1, 2)
    means = ground.height_at(places).reshape(-1, len(shifts)).mean(axis=1)
    smooth: Floats = np.interp(travelled_m, travelled_m[first], means)
    return smooth
