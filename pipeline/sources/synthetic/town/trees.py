"""Trees whose crown is made of 5 to 12 blobs, bushes, and belts of trees far off."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from pipeline.sources.synthetic.actors import Material
from pipeline.sources.synthetic.rigid import Floats
from pipeline.sources.synthetic.solids import Piece
from pipeline.sources.synthetic.town.houses import Stretch, off_the_road
from pipeline.sources.synthetic.town.streets import Street, beside

NUM_BLOBS: Final = (5, 13)
BARK: Final = (0.3, 0.22, 0.16)
STREET_TREE_M: Final = (6.9, 7.3)
OVER_ROAD_M: Final = 4.8
# trees of a town beside those of another, drawn once a scene
GREENNESS: Final = (0.25, 4.0)
SHADED_SHARE: Final = 0.4
# garden trees and bushes: distance from the middle of the road in multiples of that of the nearest fronts
GARDEN: Final = (1.02, 2.4)
GARDEN_TREE_M: Final = 8.0
BELT_M: Final = (35.0, 180.0)


def trees(streets: Sequence[Street], stretches: Sequence[Stretch], rng: np.random.Generator) -> list[Piece]:
    """Return street trees, garden trees and bushes, and belts of trees far off, none with its trunk on a carriageway."""
    greenness, is_shaded = float(np.exp(rng.uniform(*np.log(GREENNESS)))), rng.uniform() < SHADED_SHARE
    groups = []
    for stretch in stretches:
        street = streets[stretch.street]
        if street.is_driven and rng.uniform() < (0.7 if is_shaded else min(0.3 * greenness, 0.7)):
            groups += list(_avenue(street, stretch, rng, is_shaded=is_shaded))
        if stretch.kind != "row":
            groups += list(_garden(street, stretch, greenness, rng))
    groups += list(_belts(streets[0], greenness, rng))
    feet = np.array([group[0].numbers[:2] for group in groups]).reshape(-1, 2)
    rooted = [group for group, away in zip(groups, beside(feet, streets).tolist(), strict=True) if away > 0.7]
    pieces = [piece for group in rooted for piece in group]
    return [piece for piece, is_off in zip(pieces, off_the_road(pieces, streets).tolist(), strict=True) if is_off]


def _avenue(street: Street, stretch: Stretch, rng: np.random.Generator, *, is_shaded: bool) -> Iterator[list[Piece]]:
    """Return evenly spaced trees along a kerb: small ones that stay beside the road, or such that shade it from above."""
    spacing, left = rng.uniform(7.0, 14.0), stretch.side * rng.uniform(*STREET_TREE_M)
    height = rng.uniform(9.0, 14.0) if is_shaded else rng.uniform(4.0, 7.5)
    for s in np.arange(stretch.start_m, stretch.end_m, spacing):
        if rng.uniform() < 0.9:
            high = height * rng.uniform(0.85, 1.15)
            crown = (OVER_ROAD_M, rng.uniform(0.3, 0.45) * high) if is_shaded else (max(0.4 * high, 2.4), 0.9)
            yield tree(street.middle.place(s + rng.uniform(-1, 1), left), high, crown, rng)


def _garden(street: Street, stretch: Stretch, greenness: float, rng: np.random.Generator) -> Iterator[list[Piece]]:
    """Return single trees and bushes behind the pavement."""
    length = stretch.end_m - stretch.start_m
    for _ in range(int(rng.poisson(greenness * length / GARDEN_TREE_M))):
        s, left = rng.uniform(stretch.start_m, stretch.end_m), stretch.side * stretch.open_m * rng.uniform(*GARDEN)
        high = rng.uniform(3.5, 14.0)
        yield tree(street.middle.place(s, left), high, (rng.uniform(0.15, 0.45) * high, 0.28 * high), rng)
    for _ in range(int(rng.poisson(greenness * length / 12.0))):
        s, left = rng.uniform(stretch.start_m, stretch.end_m), stretch.side * stretch.open_m * rng.uniform(*GARDEN)
        x, y = street.middle.place(s, left)
        wide = rng.uniform(0.4, 1.3)
        yield [
            Piece("ellipsoid", (float(x), float(y), 0.4 * wide, wide, wide * rng.uniform(0.6, 1.1)), Material.HEDGE, _green(rng))
        ]


def _belts(street: Street, greenness: float, rng: np.random.Generator) -> Iterator[list[Piece]]:
    """Return rows of trees far from the road, each of three blobs."""
    for _ in range(int(rng.poisson(14 * min(greenness, 1.5)))):
        s, left = rng.uniform(street.middle.s_m[0], street.middle.s_m[-1]), rng.uniform(*BELT_M) * float(rng.choice([-1, 1]))
        middle, yaw, high = street.middle.place(s, left), rng.uniform(0.0, np.pi), rng.uniform(6.0, 16.0)
        for k in range(int(rng.integers(3, 12))):
            place = middle + 6.0 * k * np.array([np.cos(yaw), np.sin(yaw)]) + rng.normal(0.0, 1.5, 2)
            yield tree(place, high * rng.uniform(0.8, 1.2), (0.25 * high, 0.3 * high), rng, num_blobs=3)


def tree(
    xy_m: Floats, height_m: float, crown_m: tuple[float, float], rng: np.random.Generator, *, num_blobs: int | None = None
) -> list[Piece]:
    """Return a trunk and the blobs of a crown; crown_m: height of its lowest point, and its radius."""
    x, y = (float(v) for v in xy_m)
    low, radius = crown_m
    count = num_blobs or int(rng.integers(*NUM_BLOBS))
    green, trunk = _green(rng), float(np.clip(0.02 * height_m, 0.08, 0.3))
    pieces = [Piece("cylinder", (x, y, trunk, 0.0, low + 0.3 * (height_m - low)), Material.TRUNK, BARK)]
    for _ in range(count):
        angle, away = rng.uniform(0.0, 2 * np.pi), radius * 0.7 * np.sqrt(rng.uniform())
        wide = radius * rng.uniform(0.35, 0.65)
        tall = min(wide * rng.uniform(0.6, 1.0), (height_m - low) / 2)
        z = rng.uniform(low + tall, height_m - tall)
        shade = rng.uniform(0.85, 1.15)
        numbers = (x + away * np.cos(angle), y + away * np.sin(angle), z, wide, tall)
        colour = (green[0] * shade, green[1] * shade, green[2] * shade)
        pieces.append(Piece("ellipsoid", tuple(float(v) for v in numbers), Material.CROWN, colour))
    return pieces


def _green(rng: np.random.Generator) -> tuple[float, float, float]:
    """Return a colour of leaves."""
    return (0.14 + rng.uniform(0, 0.14), 0.26 + rng.uniform(0, 0.14), 0.08 + rng.uniform(0, 0.06))
