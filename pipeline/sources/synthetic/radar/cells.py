"""One scan of a radar that sums echoes in resolution cells, as nuScenes' radars do.

Why    The echo of a cell is the sum of everything in it, so one car gives two returns and not twenty, a wall a few bright
       spots, and a return need not lie on the surface that a camera sees.
Rays   a fan of 0.25 x 0.5 degrees; each adds rcs = brightness of the material at that angle x area of its patch.
Cells  0.5 m x 4 degrees near, 1.8 m x 2 degrees within 9 degrees of the axis from 70 m on; things that move have cells of
       their own, since a radar separates speeds. The power of a cell fluctuates from scan to scan (Swerling 1). Returns are
       the cells above the receiver's threshold, which grows with range^4, that are stronger than their neighbours.
Clutter paths with one bounce off an upright surface, and returns of nothing.
States which returns the radar itself marks as doubtful, by strength and range as in real files (`states`).
Source docs/method/world.md#radar
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipeline.sources.synthetic.actors import Material
from pipeline.sources.synthetic.radar.cells_kernels import echoes, neighbour_rank, sum_cells
from pipeline.sources.synthetic.radar.clutter import anywhere, bounced, returned_twice
from pipeline.sources.synthetic.radar.returns import ReturnKind, Returns, joined
from pipeline.sources.synthetic.radar.states import write_points
from pipeline.sources.synthetic.rays.raycast import cast_rays
from pipeline.sources.synthetic.rigid import Floats, Hits, Ints, Pose
from pipeline.sources.synthetic.solids import Solids

RANGE_M: Final = 250.0
NEAREST_M: Final = 1.2
RAY_AZIMUTH_DEG: Final = (-66.0, 66.0, 0.25)
RAY_ELEVATION_DEG: Final = (-5.0, 7.0, 0.5)
BEAM_AZIMUTH_DEG: Final = 26.0  # where the two-way gain has fallen to 1/e
BEAM_ELEVATION_DEG: Final = 5.0
MOST_RETURNS: Final = 125
MOVING_MPS: Final = 0.7
SPIKINESS: Final = 3.3
CORNER_SHARE: Final = 0.01
CORNER_RCS: Final = 130.0
HIDDEN_FROM_M: Final = 36.0  # from here on more and more of a thing is hidden or off the beam's height
FULLY_LIT_M: Final = 6.0  # a nearer thing is lit in part only
# rcs, dBm2, that is just found at 25 m on the axis; the receiver's threshold grows with the fourth power of range
FOUND_AT_25M_DB: Final = -29.5
LEAST_FOUND_DB: Final = -11.0
FADE_SHAPE: Final = 2.0
LASTING_SHARE: Final = 0.95
THROUGH_SHARE: Final = 0.2
RANGE_NOISE_M: Final = 0.12
SCORE_PER_DECADE_DB: Final = 22.0

# m2 of rcs for a square metre of surface: scattered in all directions, and thrown back where the beam meets it squarely
_DIFFUSE: Final = np.zeros(len(Material))
_MIRROR: Final = np.zeros(len(Material))
for _material, _diffuse, _mirror in (
    (Material.BUILDING, 2.04, 34.0),
    (Material.POLE, 5.44, 34.0),
    (Material.CROWN, 0.68, 0.0),
    (Material.CAR_BODY, 1.2, 42.0),
    (Material.CAR_CABIN, 1.6, 14.0),
    (Material.TRUCK, 10.88, 170.0),
    (Material.PERSON, 10.2, 0.0),
    (Material.LAMP, 4.08, 8.5),
    (Material.TRUNK, 1.36, 1.7),
    (Material.GLASS, 0.68, 17.0),
    (Material.TYRE, 1.6, 1.0),
    (Material.SIGN, 4.08, 102.0),
    (Material.HEDGE, 0.54, 0.0),
    (Material.FENCE, 3.4, 8.5),
    (Material.WALL, 1.36, 17.0),
    (Material.KERB, 0.41, 0.0),
    (Material.BARRIER, 5.44, 51.0),
    (Material.CONE, 0.27, 0.0),
    (Material.CYCLE, 6.8, 5.1),
    (Material.PLATE, 2.2, 28.0),
):
    _DIFFUSE[_material], _MIRROR[_material] = _diffuse, _mirror

_PERMEABLE: Final = np.isin(
    np.arange(len(Material)), (Material.CROWN, Material.HEDGE, Material.FENCE, Material.GLASS, Material.CAR_CABIN)
)


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


_ECHO_FIELDS: Final = ("distance_m", "azimuth", "along_mps", "rcs", "received", "normal", "mark")


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
    """Return the points (n,) of one scan, dtype `plain.POINT`, ordered by range.

    sensor_velocity_mps (3,) and actor_velocities_mps (actors, 3) are true velocities in the world frame, indexed by
    `solids.owners`; yaw_rate_radps is that of the ego vehicle, which real files contain in vx and vy.
    """
    own_mps = sensor_velocity_mps @ world_from_radar.rotation
    echo = _detect(solids, world_from_radar, actor_velocities_mps @ world_from_radar.rotation, rng)
    parts = [echo, bounced(echo, rng), returned_twice(echo, rng), anywhere(own_mps, rng, is_rain=is_rain)]
    return write_points(_strongest(joined(parts)), own_mps, yaw_rate_radps, rng)


def ray_fan() -> tuple[Floats, Floats, Floats]:
    """Return azimuth and elevation (rays,) in radians, elevation by elevation, and the solid angle (rays,) of each ray."""
    low, high, step = RAY_AZIMUTH_DEG
    azimuth = np.deg2rad(np.arange(low + step / 2, high, step))
    bottom, top, rise = RAY_ELEVATION_DEG
    elevation = np.deg2rad(np.arange(bottom + rise / 2, top, rise))
    azimuths, elevations = np.tile(azimuth, len(elevation)), np.repeat(elevation, len(azimuth))
    return azimuths, elevations, np.deg2rad(step) * np.deg2rad(rise) * np.cos(elevations)


@dataclass(frozen=True)
class Echoes:
    """Echoes of single rays (n,): where from, as in `Returns`, and rcs in m2 with and without the antenna's gain."""

    distance_m: Floats
    azimuth: Floats
    along_mps: Floats
    rcs: Floats
    received: Floats
    normal: Floats
    mark: Floats


def _cast(solids: Solids, world_from_radar: Pose, actor_mps: Floats, rays: tuple[Floats, Floats, Floats]) -> tuple[Echoes, Hits]:
    """Return the echo of each ray of a fan, and what it hits; actor_mps (actors, 3) are velocities in the radar's frame."""
    azimuth, elevation, solid_angle = rays
    sight = np.stack([np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation)], axis=1)
    rotation = world_from_radar.rotation
    directions = sight @ rotation.T
    primitives = solids.primitives
    distance, hit = cast_rays(primitives, world_from_radar.translation_m, directions, limit=RANGE_M)
    rcs, normals, marks = echoes(
        np.ascontiguousarray(primitives.boxes),
        np.ascontiguousarray(primitives.cylinders),
        np.ascontiguousarray(primitives.ellipsoids),
        solids.materials,
        solids.owners,
        _DIFFUSE,
        _MIRROR,
        SPIKINESS,
        CORNER_SHARE,
        CORNER_RCS,
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
    rcs *= np.minimum(distance / FULLY_LIT_M, 1.0) * np.minimum(HIDDEN_FROM_M / distance, 1.0) ** 1.5
    return Echoes(distance, azimuth, along, rcs, rcs * gain, normals @ rotation[:2, :2], marks), hit


def _behind(solids: Solids, hit: Hits) -> tuple[Solids, NDArray[np.bool_]]:
    """Return the world without what lets a part of the beam through or past, and which rays (n,) met such a thing.

    Leaves, fences and panes let it through; it passes below and beside vehicles and people.
    """
    lets_through = _PERMEABLE[solids.materials[1:]] | (solids.owners[1:] >= 0)
    primitives = solids.primitives
    counts = np.cumsum([0, len(primitives.boxes), len(primitives.cylinders), len(primitives.ellipsoids)])
    stays = [~lets_through[low:high] for low, high in itertools.pairwise(counts)]
    rest = replace(
        primitives,
        boxes=primitives.boxes[stays[0]],
        cylinders=primitives.cylinders[stays[1]],
        ellipsoids=primitives.ellipsoids[stays[2]],
        slabs=np.empty((0, 10)),
    )
    kept = np.concatenate([[True], *stays])
    there = slice(0, 1 + int(counts[-1]))
    looks = (solids.materials, solids.colours, solids.surfaces, solids.owners)
    behind = Solids(rest, *(look[there][kept] for look in looks))
    return behind, (hit > 0) & np.concatenate([[False], lets_through])[np.maximum(hit, 0)]


def _detect(solids: Solids, world_from_radar: Pose, actor_mps: Floats, rng: np.random.Generator) -> Returns:
    """Return the echoes of the solid world; actor_mps (actors, 3) are velocities in the radar's frame."""
    rays = ray_fan()
    echo, hit = _cast(solids, world_from_radar, actor_mps, rays)
    rest, passes = _behind(solids, hit)
    through, _ = _cast(rest, world_from_radar, actor_mps, (rays[0][passes], rays[1][passes], rays[2][passes] * THROUGH_SHARE))
    echo = Echoes(*(np.concatenate([getattr(one, name) for one in (echo, through)]) for name in _ECHO_FIELDS))
    parts = []
    for grid in (NEAR_CELLS, FAR_CELLS):
        ray, strength = _peaks(grid, echo, rng)
        count = len(ray)
        lot = np.where(rng.uniform(size=count) < LASTING_SHARE, echo.mark[ray], rng.uniform(size=count))
        parts.append(
            Returns(
                echo.distance_m[ray] + rng.normal(0.0, RANGE_NOISE_M, count),
                echo.azimuth[ray] + np.deg2rad(rng.normal(0.0, 0.12 * grid.azimuth_step_deg, count)),
                10.0 * np.log10(strength),
                echo.along_mps[ray],
                echo.normal[ray],
                lot,
                np.full(count, ReturnKind.ECHO),
            )
        )
    return joined(parts)


def _peaks(grid: CellGrid, echo: Echoes, rng: np.random.Generator) -> tuple[Ints, Floats]:
    """Return (the strongest ray (m,) of each cell that is a return, the rcs (m,) of the cell)."""
    distance, azimuth_deg = echo.distance_m, np.rad2deg(echo.azimuth)
    in_field = (distance < RANGE_M) & (np.abs(azimuth_deg) < grid.half_width_deg)
    if grid is NEAR_CELLS:
        in_field &= (distance < FAR_CELLS.from_m) | (np.abs(azimuth_deg) >= FAR_CELLS.half_width_deg)
    reach = np.where(in_field, distance, 0.0)
    cell = np.where(in_field, grid.cell_of(reach, azimuth_deg, np.abs(echo.along_mps) > MOVING_MPS), -1)
    total, ray = sum_cells(echo.received, cell, int(np.prod(grid.shape)))
    found = (total * rng.gamma(FADE_SHAPE, 1.0 / FADE_SHAPE, size=len(total))).reshape(grid.shape)
    middle_m = grid.from_m + (np.arange(grid.shape[1]) + 0.5) * grid.range_step_m
    floor = np.maximum(10 ** (FOUND_AT_25M_DB / 10) * (middle_m / 25.0) ** 4, 10 ** (LEAST_FOUND_DB / 10))
    found = np.where(found > floor[None, :, None], found, 0.0)
    peak = np.flatnonzero((found > 0) & (neighbour_rank(found) == 0))
    chosen = ray[peak]
    return chosen, found.reshape(-1)[peak] * echo.rcs[chosen] / echo.received[chosen]


def _strongest(found: Returns) -> Returns:
    """Return the returns that the radar sends, ordered by range."""
    score = found.rcs_db - SCORE_PER_DECADE_DB * np.log10(np.maximum(found.range_m, 1.0))
    kept = np.argsort(-score, kind="stable")[:MOST_RETURNS]
    kept = kept[found.range_m[kept] > NEAREST_M]
    return found.take(kept[np.argsort(found.range_m[kept], kind="stable")])
