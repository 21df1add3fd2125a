"""Streets of a town: the driven one, side streets, and the arms that go straight on where the driven one turns a corner.

Places along a street are (s, l) as in `route.py`, l in metres to the left of the middle of the carriageway.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np

from pipeline.sources.synthetic.rigid import Floats
from pipeline.sources.synthetic.route import Route
from pipeline.sources.synthetic.street.traffic import CENTRE_LEFT_M

KERB_LEFT_M: Final = 6.0
SIDE_STREET_EVERY_M: Final = (60.0, 150.0)
SIDE_STREET_HALF_M: Final = (2.7, 4.5)
SIDE_STREET_LENGTH_M: Final = (50.0, 130.0)
AHEAD_M: Final = 260.0
CORNER_DEG: Final = 35.0
CORNER_M: Final = 24.0
# share of corners where both, only the one back from the way out, and only the one ahead are streets
ARM_SHARES: Final = (0.15, 0.75, 0.1)


@dataclass(frozen=True)
class Street:
    """A carriageway: its middle as a line with one vertex a metre, and half its width in metres.

    `is_driven` marks the street of the ego vehicle, whose carriageway is crowned; `is_open` a line of sight without a
    paved street.
    """

    middle: Route
    half_m: float
    is_driven: bool = False
    is_open: bool = False

    @cached_property
    def _tree(self) -> Any:
        """The vertices of the middle, to search the nearest one."""
        from scipy.spatial import cKDTree

        return cKDTree(self.middle.points_m)

    def beside(self, xy_m: Floats) -> Floats:
        """Return the distance (n,) of places (n, 2) to the edge of the carriageway, negative on it; exact to some centimetres."""
        distance: Floats = self._tree.query(xy_m)[0] - self.half_m
        return distance


def make_streets(route: Route, rng: np.random.Generator) -> tuple[Street, ...]:
    """Return the driven street first, then arms at corners and ends, then side streets every 60 to 150 m."""
    driven = Street(shifted(route, CENTRE_LEFT_M), KERB_LEFT_M, is_driven=True)
    streets = [driven, *_arms(driven.middle, rng), *_ends(driven.middle)]
    corners = corner_places(driven.middle)
    s = float(route.s_m[0]) + rng.uniform(15.0, 70.0)
    while s < route.s_m[-1] - 25.0:
        half_m, sides = rng.uniform(*SIDE_STREET_HALF_M), ((1,), (-1,), (1, -1))[int(rng.integers(3))]
        for side in sides:
            turn, length_m = np.deg2rad(rng.uniform(72.0, 108.0)), rng.uniform(*SIDE_STREET_LENGTH_M)
            yaw = float(driven.middle.yaw_at(s)) + side * turn
            street = Street(straight(driven.middle.place(s, 0.0), yaw, length_m), half_m)
            if not np.any(np.abs(corners - s) < 45.0) and _leaves(street, driven):
                streets.append(street)
        s += rng.uniform(*SIDE_STREET_EVERY_M)
    return tuple(streets)


def only_driven(route: Route) -> tuple[Street, ...]:
    """Return the driven street alone."""
    return (Street(shifted(route, CENTRE_LEFT_M), KERB_LEFT_M, is_driven=True),)


def beside(xy_m: Floats, streets: Sequence[Street]) -> Floats:
    """Return the distance (n,) of places (n, 2) to the nearest edge of a carriageway, negative on one."""
    nearest = np.full(len(xy_m), np.inf)
    for street in streets:
        nearest = np.minimum(nearest, street.beside(xy_m))
    return nearest


def shifted(route: Route, left_m: float) -> Route:
    """Return the line that runs `left_m` to the left of a route, with the same s at the same vertex."""
    normals = np.stack([-route.tangents[:, 1], route.tangents[:, 0]], axis=1)
    return Route(route.points_m + left_m * normals, route.tangents, route.s_m)


def straight(start_m: Floats, yaw: float, length_m: float) -> Route:
    """Return a straight line from a place (2,) with s = 0 there."""
    s = np.arange(0.0, np.floor(length_m) + 1.0)
    direction = np.array([np.cos(yaw), np.sin(yaw)])
    return Route(np.asarray(start_m) + s[:, None] * direction, np.tile(direction, (len(s), 1)), s)


def corner_places(middle: Route) -> Floats:
    """Return s (k,) of the middle of each corner: where the heading turns by more than 35 degrees within 24 m."""
    yaw = np.unwrap(np.arctan2(middle.tangents[:, 1], middle.tangents[:, 0]))
    reach = int(CORNER_M / 2)
    turned = np.zeros(len(yaw))
    turned[reach:-reach] = np.abs(yaw[2 * reach :] - yaw[: -2 * reach])
    places = []
    while turned.max() > np.deg2rad(CORNER_DEG):
        i = int(turned.argmax())
        places.append(float(middle.s_m[i]))
        turned[max(i - 2 * reach, 0) : i + 2 * reach] = 0.0
    return np.array(sorted(places))


def _arms(middle: Route, rng: np.random.Generator) -> list[Street]:
    """Return, at each corner, one or both of the streets that go straight on: ahead, and back from the way out."""
    arms = []
    for s in corner_places(middle).tolist():
        both = ((s - CORNER_M / 2, 0.0), (s + CORNER_M / 2, np.pi))
        for at, back in (both, both[1:], both[:1])[int(rng.choice(3, p=ARM_SHARES))]:
            yaw = float(middle.yaw_at(at)) + back
            arms.append(Street(straight(middle.place(at, 0.0), yaw, AHEAD_M / 2), KERB_LEFT_M - 1.0))
    return arms


def _ends(middle: Route) -> list[Street]:
    """Return lines of sight beyond both ends of the driven street: nothing closes it."""
    first, last = float(middle.s_m[0]), float(middle.s_m[-1])
    return [
        Street(straight(middle.place(s, 0.0), float(middle.yaw_at(s)) + back, AHEAD_M), KERB_LEFT_M, is_open=True)
        for s, back in ((first, np.pi), (last, 0.0))
    ]


def _leaves(street: Street, driven: Street) -> bool:
    """Tell whether a side street stays away from the driven one once it has left it."""
    far = street.middle.points_m[25:]
    return bool(beside(far, (driven,)).min() > street.half_m + 6.0) if len(far) else True
