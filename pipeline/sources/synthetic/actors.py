"""The actors of the street: cars, pedestrians, and the truck that nobody annotated.

An actor moves along the street at a fixed side of it. Its own frame is x forward, y left, z up, origin on the road
below its middle. Its shape lies a few centimetres inside its box, so that the box, interpolated linearly between
key frames, still holds every point on a curved path.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np

from pipeline.sources.synthetic.rigid import Floats, Ints, Pose, quaternion_from_yaw_pitch_roll
from pipeline.sources.synthetic.route import Route

if TYPE_CHECKING:
    from pipeline.sources.synthetic.ground import Ground

INSET_M = 0.08


class Material(IntEnum):
    """What a surface is made of, for the picture, the LiDAR intensity and the radar echo."""

    GROUND = 0
    BUILDING = 1
    POLE = 2
    CROWN = 3
    CAR_BODY = 4
    CAR_CABIN = 5
    TRUCK = 6
    PERSON = 7
    LAMP = 8
    TRUNK = 9
    GLASS = 10
    TYRE = 11
    SIGN = 12
    HEDGE = 13
    FENCE = 14
    WALL = 15
    KERB = 16
    BARRIER = 17
    CONE = 18
    CYCLE = 19
    PLATE = 20
    OWN_CAR = 21
    ASPHALT = 22
    PAVEMENT = 23
    CROSSING = 24


class Surface(IntEnum):
    """Values of the truth's surface images."""

    NONE = 0
    STATIC = 1
    MOVING = 2
    UNANNOTATED = 3
    PARKED = 4


@dataclass(frozen=True)
class Part:
    """One primitive of an actor, in the actor's frame: numbers as in `Primitives`, yaw 0; no colour = the actor's own."""

    shape: str
    numbers: tuple[float, ...]
    material: Material
    colour: tuple[float, float, float] | None = None


@dataclass(frozen=True)
class Actor:
    """One thing with a box: size w l h metres, and its path as s (n,) over times (n,) at `left_m` of the line."""

    name: str
    category: str
    size_wlh_m: tuple[float, float, float]
    parts: tuple[Part, ...]
    colour: tuple[float, float, float]
    surface: Surface
    time_us: Ints
    s_m: Floats
    left_m: float
    is_facing_back: bool
    ground: Ground | None = None

    def s_at(self, time_us: int) -> float:
        """Return where along the street the actor is."""
        return float(np.interp(time_us, self.time_us, self.s_m))

    def is_present(self, route: Route, time_us: int) -> bool:
        """Return whether the actor is on the street at a time."""
        return bool(route.s_m[0] + 6.0 < self.s_at(time_us) < route.s_m[-1] - 6.0)

    def xy_yaw(self, route: Route, time_us: int) -> tuple[float, float, float]:
        """Return the world position x y of the actor's origin and its yaw."""
        s = self.s_at(time_us)
        x, y = route.place(s, self.left_m)
        return float(x), float(y), float(route.yaw_at(s)) + (np.pi if self.is_facing_back else 0.0)

    def height_at(self, xy_m: tuple[float, float]) -> float:
        """Return the height of the ground, metres, at a place x y; 0 where the actor knows of no ground."""
        return 0.0 if self.ground is None else float(self.ground.height_at(np.array([xy_m]))[0])

    def world_from_box(self, route: Route, time_us: int) -> Pose:
        """Return the pose of the actor's box: origin at its middle."""
        x, y, yaw = self.xy_yaw(route, time_us)
        middle = np.array([x, y, self.size_wlh_m[2] / 2 + self.height_at((x, y))])
        return Pose(quaternion_from_yaw_pitch_roll(yaw, 0.0, 0.0), middle)

    def velocity(self, route: Route, time_us: int) -> Floats:
        """Return the world velocity (3,) m/s of the actor's middle."""
        first, second = (np.array(self.xy_yaw(route, time_us + shift)[:2]) for shift in (-20_000, 20_000))
        return np.append((second - first) / 0.04, 0.0)

    def yaw_rate(self, route: Route, time_us: int) -> float:
        """Return how fast the actor turns, radians per second, to the left."""
        first, second = (self.xy_yaw(route, time_us + shift)[2] for shift in (-20_000, 20_000))
        return (second - first) / 0.04

    def attribute_at(self, route: Route, time_us: int) -> str | None:
        """Return the name of the actor's attribute, the same at all times."""
        if self.surface == Surface.PARKED:
            return "vehicle.parked"
        return "pedestrian.moving" if self.category.startswith("human") else "vehicle.moving"


def car_parts(size_wlh_m: tuple[float, float, float]) -> tuple[Part, ...]:
    """Return body and cabin of a car that fills its box."""
    width, length, height = size_wlh_m
    half_w, half_l, top = width / 2 - INSET_M, length / 2 - INSET_M, height - INSET_M
    body = (0.0, 0.0, 0.55, half_l, half_w, 0.37)
    cabin = (-0.06 * length, 0.0, (0.9 + top) / 2, 0.3 * length, half_w - 0.1, (top - 0.9) / 2)
    return Part("box", body, Material.CAR_BODY), Part("box", cabin, Material.CAR_CABIN)


def truck_parts(size_wlh_m: tuple[float, float, float]) -> tuple[Part, ...]:
    """Return cargo box and cab of a truck."""
    width, length, height = size_wlh_m
    half_w, half_l = width / 2, length / 2
    cargo = (-1.1, 0.0, (0.9 + height) / 2, half_l - 1.1, half_w, (height - 0.9) / 2)
    cab = (half_l - 1.0, 0.0, 1.55, 1.0, half_w - 0.05, 1.2)
    return Part("box", cargo, Material.TRUCK), Part("box", cab, Material.CAR_BODY)


def person_parts(size_wlh_m: tuple[float, float, float]) -> tuple[Part, ...]:
    """Return body and head of a standing person."""
    width, _, height = size_wlh_m
    radius = width / 2 - INSET_M
    head = (0.0, 0.0, height - INSET_M - 0.16, 0.12, 0.15)
    return Part("cylinder", (0.0, 0.0, radius, 0.0, height - 0.35), Material.PERSON), Part("ellipsoid", head, Material.PERSON)
