"""One annotated thing in a town: a vehicle, a person, a cone. It has the methods of `actors.Actor`, and a path of its own.

Frames and units are those of `actors`: x forward, y left, z up, origin on the ground below the middle, metres.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from pipeline.sources.synthetic.actors import Part, Surface
from pipeline.sources.synthetic.rigid import Floats, Ints, Pose, quaternion_from_yaw_pitch_roll
from pipeline.sources.synthetic.route import Route

MOVING_MPS: Final = 0.3
HALF_STEP_US: Final = 20_000
CYCLES: Final = ("vehicle.bicycle", "vehicle.motorcycle")


@dataclass(frozen=True)
class RoadUser:
    """One thing with a box: size w l h metres, and its places (k, 4), x y z yaw, at times (k,); one place = it stands.

    Between its times it moves evenly. It is in the world from `present_us[0]` to `present_us[1]`. is_parked: a vehicle
    without a driver; has_rider: somebody sits on a cycle.
    """

    name: str
    category: str
    size_wlh_m: tuple[float, float, float]
    parts: tuple[Part, ...]
    colour: tuple[float, float, float]
    surface: Surface
    time_us: Ints
    places: Floats
    is_parked: bool = False
    has_rider: bool = False
    present_us: tuple[int, int] | None = None

    @property
    def is_standing(self) -> bool:
        """Whether it never moves and is always there."""
        return len(self.places) == 1 and self.present_us is None

    def is_present(self, route: Route, time_us: int) -> bool:
        """Return whether it is in the world at a time."""
        return self.present_us is None or self.present_us[0] <= time_us <= self.present_us[1]

    def place_at(self, time_us: int) -> tuple[float, float, float, float]:
        """Return world x y z of the origin, and the yaw."""
        if len(self.places) == 1:
            x, y, z, yaw = self.places[0].tolist()
            return x, y, z, yaw
        i = int(np.clip(np.searchsorted(self.time_us, time_us) - 1, 0, len(self.time_us) - 2))
        share = float(time_us - self.time_us[i]) / float(self.time_us[i + 1] - self.time_us[i])
        share = min(max(share, 0.0), 1.0)
        x, y, z, yaw = ((1.0 - share) * self.places[i] + share * self.places[i + 1]).tolist()
        return x, y, z, yaw

    def xy_yaw(self, route: Route, time_us: int) -> tuple[float, float, float]:
        """Return the world position x y of the origin and its yaw."""
        x, y, _, yaw = self.place_at(time_us)
        return x, y, yaw

    def world_from_box(self, route: Route, time_us: int) -> Pose:
        """Return the pose of the box: origin at its middle."""
        x, y, z, yaw = self.place_at(time_us)
        return Pose(quaternion_from_yaw_pitch_roll(yaw, 0.0, 0.0), np.array([x, y, z + self.size_wlh_m[2] / 2]))

    def velocity(self, route: Route, time_us: int) -> Floats:
        """Return the world velocity (3,) m/s of the middle."""
        return self._rate(time_us)[:3]

    def yaw_rate(self, route: Route, time_us: int) -> float:
        """Return how fast it turns about its upright axis, radians per second, to the left."""
        return float(self._rate(time_us)[3])

    def attribute_at(self, route: Route, time_us: int) -> str | None:
        """Return the name of its attribute at a time, None for what has no attribute."""
        if self.category in CYCLES:
            return "cycle.with_rider" if self.has_rider else "cycle.without_rider"
        if not self.category.startswith(("vehicle", "human")):
            return None
        is_moving = float(np.hypot(*self.velocity(route, time_us)[:2])) > MOVING_MPS
        if self.category.startswith("human"):
            return "pedestrian.moving" if is_moving else "pedestrian.standing"
        if self.is_parked:
            return "vehicle.parked"
        return "vehicle.moving" if is_moving else "vehicle.stopped"

    def _rate(self, time_us: int) -> Floats:
        """Return the change of x y z yaw per second."""
        if len(self.places) == 1:
            return np.zeros(4)
        first, second = (np.array(self.place_at(time_us + shift)) for shift in (-HALF_STEP_US, HALF_STEP_US))
        rate: Floats = (second - first) / (2e-6 * HALF_STEP_US)
        return rate
