"""Metres as uint16 at 1/256 m, and the one rule for "no measurement".

Depth is stored as ``floor(metres * 256)`` in uint16; 0 means "no measurement". This is the convention of KITTI and of the
public radar-camera depth code (docs/method/pipeline.md#depth-encoding), so exported PNG files hold the same integers.
In memory depth is float32 metres with 0 for "no measurement", never NaN.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

STEPS_PER_M = 256
"""Integer steps in one metre; 1/256 m = 3.9 mm is the resolution of every stored depth."""

NO_MEASUREMENT = 0
"""Stored value (and metres) of a pixel that was not measured."""

MAX_DEPTH_M = 65535 / STEPS_PER_M
"""Largest depth the encoding can hold: 255.996 m."""


def encode_depth(depth_m: NDArray[np.floating[Any]]) -> NDArray[np.uint16]:
    """Encode metres as uint16 steps of 1/256 m, truncating.

    Args:
        depth_m: depth in metres, any shape; 0 = no measurement.

    Returns:
        uint16 array of the same shape; 0 = no measurement.

    Raises:
        ValueError: a value is NaN, negative or beyond 255.996 m.
    """
    if depth_m.size:
        low, high = float(np.min(depth_m)), float(np.max(depth_m))
        if not (low >= 0.0 and high <= MAX_DEPTH_M):  # written so that NaN fails too
            raise ValueError(f"depth must lie in [0, {MAX_DEPTH_M:.3f}] m without NaN, got min {low}, max {high}")
    return (depth_m * STEPS_PER_M).astype(np.uint16)


def decode_depth(steps: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Decode uint16 steps of 1/256 m to float32 metres (exact); 0 stays 0 = no measurement."""
    return steps.astype(np.float32) * np.float32(1.0 / STEPS_PER_M)
