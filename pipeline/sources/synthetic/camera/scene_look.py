"""What all pictures of a scene share: its light and weather, its exposure, and what is painted on its road."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from pipeline.sources.synthetic.camera.exposure import Exposure, draw_exposure
from pipeline.sources.synthetic.camera.plain import StreetMap, make_street_map
from pipeline.sources.synthetic.camera.weather_light import Weather, draw_weather
from pipeline.sources.synthetic.ground import BURIED_M
from pipeline.sources.synthetic.rigid import Floats
from pipeline.sources.synthetic.town.streets import KERB_LEFT_M
from pipeline.sources.synthetic.world import World

CAMERA_STREAM: Final = 107
OLD_KERB_LEFT_M: Final = 5.85
CROSSING_SHARE: Final = 0.6
CROSSING_EVERY_M: Final = (60.0, 200.0)
NO_CROSSING_M: Final = -1e6
DROPS: Final = (12, 40)
LAMP_TINTS: Final = ((1.0, 0.62, 0.28), (1.0, 0.78, 0.5), (0.95, 0.95, 1.0), (0.85, 0.95, 0.9))


@dataclass(frozen=True)
class SceneLook:
    """The look of a scene.

    road_marks (m, 3): one row a metre of the driven street, its s, the s of the nearest crossing, 1 within a junction; paint
    (5,) numbers 0..1 that choose its paint; drops (d, 3) on the lens: column and row as a share of the image, radius in
    pixels of a picture 1600 wide; road_half_m half the driven street's width; buried_m how far houses go on below the
    ground; lamp_tint (3,) the lanterns' colour.
    """

    street: StreetMap
    weather: Weather
    exposure: Exposure
    road_marks: Floats
    paint: Floats
    drops: Floats
    is_night: bool
    road_half_m: float
    buried_m: float
    lamp_tint: Floats


def make_scene_look(world: World, *, seed: tuple[int, int]) -> SceneLook:
    """Return the look of scene seed[1] of the world with seed seed[0]."""
    rng = np.random.default_rng((*seed, CAMERA_STREAM))
    paint = rng.uniform(size=5)
    weather = draw_weather(rng, is_night=world.is_night, is_rain=world.is_rain)
    exposure = draw_exposure(rng, is_night=world.is_night, is_rain=world.is_rain)
    tint = LAMP_TINTS[int(rng.integers(len(LAMP_TINTS)))]
    drops = np.zeros((0, 3))
    if world.is_rain:
        count = int(rng.integers(*DROPS))
        drops = np.stack([rng.uniform(size=count), rng.uniform(size=count), 4.0 + rng.exponential(6.0, count)], axis=1)
    has_slabs = bool(world.ground.pieces)
    return SceneLook(
        _contiguous(make_street_map(world)),
        weather,
        exposure,
        _road_marks(world, rng),
        paint,
        drops,
        is_night=world.is_night,
        road_half_m=KERB_LEFT_M if has_slabs else OLD_KERB_LEFT_M,
        buried_m=BURIED_M if has_slabs else 0.0,
        lamp_tint=np.array(tint),
    )


def _contiguous(street: StreetMap) -> StreetMap:
    """Return a street map whose arrays lie in C order: numba compiles once more for each other order."""
    lines = (np.ascontiguousarray(street.points_m), np.ascontiguousarray(street.tangents), np.ascontiguousarray(street.s_m))
    return StreetMap(np.ascontiguousarray(street.grid), street.grid_low_m, *lines)


def _road_marks(world: World, rng: np.random.Generator) -> Floats:
    """Return the rows of `SceneLook.road_marks`: crossings beside most junctions, and now and then between them."""
    s = np.arange(world.route.s_m[0], world.route.s_m[-1])
    junctions = _junctions(world)
    beside = (junctions[:, :1] + np.array([[-1.0, 1.0]]) * (junctions[:, 1:] + 4.2)).reshape(-1)
    between = s[0] + np.cumsum(rng.uniform(*CROSSING_EVERY_M, 12))
    is_clear = np.abs(between[:, None] - junctions[None, :, 0]).min(axis=1, initial=np.inf) > 30.0
    crossings = np.concatenate([[NO_CROSSING_M], beside[rng.uniform(size=len(beside)) < CROSSING_SHARE], between[is_clear]])
    nearest = crossings[np.abs(s[:, None] + 0.5 - crossings).argmin(axis=1)]
    inside = (np.abs(s[:, None] + 0.5 - junctions[:, 0]) < junctions[:, 1]).any(axis=1)
    return np.stack([s, nearest, inside], axis=1)


def _junctions(world: World) -> Floats:
    """Return (j, 2) middle and half length, metres along the driven street, of where other streets meet it."""
    driven = world.streets[0].middle
    places = []
    for street in world.streets[1:]:
        gaps = ((driven.points_m - street.middle.points_m[0]) ** 2).sum(axis=1)
        if not street.is_open and gaps.min() < 9.0:
            places.append((float(driven.s_m[int(gaps.argmin())]), street.half_m + 0.8))
    return np.array(places).reshape(-1, 2)
