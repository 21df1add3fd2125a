"""A draw of scenes is measured exactly as its frames, repeated, would be; and the interval holds what it says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_detections import awkward_world, cars

from model.data.objects import Objects
from model.monoddle.precision.average_precision import KITTI_DIFFICULTIES, average_precision
from model.monoddle.precision.precision_resampling import (
    PrecisionRow,
    drawn_precision,
    precision_interval,
    scene_numbers,
    score_changes,
)
from model.train.paired_bootstrap import MIN_SCENES

_ENTRIES = [("Car", "3d", "strict"), ("Car", "bev", "loose"), ("Pedestrian", "2d", "strict"), ("Cyclist", "aos", "strict")]


@settings(max_examples=12)
@given(seed=st.integers(0, 10_000), draw=st.lists(st.integers(0, 3), min_size=4, max_size=4))
def test_precision_when_scenes_are_drawn_then_that_of_the_frames_as_often_as_they_came(seed, draw):
    truth, found = awkward_world(seed, num_frames=16)
    scenes = [number % 4 for number in range(16)]
    frames = [number for number in range(16) for _ in range(draw[scenes[number]])]
    repeated = [truth[number] for number in frames], [found[number] for number in frames]
    rows = average_precision(*repeated, classes=("Car", "Pedestrian", "Cyclist"))
    for category, metric, overlap in _ENTRIES:
        for difficulty in KITTI_DIFFICULTIES:
            row = PrecisionRow(category, metric, overlap, difficulty)
            wanted = [
                one.r40
                for one in rows
                if (one.category, one.metric, one.overlap, one.difficulty) == (category, metric, overlap, difficulty.name)
            ]
            changes = score_changes(truth, found, scenes, row)
            assert drawn_precision(changes, np.array(draw)) == pytest.approx(wanted[0] if wanted else 0.0, abs=1e-9)


_CARS = PrecisionRow("Car", "3d", "strict", KITTI_DIFFICULTIES[1])


def _frames(num_scenes: int, share_found: float, seed: int) -> tuple[list[Objects], list[Objects], list[str]]:
    rng = np.random.default_rng(seed)
    truth = [cars(4) for _ in range(2 * num_scenes)]
    found = [replace(one, score=rng.random(4))[rng.random(4) < share_found] for one in truth]
    keys = [f"scene-{number // 2:04d}/CAM_FRONT/{number}" for number in range(2 * num_scenes)]
    return truth, found, keys


def test_interval_when_one_detector_finds_far_more_then_above_zero_and_of_the_same_detector_zero():
    truth, few, keys = _frames(12, 0.5, 0)
    _, many, _ = _frames(12, 0.95, 1)
    worse, better = (score_changes(truth, found, scene_numbers(keys), _CARS) for found in (few, many))
    found = precision_interval(worse, better, num_resamples=400)
    assert found.num_scenes == 12
    assert 0 < found.low < found.high
    assert precision_interval(worse, worse, num_resamples=50)[:2] == (0.0, 0.0)
    assert precision_interval(better, worse, num_resamples=400).high == pytest.approx(-found.low)


def test_interval_when_fewer_scenes_have_objects_than_it_takes_then_none():
    truth, found, keys = _frames(MIN_SCENES, 0.8, 2)
    truth[:2] = [Objects.none(), Objects.none()]  # those of the first scene
    changes = score_changes(truth, found, scene_numbers(keys), _CARS)
    assert precision_interval(changes, changes) == (None, None, MIN_SCENES - 1)


def test_scenes_when_a_scene_was_cut_into_parts_then_they_are_one():
    assert scene_numbers(["b/c/1", "a-part2/c/1", "a/c/2"]) == [1, 0, 0]
