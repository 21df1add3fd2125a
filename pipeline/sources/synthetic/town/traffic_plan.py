"""The street while road users are put into it: where is room, and where is the ego vehicle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Final

import numpy as np

from pipeline.sources.synthetic.actors import Part, Surface
from pipeline.sources.synthetic.rigid import Floats, Ints
from pipeline.sources.synthetic.route import Route
from pipeline.sources.synthetic.town.road_users import RoadUser
from pipeline.sources.synthetic.town.shapes import Colour, Size
from pipeline.sources.synthetic.town.spacing import Occupied, rectangles
from pipeline.sources.synthetic.town.streets import Street

KNOT_US: Final = 100_000
# the ego vehicle around its rear axle: middle, length, width; with room for who stands beside its way
EGO_MIDDLE_M: Final = 1.4
EGO_SIZE_M: Final = (1.9, 4.6)
MOVING_M: Final = 0.05
END_M: Final = 8.0
BEHIND_M: Final = 100.0
AHEAD_M: Final = 190.0
# real traffic is densest at the crossings where a car drives slowly: it fades so many metres behind and ahead of its way
BUSY_M: Final = (22.0, 10.0)
FADES_M: Final = 14.0
WHOLE_S: Final = 20.0
QUIET_SHARE: Final = 0.03
# along roads on which cars are fast fewer people stand and fewer cars park
SLOW_MPS: Final = 3.0
FADING_MPS: Final = 8.0


@dataclass
class TrafficPlan:
    """What all who put road users into the street share.

    streets are all of the town, the driven one first. time_us (t,) is the grid of all paths, ego_s and ego_left (t,) are where
    the rear axle of the ego vehicle is along and beside the route. `users` grows.
    """

    route: Route
    streets: Sequence[Street]
    time_us: Ints
    ego_s: Floats
    ego_left: Floats
    occupied: Occupied
    users: list[RoadUser] = field(default_factory=list)

    @property
    def seconds(self) -> Floats:
        """Times (t,) since the first of the grid, seconds."""
        seconds: Floats = (self.time_us - self.time_us[0]) * 1e-6
        return seconds

    @property
    def span_m(self) -> tuple[float, float]:
        """The part of the route on which vehicles drive."""
        return float(self.route.s_m[0]) + END_M, float(self.route.s_m[-1]) - END_M

    @property
    def busy_m(self) -> tuple[float, float]:
        """The part of the route beside which anybody parks, stands or walks: as far as a sensor tells what it sees."""
        low, high = self.span_m
        return max(low, float(self.ego_s[0]) - BEHIND_M), min(high, float(self.ego_s[-1]) + AHEAD_M)

    @cached_property
    def _carriageways(self) -> Floats:
        """Points (n, 4) of the paved streets: x y, half the width, and 1 on the driven street."""
        rows = [
            np.column_stack(
                [street.middle.points_m, np.full((len(street.middle.s_m), 2), (street.half_m, float(street.is_driven)))]
            )
            for street in self.streets
            if not street.is_open
        ]
        return np.concatenate(rows)

    def is_off_streets(self, places: Floats, margin_m: float, *, may_be_on_driven: bool = False) -> bool:
        """Return whether places (t, 4) keep a margin to all carriageways, or to all but the driven one."""
        ways = self._carriageways
        ways = ways[ways[:, 3] == 0.0] if may_be_on_driven else ways
        gap = np.hypot(places[:, :1] - ways[:, 0], places[:, 1:2] - ways[:, 1]) - ways[:, 2]
        return not len(ways) or bool(gap.min() > margin_m)

    def is_busy(self, s_m: float, rng: np.random.Generator) -> bool:
        """Draw whether there is anybody at s: mostly where the ego vehicle drives, more so where it is slow, seldom far off."""
        driven_m = float(self.ego_s[-1] - self.ego_s[0])
        speed_mps = driven_m / float(self.seconds[-1])
        spare_m = max(speed_mps * WHOLE_S - driven_m, 0.0) / 2  # a short scene is a piece of a whole one
        beyond = max(float(self.ego_s[0]) - s_m - BUSY_M[0], s_m - float(self.ego_s[-1]) - BUSY_M[1]) - spare_m
        near = np.clip(1.0 - beyond / FADES_M, QUIET_SHARE, 1.0)
        return bool(rng.uniform() < near * np.clip(1.0 - (speed_mps - SLOW_MPS) / FADING_MPS, 0.4, 1.0))

    def along(self, s_m: Floats, left_m: Floats, turned: Floats | float = 0.0, *, of: Route | None = None) -> Floats:
        """Return places (t, 4) x y 0 yaw at s and left (t,) of a line, the route if none is given, turned by an angle to it.

        Beyond its ends a line goes on straight.
        """
        line = self.route if of is None else of
        yaw = line.yaw_at(s_m)
        over = s_m - np.clip(s_m, line.s_m[0], line.s_m[-1])
        xy = line.place(s_m, left_m) + over[:, None] * np.stack([np.cos(yaw), np.sin(yaw)], axis=1)
        yaw = yaw + turned
        return np.concatenate([xy, np.zeros((len(xy), 1)), yaw[:, None]], axis=1)

    def add(self, user: RoadUser, *, margin_m: float = 0.25) -> bool:
        """Put a road user into the street if it is free there, and say whether it was; a path that hardly moves stands."""
        places = user.places
        if len(places) > 1 and np.abs(places[:, :2] - places[:1, :2]).max() < MOVING_M and user.present_us is None:
            places = places[:1]
            user = replace(user, places=places, time_us=user.time_us[:1])
        width, length, _ = user.size_wlh_m
        wanted = rectangles(places, width, length)
        if not self.occupied.is_free(wanted, margin_m=margin_m):
            return False
        self.occupied.take(wanted)
        annotated = Surface.PARKED if len(places) == 1 else Surface.MOVING
        surface = user.surface if user.surface == Surface.UNANNOTATED else annotated
        self.users.append(replace(user, name=f"{user.name}-{len(self.users)}", surface=surface))
        return True

    def thing(
        self,
        name: str,
        category: str,
        size: Size,
        parts: tuple[Part, ...],
        colour: Colour,
        places: Floats,
        *,
        is_parked: bool = False,
        has_rider: bool = False,
    ) -> RoadUser:
        """Return a road user at places (1, 4), or (t, 4) for the whole grid."""
        time_us = self.time_us if len(places) > 1 else self.time_us[:1]
        user = RoadUser(name, category, size, parts, colour, Surface.MOVING, time_us, places)
        return replace(user, is_parked=is_parked, has_rider=has_rider)


def drawn_size(rng: np.random.Generator, mean_wlh: Size, sd_wlh: Size) -> Size:
    """Return a size w l h around a mean, at most 2.5 standard deviations away."""
    width, length, height = (
        mean + sd * float(np.clip(rng.normal(), -2.5, 2.5)) for mean, sd in zip(mean_wlh, sd_wlh, strict=True)
    )
    return width, length, height
