"""Everybody on the streets of a town (`traffic: town`): vehicles, people, cones and barriers of the ten detection classes.

Who moves is put in first, who parks and stands where there is still room. Nobody overlaps anybody, a house, a tree or a pole,
and nobody is where the ego vehicle passes.

Source docs/method/world.md#traffic.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from pipeline.sources.synthetic.actors import Surface
from pipeline.sources.synthetic.drive import Drive
from pipeline.sources.synthetic.ground import Ground
from pipeline.sources.synthetic.route import Route
from pipeline.sources.synthetic.solids import Piece
from pipeline.sources.synthetic.town.flows import cyclists, oncoming, same_way
from pipeline.sources.synthetic.town.parking import parked
from pipeline.sources.synthetic.town.people import crossing, people
from pipeline.sources.synthetic.town.road_users import RoadUser
from pipeline.sources.synthetic.town.roadworks import roadworks
from pipeline.sources.synthetic.town.side_streets import side_streets
from pipeline.sources.synthetic.town.spacing import Occupied, footprints, rectangles
from pipeline.sources.synthetic.town.streets import Street
from pipeline.sources.synthetic.town.traffic_plan import EGO_MIDDLE_M, EGO_SIZE_M, KNOT_US, TrafficPlan

UNANNOTATED_SHARE: Final = 0.5
BELOW_M: Final = 2.2


def make_town_traffic(
    drive: Drive,
    route: Route,
    streets: Sequence[Street],
    ground: Ground,
    *,
    seed: tuple[int, int],
    standing: Sequence[Piece] = (),
) -> list[RoadUser]:
    """Return the road users of scene `seed[1]`, those that never move first.

    Standing pieces, given as on a plane, are left free.
    """
    plan = _empty_plan(drive, route, streets, standing)
    for number, fill in enumerate((same_way, oncoming, crossing, cyclists, roadworks, parked, side_streets, people)):
        fill(plan, np.random.default_rng((*seed, 103, number)))
    users = _with_one_unannotated(plan.users, np.random.default_rng((*seed, 103, 50)))
    return _lifted(sorted(users, key=lambda user: not user.is_standing), ground)


def _empty_plan(drive: Drive, route: Route, streets: Sequence[Street], standing: Sequence[Piece]) -> TrafficPlan:
    """Return the street with nothing in it but what stands there and the way of the ego vehicle."""
    motion = drive.world_from_ego
    time_us = np.arange(motion.knot_us[0], motion.knot_us[-1] + KNOT_US, KNOT_US, dtype=np.int64)
    xy = np.stack([np.interp(time_us, motion.knot_us, motion.translations_m[:, k]) for k in range(2)], axis=1)
    # the grid may end after the last knot, where the car drives on: a stop there would be one of all who follow its track
    over_s = np.maximum(time_us - motion.knot_us[-1], 0) * 1e-6
    last_mps = (motion.translations_m[-1] - motion.translations_m[-2]) / (1e-6 * (motion.knot_us[-1] - motion.knot_us[-2]))
    xy += over_s[:, None] * last_mps[:2]
    w, x, y, z = motion.quaternions.T
    yaw = np.interp(time_us, motion.knot_us, np.unwrap(np.arctan2(2 * (x * y + w * z), 1 - 2 * (y * y + z * z))))
    nearest = ((xy[:, None] - route.points_m[None]) ** 2).sum(axis=2).argmin(axis=1)
    tangent = route.tangents[nearest]
    offset = xy - route.points_m[nearest]
    ego_s = route.s_m[nearest] + (offset * tangent).sum(axis=1)
    ego_left = offset[:, 1] * tangent[:, 0] - offset[:, 0] * tangent[:, 1]
    boxes = [piece.numbers for piece in standing if piece.shape == "box"]
    cylinders = [piece.numbers for piece in standing if piece.shape == "cylinder"]
    occupied = Occupied(len(time_us), footprints(boxes, cylinders, below_m=BELOW_M))
    middle = xy + EGO_MIDDLE_M * np.stack([np.cos(yaw), np.sin(yaw)], axis=1)
    occupied.take(rectangles(np.concatenate([middle, 0 * yaw[:, None], yaw[:, None]], axis=1), *EGO_SIZE_M))
    return TrafficPlan(route, streets, time_us, ego_s, ego_left, occupied)


def _with_one_unannotated(users: list[RoadUser], rng: np.random.Generator) -> list[RoadUser]:
    """Return the users, of which in half of the scenes one moving truck or bus has no annotation, as happens in real data."""
    large = [
        k for k, user in enumerate(users) if user.category.startswith(("vehicle.truck", "vehicle.bus")) and not user.is_standing
    ]
    if not large or rng.uniform() > UNANNOTATED_SHARE:
        return users
    chosen = int(rng.choice(large))
    return [replace(user, surface=Surface.UNANNOTATED) if k == chosen else user for k, user in enumerate(users)]


def _lifted(users: list[RoadUser], ground: Ground) -> list[RoadUser]:
    """Return the users on the ground; the height below a path is taken twice a second."""
    if not ground.pieces:
        return users
    chosen = [np.unique([*range(0, len(user.places), 5), len(user.places) - 1]) for user in users]
    heights = ground.height_at(np.concatenate([user.places[rows, :2] for user, rows in zip(users, chosen, strict=True)]))
    lifted, first = [], 0
    for user, rows in zip(users, chosen, strict=True):
        places = user.places.copy()
        places[:, 2] = np.interp(np.arange(len(places)), rows, heights[first : first + len(rows)])
        first += len(rows)
        lifted.append(replace(user, places=places))
    return lifted
