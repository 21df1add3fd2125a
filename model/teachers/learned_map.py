"""What every learned teacher returns, and how it fails."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from storage_schemas.errors import DepthmillError


class TeacherLoadError(DepthmillError):
    """A teacher that cannot be loaded: a package is missing, or its weights do not fit."""


@dataclass(frozen=True)
class LearnedMap:
    """One image's map, on the grid of the image that the network was shown.

    Attributes:
        value: (grid_y, grid_x) float32; what it means is told by ``kind`` (``storage_schemas.catalog.VALUE_KINDS``).
        kind: inverse_relative, relative or metric.
        confidence: (grid_y, grid_x) float32, larger = surer; None = the network has none.
        is_sky: (grid_y, grid_x) bool; None = it does not tell sky.
    """

    value: NDArray[np.float32]
    kind: Literal["inverse_relative", "relative", "metric"]
    confidence: NDArray[np.float32] | None = None
    is_sky: NDArray[np.bool_] | None = None
