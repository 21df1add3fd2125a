"""Semantic class and instance of every pixel from its first hit: one loop over the pixels."""

# numba's decorator has no types
# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pipeline.sources.synthetic.rigid import Floats, Hits, Ints
from pipeline.sources.synthetic.shading_kernels import _street_place


@njit(cache=True)
def label_pixels(
    hit: Hits,
    depth: Floats,
    origin: Floats,
    directions: Floats,
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
    """Return semantic class and instance (n,) of rays (n, 3) with known first hits.

    semantic_of, is_street, owners: by hit. Where `is_street`, the class follows from the distance to the middle of the road: the
    first of `bands` that is not exceeded gives the place in `band_classes`.
    """
    semantic = np.zeros(len(hit), np.uint8)
    instance = np.zeros(len(hit), np.uint16)
    for p in range(len(hit)):
        what = hit[p]
        if what < 0:
            continue
        instance[p] = owners[what] + 1
        if not is_street[what]:
            semantic[p] = semantic_of[what]
            continue
        x, y = origin[0] + depth[p] * directions[p, 0], origin[1] + depth[p] * directions[p, 1]
        _, left = _street_place(x, y, grid, grid_low, points, tangents, street_s)
        band = 0
        while band < len(bands) and abs(left) > bands[band]:
            band += 1
        semantic[p] = band_classes[band]
    return semantic, instance
