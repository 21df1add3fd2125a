"""First hit of rays with a world made of ground, upright boxes, cylinders and ellipsoids, and sloping slabs.

LiDAR, radar, camera images and their exact depth all use this one function, so they agree by construction.
`cast_rays` is the fast form (numba, candidates by direction); `cast_rays_plain` is its readable twin.

World frame: z up, metres; the ground is the plane z = `ground_m`. A hit is an int32: -1 nothing, 0 ground, 1 + i the i-th
primitive, boxes first, then cylinders, ellipsoids and slabs.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from pipeline.sources.synthetic.rigid import Floats, Hits

NOTHING = -1
GROUND = 0


@dataclass(frozen=True)
class Primitives:
    """The solid world at one instant, world frame, metres.

    boxes (b, 8): centre x y z, half sizes along the box's own x y z, cosine and sine of its yaw.
    cylinders (c, 5): centre x y, radius, lowest z, highest z; open at both ends.
    ellipsoids (e, 5): centre x y z, horizontal radius, vertical radius.
    slabs (k, 10): a box whose top and bottom slope: the eight numbers of a box, then the rise of top and bottom in metres
    per metre along the box's own x and y. The sides stay upright, and the half height is measured upright.
    ground_m: height of the plane under everything; far below all slabs where these are the ground.
    """

    boxes: Floats
    cylinders: Floats
    ellipsoids: Floats
    slabs: Floats = field(default_factory=lambda: np.empty((0, 10)))
    ground_m: float = 0.0

    def __len__(self) -> int:
        """Return the number of primitives, the ground not counted."""
        return len(self.boxes) + len(self.cylinders) + len(self.ellipsoids) + len(self.slabs)


def cast_rays(world: Primitives, origin_m: Floats, directions: Floats, *, limit: float) -> tuple[Floats, Hits]:
    """Return how far each ray runs before its first hit, and what it hits.

    origin_m (3,), directions (n, 3) of any length, both in the world frame. The distance (n,) is in units of the
    direction's length: metres for unit vectors, depth for directions with a forward component of 1; inf where
    nothing is hit before `limit`, which also is in these units.
    """
    from pipeline.sources.synthetic.rays.raycast_kernels import first_hits

    return first_hits(
        np.ascontiguousarray(world.boxes),
        np.ascontiguousarray(world.cylinders),
        np.ascontiguousarray(world.ellipsoids),
        np.ascontiguousarray(world.slabs),
        world.ground_m,
        np.asarray(origin_m, dtype=np.float64),
        np.ascontiguousarray(directions),
        limit,
    )


def cast_rays_plain(world: Primitives, origin_m: Floats, directions: Floats, *, limit: float) -> tuple[Floats, Hits]:
    """Return the same as `cast_rays`: every ray against every primitive, in numpy."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ground = np.where(directions[:, 2] < 0, (world.ground_m - origin_m[2]) / directions[:, 2], np.inf)
        distances = [
            ground,
            *(_box_distance(box, origin_m, directions) for box in world.boxes),
            *(_cylinder_distance(cylinder, origin_m, directions) for cylinder in world.cylinders),
            *(_ellipsoid_distance(ellipsoid, origin_m, directions) for ellipsoid in world.ellipsoids),
            *(_slab_distance(slab, origin_m, directions) for slab in world.slabs),
        ]
    table = np.stack(distances)
    table[~(table > 0) | (table >= limit)] = np.inf
    hit = np.argmin(table, axis=0).astype(np.int32)
    distance = np.min(table, axis=0)
    return distance, np.where(np.isfinite(distance), hit, NOTHING).astype(np.int32)


def _box_distance(box: Floats, origin_m: Floats, directions: Floats) -> Floats:
    """Return the entry distance (n,) into one box, by its three slabs; inf for a miss or an origin inside."""
    cosine, sine = box[6], box[7]
    box_from_world = np.array([[cosine, sine, 0.0], [-sine, cosine, 0.0], [0.0, 0.0, 1.0]])
    offset: Floats = origin_m - box[:3]
    return _entry(box_from_world @ offset, directions @ box_from_world.T, box[3:6])


def _slab_distance(slab: Floats, origin_m: Floats, directions: Floats) -> Floats:
    """Return the entry distance (n,) into one sloping slab: sheared upright by its slopes it is a box."""
    cosine, sine, rise_x, rise_y = slab[6:10]
    slab_from_world = np.array([[cosine, sine, 0.0], [-sine, cosine, 0.0], [0.0, 0.0, 1.0]])
    shear = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [-rise_x, -rise_y, 1.0]])
    upright: Floats = shear @ slab_from_world
    offset: Floats = origin_m - slab[:3]
    return _entry(upright @ offset, directions @ upright.T, slab[3:6])


def _entry(start: Floats, step: Floats, half_m: Floats) -> Floats:
    """Return the entry distance (n,) into the box of half sizes (3,) around 0, from start (3,) along step (n, 3)."""
    step = np.where(np.abs(step) < 1e-12, 1e-12, step)
    first, second = (-half_m - start) / step, (half_m - start) / step
    enter = np.minimum(first, second).max(axis=1)
    leave = np.maximum(first, second).min(axis=1)
    return np.where((enter <= leave) & (enter > 0), enter, np.inf)


def _cylinder_distance(cylinder: Floats, origin_m: Floats, directions: Floats) -> Floats:
    """Return the entry distance (n,) through the wall of one open cylinder."""
    offset = origin_m[:2] - cylinder[:2]
    a = (directions[:, :2] ** 2).sum(axis=1)
    b = directions[:, :2] @ offset
    c = offset @ offset - cylinder[2] ** 2
    root = b * b - a * c
    distance = (-b - np.sqrt(root)) / a
    height = origin_m[2] + distance * directions[:, 2]
    inside = (root > 0) & (distance > 0) & (height >= cylinder[3]) & (height <= cylinder[4])
    return np.where(inside, distance, np.inf)


def _ellipsoid_distance(ellipsoid: Floats, origin_m: Floats, directions: Floats) -> Floats:
    """Return the entry distance (n,) into one ellipsoid, by scaling it to a unit sphere."""
    scale = np.array([ellipsoid[3], ellipsoid[3], ellipsoid[4]])
    start, step = (origin_m - ellipsoid[:3]) / scale, directions / scale
    a = (step**2).sum(axis=1)
    b = step @ start
    root = b * b - a * (start @ start - 1.0)
    distance = (-b - np.sqrt(root)) / a
    return np.where((root > 0) & (distance > 0), distance, np.inf)
