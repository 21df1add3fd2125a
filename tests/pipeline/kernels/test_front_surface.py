from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.kernels.accumulate import EMPTY
from pipeline.kernels.front_surface import MANY, TILE, form_surface, new_tile_memory, sort_into_tiles
from pipeline.kernels.front_surface_twin import front_depth, front_layer, returns_of_pixels
from pipeline.kernels.project_frames import project_frames
from pipeline.kernels.project_surfaces import SurfaceRule, project_surfaces
from pipeline.kernels.scene_points import read_scene_points
from tests.pipeline.kernels.test_accumulate import HEIGHT, WIDTH, Reader, keyframe_row, random_sweeps, sweep_row

NO_ENTRY = np.zeros(0, np.uint16)


def form(slot, steps, *, num_pixels=8, least_front_share=0.0, entry=NO_ENTRY, num_static=None) -> np.ndarray:
    count = len(slot)
    starts, keys, out = (
        np.empty(-(-num_pixels // TILE) + 1, np.int64),
        np.empty(count, np.uint32),
        np.zeros(num_pixels, np.uint16),
    )
    slot, steps = np.asarray(slot, np.int32), np.asarray(steps, np.uint16)
    no_votes, no_facts = np.empty(0, np.uint16), np.empty(0, np.uint32)
    sort_into_tiles(slot, steps, no_votes, count if num_static is None else num_static, count, starts, keys)
    measured = form_surface(starts, keys, entry, least_front_share, new_tile_memory(count), out, no_facts)
    assert measured == np.count_nonzero(out)
    return out


def of_one_pixel(*metres: float, **rule) -> float:
    return float(form([3] * len(metres), [256 * d for d in metres], **rule)[3]) / 256


@pytest.mark.parametrize(("metres", "expected"), [
    ([10.0], 10.0),
    ([10.0, 10.5], 2 / (1 / 10 + 1 / 10.5)),  # a gap of 0.6 m is still one surface at 10 m
    ([10.0, 10.7], 10.0),
    ([10.0, 10.5, 11.0, 11.5], 4 / (1 / 10 + 1 / 10.5 + 1 / 11 + 1 / 11.5)),  # a chain
    ([10.0, 10.5, 40.0], 2 / (1 / 10 + 1 / 10.5)),
    ([40.0 + 1.4 * k for k in range(12)], 9 / sum(1 / (40.0 + 1.4 * k) for k in range(9))),  # 52 m is 1.3 x 40 m: 51.2 is in
])  # fmt: skip
def test_depth_when_worked_out_by_hand_then_is_the_front_layers_mean_inverse_depth(metres, expected):
    assert of_one_pixel(*metres) == pytest.approx(expected, abs=1.5 / 256)
    assert of_one_pixel(*metres[::-1]) == of_one_pixel(*metres)


def test_pixel_when_its_front_layer_holds_too_small_a_share_then_is_empty():
    metres = [10.0, *np.linspace(40, 41, 4)]
    assert of_one_pixel(*metres, least_front_share=0.2) == 10.0  # one of five is a fifth
    assert of_one_pixel(*metres, 40.5, least_front_share=0.2) == 0.0


def test_mean_when_depths_are_truncated_then_is_not_biased():
    rng = np.random.default_rng(0)
    num_pixels, each = 4000, 5
    metres = rng.uniform(19.9, 20.1, (num_pixels, each))
    found = form(np.repeat(np.arange(num_pixels), each), (256 * metres).ravel().astype(np.uint16), num_pixels=num_pixels)
    exact = each / (1 / metres).sum(axis=1)
    assert np.mean(found / 256 - exact) == pytest.approx(-0.5 / 256, abs=0.05 / 256)  # as a stored depth is: truncated once


PIXELS = st.lists(st.lists(st.integers(257, 65534), min_size=0, max_size=70), min_size=1, max_size=6)
NEAR_DEPTHS = st.lists(st.lists(st.integers(2560, 4000), min_size=0, max_size=70), min_size=1, max_size=6)


@settings(max_examples=200, deadline=None)
@given(st.one_of(PIXELS, NEAR_DEPTHS), st.integers(0, 10**6), st.sampled_from([0.0, 0.2, 0.5, 1.0]))
def test_surface_agrees_with_twin_and_does_not_depend_on_the_order_of_returns(pixels, seed, share):
    slot = np.repeat(np.arange(len(pixels)), [len(steps) for steps in pixels])
    steps = np.array([step for of_pixel in pixels for step in of_pixel], np.uint16)
    found = form(slot, steps, num_pixels=len(pixels), least_front_share=share)
    order = np.random.default_rng(seed).permutation(len(slot))
    assert np.array_equal(form(slot[order], steps[order], num_pixels=len(pixels), least_front_share=share), found)
    for pixel, of_pixel in enumerate(pixels):
        middle = (np.array(of_pixel, np.float64) + 0.5) / 256
        if len(of_pixel) and _is_clear(np.sort(np.array(of_pixel, np.float64))):
            layer = front_layer(middle - 0.5 / 256)
            assert found[pixel] == pytest.approx(256 * front_depth(middle, least_front_share=share), abs=1.01)
            if found[pixel]:
                assert round(256 * layer[0]) <= found[pixel] <= round(256 * layer[-1])
        elif not of_pixel:
            assert found[pixel] == 0


def _is_clear(steps: np.ndarray) -> bool:
    """Say whether no gap lies within rounding, or the half step of the twin's depths, of a bound."""
    gaps = np.abs(np.diff(steps) - 0.03 * steps[:-1] - 0.3 * 256)
    return bool((gaps > 0.1).all() and (np.abs(steps - 1.3 * steps[0]) > 0.3).all())


def test_pixels_when_there_are_many_tiles_and_counts_then_each_has_its_own_returns():
    rng = np.random.default_rng(3)
    num_pixels = 3 * TILE + 17
    counts = rng.choice([0, 0, 1, 2, 3, MANY, MANY + 1, 40], num_pixels)
    slot = np.repeat(np.arange(num_pixels), counts)
    base = rng.integers(300, 60_000, num_pixels)
    order = rng.permutation(len(slot))
    found = form(slot[order], base[slot][order], num_pixels=num_pixels)  # all returns of a pixel are equal
    assert np.array_equal(found, np.where(counts > 0, base, 0))


def test_return_when_behind_the_entry_into_a_box_then_is_dropped_unless_carried():
    entry = np.array([5000, EMPTY, 5000, 5000], np.uint16)
    slot, steps = [0, 0, 1, 2, 3, 3], [5000, 9000, 9000, 9000, 9000, 8000]
    static = form(slot, steps, num_pixels=4, entry=entry)
    assert static.tolist() == [5000, 9000, 0, 0]
    carried = form(slot, steps, num_pixels=4, entry=entry, num_static=5)
    assert carried.tolist() == [5000, 9000, 0, 8000]


def project(sweeps, rule, rows=None):
    rows = rows or [sweep_row(k) for k in range(len(sweeps))]
    points = read_scene_points(Reader(sweeps), rows, None, moving="keep")
    return project_surfaces(points, [keyframe_row()], [[range(len(rows))]], rule, height=HEIGHT, width=WIDTH)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 4), st.sampled_from([1, 700, 3000]))
def test_projected_surface_agrees_with_float64_twin_but_for_borders(seed, count, size):
    sweeps = random_sweeps(seed, count, size)
    rows = [sweep_row(k, x=0.5 * k, wxyz=[0.9997, 0.0, 0.0, 0.0245 * k]) for k in range(count)]
    fast = project(sweeps, SurfaceRule(is_front=True), rows).steps[0].reshape(-1)
    twin = np.zeros(HEIGHT * WIDTH)
    for pixel, depths in returns_of_pixels(list(zip(rows, sweeps, strict=True)), keyframe_row()).items():
        twin[pixel] = front_depth(depths)
    differing = np.count_nonzero(np.abs(fast - 256 * twin) > 2)
    assert differing <= max(1, 0.004 * np.count_nonzero(twin))


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6))
def test_front_surface_when_compared_with_nearest_then_the_same_pixels_are_measured_none_nearer(seed):
    sweeps = random_sweeps(seed, 3, 900)
    rows = [sweep_row(k) for k in range(3)]
    points = read_scene_points(Reader(sweeps), rows, None, moving="keep")
    nearest = project_frames(points, [keyframe_row()], [[range(3)]], height=HEIGHT, width=WIDTH, engine="numba").steps
    front = project(sweeps, SurfaceRule(is_front=True)).steps
    assert np.array_equal(front > 0, nearest > 0)
    assert (front >= nearest).all()
    assert (front <= 1.3 * nearest + 1).all()
    again = project([sweep[::-1].copy() for sweep in sweeps[::-1]], SurfaceRule(is_front=True)).steps
    assert np.array_equal(front, again)
