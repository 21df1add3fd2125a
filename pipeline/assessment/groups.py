"""Which group each pixel of a frame belongs to: by range, row, surface, and by what one map has and another has not."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.kernels.depth_errors import NO_GROUP, Labels
from storage_schemas.catalog import SURFACES
from storage_schemas.encoding import STEPS_PER_M

RANGE_EDGES_M = (10, 20, 40, 80)
"""Borders of the groups by range, metres of the reference."""

NUM_BANDS = 5
"""Bands of image rows, from the top."""


def range_labels(reference: NDArray[np.uint16], *, zero_is_sky: bool) -> Labels:
    """Return groups by the depth of the reference (height, width) uint16, 1/256 m; sky is one, and no reference is in none."""
    edges = np.array(RANGE_EDGES_M) * STEPS_PER_M
    group_of_step = np.searchsorted(edges, np.arange(1 << 16), side="right").astype(np.uint8)
    group_of_step[0] = len(edges) + 1 if zero_is_sky else NO_GROUP
    starts = (0, *RANGE_EDGES_M)
    names = [f"{low}-{high} m" for low, high in zip(starts, RANGE_EDGES_M, strict=False)]
    return Labels("range", (*names, f"{RANGE_EDGES_M[-1]}+ m", "sky"), group_of_step[reference])


def row_labels(shape: tuple[int, ...]) -> Labels:
    """Return bands of rows of an image (height, width)."""
    band = (np.arange(shape[0]) * NUM_BANDS // shape[0]).astype(np.uint8)
    names = tuple(f"{100 * k // NUM_BANDS}-{100 * (k + 1) // NUM_BANDS} %" for k in range(NUM_BANDS))
    return Labels("image row", names, np.ascontiguousarray(np.broadcast_to(band[:, None], shape[:2])))


def surface_labels(surface: NDArray[np.uint8]) -> Labels:
    """Return groups by what a pixel of a simulated world shows (height, width)."""
    return Labels("class", tuple("sky" if name == "none" else name.replace("_", " ") for name in SURFACES), surface)


def removed_labels(before: NDArray[np.uint16], after: NDArray[np.uint16], *, by: str) -> Labels:
    """Return the pixels that one map has and another has not, as a group of the map before.

    Args:
        before: (height, width) uint16, 0 = no measurement.
        after: same shape.
        by: what removed them.
    """
    return Labels("removed", (by,), np.where((before > 0) & (after == 0), 0, NO_GROUP).astype(np.uint8))
