"""The whole chain from annotated objects to figures and files: exact detections give AP 1, and warnings say what misleads."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from model.train.result_files import check_evaluation_out
from model.uvtr.comparison import compare_metrics, metric_comparison_text, metric_differences
from model.uvtr.detection_metric import OFFICIAL, PRESENT, figures_of
from model.uvtr.detections import Detections
from model.uvtr.evaluation import (
    BoxEvaluation,
    SegmentationRow,
    TruthFrame,
    evaluate_boxes,
    evaluate_detections,
    read_groups,
    read_metric,
    read_segmentation,
    write_box_folder,
)
from model.uvtr.match_files import read_matches
from model.uvtr.measures import DECIDES, metric_measures, values_of
from model.uvtr.nuscenes_results import read_results, results_as_json
from model.uvtr.objects import Racks
from model.uvtr.world_boxes import annotated_in_world, that_count
from storage_schemas.errors import ManifestError, StoreError
from tests.conftest import NEEDS_DEVKIT
from tests.model.uvtr.made_up_objects import detections_of, made_up_objects, posed


def _truth(num_frames: int = 4, *, num_scenes: int = 2, **changes) -> list[TruthFrame]:
    return [
        TruthFrame(f"scene-{k % num_scenes:04d}/{k}", f"k{k}", made_up_objects(k, **changes), posed(k)) for k in range(num_frames)
    ]


def _exact(frames: list[TruthFrame], *, seed: int = 0) -> list[Detections]:
    generator = np.random.default_rng(seed)
    return [detections_of(frame.objects, scores=generator.uniform(0.1, 1, len(frame.objects))) for frame in frames]


def _shaken(frames: list[TruthFrame], *, seed: int, spread_m: float) -> list[Detections]:
    generator = np.random.default_rng(seed)
    found = []
    for exact in _exact(frames, seed=seed):
        moved = exact.centers_m + generator.normal(0, spread_m, exact.centers_m.shape)
        found.append(replace(exact, centers_m=moved).where(generator.random(len(exact)) < 0.9))
    return found


def test_chain_when_objects_are_found_exactly_then_every_class_has_ap_1_and_no_error_also_through_the_file(tmp_path):
    pytest.importorskip("nuscenes", reason=NEEDS_DEVKIT)
    frames = _truth()
    evaluation = evaluate_detections(frames, _exact(frames), official=True)
    path = tmp_path / "r.json"
    path.write_bytes(results_as_json(evaluation.found))

    rigs_m = np.stack([frame.world_from_rig[:3, 3] for frame in frames])
    read = read_results(path, [frame.sample_token for frame in frames], rigs_m)
    again = evaluate_boxes(frames, read, official=True, num_tied=0, were_tied_broken=False)
    for rows in (evaluation.rows, again.rows):
        assert [row.name for row in rows[:2]] == [OFFICIAL, PRESENT]
        assert all(row.num_truth == 8 for row in rows[2:])
        np.testing.assert_allclose([row.ap for row in rows], 1.0, atol=1e-12)
        np.testing.assert_allclose(np.nan_to_num([row[8:13] for row in rows]), 0.0, atol=1e-4)
        np.testing.assert_allclose(rows[0].nds, 1.0, atol=1e-4)
    assert evaluation.warnings == []
    np.testing.assert_allclose([group.ap for group in evaluation.groups], 1.0, atol=1e-12)
    assert {(group.group, group.name) for group in evaluation.groups} >= {("range_m", "0-10"), ("visibility", "v0-40")}


def test_evaluation_when_the_devkit_is_not_asked_then_figures_are_the_same():
    pytest.importorskip("nuscenes", reason=NEEDS_DEVKIT)
    frames = _truth(6)
    found = _shaken(frames, seed=1, spread_m=0.6)

    official, own = (evaluate_detections(frames, found, official=official) for official in (True, False))
    assert 0.2 < official.rows[0].ap < 0.9
    for a, b in zip(official.rows, own.rows, strict=True):
        assert a[:3] == b[:3]
        np.testing.assert_allclose(a[3:], b[3:], atol=1e-12)


def test_evaluation_when_the_devkit_is_missing_then_the_extra_and_the_other_way_are_named(monkeypatch):
    monkeypatch.setattr("model.uvtr.nuscenes_metric.DEVKIT", "a-devkit-that-is-missing")
    with pytest.raises(ValueError, match=r"pip install .*\[devkit\].*set train.evaluation.official to false"):
        evaluate_detections(_truth(1), _exact(_truth(1)), official=True)


def test_boxes_when_far_without_return_or_in_a_rack_then_the_metric_does_not_count_them():
    frames = _truth(1, reach_m=45.0)
    objects = frames[0].objects
    at = {int(label): place for place, label in reversed(list(enumerate(objects.labels)))}
    bicycle, car = at[7], at[0]
    rack = Racks(objects.centers_m[[bicycle, car]], np.full((2, 3), 1.0), np.zeros(2))
    points = objects.num_points.copy()
    points[at[1]] = 0
    objects = replace(objects, racks=rack, num_points=points)
    evaluation = evaluate_detections([frames[0]._replace(objects=objects)], _exact(frames), official=False)

    ranges_m = np.linalg.norm(objects.centers_m[:, :2], axis=1)
    limits_m = np.array([50, 50, 50, 50, 50, 30, 40, 40, 40, 30])[objects.labels]
    near = ranges_m < limits_m
    truth, found = near.copy(), near.copy()
    truth[[bicycle, at[1]]] = False  # a car in a rack counts, an object that nothing hit does not
    found[bicycle] = False
    for row in evaluation.rows[2:]:
        label = [name.name for name in evaluation.rows[2:]].index(row.name)
        assert row.num_truth == (truth & (objects.labels == label)).sum(), row.name
        assert row.num_found == (found & (objects.labels == label)).sum(), row.name


def test_boxes_when_a_place_is_on_the_edge_of_a_turned_rack_then_it_is_inside():
    frame = _truth(1)[0]
    objects = made_up_objects(0, number=8).where(np.arange(8) == 7)
    yaw, half = 0.7, np.array([1.5, 0.5])
    along = np.array([[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]])
    for share, is_inside in ((0.999, True), (1.001, False)):
        center = objects.centers_m.copy()
        center[0, :2] -= along @ (half * share)
        racks = Racks(center, np.array([[1.0, 3.0, 2.0]]), np.array([yaw]))
        kept = that_count(annotated_in_world(objects, frame.world_from_rig), racks, frame.world_from_rig)
        assert len(kept) == (0 if is_inside else 1)


def _evaluated(found: list[Detections], frames: list[TruthFrame]) -> BoxEvaluation:
    return evaluate_detections(frames, found, official=False)


def _with_label(found: Detections, label: int) -> Detections:
    return found.where(found.labels == label)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda frame, found: (frame._replace(objects=frame.objects.where(frame.objects.labels == 0)), found),
         "absent classes: truck, construction_vehicle, bus, trailer, barrier, motorcycle, bicycle, pedestrian, traffic_cone have"),
        (lambda frame, found: (frame, Detections.none()), "nothing found: no detection counts in any key frame"),
        (lambda frame, found: (frame, replace(found, scores=np.full(len(found), 0.5))),
         "tied scores: 80 detections share their score with another one of their class. They were told apart by a rounding"),
        (lambda frame, found: (frame, replace(found, sizes_wlh_m=found.sizes_wlh_m[:, [1, 0, 2]] * [0.3, 3, 1], yaws_rad=found.yaws_rad + np.pi / 2)),
         "sizes or headings of another convention: a scale error of 0."),
        (lambda frame, found: (frame, replace(found, velocities_mps=found.velocities_mps + 4)), "velocity adds nothing: the velocity error is 5."),
        (lambda frame, found: (frame._replace(objects=replace(frame.objects, num_points=np.full(len(frame.objects), -1))), found),
         "no counts of returns: 80 of 80 objects do not say"),
        (lambda frame, found: (frame._replace(objects=replace(frame.objects, attributes=np.full(len(frame.objects), "vehicle.parked,vehicle.moving"))), found),
         "other attributes: 80 of 80 objects have an attribute that the task does not know, or several, e.g. 'vehicle.parked,vehicle.moving'"),
    ],
    ids=["absent", "nothing", "tied", "slip", "velocity", "counts", "attributes"],
)  # fmt: skip
def test_warnings_when_figures_mislead_then_each_has_its_name_and_no_other_is_said(change, says):
    frames = _truth()
    changed = [change(frame, found) for frame, found in zip(frames, _exact(frames), strict=True)]

    evaluation = _evaluated([found for _, found in changed], [frame for frame, _ in changed])
    assert sum(says in warning for warning in evaluation.warnings) == 1, evaluation.warnings
    others = {warning.split(":")[0] for warning in evaluation.warnings} - {says.split(":")[0]}
    assert others <= {"velocity adds nothing"}, evaluation.warnings


def test_groups_when_a_far_object_is_missed_then_only_its_range_and_its_visibility_fall():
    frames = _truth(1, number=10)
    objects = frames[0].objects
    missed = int(np.argmax(np.linalg.norm(objects.centers_m[:, :2], axis=1)))
    (exact,) = _exact(frames)
    found = exact.where(np.arange(len(exact)) != missed)

    evaluation = _evaluated([found], frames)
    ranges_m = np.linalg.norm(objects.centers_m[missed, :2])
    fell = {group.name for group in evaluation.groups if group.ap < 0.999}
    name = f"{int(ranges_m // 10) * 10}-{int(ranges_m // 10) * 10 + 10}"
    assert fell == {name, str(objects.visibility[missed])}
    counts = {group.name: group.num_truth for group in evaluation.groups if group.group == "range_m"}
    assert sum(counts.values()) == len(objects)


def test_folder_when_an_evaluation_is_written_then_its_tables_are_read_back_and_a_former_one_is_replaced(tmp_path):
    frames = _truth()
    evaluation = _evaluated(_shaken(frames, seed=2, spread_m=0.5), frames)
    evaluation.segmentation = SegmentationRow(0.25, 10, 400)
    title = "net on val of manifest 0123456789abcdef"
    write_box_folder(tmp_path / "evaluation", evaluation, title=title)
    folder = tmp_path / "evaluation"
    check_evaluation_out(folder)

    assert [row[:3] for row in read_metric(folder)] == [row[:3] for row in evaluation.rows]
    np.testing.assert_allclose([row[3:] for row in read_metric(folder)], [row[3:] for row in evaluation.rows])
    assert read_groups(folder) == evaluation.groups
    assert read_segmentation(folder) == evaluation.segmentation
    np.testing.assert_array_equal(figures_of(read_matches(folder)).ap, figures_of(evaluation.matches).ap)
    text = (folder / "table.md").read_text()
    assert text.startswith(title) and "IoU 0.250" in text and "| ten classes | 80 |" in text and "| 10-20 m |" in text
    evaluation.segmentation = None
    write_box_folder(folder, evaluation, title=title)
    assert read_segmentation(folder) is None
    (folder / "matches.npz").write_bytes((folder / "matches.npz").read_bytes()[:-1])
    with pytest.raises(StoreError, match=r"matches.npz' cannot be read.*Delete it, then run depthmill evaluate"):
        read_matches(folder)
    with pytest.raises(StoreError, match="holds no evaluation of family uvtr"):
        read_matches(tmp_path)


def test_evaluation_when_two_key_frames_share_a_token_then_both_are_named():
    frames = _truth(2)
    same = [frame._replace(sample_token="k0") for frame in frames]
    with pytest.raises(ManifestError, match="key frames 'scene-0000/0' and 'scene-0001/1' have the same sample token 'k0'"):
        _evaluated(_exact(same), same)


def test_comparison_when_one_detector_is_better_then_the_interval_over_scenes_excludes_zero(monkeypatch):
    monkeypatch.setattr("model.uvtr.comparison._NUM_RESAMPLES", 100)
    frames = _truth(24, num_scenes=12)
    worse, better = (_evaluated(_shaken(frames, seed=seed, spread_m=spread), frames) for seed, spread in ((3, 2.0), (4, 0.4)))

    differences = compare_metrics(worse.matches, better.matches)
    first = differences[0]
    assert first.measure == DECIDES and first.num_frames == 24 and first.num_scenes == 12 and first.share_of_frames == 1.0
    assert first.low is not None and 0 < first.low < first.mean_difference < first.high
    assert first.mean_a == pytest.approx(values_of(worse.rows)[DECIDES])
    assert {row.measure for row in differences} >= {"official/nds", "present/ate_m", "car/ap", "traffic_cone/ap"}
    text = metric_comparison_text(differences)
    assert "AP@2, 4 m of present classes" in text and "24 key frames; scenes with objects: 12" in text
    same = metric_differences(better.matches, better.matches, [DECIDES])
    assert (same[0].mean_difference, same[0].low, same[0].high) == (0.0, 0.0, 0.0)


def test_comparison_when_scenes_are_left_out_or_few_then_they_do_not_count_and_there_is_no_interval():
    frames = _truth(6, num_scenes=3)
    a, b = (_evaluated(_shaken(frames, seed=seed, spread_m=0.5), frames) for seed in (5, 6))

    (row,) = metric_differences(a.matches, b.matches, ["car/ap"], left_out={"scene-0001"})
    kept = [number for number, frame in enumerate(frames) if not frame.key.startswith("scene-0001")]
    found = _shaken(frames, seed=5, spread_m=0.5)
    alone = _evaluated([found[number] for number in kept], [frames[number] for number in kept])
    assert (row.num_frames, row.num_scenes, row.low, row.high) == (4, 2, None, None)
    assert row.mean_a == pytest.approx(values_of(alone.rows)["car/ap"]) != values_of(a.rows)["car/ap"]
    with pytest.raises(ValueError, match=r"of different key frames: a has 6, b has 5; 1 are only in a, e.g. 'scene-0002/5'"):
        compare_metrics(a.matches, _evaluated(_exact(frames[:5]), frames[:5]).matches)
    fewer = [frame._replace(objects=frame.objects.where(np.arange(20) > 0)) for frame in frames]
    with pytest.raises(ValueError, match="count other objects in 6 of 6 key frames"):
        compare_metrics(a.matches, _evaluated(_exact(fewer), fewer).matches)


def test_measures_when_named_then_those_of_an_evaluation_are_among_them():
    frames = _truth(2)
    values = values_of(_evaluated(_exact(frames), frames).rows)
    measures = metric_measures(with_segmentation=True)

    assert set(values) <= set(measures) and next(iter(measures)) == DECIDES
    assert measures["official/nds"].head == "NDS" and measures["car/ate_m"].head == "car ATE [m]"
    assert not measures["car/ate_m"].is_higher_better and measures["present/ap"].is_higher_better
    assert "barrier/ave_mps" not in values  # the task does not measure it
