"""The street itself, and the whole solid world at an instant.

Houses stand in rows along the route, trees and lamp posts on the pavements; the street is closed at both ends.
Nothing solid stands on the road, also where the route turns a corner.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.sources.synthetic.actors import Actor, Material, Surface
from pipeline.sources.synthetic.config import SyntheticParams
from pipeline.sources.synthetic.drive import Drive, positions_along
from pipeline.sources.synthetic.raycast import Primitives
from pipeline.sources.synthetic.rigid import Floats, Hits, Ints
from pipeline.sources.synthetic.route import Route, route_along, route_through
from pipeline.sources.synthetic.traffic import CENTRE_LEFT_M, make_traffic

LAMP_EVERY_M = 28.0
LAMP_LEFT_M = 6.4
LAMP_HEIGHT_M = 7.0
TREE_LEFT_M = 7.2
HOUSE_LEFT_M = 10.0
ACTOR_RANGE_M = 270.0

_WALLS = ((0.55, 0.38, 0.3), (0.62, 0.57, 0.48), (0.48, 0.47, 0.46), (0.66, 0.62, 0.58), (0.42, 0.3, 0.26))


@dataclass(frozen=True)
class Solids:
    """Primitives with, for the ground and each of them in hit order, their look.

    materials (n + 1,) of `Material`, colours (n + 1, 3) 0..1, surfaces (n + 1,) of `Surface`, owners (n + 1,) the
    actor's number or -1.
    """

    primitives: Primitives
    materials: Ints
    colours: Floats
    surfaces: NDArray[np.uint8]
    owners: Ints

    def surface_of(self, hit: Hits) -> NDArray[np.uint8]:
        """Return the surface class (n,) of hits (n,)."""
        surface: NDArray[np.uint8] = np.where(hit >= 0, self.surfaces[np.maximum(hit, 0)], np.uint8(Surface.NONE))
        return surface


@dataclass(frozen=True)
class Piece:
    """One primitive in the world: shape and numbers as in `Primitives`, its look, and the actor that it belongs to."""

    shape: str
    numbers: tuple[float, ...]
    material: Material
    colour: tuple[float, float, float]
    surface: Surface = Surface.STATIC
    owner: int = -1


@dataclass(frozen=True)
class World:
    """One scene's world: the route, the standing pieces, the actors, and whether it is night, or rains."""

    route: Route
    standing: tuple[Piece, ...]
    actors: tuple[Actor, ...]
    is_night: bool
    is_rain: bool = False

    def at(self, time_us: int) -> Solids:
        """Return everything solid at a time."""
        pieces = list(self.standing)
        for number, actor in enumerate(self.actors):
            if self.route.s_m[0] + 6.0 < actor.s_at(time_us) < self.route.s_m[-1] - 6.0:
                pieces.extend(_actor_pieces(actor, number, actor.xy_yaw(self.route, time_us)))
        return _solids(pieces)


def make_world(params: SyntheticParams, drive: Drive, index: int) -> World:
    """Return the world of scene `index`; every second scene is at night, and with mixed weather every fifth is in rain."""
    seed = params.seed
    rng = np.random.default_rng((seed, index, 1))
    bends = rng.choice([-1.0, 1.0], size=2) / rng.uniform(350.0, 450.0, size=2)
    route = (
        route_through(positions_along(drive)[1], bends) if drive.lane_m is None else route_along(drive.lane_m, drive.lane_start)
    )
    standing = [*_houses(route, rng), *_street_ends(route), *_trees(route, rng), *_lamps(route)]
    is_rain = params.weather == "mixed" and index % 5 == 3
    return World(route, tuple(standing), tuple(make_traffic(drive, route, seed=(seed, index))), index % 2 == 1, is_rain)


def _actor_pieces(actor: Actor, number: int, xy_yaw: tuple[float, float, float]) -> list[Piece]:
    """Return an actor's parts placed in the world."""
    x, y, yaw = xy_yaw
    cosine, sine = float(np.cos(yaw)), float(np.sin(yaw))
    pieces = []
    for part in actor.parts:
        px, py, *rest = part.numbers
        numbers = (x + cosine * px - sine * py, y + sine * px + cosine * py, *rest)
        numbers = (*numbers, cosine, sine) if part.shape == "box" else numbers
        pieces.append(Piece(part.shape, numbers, part.material, actor.colour, actor.surface, number))
    return pieces


def _solids(pieces: list[Piece]) -> Solids:
    """Return pieces as arrays, in hit order: boxes, cylinders, ellipsoids."""
    groups = {shape: [p for p in pieces if p.shape == shape] for shape in ("box", "cylinder", "ellipsoid")}
    width = {"box": 8, "cylinder": 5, "ellipsoid": 5}
    arrays = [np.array([p.numbers for p in groups[s]], dtype=np.float64).reshape(-1, width[s]) for s in groups]
    ordered = [piece for group in groups.values() for piece in group]
    return Solids(
        Primitives(*arrays),
        np.array([Material.GROUND, *(p.material for p in ordered)], dtype=np.int64),
        np.array([(0.3, 0.3, 0.31), *(p.colour for p in ordered)], dtype=np.float64),
        np.array([Surface.STATIC, *(p.surface for p in ordered)], dtype=np.uint8),
        np.array([-1, *(p.owner for p in ordered)], dtype=np.int64),
    )


def _houses(route: Route, rng: np.random.Generator) -> list[Piece]:
    """Return rows of houses at both sides, and a second, higher row that shows in the gaps."""
    pieces = []
    for side in (-1, 1):
        for row, (front_m, low_m, high_m) in enumerate(((HOUSE_LEFT_M, 9.0, 15.0), (30.0, 14.0, 20.0))):
            s = float(route.s_m[0]) + rng.uniform(0, 5)
            while s < route.s_m[-1]:
                length, depth = rng.uniform(9.0, 15.0), rng.uniform(9.0, 12.0)
                setback, height = rng.uniform(0.0, 0.2), rng.uniform(low_m, high_m)
                gap = rng.uniform(2.0, 5.0) if rng.uniform() < 0.06 else 0.0
                colour = _WALLS[int(rng.integers(len(_WALLS)))]
                middle = s + length / 2
                left = CENTRE_LEFT_M + side * (front_m + setback + depth / 2)
                piece = _house(route, middle, left, (length, depth, height), colour)
                if _clearance(route, piece) > front_m - 1.0 if row == 0 else _clearance(route, piece) > HOUSE_LEFT_M:
                    pieces.append(piece)
                s += length + gap
    return pieces


def _house(
    route: Route, s_m: float, left_m: float, size_m: tuple[float, float, float], colour: tuple[float, float, float]
) -> Piece:
    """Return one house, its front along the street."""
    x, y = route.place(s_m, left_m)
    yaw = float(route.yaw_at(s_m))
    length, depth, height = size_m
    numbers = (float(x), float(y), height / 2, length / 2, depth / 2, height / 2, float(np.cos(yaw)), float(np.sin(yaw)))
    return Piece("box", numbers, Material.BUILDING, colour)


def _clearance(route: Route, piece: Piece) -> float:
    """Return how far the outline of a box stays from the middle of the road."""
    x, y, _, half_x, half_y, _, cosine, sine = piece.numbers
    edge = np.linspace(-1, 1, 7)
    local = np.concatenate(
        [np.stack([edge * half_x, np.full(7, k * half_y)], axis=1) for k in (-1, 0, 1)]
        + [np.stack([np.full(7, k * half_x), edge * half_y], axis=1) for k in (-1, 1)]
    )
    turned = np.stack([cosine * local[:, 0] - sine * local[:, 1], sine * local[:, 0] + cosine * local[:, 1]], axis=1)
    return float(route.clearance(turned + np.array([x, y]), left_m=CENTRE_LEFT_M).min())


def _street_ends(route: Route) -> list[Piece]:
    """Return a high house across each end of the street."""
    ends = (float(route.s_m[0]), float(route.s_m[-1]))
    return [_house(route, s, CENTRE_LEFT_M, (6.0, 44.0, 18.0), _WALLS[2]) for s in ends]


def _trees(route: Route, rng: np.random.Generator) -> list[Piece]:
    """Return trees along both pavements."""
    pieces = []
    for side in (-1, 1):
        for s in np.arange(route.s_m[0] + 10.0, route.s_m[-1] - 10.0, 48.0):
            at, left = s + rng.uniform(-4, 4), CENTRE_LEFT_M + side * TREE_LEFT_M
            radius, height, crown = rng.uniform(0.13, 0.22), rng.uniform(4.6, 5.6), rng.uniform(1.4, 1.9)
            green = (0.16 + rng.uniform(0, 0.1), 0.3 + rng.uniform(0, 0.12), 0.1)
            x, y = (float(v) for v in route.place(at, left))
            if route.clearance(np.array([[x, y]]), left_m=CENTRE_LEFT_M)[0] < TREE_LEFT_M - 0.5:
                continue
            pieces.append(Piece("cylinder", (x, y, radius, 0.0, height), Material.TRUNK, (0.3, 0.22, 0.16)))
            pieces.append(Piece("ellipsoid", (x, y, height, crown, crown * 0.85), Material.CROWN, green))
    return pieces


def _lamps(route: Route) -> list[Piece]:
    """Return lamp posts, alternating sides, with a glowing head."""
    pieces = []
    first = np.ceil((route.s_m[0] + 5) / LAMP_EVERY_M) * LAMP_EVERY_M
    for k, s in enumerate(np.arange(first, route.s_m[-1] - 5, LAMP_EVERY_M)):
        side = 1 if k % 2 else -1
        x, y = (float(v) for v in route.place(s, CENTRE_LEFT_M + side * LAMP_LEFT_M))
        hx, hy = (float(v) for v in route.place(s, CENTRE_LEFT_M + side * (LAMP_LEFT_M - 0.5)))
        if route.clearance(np.array([[x, y]]), left_m=CENTRE_LEFT_M)[0] < LAMP_LEFT_M - 0.5:
            continue
        yaw = float(route.yaw_at(s))
        head = (hx, hy, LAMP_HEIGHT_M, 0.15, 0.45, 0.08, float(np.cos(yaw)), float(np.sin(yaw)))
        pieces.append(Piece("cylinder", (x, y, 0.09, 0.0, LAMP_HEIGHT_M), Material.POLE, (0.35, 0.36, 0.38)))
        pieces.append(Piece("box", head, Material.LAMP, (1.0, 0.9, 0.7)))
    return pieces
