"""The street of the tutorial: what stands there for ever.

Houses stand in rows along the route, trees and lamp posts on the pavements; the street is closed at both ends.
Nothing solid stands on the road, also where the route turns a corner.
"""

from __future__ import annotations

import numpy as np

from pipeline.sources.synthetic.actors import Material
from pipeline.sources.synthetic.route import Route
from pipeline.sources.synthetic.solids import Piece
from pipeline.sources.synthetic.street.traffic import CENTRE_LEFT_M

LAMP_EVERY_M = 28.0
LAMP_LEFT_M = 6.4
LAMP_HEIGHT_M = 7.0
TREE_LEFT_M = 7.2
HOUSE_LEFT_M = 10.0

_WALLS = ((0.55, 0.38, 0.3), (0.62, 0.57, 0.48), (0.48, 0.47, 0.46), (0.66, 0.62, 0.58), (0.42, 0.3, 0.26))


def street_pieces(route: Route, rng: np.random.Generator) -> list[Piece]:
    """Return the standing pieces of the street, on a plane at z = 0."""
    return [*_houses(route, rng), *_street_ends(route), *_trees(route, rng), *_lamps(route)]


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
