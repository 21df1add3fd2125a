"""Votes of other sweeps, first on worlds that can be counted by hand: walls, ghosts and poles at the centres of cells."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.free_space_choice import FreeSpace
from pipeline.geometry import inverse
from pipeline.kernels import free_space_twin as twin
from pipeline.kernels.free_space import vote, voters_of
from pipeline.kernels.range_table import COLUMNS, TableMaker
from pipeline.kernels.scene_points import read_scene_points
from pipeline.poses import world_from_sensor, world_from_sensors
from tests.pipeline.kernels.test_accumulate import Reader, boxes_of, sweep_row

FEW = FreeSpace(offsets=(1, 2), scouts=(1,), far_rule=False)
"""A sweep in the middle of five has four voters."""


def at_cells(columns, rows, range_m) -> np.ndarray:
    """Return points (n, 5) at the centres of cells: 0.25 degrees of azimuth from -180, 0.3 degrees of elevation from -90."""
    azimuth, elevation = np.radians((np.asarray(columns) + 0.5) * 0.25 - 180), np.radians((np.asarray(rows) + 0.5) * 0.3 - 90)
    level = np.cos(elevation)
    xyz = np.stack([level * np.cos(azimuth), level * np.sin(azimuth), np.sin(elevation)], axis=1) * np.reshape(range_m, (-1, 1))
    return np.concatenate([xyz, np.zeros((len(xyz), 2))], axis=1).astype(np.float32)


def shell(rows, range_m: float = 20.0, columns=range(COLUMNS)) -> np.ndarray:
    """Return a wall all around, or where the columns are: a return in every cell of the rows."""
    c, r = np.meshgrid(columns, list(rows), indexing="ij")
    return at_cells(c.ravel(), r.ravel(), np.full(c.size, range_m))


def read(sweeps, choice=FEW, rows=None, **options):
    return read_scene_points(
        Reader(sweeps),
        rows or [sweep_row(k) for k in range(len(sweeps))],
        options.pop("boxes", None),
        moving=options.pop("moving", "keep"),
        free_space=choice,
        **options,
    )


def left(points) -> np.ndarray:
    """Return (n, 4): x, y, z and the number of the sweep of the points that are left, sorted."""
    groups = points.groups
    count = np.diff(groups.block_start[groups.first_block])
    table = np.column_stack([groups.xyz_m[:, : groups.block_start[-1]].T, np.repeat(groups.sweep, count)])
    return table[np.lexsort(table.T)]


def five_with(extra: dict[int, np.ndarray], base=None) -> list[np.ndarray]:
    base = shell(range(290, 311)) if base is None else base
    return [np.concatenate([base, extra[k]]) if k in extra else base for k in range(5)]


def test_a_ghost_before_a_wall_has_four_votes_and_goes_alone():
    points = read(five_with({2: at_cells([700], [305], [10.0])}))
    assert points.counts.read == 5 * COLUMNS * 21 + 1
    assert points.counts.free_space == 1
    assert np.linalg.norm(left(points)[:, :3], axis=1).min() == pytest.approx(20, abs=1e-4)
    assert len(points.groups.free_votes) == points.groups.block_start[-1] == 5 * COLUMNS * 21
    assert points.groups.free_votes.max() == 0


def test_votes_of_what_stays_are_kept_beside_it():
    points = read(five_with({2: at_cells([700], [305], [10.0])}), FEW.model_copy(update={"least_free": 5}))
    range_m = np.linalg.norm(points.groups.xyz_m[:, : points.groups.block_start[-1]], axis=0)
    assert points.groups.free_votes[np.argmin(range_m)] == 4
    assert np.count_nonzero(points.groups.free_votes) == 1


@pytest.mark.parametrize(("seen_by", "is_dropped"), [((2,), True), ((1, 2), True), ((1, 2, 3), False), ((0, 1, 2, 3, 4), False)])
def test_a_pole_stays_where_half_of_the_voters_hit_it(seen_by, is_dropped):
    """Of four voters, those that see the pole hit it and the others see through it; 3 > 1 drops, 2 > 2 does not."""
    pole = {k: at_cells([700] * 3, [303, 304, 305], [10.0] * 3) for k in seen_by}
    found = left(read(five_with(pole)))
    of_middle = found[(found[:, 3] == 2) & (np.linalg.norm(found[:, :3], axis=1) < 15)]
    assert len(of_middle) == (0 if is_dropped else 3)


@pytest.mark.parametrize(("wall_m", "goes"), [(10.9, False), (11.1, True)])
def test_the_wall_must_lie_behind_by_a_metre(wall_m, goes):
    points = read(five_with({2: at_cells([700], [305], [10.0])}, shell(range(290, 311), wall_m)))
    assert points.counts.free_space == goes


@pytest.mark.parametrize(("wall_m", "goes"), [(32.9, False), (33.1, True)])
def test_the_wall_must_lie_behind_by_a_tenth(wall_m, goes):
    points = read(five_with({2: at_cells([700], [305], [30.0])}, shell(range(290, 311), wall_m)))
    assert points.counts.free_space == goes


def test_no_one_votes_beyond_the_range():
    ghost = {2: at_cells([700], [305], [30.0])}
    assert read(five_with(ghost, shell(range(290, 311), 60.0)), FEW.model_copy(update={"range_m": 29.0})).counts.free_space == 0


def test_one_cell_of_nine_that_is_near_makes_no_free_space():
    sweeps = five_with({2: at_cells([700], [305], [10.0])})
    for k in (0, 1, 3, 4):
        sweeps[k] = np.concatenate([sweeps[k], at_cells([701], [306], [5.0])])
    points = read(sweeps)
    assert points.counts.free_space == 0
    assert len(left(points)) == points.counts.read == 5 * COLUMNS * 21 + 1 + 4


EMPTY_CASES = {
    "where a beam looked up": (330, True),
    "beside a beam": (331, True),
    "between beams": (332, False),
    "where a beam looked down": (290, False),
    "above all beams": (338, False),
}


@pytest.mark.parametrize("case", EMPTY_CASES)
def test_nothing_came_back_counts_where_a_beam_looked_up(case):
    """Beams 4 rows apart, each with returns in all columns but 690 to 710; a ghost stands in that gap."""
    row, goes = EMPTY_CASES[case]
    beams = shell([286, 290, 294, 326, 330, 334], columns=[c for c in range(COLUMNS) if not 690 <= c <= 710])
    other_rows = shell([300], 60.0)
    points = read(five_with({2: at_cells([700], [row], [10.0])}, np.concatenate([beams, other_rows])))
    assert points.counts.free_space == goes


def test_a_thinned_beam_says_nothing_where_nothing_came_back():
    beams = shell([330], columns=[c for c in range(0, COLUMNS, 4) if not 690 <= c <= 710])
    points = read(five_with({2: at_cells([700], [330], [10.0])}, np.concatenate([beams, shell([300], 60.0)])))
    assert points.counts.free_space == 0


def test_an_azimuth_that_was_not_scanned_says_nothing():
    front = [c for c in range(COLUMNS) if 300 <= c < 1100]
    sweeps = five_with({2: at_cells([200], [330], [10.0])}, shell([330, 331], columns=front))
    assert read(sweeps).counts.free_space == 0


def test_a_sweep_without_returns_never_votes():
    ghost = np.concatenate([shell(range(300, 311), columns=range(100)), at_cells([700], [305], [10.0])])
    nothing = np.zeros((0, 5), np.float32)
    points = read([nothing, nothing, ghost, nothing, nothing])
    assert points.counts.free_space == 0
    assert points.groups.free_votes.max() == 0


def test_behind_its_own_bonnet_a_sweep_sees_nothing():
    bonnet = at_cells([699, 700, 701] * 3, [304] * 3 + [305] * 3 + [306] * 3, [1.0] * 9)
    sweeps = five_with({2: at_cells([700], [305], [10.0])})
    assert read([np.concatenate([sweep, bonnet]) for sweep in sweeps], own_car_m=2.5).counts.free_space == 0
    assert read(sweeps, own_car_m=2.5).counts.free_space == 1


def test_the_far_rule_alone_drops_what_the_near_ones_confirm():
    """A slow mover: hit by the six nearest voters, gone for the six at offsets 20, 25 and 30."""
    choice = FreeSpace(offsets=(1, 2, 3, 20, 25, 30), scouts=(20,))
    base = shell(range(295, 311))
    sweeps = [base] * 71
    for k in range(32, 39):
        sweeps[k] = np.concatenate([base, at_cells([700], [305], [10.0])])
    found = left(read(sweeps, choice))
    assert not ((found[:, 3] == 35) & (np.linalg.norm(found[:, :3], axis=1) < 15)).any()
    without = left(read(sweeps, choice.model_copy(update={"far_rule": False})))
    assert ((without[:, 3] == 35) & (np.linalg.norm(without[:, :3], axis=1) < 15)).any()


def test_voters_are_sweeps_of_the_same_unbroken_chain_by_their_time():
    rows = [
        sweep_row(k, channel=channel, chain=chain)
        for k, (channel, chain) in enumerate([("A", 0)] * 3 + [("A", 1)] * 2 + [("B", 0)] * 2)
    ]
    pairs = {(voter, asked) for voter, asked, _ in voters_of(rows, (1, 2))}
    assert pairs == {(0, 1), (1, 0), (1, 2), (2, 1), (0, 2), (2, 0), (3, 4), (4, 3), (5, 6), (6, 5)}
    mixed = [rows[k] for k in (2, 0, 1)]
    assert {(mixed[v]["timestamp_us"], mixed[s]["timestamp_us"], o) for v, s, o in voters_of(mixed, (1, 2))} == {
        (rows[v]["timestamp_us"], rows[s]["timestamp_us"], o) for v, s, o in voters_of(rows[:3], (1, 2))
    }


@pytest.mark.parametrize(("moving", "in_boxes", "seen_through"), [("keep", 0, 1), ("drop", 1, 0), ("carry", 1, 0)])
def test_returns_that_are_carried_with_their_box_are_not_voted_on(moving, in_boxes, seen_through):
    """The ghost is a return of a car that is there at one sweep only."""
    row = sweep_row(0)
    in_sensor = inverse(world_from_sensor(row)) @ [620.0, 1600.0, 0.8, 1.0]
    ghost = {2: np.append(in_sensor[:3], [0.0, 0.0]).astype(np.float32)[None]}
    boxes = boxes_of([[620.0, 1600.0, 0.8]], speed=10.0)
    points = read(five_with(ghost, shell(range(285, 311), 40.0)), moving=moving, boxes=boxes)
    assert (points.counts.in_boxes, points.counts.free_space) == (in_boxes, seen_through)
    groups = points.groups
    assert len(groups.free_votes) == groups.block_start[-1] == 5 * COLUMNS * 26 + (moving == "carry")
    assert groups.num_points_of(np.flatnonzero(groups.instance >= 0)) == (moving == "carry")


def random_scene(seed: int, count: int) -> tuple[list[np.ndarray], list[dict]]:
    """Return sweeps from moving places in a round room with pillars, ghosts and lost returns, and their rows."""
    rng = np.random.default_rng(seed)
    rows, sweeps = [], []
    for k in range(count):
        turn = 0.02 * k
        rows.append(sweep_row(k, x=0.8 * k, wxyz=[np.cos(turn), 0.0, 0.0, np.sin(turn)]))
        columns, beams = np.meshgrid(np.arange(0.03, COLUMNS - 1, 1.3371), np.arange(250.07, 340, 4.4123), indexing="ij")
        range_m = 25 + 10 * np.sin(columns / 90 + 0.3 * k) + rng.normal(0, 0.02, columns.shape)
        range_m = np.where(rng.uniform(size=columns.shape) < 0.02, rng.uniform(1, 15, columns.shape), range_m)
        keep = (rng.uniform(size=columns.shape) > 0.05).ravel()
        sweeps.append(at_cells(columns.ravel()[keep], beams.ravel()[keep], range_m.ravel()[keep]))
    return sweeps, rows


@settings(max_examples=4, deadline=None)
@given(
    st.integers(0, 10**6),
    st.sampled_from([FreeSpace(offsets=(1, 2, 3, 5), scouts=(1, 3)), FreeSpace(offsets=(1, 2), scouts=(1, 2), outvote=0.5)]),
)
def test_votes_agree_with_the_float64_twin_but_for_borders(seed, choice):
    sweeps, rows = random_scene(seed, 9)
    maker, poses = TableMaker(), world_from_sensors(rows)
    xyz = np.ascontiguousarray(np.concatenate(sweeps)[:, :3].T)
    ends = np.cumsum([len(sweep) for sweep in sweeps])
    columns_of = np.stack([ends - [len(sweep) for sweep in sweeps], ends], axis=1)
    fast = vote(xyz, columns_of, {k: maker.table_of(sweep) for k, sweep in enumerate(sweeps)}, rows, poses, choice)
    counts = np.concatenate(
        twin.count_votes(
            [sweep[:, :3].astype(np.float64) for sweep in sweeps],
            {k: twin.seen_by(sweep) for k, sweep in enumerate(sweeps)},
            rows,
            poses,
            choice,
        ),
        axis=1,
    )
    assert np.mean(fast.free != counts[0]) < 0.005
    dropped = np.zeros(len(fast.free), bool)
    dropped[fast.dropped] = True
    assert dropped.mean() > 0.005
    assert np.mean(dropped != twin.is_dropped(counts, choice)) < 0.002


def test_tables_agree_with_the_float64_twin_but_for_borders():
    sweeps, _ = random_scene(3, 2)
    for sweep in sweeps:
        table, image = TableMaker().table_of(sweep), twin.range_image(sweep[:, :3].astype(np.float64))
        inner = table.steps[2:-2, 1:-1]
        whole = image[:, table.first_row : table.first_row + table.rows]
        assert np.isnan(np.delete(image, range(table.first_row, table.first_row + table.rows), axis=1)).all()
        steps = np.where(np.isinf(whole), 65535, whole * 256)
        assert np.mean(np.abs(steps - inner) > 1) < 0.005
        told = twin.told_cells(image)[:, table.first_row : table.first_row + table.rows]
        np.testing.assert_array_equal(told, table.is_scanned[:, None] & table.is_told[None, :])


@settings(max_examples=3, deadline=None)
@given(st.integers(0, 10**6))
def test_votes_only_remove_and_the_order_of_points_and_sweeps_does_not_matter(seed):
    rng = np.random.default_rng(seed)
    sweeps, rows = random_scene(seed, 7)
    choice = FreeSpace(offsets=(1, 2, 3), scouts=(1, 2))
    all_of, kept = left(read(sweeps, None, rows)), left(read(sweeps, choice, rows))
    assert 0 < len(kept) < len(all_of)
    assert {tuple(row) for row in kept} <= {tuple(row) for row in all_of}
    shuffled = [sweep[rng.permutation(len(sweep))] for sweep in sweeps]
    np.testing.assert_array_equal(left(read(shuffled, choice, rows)), kept)
    order = rng.permutation(len(rows))
    mixed = left(read(sweeps, choice, [rows[k] for k in order]))
    mixed[:, 3] = order[mixed[:, 3].astype(int)]
    np.testing.assert_array_equal(mixed[np.lexsort(mixed.T)], kept)


def test_returns_of_the_own_car_go_by_their_distance_from_the_scanner():
    sweep = at_cells([10, 20, 30, 40], [300, 250, 200, 310], [0.9, 2.499, 2.501, 40.0])
    points = read([sweep], None, own_car_m=2.5)
    assert points.counts.own_car == 2
    np.testing.assert_allclose(np.linalg.norm(left(points)[:, :3], axis=1), [2.501, 40.0], atol=1e-4)
    assert read([sweep], None).counts.own_car == 0


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"scouts": (4,)}, "4 is none of the offsets"),
        ({"offsets": (1, 1), "scouts": (1,)}, "expected different numbers"),
        ({"offsets": ()}, "at least 1"),
        ({"margin_m": 0.0}, "greater than 0"),
        ({"range_m": 300.0}, "less than or equal to 255"),
    ],
)
def test_a_choice_that_cannot_work_is_refused_by_name(change, says):
    with pytest.raises(ValidationError, match=says):
        FreeSpace(**change)
