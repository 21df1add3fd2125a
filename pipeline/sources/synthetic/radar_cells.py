"""One scan of a radar that sums echoes in resolution cells, as nuScenes' radars do.

Why    The echo of a cell is the sum of everything in it, so one car gives two returns and not twenty, a wall a few bright
       spots, and a return need not lie on the surface that a camera sees.
Rays   a fan of 0.25 x 0.5 degrees; each adds rcs = brightness of the material at that angle x area of its patch.
Cells  0.5 m x 4 degrees near, 1.8 m x 2 degrees within 9 degrees of the axis from 70 m on; things that move have cells of
       their own, since a radar separates speeds. The power of a cell fluctuates from scan to scan (Swerling 1). Returns are
       the cells above the receiver's threshold, which grows with range^4, that are stronger than their neighbours.
Clutter paths with one bounce off an upright surface, and returns of nothing.
States which returns the radar itself marks as doubtful, by strength and range as in real files (`radar_states`).
Source docs/method/world.md#radar
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipeline.sources.synthetic.actors import Material
from pipeline.sources.synthetic.radar import POINT
from pipeline.sources.synthetic.radar_cells_kernels import echoes, neighbour_rank, sum_cells
from pipeline.sources.synthetic.radar_states import ReturnKind, draw_states
from pipeline.sources.synthetic.raycast import cast_rays
from pipeline.sources.synthetic.rigid import Floats, Ints, Pose
from pipeline.sources.synthetic.solids import Solids

RANGE_M: Final = 250.0
NEAREST_M: Final = 1.2
RAY_AZIMUTH_DEG: Final = (-66.0, 66.0, 0.25)
RAY_ELEVATION_DEG: Final = (-5.0, 7.0, 0.5)
BEAM_AZIMUTH_DEG: Final = 38.0  # where the two-way gain has fallen to 1/e
BEAM_ELEVATION_DEG: Final = 5.0
MOST_RETURNS: Final = 125
GRID_M: Final = 0.2
SPEED_STEP_MPS: Final = 0.25
MOVING_MPS: Final = 0.7
SPIKINESS: Final = 2.2
# rcs, dBm2, that is just found at 25 m on the axis; the receiver's threshold grows with the fourth power of range
FOUND_AT_25M_DB: Final = -12.0
LEAST_RCS_DB: Final = -5.0
RANGE_NOISE_M: Final = 0.12
SPEED_NOISE_MPS: Final = 0.06
BOUNCE_COUNT: Final = 18.0
CLUTTER_COUNT: Final = 12.0
STRAY_COUNT: Final = 7.8
SCORE_PER_DECADE_DB: Final = 0.0

# m2 of rcs for a square metre of surface: scattered in all directions, and thrown back where the beam meets it squarely
_DIFFUSE: Final = np.zeros(len(Material))
_MIRROR: Final = np.zeros(len(Material))
for _material, _diffuse, _mirror in (
    (Material.BUILDING, 0.12, 2.0),
    (Material.POLE, 1.5, 10.0),
    (Material.CROWN, 0.06, 0.0),
    (Material.CAR_BODY, 1.2, 20.0),
    (Material.CAR_CABIN, 0.5, 5.0),
    (Material.TRUCK, 2.0, 40.0),
    (Material.PERSON, 0.5, 0.0),
    (Material.LAMP, 1.0, 2.0),
    (Material.TRUNK, 0.15, 0.3),
    (Material.GLASS, 0.05, 2.0),
    (Material.TYRE, 0.5, 0.5),
    (Material.SIGN, 0.6, 20.0),
    (Material.HEDGE, 0.05, 0.0),
    (Material.FENCE, 0.8, 2.0),
    (Material.WALL, 0.15, 2.0),
    (Material.KERB, 0.02, 0.0),
    (Material.BARRIER, 1.0, 10.0),
    (Material.CONE, 0.05, 0.0),
    (Material.CYCLE, 1.0, 1.0),
    (Material.PLATE, 1.0, 20.0),
):
    _DIFFUSE[_material], _MIRROR[_material] = _diffuse, _mirror


@dataclass(frozen=True)
class CellGrid:
    """Cells of one of the antenna's two beams: size of a cell, and the part of the field that this beam answers for."""

    range_step_m: float
    azimuth_step_deg: float
    from_m: float
    to_m: float
    half_width_deg: float

    @property
    def shape(self) -> tuple[int, int, int]:
        """Planes (standing, moving), ranges, azimuths."""
        return (
            2,
            int(np.ceil((self.to_m - self.from_m) / self.range_step_m)),
            int(np.ceil(2 * self.half_width_deg / self.azimuth_step_deg)),
        )

    def cell_of(self, range_m: Floats, azimuth_deg: Floats, is_moving: NDArray[np.bool_]) -> Ints:
        """Return the number (n,) of the cell of each ray, -1 outside the grid."""
        _, rows, columns = self.shape
        row = np.floor((range_m - self.from_m) / self.range_step_m)
        column = np.floor((azimuth_deg + self.half_width_deg) / self.azimuth_step_deg)
        inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
        number = (is_moving * rows + np.where(inside, row, 0)) * columns + np.where(inside, column, 0)
        return np.where(inside, number, -1).astype(np.int64)


NEAR_CELLS: Final = CellGrid(0.5, 4.0, NEAREST_M, 110.0, 66.0)
FAR_CELLS: Final = CellGrid(1.8, 2.0, 70.0, RANGE_M, 9.0)


@dataclass(frozen=True)
class Returns:
    """Returns of one scan, before they are written.

    range_m, azimuth (n,) radians, rcs_db (n,); speed_mps (n,) over ground along the line of sight; normal (n, 2) of the
    upright surface that gave it, in the radar's frame, (0, 0) for none; kind (n,) of `ReturnKind`.
    """

    range_m: Floats
    azimuth: Floats
    rcs_db: Floats
    speed_mps: Floats
    normal: Floats
    kind: Ints

    def __len__(self) -> int:
        """Return the number of returns."""
        return len(self.range_m)

    def take(self, chosen: Ints) -> Returns:
        """Return the returns with numbers (m,)."""
        return Returns(
            self.range_m[chosen],
            self.azimuth[chosen],
            self.rcs_db[chosen],
            self.speed_mps[chosen],
            self.normal[chosen],
            self.kind[chosen],
        )


def joined(parts: list[Returns]) -> Returns:
    """Return the returns of all parts, one after the other."""
    names = ("range_m", "azimuth", "rcs_db", "speed_mps", "normal", "kind")
    return Returns(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def scan(
    solids: Solids,
    world_from_radar: Pose,
    *,
    sensor_velocity_mps: Floats,
    actor_velocities_mps: Floats,
    rng: np.random.Generator,
    yaw_rate_radps: float = 0.0,
    is_rain: bool = False,
) -> NDArray[np.void]:
    """Return the points (n,) of one scan, dtype `radar.POINT`, ordered by range.

    sensor_velocity_mps (3,) and actor_velocities_mps (actors, 3) are true velocities in the world frame, indexed by
    `solids.owners`; yaw_rate_radps is that of the ego vehicle, which real files contain in vx and vy.
    """
    own_mps = sensor_velocity_mps @ world_from_radar.rotation
    echo = _detect(solids, world_from_radar, actor_velocities_mps @ world_from_radar.rotation, rng)
    mirrored = _bounced(echo, rng, share=BOUNCE_COUNT)
    clutter = _anywhere(own_mps, rng, is_rain=is_rain)
    return _points(_strongest(joined([echo, mirrored, clutter])), own_mps, yaw_rate_radps, rng)


def ray_fan() -> tuple[Floats, Floats, Floats]:
    """Return azimuth and elevation (rays,) in radians, elevation by elevation, and the solid angle (rays,) of each ray."""
    low, high, step = RAY_AZIMUTH_DEG
    azimuth = np.deg2rad(np.arange(low + step / 2, high, step))
    bottom, top, rise = RAY_ELEVATION_DEG
    elevation = np.deg2rad(np.arange(bottom + rise / 2, top, rise))
    azimuths, elevations = np.tile(azimuth, len(elevation)), np.repeat(elevation, len(azimuth))
    return azimuths, elevations, np.deg2rad(step) * np.deg2rad(rise) * np.cos(elevations)


def _detect(solids: Solids, world_from_radar: Pose, actor_mps: Floats, rng: np.random.Generator) -> Returns:
    """Return the echoes of the solid world; actor_mps (actors, 3) are velocities in the radar's frame."""
    azimuth, elevation, solid_angle = ray_fan()
    sight = np.stack([np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation)], axis=1)
    rotation = world_from_radar.rotation
    directions = sight @ rotation.T
    primitives = solids.primitives
    distance, hit = cast_rays(primitives, world_from_radar.translation_m, directions, limit=RANGE_M)
    rcs, normals = echoes(
        np.ascontiguousarray(primitives.boxes),
        np.ascontiguousarray(primitives.cylinders),
        np.ascontiguousarray(primitives.ellipsoids),
        solids.materials,
        solids.owners,
        _DIFFUSE,
        _MIRROR,
        SPIKINESS,
        world_from_radar.translation_m,
        directions,
        distance,
        hit,
        solid_angle,
    )
    owner = solids.owners[np.maximum(hit, 0)]
    along = np.zeros(len(hit))
    is_of_actor = (hit > 0) & (owner >= 0)
    along[is_of_actor] = (actor_mps[owner[is_of_actor]] * sight[is_of_actor]).sum(axis=1)
    gain = np.exp(-((np.rad2deg(azimuth) / BEAM_AZIMUTH_DEG) ** 2) - (np.rad2deg(elevation) / BEAM_ELEVATION_DEG) ** 2)
    normals_in_radar = normals @ rotation[:2, :2]
    parts = []
    for grid in (NEAR_CELLS, FAR_CELLS):
        ray, strength = _peaks(grid, distance, np.rad2deg(azimuth), along, rcs, gain, rng)
        count = len(ray)
        parts.append(
            Returns(
                distance[ray] + rng.normal(0.0, RANGE_NOISE_M, count),
                azimuth[ray] + np.deg2rad(rng.normal(0.0, 0.12 * grid.azimuth_step_deg, count)),
                10.0 * np.log10(strength),
                along[ray],
                normals_in_radar[ray],
                np.full(count, ReturnKind.ECHO),
            )
        )
    return joined(parts)


def _peaks(
    grid: CellGrid, distance: Floats, azimuth_deg: Floats, along: Floats, rcs: Floats, gain: Floats, rng: np.random.Generator
) -> tuple[Ints, Floats]:
    """Return (the strongest ray (m,) of each cell that is a return, the rcs (m,) of the cell)."""
    in_field = (distance < RANGE_M) & (np.abs(azimuth_deg) < grid.half_width_deg)
    if grid is NEAR_CELLS:
        in_field &= (distance < FAR_CELLS.from_m) | (np.abs(azimuth_deg) >= FAR_CELLS.half_width_deg)
    reach = np.where(in_field, distance, 0.0)
    cell = np.where(in_field, grid.cell_of(reach, azimuth_deg, np.abs(along) > MOVING_MPS), -1)
    total, ray = sum_cells(rcs * gain, cell, int(np.prod(grid.shape)))
    fade = rng.exponential(size=len(total))
    found = np.maximum(total * fade, 0.0)
    middle_m = grid.from_m + (np.arange(grid.shape[1]) + 0.5) * grid.range_step_m
    floor = 10 ** (FOUND_AT_25M_DB / 10) * (np.maximum(middle_m, 8.0) / 25.0) ** 4
    found = np.where(found.reshape(grid.shape) > floor[None, :, None], found.reshape(grid.shape), 0.0)
    peak = np.flatnonzero((found > 0) & (neighbour_rank(found) == 0))
    chosen = ray[peak]
    return chosen, found.reshape(-1)[peak] / gain[chosen]


def _bounced(echo: Returns, rng: np.random.Generator, *, share: float) -> Returns:
    """Return ghosts: strong echoes seen in the mirror of an upright surface nearer than they appear."""
    count = int(rng.poisson(share))
    source = _by_strength(echo, count, rng)
    is_upright = np.flatnonzero(np.abs(echo.normal).sum(axis=1) > 0.5)
    if len(source) == 0 or len(is_upright) == 0:
        return echo.take(np.zeros(0, np.int64))
    mirror = is_upright[rng.integers(len(is_upright), size=len(source))]
    place = np.stack([np.cos(echo.azimuth), np.sin(echo.azimuth)], axis=1) * echo.range_m[:, None]
    normal = echo.normal[mirror]
    height = ((place[source] - place[mirror]) * normal).sum(axis=1)
    ghost = place[source] - 2.0 * height[:, None] * normal
    range_m, azimuth = np.hypot(ghost[:, 0], ghost[:, 1]), np.arctan2(ghost[:, 1], ghost[:, 0])
    # a mirror that cannot show the echo beyond itself shows it straight behind, by a second trip between car and mirror
    is_lost = (range_m < echo.range_m[mirror]) | (np.abs(np.rad2deg(azimuth)) > 60.0) | (range_m > 130.0)
    behind_m = echo.range_m[source] + rng.exponential(9.0, len(source)) + 2.0
    return Returns(
        np.where(is_lost, behind_m, range_m),
        np.where(is_lost, echo.azimuth[source] + np.deg2rad(rng.normal(0.0, 2.0, len(source))), azimuth),
        echo.rcs_db[source] - rng.uniform(0.0, 14.0, len(source)),
        echo.speed_mps[source],
        np.zeros((len(source), 2)),
        np.full(len(source), ReturnKind.BOUNCED),
    )


def _by_strength(echo: Returns, count: int, rng: np.random.Generator) -> Ints:
    """Return numbers (count,) of echoes, strong ones more often."""
    if len(echo) == 0:
        return np.zeros(0, np.int64)
    weight = 10 ** (np.clip(echo.rcs_db, -10.0, 25.0) / 20.0)
    return rng.choice(len(echo), size=count, p=weight / weight.sum()).astype(np.int64)


def _anywhere(own_mps: Floats, rng: np.random.Generator, *, is_rain: bool) -> Returns:
    """Return returns of nothing: noise and clutter in the field, what strays in from outside it, far ones never confirmed."""
    counts = (int(rng.poisson(CLUTTER_COUNT * (1.4 if is_rain else 1.0))), int(rng.poisson(STRAY_COUNT)), int(rng.poisson(0.85)))
    noise, stray, far = counts
    rows = sum(counts)
    near_m = np.where(rng.uniform(size=stray) < 0.3, rng.uniform(2.0, 20.0, stray), rng.uniform(3.0, 110.0, stray))
    range_m = np.concatenate([rng.triangular(4.0, 45.0, 110.0, noise), near_m, rng.uniform(18.0, 48.0, far)])
    side = rng.choice([-1.0, 1.0], size=stray)
    stray_deg = np.where(
        rng.uniform(size=stray) < 0.4, side * rng.uniform(61.0, 71.0, stray), side * rng.uniform(0.0, 20.0, stray)
    )
    azimuth = np.deg2rad(np.concatenate([np.clip(rng.normal(0, 26.0, noise), -58, 58), stray_deg, rng.uniform(-9, 9, far)]))
    noise_db = rng.exponential(5.0, noise) - 4.0
    rcs_db = np.concatenate([noise_db, rng.exponential(9.0, stray) - 4.5, rng.normal(1.0, 4.5, far)])
    # where the speed cannot be resolved it is written as 0 against the car
    stray_mps = (own_mps[0] * np.cos(azimuth) + own_mps[1] * np.sin(azimuth))[noise : noise + stray]
    is_false_speed = rng.uniform(size=noise) < 0.12
    speed = np.concatenate([np.where(is_false_speed, rng.normal(0.0, 4.0, noise), 0.0), stray_mps, np.zeros(far)])
    kind = np.repeat([ReturnKind.CLUTTER, ReturnKind.STRAY, ReturnKind.FAR_ONLY], counts)
    return Returns(range_m, azimuth, rcs_db, speed, np.zeros((rows, 2)), kind)


def _strongest(found: Returns) -> Returns:
    """Return the returns that the radar sends, ordered by range."""
    score = found.rcs_db - SCORE_PER_DECADE_DB * np.log10(np.maximum(found.range_m, 1.0))
    kept = np.argsort(-score, kind="stable")[:MOST_RETURNS]
    kept = kept[found.range_m[kept] > NEAREST_M]
    return found.take(kept[np.argsort(found.range_m[kept], kind="stable")])


def _points(found: Returns, own_mps: Floats, yaw_rate_radps: float, rng: np.random.Generator) -> NDArray[np.void]:
    """Return returns as the fields of a file: places on the grid, speeds in steps, states by strength and range."""
    count = len(found)
    x = np.rint(found.range_m * np.cos(found.azimuth) / GRID_M) * GRID_M
    y = (np.floor(found.range_m * np.sin(found.azimuth) / GRID_M) + 0.5) * GRID_M
    range_m = np.maximum(np.hypot(x, y), GRID_M)
    cosine, sine = np.maximum(x, GRID_M) / range_m, y / range_m
    own_along = own_mps[0] * cosine + own_mps[1] * sine
    is_stray = found.kind == ReturnKind.STRAY
    heavy = np.where(rng.uniform(size=count) < 0.1, 3.0, 1.0)
    relative = found.speed_mps - own_along + rng.normal(0.0, SPEED_NOISE_MPS, count) * heavy
    vx = np.rint((relative / cosine + yaw_rate_radps * y) / SPEED_STEP_MPS) * SPEED_STEP_MPS
    vy = np.rint(-yaw_rate_radps * x / SPEED_STEP_MPS) * SPEED_STEP_MPS + np.zeros(count)
    over_ground = vx * cosine + vy * sine + own_along
    over_ground = np.where(is_stray, own_along, over_ground)

    points = np.zeros(count, dtype=POINT)
    points["x"], points["y"], points["id"] = x, y, np.arange(count)
    points["rcs"] = np.maximum(np.rint(2.0 * found.rcs_db) / 2.0, LEAST_RCS_DB)
    points["vx"], points["vy"] = np.where(is_stray, 0.0, vx), np.where(is_stray, 0.0, vy)
    points["vx_comp"], points["vy_comp"] = over_ground * cosine, over_ground * sine
    points["is_quality_valid"] = 1
    states = draw_states(range_m, np.rad2deg(np.arctan2(y, x)), points["rcs"], over_ground, found.speed_mps, found.kind, rng)
    for name, values in states.items():
        points[name] = values
    return points
