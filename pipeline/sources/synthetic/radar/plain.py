"""One scan of a radar in the nuScenes `.pcd` layout of 18 fields.

Frame x forward, y left, z up. The conventional antenna looks along its horizon and measures no height: z is always 0. The
imaging one (3+1D) also measures elevation, and returns ten times as much. (vx, vy) is the horizontal part of the measured
Doppler speed along the line of sight, (vx_comp, vy_comp) the same with the sensor's own motion taken out. A part of the
points carries states that the devkit's default filter drops (invalid_state 0, dyn_prop 0 to 6, ambig_state 3 pass).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipeline.sources.synthetic.actors import Material
from pipeline.sources.synthetic.rays.raycast import cast_rays
from pipeline.sources.synthetic.rigid import Floats, Pose
from pipeline.sources.synthetic.solids import Solids

RANGE_M: Final = 120.0
FIELD_OF_VIEW_DEG: Final = 60.0
BAD_SHARE: Final = 0.15
MOVING_MPS: Final = 0.5


@dataclass(frozen=True)
class Antenna:
    """Resolution and noise of a kind of radar.

    Attributes:
        num_azimuths: rays from -60 to 60 degrees, at each elevation.
        elevation_deg: elevations of the rays, degrees above the radar's horizon.
        num_points: least and one more than the largest number of returns of a scan.
        range_noise_m: standard deviation of the measured range.
        angle_noise_deg: standard deviation of the measured azimuth, and of the elevation where it is measured.
        measures_height: elevation is measured; otherwise z is 0.
    """

    num_azimuths: int
    elevation_deg: tuple[float, ...]
    num_points: tuple[int, int]
    range_noise_m: float
    angle_noise_deg: float
    measures_height: bool


ANTENNAS: Final = {
    "conventional": Antenna(481, (0.0,), (60, 110), 0.15, 0.5, measures_height=False),
    "imaging": Antenna(241, tuple(np.linspace(-6.0, 14.0, 41).tolist()), (600, 900), 0.05, 0.2, measures_height=True),
}
"""By the name of `SyntheticParams.radar`."""

POINT = np.dtype(
    [
        ("x", "<f4"),
        ("y", "<f4"),
        ("z", "<f4"),
        ("dyn_prop", "i1"),
        ("id", "<i2"),
        ("rcs", "<f4"),
        ("vx", "<f4"),
        ("vy", "<f4"),
        ("vx_comp", "<f4"),
        ("vy_comp", "<f4"),
        ("is_quality_valid", "i1"),
        ("ambig_state", "i1"),
        ("x_rms", "i1"),
        ("y_rms", "i1"),
        ("invalid_state", "i1"),
        ("pdh0", "i1"),
        ("vx_rms", "i1"),
        ("vy_rms", "i1"),
    ]
)
_RCS: Final = np.array(
    [
        0.0,
        9.0,
        6.0,
        -4.0,
        11.0,
        8.0,
        18.0,
        -3.0,
        4.0,
        0.0,
        3.0,
        2.0,
        10.0,
        -4.0,
        5.0,
        5.0,
        0.0,
        6.0,
        -5.0,
        2.0,
        5.0,
        0.0,
        0.0,
        0.0,
        0.0,
    ]
)


def scan(
    solids: Solids,
    world_from_radar: Pose,
    *,
    sensor_velocity_mps: Floats,
    actor_velocities_mps: Floats,
    antenna: Antenna,
    rng: np.random.Generator,
) -> NDArray[np.void]:
    """Return the points (n,) of one scan, dtype `POINT`.

    sensor_velocity_mps (3,) and actor_velocities_mps (actors, 3) are true velocities in the world frame, indexed by
    `solids.owners`.
    """
    azimuth, elevation = _rays(antenna)
    directions = np.stack([np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation)], axis=1)
    rotation = world_from_radar.rotation
    distance, hit = cast_rays(solids.primitives, world_from_radar.translation_m, directions @ rotation.T, limit=RANGE_M)
    chosen = _choose(hit, solids, antenna, rng)
    owner = solids.owners[hit[chosen]]
    target = np.where(owner[:, None] >= 0, actor_velocities_mps[np.maximum(owner, 0)], 0.0)
    sight = directions[chosen]
    speed = (target @ rotation * sight).sum(axis=1) + rng.normal(0.0, 0.1, len(chosen))
    own_speed = (sensor_velocity_mps @ rotation * sight).sum(axis=1)
    range_m = distance[chosen] + rng.normal(0.0, antenna.range_noise_m, len(chosen))
    bearing = azimuth[chosen] + np.deg2rad(rng.normal(0.0, antenna.angle_noise_deg, len(chosen)))
    rise = elevation[chosen]
    if antenna.measures_height:
        rise = rise + np.deg2rad(rng.normal(0.0, antenna.angle_noise_deg, len(chosen)))

    points = np.zeros(len(chosen), dtype=POINT)
    level_m = range_m * np.cos(rise)
    points["x"], points["y"], points["z"] = level_m * np.cos(bearing), level_m * np.sin(bearing), range_m * np.sin(rise)
    points["vx_comp"], points["vy_comp"] = speed * sight[:, 0], speed * sight[:, 1]
    points["vx"], points["vy"] = (speed - own_speed) * sight[:, 0], (speed - own_speed) * sight[:, 1]
    points["rcs"] = np.rint(2 * (_RCS[solids.materials[hit[chosen]]] + rng.normal(0.0, 3.0, len(chosen)))) / 2
    points["id"] = np.arange(len(chosen))
    points["dyn_prop"] = _dynamic_property(target, sight @ rotation.T)
    points["is_quality_valid"], points["ambig_state"], points["pdh0"] = 1, 3, 1
    points["x_rms"] = points["y_rms"] = 19
    points["vx_rms"] = points["vy_rms"] = 3
    return _spoil_some(points, rng)


def _rays(antenna: Antenna) -> tuple[Floats, Floats]:
    """Return azimuth and elevation (rays,) in radians, elevation by elevation."""
    azimuth = np.deg2rad(np.linspace(-FIELD_OF_VIEW_DEG, FIELD_OF_VIEW_DEG, antenna.num_azimuths))
    elevation = np.deg2rad(np.array(antenna.elevation_deg))
    return np.tile(azimuth, len(elevation)), np.repeat(elevation, len(azimuth))


def _choose(hit: NDArray[np.int32], solids: Solids, antenna: Antenna, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return the rays that become points: metal and moving things more often than walls and leaves."""
    candidates = np.flatnonzero(hit > 0)
    if len(candidates) == 0:
        return candidates
    material = solids.materials[hit[candidates]]
    is_metal = np.isin(material, (Material.CAR_BODY, Material.CAR_CABIN, Material.TRUCK, Material.POLE))
    weight = np.where(is_metal, 3.0, np.where(material == Material.PERSON, 2.0, 1.0))
    count = min(int(rng.integers(*antenna.num_points)), len(candidates))
    return np.sort(rng.choice(candidates, size=count, replace=False, p=weight / weight.sum()))


def _dynamic_property(target_mps: Floats, sight: Floats) -> NDArray[np.int8]:
    """Return dyn_prop (n,): 1 stationary, 0 moving away, 2 oncoming, 6 crossing, from world velocities (n, 3)."""
    along = (target_mps * sight).sum(axis=1)
    size = np.linalg.norm(target_mps, axis=1)
    moving = np.where(np.abs(along) < 0.4 * size, 6, np.where(along < 0, 2, 0))
    return np.where(size < MOVING_MPS, 1, moving).astype(np.int8)


def _spoil_some(points: NDArray[np.void], rng: np.random.Generator) -> NDArray[np.void]:
    """Return points of which some carry a state that the default filter drops; the first one is always kept good."""
    kind = rng.choice(4, size=len(points), p=[1 - BAD_SHARE, BAD_SHARE / 2, BAD_SHARE / 4, BAD_SHARE / 4])
    if len(points) > 3:
        kind[0], kind[1] = 0, 1
    points["invalid_state"][kind == 1] = rng.choice([1, 4, 11, 17], size=int((kind == 1).sum()))
    points["ambig_state"][kind == 2] = rng.choice([1, 2, 4], size=int((kind == 2).sum()))
    points["dyn_prop"][kind == 3] = 7
    points["is_quality_valid"][kind == 2] = 0
    return points


def encode_pcd(points: NDArray[np.void]) -> bytes:
    """Return the file: header, points, and one more byte, without which the devkit's reader fails.

    A scan without points is written as one point of NaN, which the devkit reads as empty.
    """
    if len(points) == 0:
        points = np.zeros(1, dtype=POINT)
        points["x"] = np.nan
    kinds = [POINT[name] for name in POINT.names or ()]
    header = "\n".join(
        [
            "# .PCD v0.7 - Point Cloud Data file format",
            "VERSION 0.7",
            f"FIELDS {' '.join(POINT.names or ())}",
            f"SIZE {' '.join(str(kind.itemsize) for kind in kinds)}",
            f"TYPE {' '.join('F' if kind.kind == 'f' else 'I' for kind in kinds)}",
            f"COUNT {' '.join('1' for _ in kinds)}",
            f"WIDTH {len(points)}",
            "HEIGHT 1",
            "VIEWPOINT 0 0 0 1 0 0 0",
            f"POINTS {len(points)}",
            "DATA binary\n",
        ]
    )
    return header.encode() + points.tobytes() + b"\0"
