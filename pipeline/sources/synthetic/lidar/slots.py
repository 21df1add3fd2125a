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
from functools import cached_property, lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipeline.sources.synthetic.actors import Material
from pipeline.sources.synthetic.lidar.plain import AIRBORNE_BEAMS, AIRBORNE_RANGE_M, AIRBORNE_WAKE_M, ELEVATION_DEG, NUM_BEAMS
from pipeline.sources.synthetic.lidar.slots_kernels import measure, moved_to_stamp, turning_bins, turning_hits
from pipeline.sources.synthetic.rays.raycast import Primitives, cast_rays, cast_rays_plain
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
SPREAD: Final = 0.75  # of the logarithm of the echo within a surface
PIECE_SPREAD: Final = 0.55  # the same between surfaces of a material
CLEAR_FADE_M: Final = 1000.0
RAIN_FADE_M: Final = 40.0
# echo of a surface that is met squarely, on the scale of the files' intensity
_REFLECTED: Final = np.full(len(Material), 24.0)
for _material, _echo in (
    (Material.GROUND, 16.8),
    (Material.BUILDING, 26.4),
    (Material.POLE, 54.0),
    (Material.CROWN, 12.0),
    (Material.CAR_BODY, 8.4),
    (Material.CAR_CABIN, 16.0),
    (Material.TRUCK, 48.0),
    (Material.PERSON, 16.8),
    (Material.LAMP, 72.0),
    (Material.TRUNK, 16.8),
    (Material.GLASS, 3.6),
    (Material.TYRE, 4.8),
    (Material.SIGN, 150.0),
    (Material.HEDGE, 10.8),
    (Material.PLATE, 220.0),
    (Material.CONE, 72.0),
    (Material.BARRIER, 42.0),
    (Material.ASPHALT, 14.4),
    (Material.CROSSING, 48.0),
    (Material.OWN_CAR, 18.0),
):
    _REFLECTED[_material] = _echo
# share of beams that pass or are thrown aside
_LOST: Final = np.zeros(len(Material))
_LOST[[Material.CAR_CABIN, Material.GLASS]] = 0.7, 0.7
_LOST[[Material.CROWN, Material.HEDGE, Material.FENCE]] = 0.08, 0.04, 0.1
# smooth paint is a mirror: with this range a car holds as many returns as real ones do, 187, 12 and 2 to 15, 30 and 50 m
_HALF_M: Final = np.full(len(Material), np.inf)
_HALF_M[Material.CAR_BODY] = 24.0
_COLOURED: Final = np.isin(np.arange(len(Material)), (Material.CAR_BODY, Material.TRUCK, Material.PERSON, Material.BARRIER))
_GROUND: Final = np.isin(np.arange(len(Material)), (Material.GROUND, Material.ASPHALT, Material.PAVEMENT, Material.CROSSING))
_NO_ECHO_INTENSITY: Final = np.array([
    17, 9, 8, 45, 3, 3, 2, 85, 100, 54, 100, 5, 100, 4, 100, 6, 40, 100, 100, 2, 4, 3, 1, 9, 3, 3, 3, 10, 3, 11, 9, 17,
], dtype=np.float64)  # fmt: skip
"""What stands in the intensity of a slot without an echo, by ring: read from a real file, has no meaning."""
# the own car around the scanner, in the LiDAR frame: centre x y z, half sizes; roof, its lower rear, hood, and the six cameras
_OWN_CAR: Final = (
    (0.0, 0.06, -0.64, 0.46, 0.64, 0.3),
    (0.0, -0.77, -0.67, 0.44, 0.2, 0.3),
    (0.0, 1.8, -1.2, 0.62, 0.35, 0.33),
    (0.016, 0.76, -0.39, 0.045, 0.045, 0.05),
    (-0.495, 0.58, -0.36, 0.045, 0.045, 0.05),
    (0.493, 0.6, -0.36, 0.045, 0.045, 0.05),
    (-0.485, 0.1, -0.33, 0.045, 0.045, 0.05),
    (0.481, 0.07, -0.33, 0.045, 0.045, 0.05),
    (0.0, -0.85, -0.315, 0.075, 0.06, 0.06),
)


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
    boxes = np.array([(*numbers, 1.0, 0.0) for numbers in _OWN_CAR])
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
    world = spinning(solids, turn, actor_velocities_mps=actor_velocities_mps, azimuth_steps=azimuth_steps)
    first = world.hits(np.repeat(np.arange(azimuth_steps), NUM_BEAMS), directions)
    seen = _with_mixed_edges(first, _second_sub_ray(world, first, directions), rng)

    echo, lost, half_m = surface_echoes(solids, is_rain=is_rain)
    measured_m, intensity = measure(
        seen.distance_m,
        seen.hit,
        seen.cosine,
        echo,
        lost,
        half_m,
        SPREAD,
        RAIN_FADE_M if is_rain else CLEAR_FADE_M,
        _airborne_ranges(azimuth_steps, rng, spray=spray, is_rain=is_rain),
        own_car_m(azimuth_steps),
        float(_REFLECTED[Material.OWN_CAR]),
        laser_bias_m,
        NOISE_M,
        _NO_ECHO_INTENSITY,
        np.array(RANGE_M),
        rng.standard_normal((2, count), dtype=np.float32),
        rng.random((2, count), dtype=np.float32),
    )
    stamp = turn.poses[-1]
    points = moved_to_stamp(measured_m, directions, world.origins, world.rotations, stamp.translation_m, stamp.rotation)
    rows = np.empty((count, 5), np.float32)
    rows[:, :3], rows[:, 3], rows[:, 4] = points, intensity, np.tile(np.arange(NUM_BEAMS), azimuth_steps)
    return rows


def laser_biases(rng: np.random.Generator) -> Floats:
    """Return how much too far each laser (32,) of a scanner measures, metres."""
    return rng.normal(0.0, LASER_BIAS_M, NUM_BEAMS)


def surface_echoes(solids: Solids, *, is_rain: bool) -> tuple[Floats, Floats, Floats]:
    """Return (echo, lost, half_m), each (n + 1,) of ground and primitives.

    echo is the brightness where met squarely, lost the share of swallowed beams, and half_m the range in metres at which
    a smooth surface throws half of the others aside.

    Dark paint and dark clothes give less; every piece is a little brighter or darker than others of its material, by a
    number made from its colour. In rain everything is darker, and a wet road throws most light forward.
    """
    material = solids.materials
    tone = solids.colours.mean(axis=1)
    own = np.mod(solids.colours @ np.array([997.13, 719.37, 431.71]), 1.0)
    echo = _REFLECTED[material] * np.exp(PIECE_SPREAD * (own - 0.5) * np.sqrt(12.0))
    echo *= np.where(_COLOURED[material], np.clip((tone / 0.45) ** 1.5, 0.2, 2.0), 1.0)
    if is_rain:
        echo *= np.where(_GROUND[material], 0.25, 0.7)
    return echo, _LOST[material], _HALF_M[material]


@dataclass(frozen=True)
class Spinning:
    """A world and a scanner that both move in a turn: primitives at the stamp, their velocities (n, 3), poses of firings."""

    primitives: Primitives
    velocities: Floats
    origins: Floats
    rotations: Floats

    @property
    def before_s(self) -> Floats:
        """How long before the stamp each firing (steps,) was."""
        steps = len(self.origins)
        return (steps - 1 - np.arange(steps)) / steps * (TURN_US * 1e-6)

    @cached_property
    def _bins(self) -> tuple[Floats, Ints, Ints]:
        """Candidates of each compass direction, seen from the middle of the turn."""
        centre = self.origins[len(self.origins) // 2]
        reach = np.linalg.norm(self.origins - centre, axis=1).max() + 1e-3
        moves = np.linalg.norm(self.velocities, axis=1) * (TURN_US * 1e-6)
        return turning_bins(*self._shapes, centre, reach + moves, RANGE_M[1])

    @property
    def _shapes(self) -> tuple[Floats, Floats, Floats, Floats]:
        world = self.primitives
        boxes, cylinders, ellipsoids, slabs = (
            np.ascontiguousarray(array, dtype=np.float64)
            for array in (world.boxes, world.cylinders, world.ellipsoids, world.slabs)
        )
        return boxes, cylinders, ellipsoids, slabs

    def hits(self, firing: Ints, directions: Floats) -> Hit:
        """Return what rays (n,) of firings (n,) meet; directions (n, 3) in the LiDAR frame at the firing."""
        distance, hit, cosine = turning_hits(
            *self._shapes,
            self.primitives.ground_m,
            self.velocities,
            *self._bins,
            self.origins,
            self.rotations,
            self.before_s,
            firing,
            np.ascontiguousarray(directions),
            RANGE_M[1],
        )
        return Hit(distance, hit, cosine)

    def hits_plain(self, firing: Ints, directions: Floats) -> tuple[Floats, Hits]:
        """Return distance and hit as `hits` does, ray by ray with `cast_rays_plain`."""
        distance, hit = np.empty(len(firing)), np.empty(len(firing), np.int32)
        for n, step in enumerate(firing.tolist()):
            world = _moved(self.primitives, -self.before_s[step] * self.velocities)
            direction = self.rotations[step] @ directions[n]
            found = cast_rays_plain(world, self.origins[step], direction[None], limit=RANGE_M[1])
            distance[n], hit[n] = found[0][0], found[1][0]
        return distance, hit


def spinning(solids: Solids, turn: Turn, *, actor_velocities_mps: Floats, azimuth_steps: int) -> Spinning:
    """Return world and scanner of a turn that ends at the time of `solids`."""
    owners = solids.owners[1:]
    velocities = np.zeros((len(owners), 3))
    velocities[owners >= 0] = actor_velocities_mps[owners[owners >= 0]]
    return Spinning(solids.primitives, velocities, *turn.at_firings(azimuth_steps))


def _moved(primitives: Primitives, shift_m: Floats) -> Primitives:
    """Return primitives moved by shift (n, 3), in hit order; slabs stay."""
    boxes, cylinders, ellipsoids = (
        np.array(array, dtype=np.float64) for array in (primitives.boxes, primitives.cylinders, primitives.ellipsoids)
    )
    first, second = len(boxes), len(boxes) + len(cylinders)
    boxes[:, :3] += shift_m[:first]
    cylinders[:, :2] += shift_m[first:second, :2]
    cylinders[:, 3:] += shift_m[first:second, 2:]
    ellipsoids[:, :3] += shift_m[second : second + len(ellipsoids)]
    return replace(primitives, boxes=boxes, cylinders=cylinders, ellipsoids=ellipsoids)


def _second_sub_ray(world: Spinning, first: Hit, directions: Floats) -> tuple[Ints, Hit]:
    """Return the slots (m,) whose neighbour in the ring meets something else, and what the beam's other half meets there."""
    by_firing = first.hit.reshape(-1, NUM_BEAMS)
    slots = np.flatnonzero((by_firing != np.roll(by_firing, -1, axis=0)).reshape(-1))
    aside = np.stack([directions[slots, 1], -directions[slots, 0], np.zeros(len(slots))], axis=1)
    return slots, world.hits(slots // NUM_BEAMS, directions[slots] + SUB_RAY_RAD * aside)


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
    """Return the distance (slots,) of an airborne return in each beam, inf without one: see `plain._airborne_ranges`.

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
