"""Returns of a radar that are no thing's place: seen in a mirror, noise, and what strays in from outside the field of view.

Source docs/method/world.md#radar
"""

from __future__ import annotations

from typing import Final

import numpy as np

from pipeline.sources.synthetic.radar.returns import ReturnKind, Returns
from pipeline.sources.synthetic.rigid import Floats, Ints

BOUNCE_COUNT: Final = 10.0
BOUNCE_LOSS_DB: Final = 8.0
SECOND_TRIP_SHARE: Final = 0.5
SECOND_TRIP_M: Final = (6.0, 16.0)
CLUTTER_COUNT: Final = 8.0
STRAY_COUNT: Final = 8.6
FAR_ONLY_COUNT: Final = 0.85
RAIN_FACTOR: Final = 1.4


def bounced(echo: Returns, rng: np.random.Generator) -> Returns:
    """Return ghosts: strong echoes seen in the mirror of an upright surface nearer than they appear."""
    count = int(rng.poisson(BOUNCE_COUNT))
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
    shows = (range_m > echo.range_m[mirror]) & (np.abs(np.rad2deg(azimuth)) < 60.0) & (range_m < 130.0)
    return _ghosts(echo.take(source[shows]), range_m[shows], azimuth[shows], rng)


def returned_twice(echo: Returns, rng: np.random.Generator) -> Returns:
    """Return ghosts straight behind their source, by a second trip between it and another surface.

    Source and detour follow from the lot of an echo, so that a ghost stays as long as its source is found.
    """
    chosen = np.flatnonzero((np.mod(echo.lot * 17.3, 1.0) < SECOND_TRIP_SHARE) & (echo.range_m < 80.0))
    source = echo.take(chosen)
    detour_m = SECOND_TRIP_M[0] - SECOND_TRIP_M[1] * np.log(np.maximum(np.mod(source.lot * 91.7, 1.0), 1e-3))
    return _ghosts(source, source.range_m + detour_m, source.azimuth, rng)


def _ghosts(source: Returns, range_m: Floats, azimuth: Floats, rng: np.random.Generator) -> Returns:
    """Return ghosts of echoes at other places (n,), weaker by up to `BOUNCE_LOSS_DB`."""
    return Returns(
        range_m,
        azimuth,
        source.rcs_db - rng.uniform(0.0, BOUNCE_LOSS_DB, len(source)),
        source.speed_mps,
        np.zeros((len(source), 2)),
        np.mod(source.lot * 7.1, 1.0),
        np.full(len(source), ReturnKind.BOUNCED),
    )


def _by_strength(echo: Returns, count: int, rng: np.random.Generator) -> Ints:
    """Return numbers (count,) of echoes, strong ones more often."""
    if len(echo) == 0:
        return np.zeros(0, np.int64)
    weight = 10 ** (np.clip(echo.rcs_db, -10.0, 25.0) / 20.0)
    return rng.choice(len(echo), size=count, p=weight / weight.sum()).astype(np.int64)


def anywhere(own_mps: Floats, rng: np.random.Generator, *, is_rain: bool) -> Returns:
    """Return returns of nothing: noise and clutter in the field, what strays in from outside it, far ones never confirmed."""
    counts = (
        int(rng.poisson(CLUTTER_COUNT * (RAIN_FACTOR if is_rain else 1.0))),
        int(rng.poisson(STRAY_COUNT)),
        int(rng.poisson(FAR_ONLY_COUNT)),
    )
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
    return Returns(range_m, azimuth, rcs_db, speed, np.zeros((rows, 2)), rng.uniform(size=rows), kind)
