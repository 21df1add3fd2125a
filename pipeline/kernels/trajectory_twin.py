"""``trajectory`` pose by pose, as a reader would write it: what tests compare with."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import expm, logm

from pipeline.geometry import Float64
from pipeline.kernels.trajectory import SPARE


def smooth_one(
    time_us: int,
    world_from_ego: Float64,
    others_us: NDArray[np.int64],
    world_from_others: Float64,
    *,
    half_window_s: float,
    degree: int,
    max_m: float,
    max_deg: float,
) -> tuple[Float64, str]:
    """Correct one pose (4, 4) by others (m, 4, 4); return it and what was done: ``moved``, ``beyond`` or ``alone``."""
    takes_part = np.abs(others_us - time_us) <= round(1e6 * half_window_s)
    if takes_part.sum() < degree + 1 + SPARE:
        return world_from_ego, "alone"
    ego_from_world = np.linalg.inv(world_from_ego)
    motions = [np.real(logm(ego_from_world @ other)) for other in world_from_others[takes_part]]
    entries = np.stack([motion.reshape(16) for motion in motions])
    fitted = np.polynomial.polynomial.polyfit((others_us[takes_part] - time_us) / 1e6, entries, degree)[0]
    correction = expm(fitted.reshape(4, 4))
    turn_deg = np.rad2deg(np.arccos(np.clip((np.trace(correction[:3, :3]) - 1) / 2, -1, 1)))
    if np.linalg.norm(correction[:3, 3]) > max_m or turn_deg > max_deg:
        return world_from_ego, "beyond"
    return world_from_ego @ correction, "moved"
