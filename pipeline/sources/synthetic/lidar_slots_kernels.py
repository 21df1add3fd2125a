"""First hits of a scanner that moves while it turns: the hot loop of `lidar_slots`.

Twin: `lidar_slots.refine_hits_plain`.
"""

# numba's decorator has no types
# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

import math

import numpy as np
from numba import njit

from pipeline.sources.synthetic.raycast_kernels import _box_entry, _cylinder_entry, _ellipsoid_entry, _slab_entry
from pipeline.sources.synthetic.rigid import Floats, Hits


@njit(cache=True)
def refine_hits(
    boxes: Floats,
    cylinders: Floats,
    ellipsoids: Floats,
    slabs: Floats,
    hit: Hits,
    distance: Floats,
    shift: Floats,
    origin: Floats,
    directions: Floats,
) -> tuple[Floats, Floats]:
    """Return (distance (n,) of each ray from its own origin to what it hit, cosine (n,) of the angle to the normal there).

    hit and distance (n,) were cast from `origin` (3,); a ray starts at `origin` + shift (n, 3). Where the ray from there
    misses what the other one hit, the distance stays.
    """
    num_boxes, num_cylinders, num_ellipsoids = len(boxes), len(cylinders), len(ellipsoids)
    out = np.empty(len(hit))
    cosine = np.ones(len(hit))
    for r in range(len(hit)):
        out[r] = distance[r]
        what = hit[r]
        if what < 0:
            continue
        dx, dy, dz = directions[r, 0], directions[r, 1], directions[r, 2]
        ox, oy, oz = origin[0] + shift[r, 0], origin[1] + shift[r, 1], origin[2] + shift[r, 2]
        if what == 0:
            out[r] = distance[r] - shift[r, 2] / dz
            cosine[r] = abs(dz)
            continue
        i = what - 1
        if i < num_boxes:
            box = boxes[i]
            t = _box_entry(box, ox, oy, oz, dx, dy, dz)
            if t < math.inf:
                out[r] = t
            px, py, pz = ox + out[r] * dx - box[0], oy + out[r] * dy - box[1], oz + out[r] * dz - box[2]
            qx, qy = box[6] * px + box[7] * py, box[6] * py - box[7] * px
            fx, fy, fz = abs(qx) / box[3], abs(qy) / box[4], abs(pz) / box[5]
            if fx >= fy and fx >= fz:
                cosine[r] = abs(box[6] * dx + box[7] * dy)
            elif fy >= fz:
                cosine[r] = abs(box[6] * dy - box[7] * dx)
            else:
                cosine[r] = abs(dz)
        elif i < num_boxes + num_cylinders:
            c = cylinders[i - num_boxes]
            t = _cylinder_entry(c, ox, oy, oz, dx, dy, dz)
            if t < math.inf:
                out[r] = t
            cosine[r] = abs((ox + out[r] * dx - c[0]) * dx + (oy + out[r] * dy - c[1]) * dy) / c[2]
        elif i < num_boxes + num_cylinders + num_ellipsoids:
            e = ellipsoids[i - num_boxes - num_cylinders]
            t = _ellipsoid_entry(e, ox, oy, oz, dx, dy, dz)
            if t < math.inf:
                out[r] = t
            nx, ny = (ox + out[r] * dx - e[0]) / e[3] ** 2, (oy + out[r] * dy - e[1]) / e[3] ** 2
            nz = (oz + out[r] * dz - e[2]) / e[4] ** 2
            cosine[r] = abs(nx * dx + ny * dy + nz * dz) / math.sqrt(nx * nx + ny * ny + nz * nz)
        else:
            s = slabs[i - num_boxes - num_cylinders - num_ellipsoids]
            t = _slab_entry(s, ox, oy, oz, dx, dy, dz)
            if t < math.inf:
                out[r] = t
            px, py, pz = ox + out[r] * dx - s[0], oy + out[r] * dy - s[1], oz + out[r] * dz - s[2]
            qx, qy = s[6] * px + s[7] * py, s[6] * py - s[7] * px
            sx, sy = s[6] * dx + s[7] * dy, s[6] * dy - s[7] * dx
            fx, fy = abs(qx) / s[3], abs(qy) / s[4]
            fz = abs(pz - s[8] * qx - s[9] * qy) / s[5]
            if fz >= fx and fz >= fy:
                cosine[r] = abs(dz - s[8] * sx - s[9] * sy) / math.sqrt(1.0 + s[8] * s[8] + s[9] * s[9])
            else:
                cosine[r] = abs(sx) if fx >= fy else abs(sy)
        cosine[r] = min(max(cosine[r], 0.01), 1.0)
    return out, cosine
