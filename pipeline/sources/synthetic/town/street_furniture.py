"""What stands between kerb and houses: lamp posts, poles, signs, traffic lights, masts over the road, hedges, walls, fences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from pipeline.sources.synthetic.actors import Material
from pipeline.sources.synthetic.solids import Piece
from pipeline.sources.synthetic.town.houses import Stretch, box_piece, off_the_road
from pipeline.sources.synthetic.town.streets import Street

LAMP_EVERY_M: Final = 28.0
LAMP_LEFT_M: Final = 6.4
LAMP_HEIGHT_M: Final = 7.0
VERGE_M: Final = (6.35, 7.3)
ARM_M: Final = (5.4, 6.6)
METAL: Final = (0.35, 0.36, 0.38)
WOOD: Final = (0.36, 0.29, 0.22)
SIGNS: Final = ((0.7, 0.12, 0.12), (0.15, 0.25, 0.6), (0.82, 0.8, 0.78), (0.85, 0.7, 0.1))
BRIDGE_SHARE: Final = 0.35
BORDERS: Final = ("hedge", "wall", "fence", "none")
BORDER_SHARES: Final = (0.33, 0.32, 0.2, 0.15)
# hedges, walls and hoardings that a car looks over, and such that hide what is behind
LOW_M: Final = (0.7, 1.9)
TALL_M: Final = (2.2, 4.2)
TALL_SHARE: Final = 0.5


def furniture(streets: Sequence[Street], stretches: Sequence[Stretch], rng: np.random.Generator) -> list[Piece]:
    """Return all furniture of a town; nothing stands on a carriageway."""
    driven = streets[0]
    groups = [
        *_lamps(driven, rng),
        *_signs(driven, rng),
        *_utility_poles(driven, rng),
        *_small_things(driven, rng),
        *_masts(driven, rng),
        *_bridges(driven, rng),
        *_traffic_lights(streets, rng),
        *_borders(streets, stretches, rng),
    ]
    pieces = [piece for group in groups for piece in group]
    number = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    blocked = np.unique(number[~off_the_road(pieces, streets)])
    return [piece for piece, group in zip(pieces, number.tolist(), strict=True) if group not in set(blocked.tolist())]


def _post(x: float, y: float, radius: float, height: float, colour: tuple[float, float, float] = METAL) -> Piece:
    """Return an upright post on the ground."""
    return Piece("cylinder", (float(x), float(y), float(radius), 0.0, float(height)), Material.POLE, colour)


def _lamps(street: Street, rng: np.random.Generator) -> Iterator[list[Piece]]:
    """Return lamp posts every 28 m on alternating sides, with a head on a short arm over the kerb."""
    s_m = street.middle.s_m
    first = np.ceil((s_m[0] + 5) / LAMP_EVERY_M)
    for k in range(int(first), int((s_m[-1] - 5) // LAMP_EVERY_M) + 1):
        side, s = (1 if (k - first) % 2 else -1), k * LAMP_EVERY_M
        x, y = street.middle.place(s, side * LAMP_LEFT_M)
        hx, hy = street.middle.place(s, side * (LAMP_LEFT_M - 0.5))
        yaw = float(street.middle.yaw_at(s))
        if rng.uniform() < 0.9:
            head = box_piece(
                (float(hx), float(hy)), yaw, (0.3, 0.9, 0.16), Material.LAMP, (1.0, 0.9, 0.7), bottom_m=LAMP_HEIGHT_M - 0.08
            )
            yield [_post(x, y, 0.09, LAMP_HEIGHT_M), head]


def _signs(street: Street, rng: np.random.Generator) -> Iterator[list[Piece]]:
    """Return road signs on thin posts, facing the traffic."""
    s = street.middle.s_m[0] + rng.uniform(0.0, 30.0)
    while s < street.middle.s_m[-1]:
        side = int(rng.choice([-1, 1]))
        x, y = street.middle.place(s, side * rng.uniform(*VERGE_M))
        yaw, top, wide = float(street.middle.yaw_at(s)) + rng.normal(0.0, 0.1), rng.uniform(2.2, 3.0), rng.uniform(0.45, 0.9)
        colour = SIGNS[int(rng.integers(len(SIGNS)))]
        plate = box_piece((float(x), float(y)), yaw, (0.16, wide, wide), Material.SIGN, colour, bottom_m=top - wide)
        yield [_post(x, y, 0.04, top - wide), plate]
        s += rng.uniform(14.0, 55.0)


def _utility_poles(street: Street, rng: np.random.Generator) -> Iterator[list[Piece]]:
    """Return wooden poles at one side, in half of the towns."""
    if rng.uniform() < 0.5:
        return
    side, spacing = int(rng.choice([-1, 1])), rng.uniform(30.0, 45.0)
    for s in np.arange(street.middle.s_m[0], street.middle.s_m[-1], spacing):
        x, y = street.middle.place(s, side * 7.2)
        yaw = float(street.middle.yaw_at(s))
        bar = box_piece((float(x), float(y)), yaw, (0.12, 2.2, 0.15), Material.POLE, WOOD, bottom_m=8.2)
        yield [_post(x, y, 0.15, 9.0, WOOD), bar]


def _small_things(street: Street, rng: np.random.Generator) -> Iterator[list[Piece]]:
    """Return cabinets, bins, bollards and shelters."""
    s = street.middle.s_m[0] + rng.uniform(0.0, 20.0)
    while s < street.middle.s_m[-1]:
        side, kind = int(rng.choice([-1, 1])), rng.choice(["cabinet", "bin", "bollards", "shelter"], p=[0.35, 0.3, 0.25, 0.1])
        x, y = (float(v) for v in street.middle.place(s, side * 6.9))
        yaw = float(street.middle.yaw_at(s))
        if kind == "cabinet":
            size = (rng.uniform(0.5, 1.6), 0.4, rng.uniform(0.9, 1.5))
            yield [box_piece((x, y), yaw, size, Material.WALL, (0.4, 0.45, 0.4))]
        elif kind == "bin":
            yield [_post(x, y, 0.25, 0.95, (0.2, 0.3, 0.22))]
        elif kind == "bollards":
            for k in range(int(rng.integers(3, 8))):
                bx, by = street.middle.place(s + 1.6 * k, side * 6.45)
                yield [_post(bx, by, 0.08, 0.9)]
        else:
            bx, by = street.middle.place(s, side * 9.3)
            yield [
                box_piece((float(bx), float(by)), yaw, (3.6, 0.12, 2.3), Material.GLASS, (0.3, 0.36, 0.4)),
                box_piece((float(bx), float(by)), yaw, (3.8, 1.0, 0.12), Material.SIGN, (0.3, 0.3, 0.32), bottom_m=2.4),
            ]
        s += rng.uniform(8.0, 40.0)


def _masts(street: Street, rng: np.random.Generator) -> Iterator[list[Piece]]:
    """Return masts whose arm, well above 4.5 m, reaches over the road with a large sign."""
    s = street.middle.s_m[0] + rng.uniform(0.0, 120.0)
    while s < street.middle.s_m[-1]:
        wide, tall = rng.uniform(1.5, 4.0), rng.uniform(0.8, 1.8)
        yield _mast(street, s, int(rng.choice([-1, 1])), (wide, tall), Material.SIGN, SIGNS[int(rng.integers(1, 3))], rng)
        s += rng.uniform(80.0, 220.0)


def _mast(
    street: Street,
    s: float,
    side: int,
    plate_m: tuple[float, float],
    material: Material,
    colour: tuple[float, float, float],
    rng: np.random.Generator,
) -> list[Piece]:
    """Return one mast with an arm over the road and a plate (width, height) below its end."""
    reach, height = rng.uniform(3.0, 6.5), ARM_M[1]
    x, y = street.middle.place(s, side * 6.6)
    ax, ay = street.middle.place(s, side * (6.6 - reach / 2))
    px, py = street.middle.place(s, side * (6.6 - reach + plate_m[0] / 2))
    yaw = float(street.middle.yaw_at(s))
    bottom = max(height - plate_m[1], ARM_M[0] - 0.4)
    return [
        _post(x, y, 0.12, height),
        box_piece((float(ax), float(ay)), yaw, (0.14, reach, 0.14), Material.POLE, METAL, bottom_m=height - 0.14),
        box_piece((float(px), float(py)), yaw, (0.12, plate_m[0], height - bottom), material, colour, bottom_m=bottom),
    ]


def _bridges(street: Street, rng: np.random.Generator) -> Iterator[list[Piece]]:
    """Return, in a third of the towns, a bridge over the road, for people or for trains, on pillars beside the pavements."""
    if rng.uniform() > BRIDGE_SHARE:
        return
    s, wide = rng.uniform(street.middle.s_m[0], street.middle.s_m[-1]), float(rng.choice([3.2, 9.0]))
    yaw = float(street.middle.yaw_at(s)) + rng.normal(0.0, 0.1)
    bottom, span = rng.uniform(5.2, 6.5), rng.uniform(36.0, 90.0)
    x, y = (float(v) for v in street.middle.place(s, 0.0))
    deck = box_piece((x, y), yaw, (wide, span, 0.9), Material.WALL, (0.55, 0.54, 0.52), bottom_m=bottom)
    rails = []
    for edge in (-1, 1):
        rx, ry = x + edge * wide / 2 * np.cos(yaw), y + edge * wide / 2 * np.sin(yaw)
        rails.append(
            box_piece((float(rx), float(ry)), yaw, (0.15, span, 1.1), Material.FENCE, (0.4, 0.42, 0.4), bottom_m=bottom + 0.9)
        )
    pillars = []
    for left in (-24.0, -10.2, 10.2, 24.0):
        px, py = x - left * np.sin(yaw), y + left * np.cos(yaw)
        pillars.append(_post(px, py, 0.45, bottom, (0.55, 0.54, 0.52)))
    yield [pillars[0], *pillars[1:], deck, *rails]


def _traffic_lights(streets: Sequence[Street], rng: np.random.Generator) -> Iterator[list[Piece]]:
    """Return traffic lights where half of the side streets come in: at the kerb, some on an arm over the road as well."""
    driven = streets[0]
    for street in streets[1:]:
        if street.is_open or rng.uniform() < 0.5:
            continue
        start = street.middle.points_m[0]
        i = int(((driven.middle.points_m - start) ** 2).sum(axis=1).argmin())
        for along, side in ((-1, -1), (1, 1), (-1, 1)):
            s = float(driven.middle.s_m[i]) + along * (street.half_m + 2.2)
            x, y = (float(v) for v in driven.middle.place(s, side * 6.6))
            yaw = float(driven.middle.yaw_at(s))
            head = box_piece((x, y), yaw, (0.34, 0.34, 0.95), Material.SIGN, (0.1, 0.1, 0.1), bottom_m=2.4)
            yield [_post(x, y, 0.08, 2.4), head]
        if rng.uniform() < 0.5:
            s = float(driven.middle.s_m[i]) + street.half_m + 3.0
            yield _mast(driven, s, -1, (0.4, 1.0), Material.SIGN, (0.1, 0.1, 0.1), rng)


def _borders(streets: Sequence[Street], stretches: Sequence[Stretch], rng: np.random.Generator) -> Iterator[list[Piece]]:
    """Return hedges, walls and fences along stretches whose houses stand back."""
    for stretch in stretches:
        street = streets[stretch.street]
        kind = str(rng.choice(BORDERS, p=BORDER_SHARES))
        if stretch.kind == "row" or kind == "none":
            continue
        left = stretch.side * (street.half_m + rng.uniform(3.3, 5.0))
        height = rng.uniform(*(TALL_M if rng.uniform() < TALL_SHARE else LOW_M))
        s = stretch.start_m
        while s + 4.0 < stretch.end_m:
            length = min(rng.uniform(4.0, 9.0), stretch.end_m - s)
            if rng.uniform() > 0.12:  # an entrance
                yield from _border(street, (s, s + length), left, kind, height * rng.uniform(0.9, 1.1), rng)
            s += length


def _border(
    street: Street, along_m: tuple[float, float], left_m: float, kind: str, height: float, rng: np.random.Generator
) -> Iterator[list[Piece]]:
    """Return one piece of a hedge, wall or fence between two places."""
    (x0, y0), (x1, y1) = street.middle.place(np.array(along_m), left_m)
    yaw, length = float(np.arctan2(y1 - y0, x1 - x0)), float(np.hypot(x1 - x0, y1 - y0))
    middle = (float(x0 + x1) / 2, float(y0 + y1) / 2)
    if kind == "hedge":
        green = (0.14 + rng.uniform(0, 0.06), 0.26 + rng.uniform(0, 0.08), 0.1)
        yield [box_piece(middle, yaw, (length, rng.uniform(0.5, 0.9), height), Material.HEDGE, green)]
    elif kind == "wall":
        yield [box_piece(middle, yaw, (length, 0.25, height), Material.WALL, (0.5, 0.46, 0.42))]
    else:
        for at in np.arange(0.0, length, 2.2):
            yield [_post(x0 + at * np.cos(yaw), y0 + at * np.sin(yaw), 0.05, height, WOOD)]
        for up in (0.35, 0.7, 1.0):
            rail = box_piece(middle, yaw, (length, 0.05, 0.12), Material.FENCE, WOOD, bottom_m=up * height - 0.12)
            yield [rail]
