"""One turn of a 32-beam scanner as nuScenes writes it: every slot of every firing, and the car's motion within the turn.

Points are float32 x y z intensity ring in the LiDAR frame at the time stamp (x right, y forward, z up, metres), firing by
firing, all rings of a firing together. A turn starts at the left, runs clockwise and ends at the time stamp. Each firing sees
the world, and stands, where both were then; its points are moved to the stamp by the car's motion, so that what itself
moved is smeared. A slot without an echo holds range 0, that is the scanner's place at the firing: within 0.5 m of the stamp's.
Slots that meet the own car hold its roof, hood and cameras, most of them nearer than 1 m.

Source docs/method/world.md#lidar
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipeline.sources.synthetic.actors import Material
from pipeline.sources.synthetic.lidar import AIRBORNE_BEAMS, AIRBORNE_RANGE_M, AIRBORNE_WAKE_M, ELEVATION_DEG, NUM_BEAMS
from pipeline.sources.synthetic.lidar_slots_kernels import refine_hits
from pipeline.sources.synthetic.raycast import Primitives, cast_rays
from pipeline.sources.synthetic.rigid import Floats, Hits, Ints, Pose
from pipeline.sources.synthetic.solids import Solids

TURN_US: Final = 50_000
RANGE_M: Final = (1.0, 100.0)
FIRST_AZIMUTH_DEG: Final = -90.0
NUM_SECTORS: Final = 8
NOISE_M: Final = 0.004
LASER_BIAS_M: Final = 0.015
SUB_RAY_RAD: Final = 0.0012  # half the divergence of a beam
AHEAD_SHARE: Final = 0.001
RAIN_SPRAY: Final = 0.25
RAIN_DROP_SHARE: Final = 0.012
MIXED_M: Final = 1.2  # echoes nearer to each other than this are measured as one
_SPREAD: Final = 0.75  # of the logarithm of the echo of a surface
# echo of a surface that is met squarely, on the scale of the files' intensity
_REFLECTED: Final = np.full(len(Material), 20.0)
for _material, _echo in (
    (Material.GROUND, 14.0),
    (Material.BUILDING, 22.0),
    (Material.POLE, 45.0),
    (Material.CROWN, 10.0),
    (Material.CAR_BODY, 30.0),
    (Material.CAR_CABIN, 5.0),
    (Material.TRUCK, 40.0),
    (Material.PERSON, 14.0),
    (Material.LAMP, 60.0),
    (Material.TRUNK, 14.0),
    (Material.GLASS, 3.0),
    (Material.TYRE, 4.0),
    (Material.SIGN, 160.0),
    (Material.HEDGE, 9.0),
    (Material.PLATE, 220.0),
    (Material.CONE, 60.0),
    (Material.BARRIER, 35.0),
    (Material.ASPHALT, 12.0),
    (Material.CROSSING, 40.0),
    (Material.OWN_CAR, 15.0),
):
    _REFLECTED[_material] = _echo
# share of beams that pass or are thrown aside
_LOST: Final = np.zeros(len(Material))
_LOST[[Material.CAR_CABIN, Material.GLASS]] = 0.45, 0.7
_LOST[[Material.CROWN, Material.HEDGE, Material.FENCE]] = 0.08, 0.04, 0.1
_COLOURED: Final = np.isin(np.arange(len(Material)), (Material.CAR_BODY, Material.TRUCK, Material.PERSON, Material.BARRIER))
_GROUND: Final = np.isin(np.arange(len(Material)), (Material.GROUND, Material.ASPHALT, Material.PAVEMENT, Material.CROSSING))
_NO_ECHO_INTENSITY: Final = np.array([
    17, 9, 8, 45, 3, 3, 2, 85, 100, 54, 100, 5, 100, 4, 100, 6, 40, 100, 100, 2, 4, 3, 1, 9, 3, 3, 3, 10, 3, 11, 9, 17,
], dtype=np.float64)  # fmt: skip
"""What stands in the intensity of a slot without an echo, by ring: read from a real file, has no meaning."""
# the own car around the scanner, in the LiDAR frame: centre x y z, half sizes
_ROOF: Final = (0.0, -0.12, -0.64, 0.5, 0.84, 0.3)
_HOOD: Final = (0.0, 1.95, -1.2, 0.62, 0.6, 0.33)
_CAMERAS: Final = (
    (0.016, 0.76, -0.33), (-0.495, 0.58, -0.33), (0.493, 0.6, -0.34),
    (-0.485, 0.1, -0.25), (0.481, 0.07, -0.28), (0.0, -0.91, -0.26),
)  # fmt: skip
_CAMERA_HALF_M: Final = 0.06


@dataclass(frozen=True)
class Turn:
    """The scanner's poses within a turn: world_from_lidar at `NUM_SECTORS` + 1 even times, the last one at the stamp."""

    poses: tuple[Pose, ...]

    def at_firings(self, azimuth_steps: int) -> tuple[Floats, Floats]:
        """Return origins (steps, 3) and rotation matrices (steps, 3, 3), world from LiDAR, of each firing."""
        place = (np.arange(azimuth_steps) + 1.0) / azimuth_steps * NUM_SECTORS
        first = np.minimum(place.astype(np.int64), NUM_SECTORS - 1)
        share = place - first
        origins = np.stack([pose.translation_m for pose in self.poses])
        rotations = np.stack([pose.rotation for pose in self.poses])
        blend, turn = share[:, None], share[:, None, None]
        return (
            (1 - blend) * origins[first] + blend * origins[first + 1],
            (1 - turn) * rotations[first] + turn * rotations[first + 1],
        )


@dataclass(frozen=True)
class Hit:
    """What rays (n,) met: distance metres, inf for nothing; hit as in `raycast`; cosine of the angle to the normal."""

    distance_m: Floats
    hit: Hits
    cosine: Floats


@lru_cache(maxsize=4)
def slot_directions(azimuth_steps: int) -> Floats:
    """Return unit directions (azimuth_steps * 32, 3) in the LiDAR frame, firing by firing, the lowest beam first."""
    elevation = np.deg2rad(np.linspace(*ELEVATION_DEG, NUM_BEAMS))[None, :]
    azimuth = np.deg2rad(FIRST_AZIMUTH_DEG + 360.0 / azimuth_steps * np.arange(azimuth_steps))[:, None]
    x, y = np.cos(elevation) * np.sin(azimuth), np.cos(elevation) * np.cos(azimuth)
    directions: Floats = np.stack([x, y, np.broadcast_to(np.sin(elevation), x.shape)], axis=-1).reshape(-1, 3)
    return directions


@lru_cache(maxsize=4)
def own_car_m(azimuth_steps: int) -> Floats:
    """Return the distance (azimuth_steps * 32,) of the own car in each slot, inf where the beam passes it."""
    solid = [_ROOF, _HOOD, *((*centre, *(_CAMERA_HALF_M,) * 3) for centre in _CAMERAS)]
    boxes = np.array([(*numbers, 1.0, 0.0) for numbers in solid])
    boxes[:, 2] += 10.0  # above the plane that `cast_rays` takes for the ground
    origin = np.array([0.0, 0.0, 10.0])
    bare = Primitives(boxes, np.empty((0, 5)), np.empty((0, 5)))
    return cast_rays(bare, origin, slot_directions(azimuth_steps), limit=4.0)[0]


def scan(
    solids: Solids,
    turn: Turn,
    *,
    actor_velocities_mps: Floats,
    azimuth_steps: int,
    laser_bias_m: Floats,
    spray: float,
    is_rain: bool,
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """Return all slots (azimuth_steps * 32, 5) of one turn that ends at the time of `solids`.

    actor_velocities_mps (actors, 3) in the world frame, indexed by `solids.owners`; laser_bias_m (32,).
    """
    count = azimuth_steps * NUM_BEAMS
    directions = slot_directions(azimuth_steps)
    origins, rotations = turn.at_firings(azimuth_steps)
    first = _cast(solids, origins, rotations, directions, actor_velocities_mps)
    second = _second_sub_ray(solids, origins, rotations, first, directions, actor_velocities_mps)
    seen = _with_mixed_edges(first, second, rng)

    material = solids.materials[np.maximum(seen.hit, 0)]
    brightness = _REFLECTED[material] * np.exp(rng.normal(-0.5 * _SPREAD**2, _SPREAD, count))
    tone = solids.colours[np.maximum(seen.hit, 0)].mean(axis=1)
    brightness *= np.where(_COLOURED[material], np.clip((tone / 0.45) ** 1.5, 0.08, 2.0), 1.0)
    brightness *= np.where(is_rain & _GROUND[material], 0.35, 1.0) * (0.7 if is_rain else 1.0)
    range_m = seen.distance_m
    is_seen = (seen.hit >= 0) & (rng.uniform(size=count) > _LOST[material])
    is_seen &= rng.uniform(size=count) < _chance_of_echo(brightness * seen.cosine, range_m, is_rain=is_rain)
    is_seen &= (range_m > RANGE_M[0]) & (range_m < RANGE_M[1])

    airborne_m = _airborne_ranges(azimuth_steps, rng, spray=spray, is_rain=is_rain)
    is_airborne = airborne_m < np.where(seen.hit >= 0, range_m, np.inf)
    range_m = np.where(is_airborne, airborne_m, range_m)
    intensity = np.where(is_airborne, rng.uniform(1.0, 5.0, count), brightness)
    is_seen |= is_airborne

    own_m = own_car_m(azimuth_steps)
    is_own = own_m < np.where(is_seen, range_m, np.inf)
    range_m = np.where(is_own, own_m, range_m)
    intensity = np.where(is_own, _REFLECTED[Material.OWN_CAR] * np.exp(rng.normal(-0.3, 0.8, count)), intensity)
    is_seen |= is_own

    ring = np.tile(np.arange(NUM_BEAMS), azimuth_steps)
    measured_m = range_m + laser_bias_m[ring] + rng.normal(0.0, NOISE_M, count)
    measured_m = np.where(is_seen, measured_m, 0.0)
    intensity = np.where(is_seen, np.clip(np.rint(intensity), 1.0, 255.0), _NO_ECHO_INTENSITY[ring])
    points = _at_stamp(measured_m[:, None] * directions, origins, rotations, turn.poses[-1])
    rows: NDArray[np.float32] = np.concatenate([points, intensity[:, None], ring[:, None]], axis=1).astype(np.float32)
    return rows


def laser_biases(rng: np.random.Generator) -> Floats:
    """Return how much too far each laser (32,) of a scanner measures, metres."""
    return rng.normal(0.0, LASER_BIAS_M, NUM_BEAMS)


def _chance_of_echo(echo: Floats, range_m: Floats, *, is_rain: bool) -> Floats:
    """Return the chance (n,) that a beam is measured: less for dark surfaces, those met at a slant, and far ones."""
    with np.errstate(invalid="ignore"):
        strength = echo / (range_m / 30.0) ** 2
        if is_rain:
            strength = strength * np.exp(-range_m / 40.0)
        return np.nan_to_num(0.985 * strength / (strength + 0.25), nan=0.0)


def _cast(
    solids: Solids, origins: Floats, rotations: Floats, directions: Floats, actor_mps: Floats, slots: Ints | None = None
) -> Hit:
    """Return what the rays in all slots, or in the given ones (m,) with directions (m, 3), meet, each at its own time."""
    azimuth_steps = len(origins)
    firing = np.repeat(np.arange(azimuth_steps), NUM_BEAMS) if slots is None else slots // NUM_BEAMS
    world_directions = np.einsum("nij,nj->ni", rotations[firing], directions)
    primitives, owners = solids.primitives, solids.owners[1:]
    is_actor = owners >= 0
    speed = np.zeros((len(owners), 3))
    speed[is_actor] = actor_mps[owners[is_actor]]
    ago_s = (azimuth_steps - 1 - np.arange(azimuth_steps)) / azimuth_steps * TURN_US * 1e-6
    distance, cosine = np.empty(len(firing)), np.empty(len(firing))
    hit = np.empty(len(firing), np.int32)
    edges = np.searchsorted(firing, np.linspace(0, azimuth_steps, NUM_SECTORS + 1))
    for low, high in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        if low == high:
            continue
        rays = slice(low, high)
        middle = int(firing[(low + high) // 2])
        then = _moved(primitives, -ago_s[middle] * speed)
        found_m, found = cast_rays(then, origins[middle], world_directions[rays], limit=RANGE_M[1])
        # a thing that moves has another place at each firing; seen from it, the scanner has
        since_s = ago_s[middle] - ago_s[firing[rays]]
        relative = origins[firing[rays]] - origins[middle]
        relative -= np.where(found[:, None] > 0, speed[np.maximum(found - 1, 0)], 0.0) * since_s[:, None]
        distance[rays], cosine[rays] = refine_hits(
            then.boxes,
            then.cylinders,
            then.ellipsoids,
            then.slabs,
            found,
            found_m,
            relative,
            origins[middle],
            world_directions[rays],
        )
        hit[rays] = found
    return Hit(distance, hit, cosine)


def _moved(primitives: Primitives, shift_m: Floats) -> Primitives:
    """Return primitives moved by shift (n, 3), in hit order; nothing moves up or down, and slabs stay."""
    first, second = len(primitives.boxes), len(primitives.boxes) + len(primitives.cylinders)
    groups = []
    for array, part in (
        (primitives.boxes, shift_m[:first]),
        (primitives.cylinders, shift_m[first:second]),
        (primitives.ellipsoids, shift_m[second : second + len(primitives.ellipsoids)]),
    ):
        moved = np.ascontiguousarray(array, dtype=np.float64).copy()
        moved[:, :2] += part[:, :2]
        groups.append(moved)
    boxes, cylinders, ellipsoids = groups
    return replace(primitives, boxes=boxes, cylinders=cylinders, ellipsoids=ellipsoids)


def _second_sub_ray(
    solids: Solids, origins: Floats, rotations: Floats, first: Hit, directions: Floats, actor_mps: Floats
) -> tuple[Ints, Hit]:
    """Return the slots (m,) whose neighbour in the ring meets something else, and what the beam's other half meets there."""
    by_firing = first.hit.reshape(-1, NUM_BEAMS)
    slots = np.flatnonzero((by_firing != np.roll(by_firing, -1, axis=0)).reshape(-1))
    turned = directions[slots] + SUB_RAY_RAD * np.stack(
        [directions[slots, 1], -directions[slots, 0], np.zeros(len(slots))], axis=1
    )
    return slots, _cast(solids, origins, rotations, turned, actor_mps, slots)


def _with_mixed_edges(first: Hit, second: tuple[Ints, Hit], rng: np.random.Generator) -> Hit:
    """Return hits where a beam whose halves meet two surfaces measures one of them, or a mixture if they are close."""
    slots, other = second
    distance, hit, cosine = first.distance_m.copy(), first.hit.copy(), first.cosine.copy()
    share = rng.uniform(size=len(slots))
    a, b = distance[slots], other.distance_m
    with np.errstate(invalid="ignore"):
        is_mixed = np.isfinite(a) & np.isfinite(b) & (np.abs(a - b) < MIXED_M)
        mixed = np.where(is_mixed, a + share * (b - a), np.where(share < 0.5, a, b))
    takes_other = share > 0.5
    distance[slots] = mixed
    hit[slots] = np.where(takes_other, other.hit, hit[slots])
    cosine[slots] = np.where(takes_other, other.cosine, cosine[slots])
    return Hit(distance, hit, cosine)


def _airborne_ranges(azimuth_steps: int, rng: np.random.Generator, *, spray: float, is_rain: bool) -> Floats:
    """Return the distance (slots,) of an airborne return in each beam, inf without one: see `lidar._airborne_ranges`.

    Rain adds drops in all directions and on all beams, most of them within a few metres.
    """
    first, end = AIRBORNE_BEAMS
    azimuth = np.deg2rad(FIRST_AZIMUTH_DEG + 360.0 / azimuth_steps * np.arange(azimuth_steps))
    out = np.full((azimuth_steps, NUM_BEAMS), np.inf)
    shape = (azimuth_steps, end - first)
    is_behind = np.cos(azimuth)[:, None] < -0.65
    behind = max(spray, RAIN_SPRAY) if is_rain else spray
    range_m = rng.uniform(np.where(is_behind, AIRBORNE_WAKE_M, AIRBORNE_RANGE_M[0]), AIRBORNE_RANGE_M[1], size=shape)
    out[:, first:end] = np.where(rng.uniform(size=shape) < np.where(is_behind, behind, AHEAD_SHARE), range_m, np.inf)
    if is_rain:
        drop_m = 2.6 + rng.exponential(4.0, size=out.shape)
        out = np.where(rng.uniform(size=out.shape) < RAIN_DROP_SHARE, np.minimum(out, drop_m), out)
    return out.reshape(-1)


def _at_stamp(points_m: Floats, origins: Floats, rotations: Floats, world_from_lidar: Pose) -> Floats:
    """Return points (slots, 3), each in the LiDAR frame at its firing, in the LiDAR frame at the stamp."""
    stamp = world_from_lidar.rotation
    turn = np.einsum("ji,njk->nik", stamp, rotations)
    shift = (origins - world_from_lidar.translation_m) @ stamp
    moved: Floats = np.einsum("nij,nkj->nki", turn, points_m.reshape(len(origins), NUM_BEAMS, 3)) + shift[:, None, :]
    return moved.reshape(-1, 3)
