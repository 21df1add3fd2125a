"""Houses: rows, set-backs, detached ones and open land by stretches of 20 to 80 m a side, and the skyline behind.

Which kind of stretch is frequent, and how high its houses are, is drawn once a scene, so that scenes differ.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipeline.sources.synthetic.actors import Material
from pipeline.sources.synthetic.rigid import Floats
from pipeline.sources.synthetic.solids import Piece
from pipeline.sources.synthetic.street.traffic import CENTRE_LEFT_M
from pipeline.sources.synthetic.town.streets import Street, beside

STRETCH_M: Final = (20.0, 80.0)
# how far the nearest fronts are from the middle of the driven carriageway, drawn once a scene, and how much a side differs
WIDE_M: Final = (6.8, 18.0)
SIDE: Final = (0.85, 1.2)
NEAREST_M: Final = 9.2
FAIR_M: Final = 2 * CENTRE_LEFT_M
# front of each kind of stretch in multiples of that, and the mean share of each
KINDS: Final = {"row": (1.0, 1.3), "set_back": (1.3, 2.0), "far": (2.0, 4.0), "open": (1.0, 1.0)}
SHARES: Final = (0.42, 0.22, 0.08, 0.28)
SHARE_STRENGTH: Final = 2.5
GAP_M: Final = (1.0, 15.0)
PAVEMENT_M: Final = 3.0
SIDE_PAVEMENT_M: Final = 1.3
# height of a town's houses beside another's, drawn once a scene
TALLNESS: Final = (0.45, 1.8)
# a lorry's height, and the least distance from a carriageway of what stands lower
HEADROOM_M: Final = 4.5
OFF_M: Final = 0.15
SKYLINE_M: Final = (70.0, 250.0)

WALLS: Final = (
    (0.55, 0.38, 0.3),
    (0.62, 0.57, 0.48),
    (0.48, 0.47, 0.46),
    (0.66, 0.62, 0.58),
    (0.42, 0.3, 0.26),
    (0.7, 0.68, 0.66),
    (0.36, 0.37, 0.4),
    (0.58, 0.5, 0.44),
)


@dataclass(frozen=True)
class Stretch:
    """One side of a street between two places: its kind, and the distance of its fronts from the middle of the road.

    open_m: how far from the middle of the road this side of the street is open in most places.
    """

    street: int
    side: int
    start_m: float
    end_m: float
    kind: str
    front_m: float
    open_m: float


def plan_stretches(streets: Sequence[Street], rng: np.random.Generator) -> list[Stretch]:
    """Return the stretches of both sides of every paved street."""
    shares = rng.dirichlet(SHARE_STRENGTH * np.array(SHARES))
    wide_m = float(np.exp(rng.uniform(*np.log(WIDE_M))))
    stretches = []
    for number, street in enumerate(streets):
        if street.is_open:
            continue
        for side in (-1, 1):
            s, narrower_m = float(street.middle.s_m[0]), 0.0 if street.is_driven else 6.0 - street.half_m
            open_m = wide_m * float(rng.uniform(*SIDE))
            while s < street.middle.s_m[-1]:
                end = s + rng.uniform(*STRETCH_M)
                kind = str(rng.choice(list(KINDS), p=shares))
                # the ego lane is right of the middle: its right side begins farther out, so that a camera sees both equally far
                wider_m = FAIR_M if street.is_driven and side < 0 else -narrower_m
                front = max(open_m * rng.uniform(*KINDS[kind]), NEAREST_M) + wider_m
                last = min(end, float(street.middle.s_m[-1]))
                stretches.append(Stretch(number, side, s, last, kind, front, max(open_m, NEAREST_M) + wider_m))
                s = end
    return stretches


def houses(streets: Sequence[Street], stretches: Sequence[Stretch], rng: np.random.Generator) -> list[Piece]:
    """Return the houses of all stretches that keep off every carriageway and its pavement."""
    tallness = float(np.exp(rng.uniform(*np.log(TALLNESS))))
    pieces = [piece for stretch in stretches for piece in _terrace(streets[stretch.street], stretch, tallness, rng)]
    return keep_off(pieces, streets)


def _terrace(street: Street, stretch: Stretch, tallness: float, rng: np.random.Generator) -> Iterator[Piece]:
    """Return the houses of one stretch; of the open kind none."""
    if stretch.kind == "open":
        return
    is_closed = stretch.kind == "row" and rng.uniform() < 0.4
    height = float(np.clip(tallness * rng.lognormal(2.0, 0.5), 3.0, 40.0))
    s = stretch.start_m + rng.uniform(0.0, 6.0)
    while s < stretch.end_m:
        length, depth = rng.uniform(8.0, 24.0), rng.uniform(8.0, 16.0)
        front = stretch.front_m + rng.uniform(0.0, 0.5 if is_closed else 2.5)
        high = float(np.clip(height * rng.uniform(0.75, 1.35), 3.0, 40.0))
        turn = 0.0 if is_closed else rng.normal(0.0, 0.05)
        colour = WALLS[int(rng.integers(len(WALLS)))]
        middle = s + length / 2
        x, y = street.middle.place(middle, stretch.side * (front + depth / 2))
        yaw = float(street.middle.yaw_at(middle)) + turn
        yield box_piece((float(x), float(y)), yaw, (length, depth, high), Material.BUILDING, colour)
        if rng.uniform() < 0.4:  # a porch, a bay or a shop front
            wide, deep = rng.uniform(1.5, 4.0), rng.uniform(0.4, 1.4)
            x, y = street.middle.place(middle + rng.uniform(-0.3, 0.3) * length, stretch.side * (front - deep / 2))
            tall = rng.uniform(2.5, min(3.2, high))
            yield box_piece((float(x), float(y)), yaw, (wide, deep, tall), Material.BUILDING, colour)
        s += length + (rng.uniform(0.0, 0.3) if is_closed else rng.uniform(*GAP_M))


def skyline(streets: Sequence[Street], rng: np.random.Generator) -> list[Piece]:
    """Return higher houses 70 to 250 m from the driven street, in groups."""
    driven = streets[0].middle
    pieces = []
    for _ in range(int(rng.integers(10, 26))):
        s = rng.uniform(driven.s_m[0] - 20.0, driven.s_m[-1])
        middle = driven.place(s, float(rng.choice([-1, 1])) * rng.uniform(*SKYLINE_M))
        high, yaw = float(np.clip(rng.lognormal(2.7, 0.5), 6.0, 60.0)), float(driven.yaw_at(s)) + rng.normal(0.0, 0.2)
        for _ in range(int(rng.integers(1, 7))):
            x, y = middle + rng.normal(0.0, 25.0, 2)
            size = (rng.uniform(12.0, 40.0), rng.uniform(10.0, 18.0), float(high * rng.uniform(0.7, 1.3)))
            pieces.append(box_piece((float(x), float(y)), yaw, size, Material.BUILDING, WALLS[int(rng.integers(len(WALLS)))]))
    return keep_off(pieces, streets, margin_m=12.0)


def box_piece(
    xy_m: tuple[float, float],
    yaw: float,
    size_m: tuple[float, float, float],
    material: Material,
    colour: tuple[float, float, float],
    *,
    bottom_m: float = 0.0,
) -> Piece:
    """Return an upright box with its bottom at a height; size_m: along its yaw, across it, upright."""
    length, width, height = (float(value) for value in size_m)
    numbers = (*xy_m, bottom_m + height / 2, length / 2, width / 2, height / 2, float(np.cos(yaw)), float(np.sin(yaw)))
    return Piece("box", numbers, material, colour)


def keep_off(pieces: Sequence[Piece], streets: Sequence[Street], *, margin_m: float = 0.0) -> list[Piece]:
    """Return those boxes that leave every carriageway its pavement, and `margin_m` more."""
    if not pieces:
        return []
    outline = outlines(np.array([piece.numbers for piece in pieces]))
    flat = outline.reshape(-1, 2)
    free = (streets[0].beside(flat) > PAVEMENT_M + margin_m - 0.01).reshape(len(pieces), -1).all(axis=1)
    if len(streets) > 1:
        free &= (beside(flat, streets[1:]) > SIDE_PAVEMENT_M + margin_m).reshape(len(pieces), -1).all(axis=1)
    return [piece for piece, is_free in zip(pieces, free, strict=True) if is_free]


def off_the_road(pieces: Sequence[Piece], streets: Sequence[Street]) -> NDArray[np.bool_]:
    """Tell of each piece (n,) whether a lorry could pass it on every carriageway: it stands beside, or hangs above 4.5 m."""
    rows = np.zeros((len(pieces), 8))
    for row, piece in zip(rows, pieces, strict=True):
        x, y, *rest = piece.numbers
        if piece.shape == "box":
            row[:] = piece.numbers
        elif piece.shape == "cylinder":
            row[:] = (x, y, rest[1], rest[0], rest[0], 0.0, 1.0, 0.0)
        else:
            row[:] = (x, y, rest[0], rest[1], rest[1], rest[2], 1.0, 0.0)
    is_off = rows[:, 2] - rows[:, 5] >= HEADROOM_M
    is_off |= beside(rows[:, :2], streets) > np.hypot(rows[:, 3], rows[:, 4]) + OFF_M
    near = np.flatnonzero(~is_off)
    around = outlines(rows[near])
    away = beside(around.reshape(-1, 2), streets).reshape(around.shape[:2])
    is_off[near] = away.min(axis=1) > OFF_M
    return is_off


def outlines(boxes: Floats) -> Floats:
    """Return points (n, 24, 2) around the ground plan of boxes (n, 8), no two neighbours more than a sixth of a side apart."""
    edge, end = np.linspace(-1.0, 1.0, 7), np.ones(7)
    x = np.concatenate([edge, edge, -end[1:-1], end[1:-1]])
    y = np.concatenate([-end, end, edge[1:-1], edge[1:-1]])
    qx, qy = boxes[:, 3:4] * x, boxes[:, 4:5] * y
    cosine, sine = boxes[:, 6:7], boxes[:, 7:8]
    points: Floats = np.stack([boxes[:, :1] + cosine * qx - sine * qy, boxes[:, 1:2] + sine * qx + cosine * qy], axis=-1)
    return points
