"""An angle as one of twelve bins and what is left of it.

Bins    width pi / 6, bin 0 centred on angle 0, so |residual| <= pi / 12
Source  docs/method/monoddle.md#heading-bins
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.monoddle.network_config import NUM_HEADING_BINS

_WIDTH = 2 * np.pi / NUM_HEADING_BINS


def wrap_angle(angle_rad: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return angles brought into [-pi, pi); an angle that lies there already stays bit for bit."""
    is_inside = (angle_rad >= -np.pi) & (angle_rad < np.pi)
    return np.where(is_inside, angle_rad, (angle_rad + np.pi) % (2 * np.pi) - np.pi)


def encode_heading(angle_rad: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the bins (n,) of angles (n,), and the rest in radians (n,)."""
    shifted = (angle_rad + _WIDTH / 2) % (2 * np.pi)
    number = np.floor(shifted / _WIDTH).astype(np.int64)
    return (
        number % NUM_HEADING_BINS,
        shifted - number * _WIDTH - _WIDTH / 2,
    )  # a quotient may round up to 12, which is bin 0 again


def decode_heading(number: NDArray[np.int64], residual_rad: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Return the angles (n,) in [-pi, pi) of bins (n,) and residuals (n,); residuals may be of any size."""
    return wrap_angle(number * _WIDTH + residual_rad.astype(np.float64))
