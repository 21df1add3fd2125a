"""The height of the ground at many places: a loop over places and slabs.

Twin: a ray straight down from above, `raycast.cast_rays_plain`.
"""

# numba's decorator has no types
# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

import numpy as np
from numba import njit

from pipeline.sources.synthetic.rigid import Floats


@njit(cache=True)
def highest_tops(slabs: Floats, xy: Floats, plane_m: float) -> Floats:
    """Return the height (n,) of the highest slab of (k, 10) at places (n, 2); `plane_m` where there is none."""
    reach = np.sqrt(slabs[:, 3] ** 2 + slabs[:, 4] ** 2)
    out = np.empty(len(xy))
    for i in range(len(xy)):
        best = plane_m
        for k in range(len(slabs)):
            px, py = xy[i, 0] - slabs[k, 0], xy[i, 1] - slabs[k, 1]
            if abs(px) > reach[k] or abs(py) > reach[k]:
                continue
            qx, qy = slabs[k, 6] * px + slabs[k, 7] * py, slabs[k, 6] * py - slabs[k, 7] * px
            if abs(qx) <= slabs[k, 3] and abs(qy) <= slabs[k, 4]:
                best = max(best, slabs[k, 2] + slabs[k, 5] + slabs[k, 8] * qx + slabs[k, 9] * qy)
        out[i] = best
    return out
