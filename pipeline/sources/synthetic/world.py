"""One scene's world: where its streets run, what stands there, who moves there, and everything solid at an instant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from pipeline.sources.synthetic.actors import Actor
from pipeline.sources.synthetic.config import SyntheticParams
from pipeline.sources.synthetic.drive import Drive, positions_along
from pipeline.sources.synthetic.ground import FLAT, Ground, stand
from pipeline.sources.synthetic.placing import Arrangement
from pipeline.sources.synthetic.rigid import Floats
from pipeline.sources.synthetic.route import Route, route_along, route_through
from pipeline.sources.synthetic.solids import Piece, Solids
from pipeline.sources.synthetic.street.layout import street_pieces
from pipeline.sources.synthetic.street.traffic import make_traffic
from pipeline.sources.synthetic.town.layout import standing_pieces
from pipeline.sources.synthetic.town.relief import make_ground, pavings
from pipeline.sources.synthetic.town.road_users import RoadUser
from pipeline.sources.synthetic.town.streets import Street, make_streets, only_driven
from pipeline.sources.synthetic.town.traffic import make_town_traffic


@dataclass(frozen=True)
class World:
    """One scene's world: the route, the standing pieces (the ground's included), the actors, whether it is night, or rains.

    streets: the driven one first, then those that meet it, and lines of sight.
    """

    route: Route
    standing: tuple[Piece, ...]
    actors: tuple[Actor | RoadUser, ...]
    is_night: bool
    is_rain: bool = False
    ground: Ground = FLAT
    streets: tuple[Street, ...] = ()

    def at(self, time_us: int) -> Solids:
        """Return everything solid at a time."""
        return self._arrangement.at(time_us)

    def velocities_at(self, time_us: int) -> Floats:
        """Return the velocity (actors, 3) of every actor in the world frame, m/s."""
        return self._arrangement.velocities_at(time_us)

    def boxes_at(self, time_us: int) -> Floats:
        """Return the box of every actor (actors, 8): middle x y z, half sizes along its x y z, cosine and sine of its yaw."""
        return self._arrangement.boxes_at(time_us)

    @cached_property
    def _arrangement(self) -> Arrangement:
        """What stands and whose parts move, as arrays."""
        return Arrangement(self.standing, self.actors, self.route, ground_m=self.ground.plane_m)


def make_world(params: SyntheticParams, drive: Drive, index: int) -> World:
    """Return the world of scene `index`; every second scene is at night, and with mixed weather every fifth is in rain."""
    seed = params.seed
    rng = np.random.default_rng((seed, index, 1))
    bends = rng.choice([-1.0, 1.0], size=2) / rng.uniform(350.0, 450.0, size=2)
    _, xy, travelled = positions_along(drive)
    route = route_through(xy, bends) if drive.lane_m is None else route_along(drive.lane_m, drive.lane_start)
    if params.layout == "town":
        layout = np.random.default_rng((seed, index, 100))
        streets = make_streets(route, layout)
        standing = standing_pieces(streets, layout)
    else:
        streets = only_driven(route)
        standing = street_pieces(route, rng)
    ground = FLAT
    if params.ground == "graded":
        ground = make_ground(streets, (0.0, float(travelled[-1])), np.random.default_rng((seed, index, 104)))
    actors: Sequence[Actor | RoadUser]
    if params.traffic == "town":
        actors = make_town_traffic(drive, route, streets, ground, seed=(seed, index), standing=standing)
    else:
        actors = make_traffic(drive, route, seed=(seed, index))
        if ground.pieces:
            actors = [replace(actor, ground=ground) for actor in actors]
    standing = [*stand(standing, ground), *ground.pieces] if ground.pieces else [*standing, *pavings(streets)]
    is_rain = params.weather == "mixed" and index % 5 == 3
    return World(route, tuple(standing), tuple(actors), index % 2 == 1, is_rain, ground, streets)
