"""Semantic class and instance of every pixel from its first hit: one loop over the pixels."""

# numba's decorator has no types
# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pipeline.sources.synthetic.camera.shading_kernels import _street_place
from pipeline.sources.synthetic.rigid import Floats, Hits, Ints


@njit(cache=True)
def label_pixels(
    hit: Hits,
    depth: NDArray[np.float32],
    origin: Floats,
    rotation: Floats,
    intrinsic: Floats,
    semantic_of: NDArray[np.uint8],
    is_street: NDArray[np.bool_],
    owners: Ints,
    grid: Ints,
    grid_low: Floats,
    points: Floats,
    tangents: Floats,
    street_s: Floats,
    bands: Floats,
    band_classes: NDArray[np.uint8],
) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
    """Return semantic class and instance (y, x) of pixels (y, x) with known first hits and depths.

    origin (3,) and rotation (3, 3) of the camera in the world, intrinsic (3, 3).
    semantic_of, is_street, owners: by hit. Where `is_street`, the class follows from the distance to the middle of the road: the
    first of `bands` that is not exceeded gives the place in `band_classes`.
    """
    semantic = np.zeros(hit.shape, np.uint8)
    instance = np.zeros(hit.shape, np.uint16)
    for row in range(hit.shape[0]):
        for column in range(hit.shape[1]):
            what = hit[row, column]
            if what < 0:
                continue
            instance[row, column] = owners[what] + 1
            if not is_street[what]:
                semantic[row, column] = semantic_of[what]
                continue
            ahead = depth[row, column]
            right = ahead * (column + 0.5 - intrinsic[0, 2]) / intrinsic[0, 0]
            down = ahead * (row + 0.5 - intrinsic[1, 2]) / intrinsic[1, 1]
            x = origin[0] + rotation[0, 0] * right + rotation[0, 1] * down + rotation[0, 2] * ahead
            y = origin[1] + rotation[1, 0] * right + rotation[1, 1] * down + rotation[1, 2] * ahead
            _, left = _street_place(x, y, grid, grid_low, points, tangents, street_s)
            band = 0
            while band < len(bands) and abs(left) > bands[band]:
                band += 1
            semantic[row, column] = band_classes[band]
    return semantic, instance
