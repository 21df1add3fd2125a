"""One turn of a 32-beam scanner, with the errors of a real one: noise, drop-outs, and airborne returns.

Points are float32 x y z intensity ring in the LiDAR frame (x right, y forward, z up, metres), as in a nuScenes
`.pcd.bin`. All points of a turn are measured at its time stamp. Airborne returns (spray, exhaust, dust) replace the
true return of upward beams some metres from the car, mostly in the wake behind it.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipeline.sources.synthetic.actors import Material
from pipeline.sources.synthetic.rays.raycast import cast_rays
from pipeline.sources.synthetic.rigid import Floats, Pose
from pipeline.sources.synthetic.solids import Solids

NUM_BEAMS: Final = 32
ELEVATION_DEG: Final = (-30.67, 10.67)
RANGE_M: Final = (1.0, 90.0)
NOISE_M: Final = 0.02
DROP_SHARE: Final = 0.03
# Spray hangs in the wake, 9 to 18 m behind the car. Sweeps of the seconds after an image put it in front of that
# image's camera, mostly nearer than 20 m and, on these beams, above row 0.45 H: where horizon cleaning looks for it.
AIRBORNE_BEAMS: Final = (25, 29)
AIRBORNE_SHARE: Final = (0.55, 0.002)
AIRBORNE_RANGE_M: Final = (4.0, 18.0)
AIRBORNE_WAKE_M: Final = 9.0
RAIN_SPRAY: Final = 0.7
RAIN_INTENSITY: Final = 0.6
RAIN_FADE_M: Final = 80.0
# reflectivity 0..255 of each Material
_INTENSITY: Final = np.array([
    12.0, 28.0, 40.0, 14.0, 35.0, 6.0, 45.0, 18.0, 60.0, 15.0,
    4.0, 5.0, 150.0, 12.0, 25.0, 25.0, 20.0, 35.0, 60.0, 20.0, 200.0, 20.0, 12.0, 20.0, 45.0,
])  # fmt: skip


def beam_directions(azimuth_steps: int) -> Floats:
    """Return unit directions (32 * azimuth_steps, 3) in the LiDAR frame; beam 0, the lowest, comes first."""
    elevation = np.deg2rad(np.linspace(*ELEVATION_DEG, NUM_BEAMS))[:, None]
    azimuth = np.arange(azimuth_steps)[None, :] * (2 * np.pi / azimuth_steps)
    x, y = np.cos(elevation) * np.sin(azimuth), np.cos(elevation) * np.cos(azimuth)
    z = np.broadcast_to(np.sin(elevation), x.shape)
    directions: Floats = np.stack([x, y, z], axis=-1).reshape(-1, 3)
    return directions


def scan(
    solids: Solids,
    world_from_lidar: Pose,
    *,
    azimuth_steps: int,
    rng: np.random.Generator,
    spray: float = AIRBORNE_SHARE[0],
    is_rain: bool = False,
) -> NDArray[np.float32]:
    """Return the points (n, 5) of one turn; spray is the share of upward beams behind the car that return from the air."""
    directions = beam_directions(azimuth_steps)
    world_directions = directions @ world_from_lidar.rotation.T
    true_m, hit = cast_rays(solids.primitives, world_from_lidar.translation_m, world_directions, limit=RANGE_M[1])
    count = len(directions)
    range_m = true_m + rng.normal(0.0, NOISE_M, count)
    intensity = _INTENSITY[solids.materials[np.maximum(hit, 0)]] * rng.uniform(0.6, 1.4, count)
    is_seen = (hit >= 0) & (range_m > RANGE_M[0])
    is_seen &= rng.uniform(size=count) > DROP_SHARE + 0.25 * (np.where(hit >= 0, true_m, 0.0) / RANGE_M[1]) ** 2
    is_seen &= ~((solids.materials[np.maximum(hit, 0)] == Material.CAR_CABIN) & (rng.uniform(size=count) < 0.3))

    if is_rain:
        intensity = intensity * RAIN_INTENSITY
        is_seen &= rng.uniform(size=count) < np.exp(-np.where(hit >= 0, true_m, 0.0) / RAIN_FADE_M)
        spray = max(spray, RAIN_SPRAY)

    airborne_m = _airborne_ranges(azimuth_steps, rng, spray=spray)
    is_airborne = airborne_m < np.where(hit >= 0, true_m, np.inf)
    range_m = np.where(is_airborne, airborne_m, range_m)
    intensity = np.where(is_airborne, rng.uniform(1.0, 5.0, count), intensity)
    is_seen |= is_airborne

    ring = np.repeat(np.arange(NUM_BEAMS), azimuth_steps)[is_seen]
    points = directions[is_seen] * range_m[is_seen, None]
    columns = (points, np.clip(np.rint(intensity[is_seen]), 0, 255)[:, None], ring[:, None])
    cloud: NDArray[np.float32] = np.concatenate(columns, axis=1).astype(np.float32)
    return cloud


def _airborne_ranges(azimuth_steps: int, rng: np.random.Generator, *, spray: float) -> Floats:
    """Return the distance (32 * azimuth_steps,) of an airborne return in each beam, inf without such a return.

    Only the beams that rise clearly above the horizon have any. They are more frequent close to the car than further
    off, and more frequent in the wake behind it (`spray`) than ahead (the second of `AIRBORNE_SHARE`).
    """
    out = np.full((NUM_BEAMS, azimuth_steps), np.inf)
    first, end = AIRBORNE_BEAMS
    shape = (end - first, azimuth_steps)
    is_behind = np.cos(np.arange(azimuth_steps) * (2 * np.pi / azimuth_steps)) < -0.65
    share = np.where(is_behind, spray, AIRBORNE_SHARE[1])
    nearest = np.where(is_behind, AIRBORNE_WAKE_M, AIRBORNE_RANGE_M[0])
    range_m = rng.uniform(nearest, AIRBORNE_RANGE_M[1], size=shape)
    out[first:end] = np.where(rng.uniform(size=shape) < share, range_m, np.inf)
    return out.reshape(-1)
