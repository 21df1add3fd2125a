"""Result files: what is written is read back, what breaks a rule is named, and equal scores are told apart."""

from __future__ import annotations

import json

import numpy as np
import pytest

from model.uvtr.detections import Detections
from model.uvtr.nuscenes_results import ResultFileError, is_result_file, read_results, results_as_json, with_distinct_scores
from model.uvtr.world_boxes import detected_in_world
from tests.model.uvtr.made_up_boxes import boxes, changed
from tests.model.uvtr.made_up_objects import detections_of, made_up_objects, posed


def _written(path, found):
    path.write_bytes(results_as_json(found))
    return path


def test_results_when_written_and_read_then_are_the_same_boxes(tmp_path):
    pose = posed(0)
    found = detected_in_world(detections_of(made_up_objects(0, number=30), scores=np.linspace(0.9, 0.1, 30)), pose)

    path = _written(tmp_path / "results_nuscenes.json", {"k0": found, "k1": detected_in_world(Detections.none(), pose)})
    read, empty = read_results(path, ["k0", "k1"], np.stack([pose[:3, 3]] * 2))
    assert is_result_file(path) and len(empty) == 0
    np.testing.assert_allclose(read.centers_m, found.centers_m, atol=1e-6)
    np.testing.assert_allclose(read.rotations, found.rotations, atol=1e-8)
    np.testing.assert_allclose(read.velocities_mps, found.velocities_mps, atol=1e-6)
    np.testing.assert_allclose(read.ranges_m, found.ranges_m, atol=1e-2)  # the rig is not level
    assert (read.labels == found.labels).all() and (read.scores == found.scores).all()
    assert (read.attributes == found.attributes).all()


def test_results_when_written_then_have_the_keys_that_the_task_asks_for(tmp_path):
    found = boxes([1.0, 2.0], scores=[0.5, 0.4], velocity=(np.nan, 0.0))
    content = json.loads(_written(tmp_path / "r.json", {"k0": found, "k1": boxes([], scores=[])}).read_bytes())

    assert content["meta"] == {
        "use_camera": True,
        "use_lidar": False,
        "use_radar": False,
        "use_map": False,
        "use_external": False,
    }
    assert content["results"]["k1"] == []
    assert set(content["results"]["k0"][0]) == {
        "sample_token", "translation", "size", "rotation", "velocity", "detection_name", "detection_score", "attribute_name",
    }  # fmt: skip
    assert np.isnan(content["results"]["k0"][0]["velocity"][0])


@pytest.mark.parametrize("column", ["centers_m", "sizes_wlh_m", "scores"])
def test_results_when_a_number_is_not_finite_then_nothing_is_written_and_the_key_frame_is_named(column):
    found = boxes([1.0, 2.0], scores=[0.5, 0.4])
    values = getattr(found, column).copy()
    values[1] = np.nan
    with pytest.raises(ResultFileError, match="key frame 'k0': detection 1 has centre"):
        results_as_json({"k0": changed(found, **{column: values})})


def test_scores_when_some_are_equal_then_all_differ_in_the_same_order_and_are_counted_by_class():
    objects = made_up_objects(1, number=6)
    labels = np.array([0, 0, 1, 0, 1, 1])
    first = detections_of(objects, scores=np.array([0.5, 0.5, 0.5, 0.9, 0.0, 0.0]), labels=labels)
    second = detections_of(objects, scores=np.array([0.5, 0.2, 0.1, 0.0, 1.0, 1.0]), labels=labels)

    made = with_distinct_scores([first, second])
    scores = np.concatenate([found.scores for found in made.frames])
    assert len(np.unique(scores)) == 12 and (scores > 0).all() and (scores <= 1).all()
    assert all((np.diff(found.scores) < 0).all() for found in made.frames)
    np.testing.assert_allclose(scores, [0.9, 0.5, 0.5, 0.5, 0, 0, 1, 1, 0.5, 0.2, 0.1, 0], atol=1e-12)
    assert made.num_tied == 3 + 2 + 2  # class 0 at 0.5 three times, class 1 at 0 and at 1 twice


def test_scores_when_a_key_frame_has_more_than_500_then_the_highest_stay():
    found = detections_of(made_up_objects(2, number=600), scores=np.random.default_rng(0).random(600))

    (kept,) = with_distinct_scores([found]).frames
    assert len(kept) == 500 and kept.scores.min() >= np.sort(found.scores)[100]


_BOX = {"sample_token": "k0", "translation": [1, 2, 3], "size": [1, 2, 3], "rotation": [1, 0, 0, 0], "velocity": [0, 0],
        "detection_name": "car", "detection_score": 0.5, "attribute_name": ""}  # fmt: skip


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("nothing", "cannot be read as JSON"),
        ({"meta": {}}, "has no object 'results'"),
        ({"results": []}, "has no object 'results'"),
        ({"results": {"other": []}}, r"has no list for key frame 'k0' \(1 of 1 key frames of the split are missing\)"),
        ({"results": {"k0": [_BOX] * 501}}, "501 boxes, expected a list of at most 500"),
        (
            {"results": {"k0": [{**_BOX, "detection_name": "Car"}]}},
            "key frame 'k0', box 0 is a 'Car', expected one of car, truck",
        ),
        ({"results": {"k0": [_BOX, {**_BOX, "size": [1, 0, 3]}]}}, "box 1 has the numbers .* 3 of size above 0"),
        ({"results": {"k0": [{**_BOX, "detection_score": float("nan")}]}}, "all finite but for the velocity"),
        ({"results": {"k0": [{**_BOX, "rotation": [0, 0, 0, 0]}]}}, "4 of rotation"),
        ({"results": {"k0": [{**_BOX, "attribute_name": "parked"}]}}, "attribute 'parked', expected one of cycle.with_rider"),
        ({"results": {"k0": [{"translation": [1, 2, 3]}]}}, "box 0 cannot be read: KeyError 'detection_name'"),
    ],
)
def test_results_of_another_program_when_they_break_a_rule_then_the_file_the_box_and_the_rule_are_named(tmp_path, content, says):
    path = tmp_path / "r.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(ResultFileError, match=says) as caught:
        read_results(path, ["k0"], np.zeros((1, 3)))
    assert str(path) in str(caught.value)
