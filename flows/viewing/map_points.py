"""Depth maps as points in the scene, thinned so that a whole scene stays light enough to be looked at.

How    Pixels are kept by a fixed shuffle of their numbers. So thinned maps of one frame keep the same pixels: what cleaning
       removed shows as a hole, and not as chance
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flows.viewing.frame_content import CameraFrame, Float64
from pipeline.geometry import transform_points, unproject
from storage_schemas.encoding import STEPS_PER_M

_ODD = np.uint32(2654435761)
"""Odd, so that multiplying by it modulo 2**32 shuffles numbers without a collision (Knuth's multiplicative hash)."""


def kept_share(num: int, most: int) -> float:
    """Return which share of so many points is kept; ``most`` 0 keeps all."""
    return 1.0 if most <= 0 or num <= most else most / num


def thinned(mask: NDArray[np.bool_], share: float) -> NDArray[np.bool_]:
    """Return the mask (y, x) with about this share of its pixels left; of a smaller mask the same pixels are kept."""
    if share >= 1.0:
        return mask
    rank = (np.arange(mask.size, dtype=np.uint32) * _ODD).reshape(mask.shape)
    return mask & (rank < np.uint32(share * 2**32))


def points_of(frame: CameraFrame, steps: NDArray[np.uint16], mask: NDArray[np.bool_]) -> Float64:
    """Return the points (n, 3) in the scene of the true pixels of a mask, row by row.

    Args:
        frame: says the camera.
        steps: (y, x) depth quanta of 1/256 m.
        mask: (y, x) pixels with a measurement.

    The depth of a pixel is that of its centre, as the stages define it: column x covers [x, x + 1).
    """
    v, u = np.nonzero(mask)
    depth_m = steps[mask].astype(np.float64) / STEPS_PER_M
    return transform_points(frame.scene_from_cam, unproject(u + 0.5, v + 0.5, depth_m, frame.intrinsic_px))
