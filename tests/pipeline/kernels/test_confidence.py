from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.kernels.confidence import UNITS, WITH_VOTES, WITHOUT_VOTES, write_confidence
from pipeline.kernels.front_surface import form_surface as form
from pipeline.kernels.front_surface import new_tile_memory, sort_into_tiles
from pipeline.kernels.front_surface_twin import front_layer
from pipeline.kernels.project_surfaces import SurfaceRule, project_surfaces
from pipeline.kernels.scene_points import read_scene_points
from pipeline.stages.accumulate_lidar import Params
from tests.pipeline.kernels.test_accumulate import HEIGHT, WIDTH, Reader, keyframe_row, random_sweeps, sweep_row


def facts_of(slot, steps, votes=None, *, num_pixels: int, least_front_share: float = 0.0):
    count = len(slot)
    has_votes = votes is not None
    starts, keys = np.empty(2, np.int64), np.empty(count, np.uint64 if has_votes else np.uint32)
    out, facts = np.zeros(num_pixels, np.uint16), np.zeros(num_pixels, np.uint32)
    packed_votes = np.asarray(votes if has_votes else [], np.uint16)
    sort_into_tiles(np.asarray(slot, np.int32), np.asarray(steps, np.uint16), packed_votes, count, count, starts, keys)
    memory = new_tile_memory(count, has_votes=has_votes)
    form(starts, keys, np.zeros(0, np.uint16), least_front_share, memory, out, facts)
    return out, facts.view(np.uint8).reshape(-1, 4).T


def test_facts_when_worked_out_by_hand_then_are_those_of_the_front_layer():
    slot = [0, 1, 1, 1, 1]
    steps = [2560, 2560, 2600, 2660, 12_800]
    out, facts = facts_of(slot, steps, [3, 1, 7, 2, 9], num_pixels=3)
    assert facts[0].tolist() == [1, 3, 0]
    assert facts[1].tolist() == [255, 255 * 3 // 4, 0]
    assert facts[2].tolist() == [0, 512 * 100 // 2560, 0]
    assert facts[3].tolist() == [3, 7, 0]
    assert (out > 0).tolist() == [True, True, False]


def test_facts_when_a_pixel_stays_empty_then_are_zero():
    _, facts = facts_of([0] * 5, [2560, 12_800, 12_801, 12_802, 12_803], [1] * 5, num_pixels=1, least_front_share=0.5)
    assert not facts.any()


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(st.integers(2560, 4200), max_size=300), min_size=1, max_size=5), st.integers(0, 10**6))
def test_facts_agree_with_the_twins_layer_whatever_the_order(pixels, seed):
    rng = np.random.default_rng(seed)
    slot = np.repeat(np.arange(len(pixels)), [len(steps) for steps in pixels])
    steps = np.array([step for of_pixel in pixels for step in of_pixel], np.int64)
    votes = rng.integers(0, 256, len(slot))
    out, facts = facts_of(slot, steps, votes, num_pixels=len(pixels))
    order = rng.permutation(len(slot))
    again, facts_again = facts_of(slot[order], steps[order], votes[order], num_pixels=len(pixels))
    assert np.array_equal(facts, facts_again)
    assert np.array_equal(out, again)
    without, facts_without = facts_of(slot, steps, num_pixels=len(pixels))
    assert np.array_equal(out, without)
    assert np.array_equal(facts[:3], facts_without[:3])
    for pixel, of_pixel in enumerate(pixels):
        if of_pixel:
            layer = 256 * front_layer(np.array(of_pixel) / 256)
            here = slot == pixel
            assert facts[0, pixel] == min(len(layer), 255)
            assert facts[1, pixel] == max(1, 255 * len(layer) // len(of_pixel))
            assert facts[2, pixel] == pytest.approx(512 * (layer[-1] - layer[0]) / layer[0], abs=1)
            assert facts[3, pixel] == votes[here & (steps <= round(layer[-1]))].max()


@pytest.mark.parametrize("penalties", [WITH_VOTES, WITHOUT_VOTES])
def test_confidence_when_a_fact_is_worse_then_is_not_higher(penalties):
    for table, is_rising in zip(penalties[1:], (False, False, True, True), strict=True):
        values = list(table.values())
        assert values == sorted(values, reverse=not is_rising)
    assert max(sum(max(table.values()) for table in penalties[1:]), penalties.best) < 400


def test_confidence_when_worked_out_by_hand_then_is_best_less_the_penalties():
    steps = np.array([256 * 20, 256 * 60, 0, 256 * 5], np.uint16)
    facts = np.array([[16, 255, 0, 0], [1, 100, 9, 5], [0, 0, 0, 0], [2, 255, 0, 0]], np.uint8)
    told = np.empty((5, 4), np.uint8)
    write_confidence(steps, facts.copy().view(np.uint32).reshape(-1), told, has_votes=True)
    assert told[0].tolist() == [235 - 35, 1, 0, 235 - 43]
    assert np.array_equal(told[1:], facts.T)
    assert np.exp(-255 / UNITS) == pytest.approx(1e-4)


def project(sweeps, rule):
    rows = [sweep_row(k) for k in range(len(sweeps))]
    points = read_scene_points(Reader(sweeps), rows, None, moving="keep")
    return project_surfaces(points, [keyframe_row()], [[range(len(rows))]], rule, height=HEIGHT, width=WIDTH)


def test_depth_when_confidence_is_asked_for_then_is_the_same_and_no_array_without_votes():
    sweeps = random_sweeps(5, 3, 900)
    plain, told = project(sweeps, SurfaceRule(True)), project(sweeps, SurfaceRule(True, has_confidence=True))
    assert np.array_equal(plain.steps, told.steps)
    assert not plain.of_pixels
    assert set(told.of_pixels) == {"confidence", "num_returns", "front_share", "spread"}
    for name in ("confidence", "num_returns", "front_share"):
        assert np.array_equal(told.of_pixels[name] > 0, told.steps > 0)


@pytest.mark.parametrize(("keys", "said"), [
    ({"confidence": True}, "surface: front"),
    ({"least_front_share": 0.2}, "surface: front"),
    ({"behind_moving": "drop", "moving": "keep"}, "moving to drop or carry"),
    ({"surface": "front", "precision": "reference"}, "precision: float32"),
    ({"behind_moving": "drop", "precision": "reference"}, "precision: float32"),
])  # fmt: skip
def test_params_when_an_addition_cannot_be_then_the_error_names_the_remedy(keys, said):
    with pytest.raises(ValueError, match=said):
        Params(**keys)
