"""The layout of a town: what stands where, and that the way is free on every kind of drive."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.sources.synthetic import SyntheticParams, write_world
from pipeline.sources.synthetic.actors import Material
from pipeline.sources.synthetic.drive import make_drive, positions_along
from pipeline.sources.synthetic.rays.raycast import Primitives, cast_rays
from pipeline.sources.synthetic.route import Route, route_through
from pipeline.sources.synthetic.solids import Piece, Solids, gather
from pipeline.sources.synthetic.town.houses import HEADROOM_M, STRETCH_M, plan_stretches
from pipeline.sources.synthetic.town.layout import standing_pieces
from pipeline.sources.synthetic.town.streets import KERB_LEFT_M, SIDE_STREET_EVERY_M, Street, corner_places, make_streets
from pipeline.sources.synthetic.world import make_world

PARAMS = SyntheticParams(scenes=30, seconds=20.0, layout="town")


def _track(*legs: tuple[float, float, float]) -> NDArray[np.float64]:
    """Return positions (n, 2) a decimetre apart along legs: metres, radius of the turn at its end, degrees of that turn."""
    yaw = [0.3]
    for metres, radius, degrees in legs:
        yaw += [yaw[-1]] * int(metres * 10)
        count = int(abs(np.deg2rad(degrees)) * radius * 10)
        yaw += list(yaw[-1] + np.deg2rad(degrees) * (np.arange(count) + 1) / max(count, 1))
    return 0.1 * np.cumsum(np.stack([np.cos(yaw), np.sin(yaw)], axis=1), axis=0)


TRACKS = {
    "straight": _track((160.0, 1.0, 0.0)),
    "left corner": _track((70.0, 9.0, 90.0), (70.0, 1.0, 0.0)),
    "right corner": _track((70.0, 8.0, -110.0), (70.0, 1.0, 0.0)),
    "two corners": _track((40.0, 10.0, 65.0), (60.0, 12.0, 70.0), (50.0, 1.0, 0.0)),
    "standing": np.zeros((50, 2)) + [500.0, 700.0],
}


def _built(route: Route, seed: int = 0) -> tuple[tuple[Street, ...], list[Piece]]:
    rng = np.random.default_rng(seed)
    streets = make_streets(route, rng)
    return streets, standing_pieces(streets, rng)


def _lowest_over_the_road(pieces: list[Piece], route: Route, s_m: NDArray[np.float64]) -> float:
    """Return how low anything hangs over the driven carriageway, by rays straight up from 5 cm above it."""
    solids = gather([piece for piece in pieces if piece.shape != "slab"], ground_m=-100.0)
    lowest = np.inf
    for s in s_m:
        around = _near(solids, *route.place(s, 1.8))
        for x, y in route.place(s, np.linspace(-KERB_LEFT_M + 0.1, KERB_LEFT_M - 0.1, 7) + 1.8):
            distance, hit = cast_rays(around, np.array([x, y, 0.05]), np.array([[0.0, 0.0, 1.0]]), limit=60.0)
            lowest = min(lowest, float(distance[0]) if hit[0] > 0 else np.inf)
    return lowest


def _near(solids: Solids, x: float, y: float) -> Primitives:
    """Return the primitives around a place; cylinders become boxes, since rays along their axis miss an open cylinder."""
    boxes, cylinders, ellipsoids = solids.primitives.boxes, solids.primitives.cylinders, solids.primitives.ellipsoids
    posts = np.array([[c[0], c[1], (c[3] + c[4]) / 2, c[2], c[2], (c[4] - c[3]) / 2, 1.0, 0.0] for c in cylinders])
    boxes = np.concatenate([boxes, posts.reshape(-1, 8)])
    near = [a[np.hypot(a[:, 0] - x, a[:, 1] - y) < 50.0] for a in (boxes, ellipsoids)]
    return Primitives(near[0], np.empty((0, 5)), near[1], ground_m=-100.0)


@pytest.mark.parametrize("name", TRACKS)
def test_nothing_solid_stands_on_the_driven_carriageway(name: str) -> None:
    route = route_through(TRACKS[name], np.array([0.002, -0.002]))
    for seed in range(2):
        _, pieces = _built(route, seed)
        assert len(pieces) > 500
        s = np.arange(-60.0, route.s_m[-1] - 40.0, 4.0)
        assert _lowest_over_the_road(pieces, route, s) > HEADROOM_M - 0.06


@pytest.mark.real_data
def test_nothing_solid_stands_on_the_carriageway_of_recorded_drives(shared: Path) -> None:
    trajectories = str(shared / "data/nuscenes-trajectories/mini_val_scenes.json")
    for index in range(2):  # the second one turns a corner
        params = PARAMS.model_copy(update={"trajectories": trajectories})
        drive = make_drive(params, index)
        world = make_world(params, drive, index)
        s = np.arange(-30.0, float(positions_along(drive)[2][-1]) + 60.0, 4.0)
        assert _lowest_over_the_road(list(world.standing), world.route, s) > HEADROOM_M - 0.06


@pytest.mark.parametrize("name", ["left corner", "right corner", "two corners"])
def test_a_corner_is_a_junction_with_streets_that_go_straight_on(name: str) -> None:
    route = route_through(TRACKS[name], np.zeros(2))
    streets, _ = _built(route)
    corners = corner_places(streets[0].middle)
    assert len(corners) == (2 if name == "two corners" else 1)
    meeting = [street for street in streets[1:] if not street.is_open and abs(street.half_m - (KERB_LEFT_M - 1.0)) < 1e-9]
    assert len(corners) <= len(meeting) <= 2 * len(corners)


def test_side_streets_come_every_60_to_150_m_and_stay_open_to_look_into() -> None:
    route = route_through(TRACKS["straight"], np.zeros(2))
    for seed in range(4):
        streets, pieces = _built(route, seed)
        driven = streets[0].middle
        starts = [street.middle.points_m[0] for street in streets[1:] if not street.is_open]
        s = np.unique([driven.s_m[((driven.points_m - start) ** 2).sum(axis=1).argmin()] for start in starts])
        assert len(s) >= 2
        assert np.all((np.diff(s) >= SIDE_STREET_EVERY_M[0] - 1) & (np.diff(s) <= SIDE_STREET_EVERY_M[1] + 1))
        solids = gather([piece for piece in pieces if piece.material == Material.BUILDING], ground_m=-100.0)
        for street in streets[1:]:
            origin = np.append(street.middle.points_m[0], 1.5)
            along = np.append(street.middle.tangents[0], 0.0)[None]
            assert cast_rays(solids.primitives, origin, along, limit=float(street.middle.s_m[-1]) - 1.0)[1][0] <= 0


def test_stretches_are_20_to_80_m_and_of_all_kinds_and_sides_differ_in_width() -> None:
    kinds: Counter[str] = Counter()
    lengths, widths = [], []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        streets = make_streets(route_through(TRACKS["straight"], np.zeros(2)), rng)
        plan = plan_stretches(streets, rng)
        for side in (-1, 1):
            mine = [stretch for stretch in plan if stretch.street == 0 and stretch.side == side]
            lengths += [stretch.end_m - stretch.start_m for stretch in mine[:-1]]
            widths.append(mine[0].open_m)
            kinds.update(stretch.kind for stretch in mine)
    assert STRETCH_M[0] <= min(lengths) and max(lengths) <= STRETCH_M[1]
    share = {kind: number / sum(kinds.values()) for kind, number in kinds.items()}
    assert share["open"] == pytest.approx(0.3, abs=0.1)  # spec C1: 30 % open
    assert min(share.values()) > 0.04
    assert min(widths) < 10.0 and max(widths) > 15.0


def test_a_town_has_furniture_hedges_signs_lamps_trees_of_many_blobs_and_a_skyline() -> None:
    route = route_through(TRACKS["straight"], np.zeros(2))
    many = [_built(route, seed)[1] for seed in range(3)]
    for pieces in many:
        count = Counter(piece.material for piece in pieces)
        for material in (Material.BUILDING, Material.POLE, Material.SIGN, Material.LAMP, Material.TRUNK, Material.CROWN):
            assert count[material] >= 5, material
        assert 2.0 < count[Material.CROWN] / count[Material.TRUNK] < 12.5
        houses = np.array([piece.numbers for piece in pieces if piece.material == Material.BUILDING])
        away = route.clearance(houses[:, :2], left_m=1.8)
        assert away.min() > 9.0 and away.max() > 150.0
        assert np.ptp(houses[:, 5] * 2) > 8.0
    every = {piece.material for pieces in many for piece in pieces}
    assert {Material.HEDGE, Material.FENCE, Material.WALL} <= every


def test_layout_of_the_same_seed_is_the_same_again() -> None:
    route = route_through(TRACKS["left corner"], np.zeros(2))
    assert _built(route, 3)[1] == _built(route, 3)[1]
    assert _built(route, 3)[1] != _built(route, 4)[1]


@pytest.mark.parametrize("switches", [{"layout": "town"}, {"ground": "graded"}, {"layout": "town", "ground": "graded"}])
def test_switches_write_a_world_each_by_itself(switches: dict[str, str], tmp_path: Path) -> None:
    params = SyntheticParams(scenes=1, seconds=1.0, image_size=(64, 36), lidar_azimuth_steps=60, **switches)
    write_world(params, tmp_path)
    image = next((tmp_path / "samples" / "CAM_FRONT").iterdir())
    assert image.stat().st_size > 500
    cloud = np.fromfile(next((tmp_path / "samples" / "LIDAR_TOP").iterdir()), dtype=np.float32).reshape(-1, 5)
    assert len(cloud) > 0.6 * 32 * 60
    assert np.median(cloud[cloud[:, 4] == 0, 2]) == pytest.approx(-1.84, abs=0.15)  # the lowest beam meets the road
