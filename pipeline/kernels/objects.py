"""Annotated boxes of the world in the frame of a rig, with their velocities.

Source docs/method/formats.md#objects; velocities by the rule of the nuScenes devkit (box_velocity)
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.geometry import Float64, inverse

MAX_GAP_S = 1.5
"""Longest time to the one neighbour in time that a velocity is taken from; twice that between two neighbours."""


def track_velocities(centers_m: Float64, times_us: NDArray[np.int64], tracks: NDArray[np.int64]) -> Float64:
    """Return the velocity of every box between the boxes of its object before and after it in time.

    Args:
        centers_m: (n, 3) in a frame that stands still.
        times_us: (n,) times.
        tracks: (n,) number of the object that a box belongs to.

    Returns:
        (n, 3) m/s in that frame; NaN for the only box of an object, over a gap that is too long, and without time between.
    """
    order = np.lexsort((times_us, tracks))
    place = np.arange(len(order))
    of_track = tracks[order]
    has_former = np.r_[False, of_track[1:] == of_track[:-1]] if len(order) else np.zeros(0, bool)
    has_next = np.r_[has_former[1:], False] if len(order) else has_former
    first, last = place - has_former, place + has_next
    seconds = 1e-6 * (times_us[order][last] - times_us[order][first])
    is_known = (seconds > 0) & (seconds <= MAX_GAP_S * (1 + (has_former & has_next)))
    moved = centers_m[order][last] - centers_m[order][first]
    velocities = np.full((len(order), 3), np.nan)
    velocities[order] = np.where(is_known[:, None], moved / np.where(is_known, seconds, 1.0)[:, None], np.nan)
    return velocities


def in_rig(world_from_rig: Float64, world_from_box: Float64, velocity_mps: Float64) -> tuple[Float64, Float64, Float64]:
    """Return boxes of the world as a rig sees them.

    Args:
        world_from_rig: (n, 4, 4) pose of the rig for each box.
        world_from_box: (n, 4, 4) pose of each box: x forward, y left, z up, at its gravity centre.
        velocity_mps: (n, 3) in the world.

    Returns:
        Gravity centres (n, 3) metres, headings (n,) in radians from the rig's x axis, counter-clockwise, and velocities over
        ground (n, 2) m/s, x and y of the rig.
    """
    rig_from_world = inverse(world_from_rig)
    rig_from_box = rig_from_world @ world_from_box
    velocity = np.einsum("nij,nj->ni", rig_from_world[:, :3, :3], velocity_mps)
    return rig_from_box[:, :3, 3], np.arctan2(rig_from_box[:, 1, 0], rig_from_box[:, 0, 0]), velocity[:, :2]
