"""The slopes of a town, and the slabs of its carriageways, kerbs and pavements.

The relief is the sum of two profiles of straight stretches, one along the first direction of travel and one across it. Between
the knots of both it is a plane, so the tiles of the terrain meet without a step. The driven carriageway rises by 2.5 % from
its kerbs to its middle, and the pavements lie 0.12 m above its edge.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipeline.sources.synthetic.actors import Material
from pipeline.sources.synthetic.ground import Ground
from pipeline.sources.synthetic.rigid import Floats
from pipeline.sources.synthetic.solids import Piece
from pipeline.sources.synthetic.town.streets import Street, beside, corner_places

GRADE: Final = 0.03
CROSS_GRADE: Final = 0.015
KNOT_M: Final = (25.0, 50.0)
CROSS_KNOT_M: Final = (45.0, 90.0)
CROWN: Final = 0.025
KERB_M: Final = 0.12
KERB_WIDTH_M: Final = 0.15
PAVEMENT_M: Final = 4.0
SIDE_PAVEMENT_M: Final = 2.0
PAVED_M: Final = 0.01
# a corner is level up to this distance along the street, and the crown has its height so much farther on
LEVEL_M: Final = 10.0
LEVELLED_M: Final = 12.0
SUNK_M: Final = 0.06
REACH_M: Final = 262.0
PIECE_M: Final = 10.0
THICK_M: Final = 0.15
KERB_TONE: Final = (0.55, 0.54, 0.52)
GROUND_TONE: Final = (0.3, 0.3, 0.31)
ASPHALT_TONE: Final = (0.27, 0.27, 0.285)
PAVEMENT_TONE: Final = (0.46, 0.45, 0.43)


@dataclass(frozen=True)
class Relief:
    """Height = along(u) + across(v): profiles as knots and heights, u and v in the frame of `origin_m` (2,) and `yaw`."""

    origin_m: Floats
    yaw: float
    u_m: Floats
    along_m: Floats
    v_m: Floats
    across_m: Floats

    def height_at(self, xy_m: Floats) -> Floats:
        """Return the height (n,) of places (n, 2)."""
        offset = np.asarray(xy_m) - self.origin_m
        u = np.cos(self.yaw) * offset[:, 0] + np.sin(self.yaw) * offset[:, 1]
        v = np.cos(self.yaw) * offset[:, 1] - np.sin(self.yaw) * offset[:, 0]
        height: Floats = np.interp(u, self.u_m, self.along_m) + np.interp(v, self.v_m, self.across_m)
        return height

    def tiles(self) -> Iterator[Piece]:
        """Return the terrain, a little below the height of the streets."""
        cosine, sine = float(np.cos(self.yaw)), float(np.sin(self.yaw))
        for i in range(len(self.u_m) - 1):
            for j in range(len(self.v_m) - 1):
                u, v = (self.u_m[i] + self.u_m[i + 1]) / 2, (self.v_m[j] + self.v_m[j + 1]) / 2
                half_u, half_v = (self.u_m[i + 1] - self.u_m[i]) / 2, (self.v_m[j + 1] - self.v_m[j]) / 2
                rise_u = (self.along_m[i + 1] - self.along_m[i]) / (2 * half_u)
                rise_v = (self.across_m[j + 1] - self.across_m[j]) / (2 * half_v)
                top = (self.along_m[i] + self.along_m[i + 1] + self.across_m[j] + self.across_m[j + 1]) / 2 - SUNK_M
                x, y = self.origin_m + np.array([cosine * u - sine * v, sine * u + cosine * v])
                # a millimetre of overlap: a ray must not slip through the seam of two tiles
                box = (float(x), float(y), float(top) - THICK_M, float(half_u) + 1e-3, float(half_v) + 1e-3, THICK_M)
                numbers = (*box, cosine, sine, float(rise_u), float(rise_v))
                yield Piece("slab", numbers, Material.GROUND, GROUND_TONE)


def make_ground(streets: Sequence[Street], driven_s_m: tuple[float, float], rng: np.random.Generator) -> Ground:
    """Return the graded ground of streets; driven_s_m: first and last place of the ego vehicle on the driven street."""
    driven = streets[0].middle
    seen = driven.place(np.linspace(driven_s_m[0], driven_s_m[1], 12), 0.0)
    relief = _relief(seen, float(driven.yaw_at(driven_s_m[0])), rng)
    pieces = list(relief.tiles())
    for number, street in enumerate(streets):
        if not street.is_open:
            others = [other for k, other in enumerate(streets) if k != number]
            pieces += _carriageway(street, relief, seen)
            pieces += _pavements(street, others, relief, seen)
    lowest = float(relief.along_m.min() + relief.across_m.min())
    return Ground(tuple(pieces), lowest - 20.0)


def pavings(streets: Sequence[Street]) -> list[Piece]:
    """Return the paving of side streets on flat ground, a centimetre thick; a plane has the driven street painted on it."""
    flat = Relief(np.zeros(2), 0.0, np.array([-1.0, 1.0]), np.zeros(2), np.array([-1.0, 1.0]), np.zeros(2))
    seen = streets[0].middle.points_m
    pieces = []
    for street in (street for street in streets[1:] if not street.is_open):
        cuts = _cuts(street, 0.0, np.ones(len(street.middle.s_m), dtype=bool), seen)
        width = (-street.half_m, street.half_m)
        pieces += _strips(street, flat, cuts, width, (PAVED_M, PAVED_M), Material.ASPHALT, ASPHALT_TONE)
    return pieces


def _relief(seen_m: Floats, yaw: float, rng: np.random.Generator) -> Relief:
    """Return random slopes around the driven places (n, 2)."""
    axes = np.array([[np.cos(yaw), np.sin(yaw)], [-np.sin(yaw), np.cos(yaw)]])
    local = (seen_m - seen_m[0]) @ axes.T
    u, along = _profile(local[:, 0], KNOT_M, GRADE, rng)
    v, across = _profile(local[:, 1], CROSS_KNOT_M, CROSS_GRADE, rng)
    along, across = along - np.interp(0.0, u, along), across - np.interp(0.0, v, across)
    return Relief(seen_m[0], yaw, u, along, v, across)


def _profile(reached_m: Floats, spacing_m: tuple[float, float], grade: float, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Return knots and heights of a profile whose slope wanders within +-grade."""
    first, last = reached_m.min() - REACH_M, reached_m.max() + REACH_M
    knots, heights, slope = [first], [0.0], rng.uniform(-grade, grade)
    while knots[-1] < last:
        step = rng.uniform(*spacing_m)
        slope = float(np.clip(0.5 * slope + rng.normal(0.0, 0.75 * grade), -grade, grade))
        knots.append(knots[-1] + step)
        heights.append(heights[-1] + slope * step)
    return np.array(knots), np.array(heights)


def _carriageway(street: Street, relief: Relief, seen_m: Floats) -> list[Piece]:
    """Return a carriageway: both halves of the crowned one, others in one width."""
    everywhere = np.ones(len(street.middle.s_m), dtype=bool)
    cuts = _cuts(street, 0.0, everywhere, seen_m)
    if not street.is_driven:
        return _strips(street, relief, cuts, (-street.half_m, street.half_m), (0.0, 0.0), Material.ASPHALT, ASPHALT_TONE)
    corners = corner_places(street.middle)
    away = np.abs(cuts.mean(axis=1)[:, None] - corners).min(axis=1) if len(corners) else np.full(len(cuts), np.inf)
    top = CROWN * street.half_m * np.clip((away - LEVEL_M) / LEVELLED_M, 0.0, 1.0)
    return [
        piece
        for side in (-1, 1)
        for piece in _strips(street, relief, cuts, (0.0, side * street.half_m), (top, 0.0), Material.GROUND, ASPHALT_TONE)
    ]


def _pavements(street: Street, others: Sequence[Street], relief: Relief, seen_m: Floats) -> list[Piece]:
    """Return kerbs and pavements at both sides, left out where another carriageway comes in."""
    s = street.middle.s_m
    material = Material.GROUND if street.is_driven else Material.PAVEMENT
    width = PAVEMENT_M if street.is_driven else SIDE_PAVEMENT_M
    pieces = []
    for side in (-1, 1):
        kerb = street.middle.place(s, side * (street.half_m + 0.4))
        outer = street.middle.place(s, side * (street.half_m + width))
        is_free = (street.beside(kerb) > 0.3) & (street.beside(outer) > width - 1.0)
        if others:
            is_free &= (beside(kerb, others) > 0.0) & (beside(outer, others) > 0.0)
        if not street.is_driven:
            is_free &= others[0].beside(kerb) > PAVEMENT_M
        edge = side * street.half_m
        inner = edge + side * KERB_WIDTH_M
        cuts = _cuts(street, edge, is_free, seen_m)
        pieces += _strips(street, relief, cuts, (edge, inner), (KERB_M, KERB_M), Material.KERB, KERB_TONE)
        pieces += _strips(street, relief, cuts, (inner, edge + side * width), (KERB_M, KERB_M), material, PAVEMENT_TONE)
    return pieces


def _cuts(street: Street, left_m: float, is_free: NDArray[np.bool_], seen_m: Floats) -> Floats:
    """Return start and end (n, 2) of the pieces of a strip: free, near enough to be seen, about straight, at most 10 m long."""
    s = street.middle.s_m
    place = street.middle.place(s, left_m)
    away = np.sqrt(((place[:, None] - seen_m[None]) ** 2).sum(axis=2).min(axis=1))
    usable = is_free & (away < REACH_M)
    yaw = np.unwrap(np.arctan2(street.middle.tangents[:, 1], street.middle.tangents[:, 0]))
    start, cuts = 0, []
    while start < len(s) - 1:
        if not (usable[start] and usable[start + 1]):
            start += 1
            continue
        longest = PIECE_M if away[start] < 100.0 else 2 * PIECE_M
        end = start + 1
        while end + 1 < len(s) and usable[end + 1] and s[end + 1] - s[start] <= longest:
            if abs(yaw[end + 1] - yaw[start]) > np.deg2rad(5.0):
                break
            end += 1
        cuts.append((float(s[start]), float(s[end])))
        start = end
    return np.array(cuts).reshape(-1, 2)


def _strips(
    street: Street,
    relief: Relief,
    cuts_m: Floats,
    across_m: tuple[float, float],
    lift_m: tuple[float | Floats, float | Floats],
    material: Material,
    colour: tuple[float, float, float],
) -> list[Piece]:
    """Return slabs between the places cuts_m (n, 2) along a street and two across it; lift_m: their height over the relief."""
    if len(cuts_m) == 0:
        return []
    corners = street.middle.place(cuts_m[:, :, None], np.array(across_m)[None, None, :])
    top = relief.height_at(corners.reshape(-1, 2)).reshape(-1, 2, 2)
    top = top + np.stack([np.broadcast_to(lift, len(cuts_m)) for lift in lift_m], axis=1)[:, None, :]
    ends = corners.mean(axis=2)
    way, width = ends[:, 1] - ends[:, 0], abs(across_m[1] - across_m[0])
    length = np.linalg.norm(way, axis=1)
    longest = np.linalg.norm(corners[:, 1] - corners[:, 0], axis=2).max(axis=1)
    rise_x = (top[:, 1].mean(axis=1) - top[:, 0].mean(axis=1)) / np.maximum(length, 1e-6)
    rise_y = np.sign(across_m[1] - across_m[0]) * (top[:, :, 1].mean(axis=1) - top[:, :, 0].mean(axis=1)) / width
    middle, yaw = ends.mean(axis=1), np.arctan2(way[:, 1], way[:, 0])
    half_width, thick = np.full(len(yaw), width / 2 + 1e-3), np.full(len(yaw), THICK_M)
    columns = (middle[:, 0], middle[:, 1], top.mean(axis=(1, 2)) - THICK_M, longest / 2 + 1e-3, half_width, thick)
    numbers = np.stack([*columns, np.cos(yaw), np.sin(yaw), rise_x, rise_y], axis=1)
    return [Piece("slab", tuple(row), material, colour) for row in numbers.tolist()]
