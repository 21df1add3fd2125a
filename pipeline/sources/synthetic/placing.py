"""Everything solid at an instant, made quickly: what stands is arranged once, what moves is put into its rows.

Rows keep the order of hits of `solids.gather`: by shape, and within a shape the standing pieces first, then the actors' parts in
the order of the actors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.sources.synthetic.actors import Actor, Part, Surface
from pipeline.sources.synthetic.rays.raycast import Primitives
from pipeline.sources.synthetic.rigid import Floats, Ints
from pipeline.sources.synthetic.route import Route
from pipeline.sources.synthetic.solids import Piece, Solids, gather
from pipeline.sources.synthetic.town.road_users import HALF_STEP_US, RoadUser

_SHAPES = ("box", "cylinder", "ellipsoid")


@dataclass(frozen=True)
class _Rows:
    """All rows of one shape, numbers (m, w), of which those from `first` on belong to actors: in their frame, and whose."""

    shape: str
    numbers: Floats
    local: Floats
    owner: Ints
    first: int


class Arrangement:
    """The world with every actor's parts in rows of their own, ready to be read at any time."""

    def __init__(self, standing: Sequence[Piece], actors: Sequence[Actor | RoadUser], route: Route, *, ground_m: float) -> None:
        parts = [
            Piece(part.shape, _with_yaw(part), part.material, part.colour or actor.colour, actor.surface, number)
            for number, actor in enumerate(actors)
            for part in actor.parts
        ]
        self._all = gather([*standing, *parts], ground_m=ground_m)
        self._actors, self._route = actors, route
        self._users = [number for number, actor in enumerate(actors) if isinstance(actor, RoadUser)]
        self._paths = _Paths([actor for actor in actors if isinstance(actor, RoadUser)])
        self._rows = []
        primitives = self._all.primitives
        for shape, numbers in zip(_SHAPES, (primitives.boxes, primitives.cylinders, primitives.ellipsoids), strict=True):
            owners = np.array([part.owner for part in parts if part.shape == shape], dtype=np.int64)
            first = len(numbers) - len(owners)
            self._rows.append(_Rows(shape, numbers, numbers[first:].copy(), owners, first))
        still = [number for number, actor in enumerate(actors) if isinstance(actor, RoadUser) and actor.is_standing]
        self._is_still = np.zeros(len(actors), dtype=bool)
        self._is_still[still] = True
        if still:
            places = self._places(still, 0)
            for rows in self._rows:
                is_still = self._is_still[rows.owner]
                rows.numbers[rows.first :][is_still] = _placed(rows.shape, rows.local[is_still], places[rows.owner[is_still]])
        self._movers = np.flatnonzero(~self._is_still).tolist()

    def at(self, time_us: int) -> Solids:
        """Return everything solid at a time."""
        everything = self._all
        if not self._movers:
            return everything
        is_there = np.ones(len(self._actors), dtype=bool)
        is_there[self._movers] = [self._actors[number].is_present(self._route, time_us) for number in self._movers]
        places = self._places([number for number in self._movers if is_there[number]], time_us)
        boxes, cylinders, ellipsoids = (self._moved(rows, is_there, places) for rows in self._rows)
        primitives = everything.primitives
        moved = Primitives(boxes, cylinders, ellipsoids, primitives.slabs, primitives.ground_m)
        if is_there.all():
            return Solids(moved, everything.materials, everything.colours, everything.surfaces, everything.owners)
        keep = (everything.owners < 0) | is_there[np.maximum(everything.owners, 0)]
        return Solids(
            moved, everything.materials[keep], everything.colours[keep], everything.surfaces[keep], everything.owners[keep]
        )

    def _moved(self, rows: _Rows, is_there: NDArray[np.bool_], places: Floats) -> Floats:
        """Return the numbers of one shape with the movers at their places, without the rows of actors who are not there."""
        numbers = rows.numbers.copy()
        chosen = ~self._is_still[rows.owner] & is_there[rows.owner]
        numbers[rows.first :][chosen] = _placed(rows.shape, rows.local[chosen], places[rows.owner[chosen]])
        kept: Floats = numbers[np.concatenate([np.ones(rows.first, bool), is_there[rows.owner]])]
        return kept

    def velocities_at(self, time_us: int) -> Floats:
        """Return the velocity (actors, 3) of every actor in the world frame, m/s."""
        velocities = np.zeros((len(self._actors), 3))
        along = [number for number in self._movers if isinstance(self._actors[number], Actor)]
        for number in along:
            velocities[number] = self._actors[number].velocity(self._route, time_us)
        numbers = [number for number in self._movers if isinstance(self._actors[number], RoadUser)]
        if numbers:
            first, second = (self._places(numbers, time_us + shift)[numbers, :3] for shift in (-HALF_STEP_US, HALF_STEP_US))
            velocities[numbers] = (second - first) / (2e-6 * HALF_STEP_US)
        return velocities

    def boxes_at(self, time_us: int) -> Floats:
        """Return the box of every actor (actors, 8) as `Primitives` has boxes; an actor who is not there has one of no size."""
        sizes = np.array([actor.size_wlh_m for actor in self._actors]).reshape(-1, 3)
        places = self._places(range(len(self._actors)), time_us)
        is_there = np.array([actor.is_present(self._route, time_us) for actor in self._actors], dtype=bool)
        annotated = np.array([actor.surface != Surface.UNANNOTATED for actor in self._actors], dtype=bool)
        half = np.where((is_there & annotated)[:, None], sizes[:, [1, 0, 2]] / 2, -1.0)
        middle = places[:, :3] + np.array([0.0, 0.0, 0.5]) * sizes[:, 2:]
        return np.concatenate([middle, half, np.cos(places[:, 3:]), np.sin(places[:, 3:])], axis=1)

    def _places(self, numbers: Sequence[int], time_us: int) -> Floats:
        """Return x y z yaw of actors, each in the row of its number."""
        places = np.zeros((len(self._actors), 4))
        along = [number for number in numbers if isinstance(self._actors[number], Actor)]
        if along:
            actors = [actor for number in along if isinstance(actor := self._actors[number], Actor)]
            s, left = np.array([actor.s_at(time_us) for actor in actors]), np.array([actor.left_m for actor in actors])
            places[along, :2] = self._route.place(s, left)
            places[along, 3] = self._route.yaw_at(s) + np.array([np.pi if actor.is_facing_back else 0.0 for actor in actors])
            places[along, 2] = [actor.height_at((x, y)) for actor, (x, y) in zip(actors, places[along, :2].tolist(), strict=True)]
        if self._users:
            # all at once: those that are not asked for cost little
            places[self._users] = self._paths.at(time_us)
        return places


class _Paths:
    """Places of many road users, each at one place or at the times of one shared grid."""

    def __init__(self, users: Sequence[RoadUser]) -> None:
        self._still = np.array([user.places[0] for user in users]).reshape(-1, 4)
        self._moving = [k for k, user in enumerate(users) if len(user.places) > 1]
        grids = {user.time_us.tobytes() for user in users if len(user.places) > 1}
        assert len(grids) <= 1, "all paths of a scene have the same times"
        self._time_us = users[self._moving[0]].time_us if self._moving else np.zeros(0, np.int64)
        self._places = np.array([users[k].places for k in self._moving])

    def at(self, time_us: int) -> Floats:
        """Return x y z yaw (users, 4) at a time, as `RoadUser.place_at` does."""
        places = self._still.copy()
        if self._moving:
            times = self._time_us
            i = int(np.clip(np.searchsorted(times, time_us) - 1, 0, len(times) - 2))
            share = min(max(float(time_us - times[i]) / float(times[i + 1] - times[i]), 0.0), 1.0)
            places[self._moving] = (1.0 - share) * self._places[:, i] + share * self._places[:, i + 1]
        return places


def _with_yaw(part: Part) -> tuple[float, ...]:
    """Return a part's numbers with the cosine and sine of a box's yaw, which is 0 in the actor's frame."""
    return (*part.numbers, 1.0, 0.0) if part.shape == "box" else part.numbers


def _placed(shape: str, local: Floats, places: Floats) -> Floats:
    """Return parts (n, w) of one shape, moved to places (n, 4) x y z yaw of their actors."""
    x, y, z, yaw = places.T
    cosine, sine = np.cos(yaw), np.sin(yaw)
    placed = local.copy()
    placed[:, 0] = x + cosine * local[:, 0] - sine * local[:, 1]
    placed[:, 1] = y + sine * local[:, 0] + cosine * local[:, 1]
    if shape == "cylinder":
        placed[:, 3:] = local[:, 3:] + z[:, None]
    else:
        placed[:, 2] = local[:, 2] + z
    if shape == "box":
        placed[:, 6], placed[:, 7] = cosine, sine
    return placed
