"""The soft peak of an object in the heat map.

Source  docs/method/monoddle.md#gaussian-radius; CornerNet (arXiv 1808.01244) section 3.2, as its code computes it
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


def uncorrected_radius(height: float, width: float, *, min_overlap: float = 0.7) -> int:
    """Return the radius of a box's peak in cells, by the formula of CornerNet's code.

    The radius is meant to keep the overlap of a box, moved by so much, with the true one above ``min_overlap``; three ways to
    move it give three quadratics. The code divides each root by 2 instead of 2a, which makes radii two to three times too
    large: 10 x 10 cells give 2 instead of 0, 80 x 60 give 18 instead of 5. Every published detector of this line was trained so,
    and a correction was reported to lower AP, so the error is kept.

    Args:
        height: of the box, cells.
        width: of it.
        min_overlap: intersection over union that a moved box should keep.
    """
    both, area = height + width, height * width
    quadratics = (
        (1.0, both, area * (1 - min_overlap) / (1 + min_overlap)),
        (4.0, 2 * both, (1 - min_overlap) * area),
        (4 * min_overlap, -2 * min_overlap * both, (min_overlap - 1) * area),
    )
    return max(0, int(min((b + math.sqrt(b * b - 4 * a * c)) / 2 for a, b, c in quadratics)))


def draw_peak(heatmap: NDArray[np.float32], column: int, row: int, *, radius: int) -> None:
    """Raise a heat map (h, w) to a Gaussian of height 1 at a cell, where it is lower; in place.

    Args:
        heatmap: of one class.
        column: of the peak, inside the map.
        row: of it.
        radius: cells beyond which nothing is drawn; the standard deviation is a sixth of the diameter.
    """
    height, width = heatmap.shape
    left, right = max(0, column - radius), min(width, column + radius + 1)
    top, bottom = max(0, row - radius), min(height, row + radius + 1)
    sigma = (2 * radius + 1) / 6
    across = np.exp(-((np.arange(left, right) - column) ** 2) / (2 * sigma * sigma))
    down = np.exp(-((np.arange(top, bottom) - row) ** 2) / (2 * sigma * sigma))
    peak = (down[:, None] * across).astype(np.float32)
    window = heatmap[top:bottom, left:right]
    np.maximum(window, peak, out=window)
