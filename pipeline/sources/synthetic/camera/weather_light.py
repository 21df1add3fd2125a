"""Sun, sky, haze and wetness of a scene, drawn once.

White paper that sees only the open sky of a fair day has the light 1. The numbers are chosen so that pictures have the tones
of real ones (tests/world_statistics/images.py measures both); nobody measured them outdoors.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.sources.synthetic.rigid import Floats

OVERCAST_SHARE = 0.4


@dataclass(frozen=True)
class Weather:
    """Light and air of a scene.

    sun (3,) unit direction to it, sun_colour (3,) its light, ambient (3,) the light of the whole sky on level ground, sky
    (16,) see `sensor_shading_kernels.sky_light`, haze_m the distance after which 63 % of the light is haze, wetness 0..1,
    headlights the strength of the own ones.
    """

    sun: Floats
    sun_colour: Floats
    ambient: Floats
    sky: Floats
    haze_m: float
    wetness: float
    headlights: float


def draw_weather(rng: np.random.Generator, *, is_night: bool, is_rain: bool) -> Weather:
    """Return one scene's weather."""
    azimuth, height = rng.uniform(0, 2 * np.pi), np.deg2rad(rng.uniform(22.0, 62.0))
    sun = np.array([np.cos(height) * np.cos(azimuth), np.cos(height) * np.sin(azimuth), np.sin(height)])
    where = rng.uniform(0.0, 200.0, 2)
    is_overcast = bool(rng.uniform() < OVERCAST_SHARE) or is_rain
    share, haze_m, dusk = rng.uniform(0.25, 0.75), rng.uniform(700.0, 2500.0), rng.uniform(0.6, 1.4)
    if is_night:
        glow = np.array([0.010, 0.0075, 0.0058]) * dusk * (1.6 if is_rain else 1.0)
        colours = (0.45 * glow * np.array([0.8, 0.95, 1.5]), glow, 0.8 * glow)
        sky = np.array([*np.concatenate(colours), 0.0, *sun, 0.0, *where])
        return Weather(sun, np.zeros(3), glow, sky, 900.0 if is_rain else 2500.0, 1.0 if is_rain else 0.0, 620.0)
    if is_overcast:
        bright = rng.uniform(1.5, 2.7)
        overhead, horizon, cloud = (
            bright * np.array(tone) for tone in ((0.75, 0.8, 0.86), (1.0, 1.02, 1.03), (1.05, 1.06, 1.08))
        )
        sky = np.array([*overhead, *horizon, *cloud, rng.uniform(0.75, 0.95), *sun, 0.12, *where])
        haze_m = rng.uniform(250.0, 450.0) if is_rain else haze_m
        return Weather(
            sun, np.full(3, 0.0 if is_rain else 0.12), np.array([0.97, 1.0, 1.04]), sky, haze_m, 1.0 if is_rain else 0.0, 0.0
        )
    overhead, horizon, cloud = np.array([0.98, 1.16, 1.42]), np.array([2.0, 2.04, 2.07]), np.array([3.4, 3.4, 3.4])
    strength = 1.7 + 1.9 * np.sin(height)
    sky = np.array([*overhead, *horizon, *cloud, share, *sun, 0.6, *where])
    return Weather(sun, strength * np.array([1.0, 0.95, 0.86]), np.array([0.68, 0.78, 0.95]), sky, haze_m, 0.0, 0.0)
