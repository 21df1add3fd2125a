"""Points inside many upright boxes at once; the plain twin for one box is `rows.count_in_box`."""

# numba's decorator has no types
# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

import numpy as np
from numba import njit

from pipeline.sources.synthetic.rigid import Floats, Ints


@njit(cache=True)
def count_in_boxes(points: Floats, boxes: Floats) -> Ints:
    """Return how many points (n, 3) lie in each box (m, 8): middle x y z, half sizes, cosine and sine of the yaw.

    A z of NaN counts at any height.
    """
    counts = np.zeros(len(boxes), np.int64)
    for b in range(len(boxes)):
        x, y, z = boxes[b, 0], boxes[b, 1], boxes[b, 2]
        half_x, half_y, half_z, cosine, sine = boxes[b, 3], boxes[b, 4], boxes[b, 5], boxes[b, 6], boxes[b, 7]
        reach = half_x + half_y
        for p in range(len(points)):
            dx, dy = points[p, 0] - x, points[p, 1] - y
            if abs(dx) > reach or abs(dy) > reach or abs(points[p, 2] - z) > half_z:
                continue
            if abs(cosine * dx + sine * dy) <= half_x and abs(cosine * dy - sine * dx) <= half_y:
                counts[b] += 1
    return counts
