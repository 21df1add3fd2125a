"""One scene's world: where its streets run, what stands there, who moves there, and everything solid at an instant."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from pipeline.sources.synthetic.actors import Actor
from pipeline.sources.synthetic.config import SyntheticParams
from pipeline.sources.synthetic.drive import Drive, positions_along
from pipeline.sources.synthetic.ground import FLAT, Ground, raised, stand
from pipeline.sources.synthetic.route import Route, route_along, route_through
from pipeline.sources.synthetic.solids import Piece, Solids, gather
from pipeline.sources.synthetic.street import street_pieces
from pipeline.sources.synthetic.town.layout import standing_pieces
from pipeline.sources.synthetic.town.relief import make_ground, pavings
from pipeline.sources.synthetic.town.streets import Street, make_streets, only_driven
from pipeline.sources.synthetic.traffic import make_traffic


@dataclass(frozen=True)
class World:
    """One scene's world: the route, the standing pieces (the ground's included), the actors, whether it is night, or rains.

    streets: the driven one first, then those that meet it, and lines of sight.
    """

    route: Route
    standing: tuple[Piece, ...]
    actors: tuple[Actor, ...]
    is_night: bool
    is_rain: bool = False
    ground: Ground = FLAT
    streets: tuple[Street, ...] = ()

    def at(self, time_us: int) -> Solids:
        """Return everything solid at a time."""
        pieces = list(self.standing)
        for number, actor in enumerate(self.actors):
            if self.route.s_m[0] + 6.0 < actor.s_at(time_us) < self.route.s_m[-1] - 6.0:
                pieces.extend(_actor_pieces(actor, number, actor.xy_yaw(self.route, time_us)))
        return gather(pieces, ground_m=self.ground.plane_m)


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
    actors = make_traffic(drive, route, seed=(seed, index))
    if params.ground == "graded":
        ground = make_ground(streets, (0.0, float(travelled[-1])), np.random.default_rng((seed, index, 104)))
        standing = [*stand(standing, ground), *ground.pieces]
        actors = [replace(actor, ground=ground) for actor in actors]
    else:
        standing = [*standing, *pavings(streets)]
    is_rain = params.weather == "mixed" and index % 5 == 3
    return World(route, tuple(standing), tuple(actors), index % 2 == 1, is_rain, ground, streets)


def _actor_pieces(actor: Actor, number: int, xy_yaw: tuple[float, float, float]) -> list[Piece]:
    """Return an actor's parts placed in the world."""
    x, y, yaw = xy_yaw
    height = actor.height_at((x, y))
    cosine, sine = float(np.cos(yaw)), float(np.sin(yaw))
    pieces = []
    for part in actor.parts:
        px, py, *rest = part.numbers
        numbers = (x + cosine * px - sine * py, y + sine * px + cosine * py, *rest)
        numbers = (*numbers, cosine, sine) if part.shape == "box" else numbers
        pieces.append(raised(Piece(part.shape, numbers, part.material, actor.colour, actor.surface, number), height))
    return pieces
