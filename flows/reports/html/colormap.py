"""Depth as colour: a perceptual rainbow, near = warm, far = cool, logarithmic between 2 m and 80 m.

Source Turbo by Anton Mikhailov (Google AI blog, 2019-08-20), in its published polynomial form (Apache-2.0)
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from storage_schemas.encoding import STEPS_PER_M

NEAR_M, FAR_M = 2.0, 80.0
"""Depths at the warm and the cool end; beyond them the end's colour."""

TICKS_M = (2, 5, 10, 20, 40, 80)
"""Depths named on the legend."""

DROPPED = (255, 0, 255)
"""Colour of a pixel that cleaning removed: magenta, which the depth colours never reach."""

NEARER, FARTHER = (255, 96, 64), (72, 150, 255)
"""Ends of the error colours: the map is nearer, or farther, than the truth by 10 m or more."""

_RED = (0.13572138, 4.61539260, -42.66032258, 132.13108234, -152.94239396, 59.28637943)
_GREEN = (0.09140261, 2.19418839, 4.84296658, -14.18503333, 4.27729857, 2.82956604)
_BLUE = (0.10667330, 12.64194608, -60.58204836, 110.36276771, -89.90310912, 27.34824973)


def turbo(share: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
    """Return RGB colours (..., 3) uint8 for values in [0, 1]: 0 dark blue, 1 dark red."""
    x = np.clip(share, 0.0, 1.0)[..., None] ** np.arange(6)
    rgb = np.stack([x @ np.array(channel) for channel in (_RED, _GREEN, _BLUE)], axis=-1)
    return np.asarray(np.clip(np.round(255.0 * rgb), 0, 255), np.uint8)


def depth_position(depth_m: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    """Return where depths in metres (> 0) lie on the legend: 0 = near end, 1 = far end, logarithmic."""
    return np.asarray(np.clip(np.log(depth_m / NEAR_M) / np.log(FAR_M / NEAR_M), 0.0, 1.0))


def depth_colors(depth_m: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
    """Return RGB colours (..., 3) uint8 of depths in metres (> 0)."""
    return turbo(0.92 - 0.86 * depth_position(depth_m))  # the ends of turbo are too dark on a dimmed picture


@cache
def color_of_step() -> NDArray[np.uint8]:
    """Return the RGB colour (65536, 3) uint8 of every stored depth in steps of 1/256 m; entry 0 means nothing."""
    return depth_colors(np.maximum(np.arange(1 << 16), 1) / STEPS_PER_M)


def error_colors(error_m: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
    """Return RGB colours (..., 3) uint8 of signed errors in metres (map minus truth): grey near 0, warm nearer, cool farther."""
    weight = np.clip(np.abs(error_m) / 10.0, 0.0, 1.0)[..., None] ** 0.5  # square root: half a metre is visible already
    end = np.where((error_m < 0)[..., None], np.array(NEARER), np.array(FARTHER))
    return np.asarray(np.round(end * weight + 150.0 * (1.0 - weight)), np.uint8)
