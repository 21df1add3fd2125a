"""Two evaluations of detectors on disk, compared frame by frame of the same truth, with an interval over scenes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_up_detections import awkward_world, cars

from model.data.objects import Objects
from model.monoddle.comparison import (
    DetectionComparisonError,
    compare_detections,
    compare_precisions,
    comparison_text,
)
from model.monoddle.evaluation import DetectionEvaluation, scaled_difficulties, write_detection_folder
from model.monoddle.measured_objects import has_measured_objects, read_measured_objects
from model.monoddle.measures import PrecisionNames, measured_precisions
from model.monoddle.precision.average_precision import average_precision
from storage_schemas.detection_evaluation import DETECTION_FILES
from storage_schemas.errors import StoreError

CAR = PrecisionNames("Car", "3d", "strict", "moderate")


def write(folder: Path, truth: list[Objects], found: list[Objects], *, scenes: list[str], height_scale: float = 1.0) -> Path:
    found = [replace(one, category=np.char.capitalize(one.category)) if len(one) else one for one in found]
    names = [f"{number:06d}" for number in range(len(truth))]
    keys = [f"{scene}/CAM/{number}" for number, scene in enumerate(scenes)]
    rows = average_precision(truth, found, difficulties=scaled_difficulties(height_scale))
    by_name = (dict(zip(names, part, strict=True)) for part in (found, truth))
    write_detection_folder(
        folder,
        DetectionEvaluation(rows, *by_name, frame_keys=dict(zip(names, keys, strict=True)), height_scale=height_scale),
        title="made up",
    )
    return folder


def street(num_scenes: int, share: float, seed: int) -> tuple[list[Objects], list[Objects], list[str]]:
    rng = np.random.default_rng(seed)
    truth = [cars(4) for _ in range(2 * num_scenes)]
    found = [replace(one, score=rng.random(4))[rng.random(4) < share] for one in truth]
    return truth, found, [f"s{number // 2:02d}" for number in range(2 * num_scenes)]


def test_objects_when_written_then_read_back_to_the_bit_also_of_empty_frames(tmp_path):
    truth, found = awkward_world(5, num_frames=20)
    truth[3] = found[7] = Objects.none()
    write(tmp_path, truth, found, scenes=["s"] * 20, height_scale=0.5)
    measured = read_measured_objects(tmp_path)
    assert measured.height_scale == 0.5
    assert list(measured.frames) == [f"s/CAM/{number}" for number in range(20)]
    for frame, annotated, detected in zip(measured.frames.values(), truth, found, strict=True):
        for before, after in ((annotated, frame.truth), (detected, frame.found)):
            for name in Objects.__dataclass_fields__:
                if name != "category":
                    assert np.array_equal(getattr(before, name), getattr(after, name))
            assert [one.lower() for one in before.category] == [one.lower() for one in after.category]


def test_precisions_when_all_frames_are_compared_then_those_of_the_table(tmp_path):
    truth, found = awkward_world(1, num_frames=30)
    _, others = awkward_world(1, num_frames=30)
    others = [one[np.arange(len(one)) % 2 == 0] for one in others]
    a, b = (write(tmp_path / name, truth, part, scenes=["s"] * 30) for name, part in (("a", found), ("b", others)))
    names = list(measured_precisions(("Car", "Pedestrian", "Cyclist")))
    by_names = {(row["category"], row["metric"], row["overlap"], row["difficulty"]): row for row in compare_precisions(a, b)}
    for one in compare_detections(a, b, names):
        if one.names in by_names:  # there is no AOS where a direction is not said
            row = by_names[one.names]
            assert (one.mean_a, one.mean_b) == (pytest.approx(row["a"]), pytest.approx(row["b"]))
            assert one.num_truth == row["num_truth"]
            assert one.low is one.high is row["low"] is None


def test_comparison_when_one_finds_more_then_the_interval_is_above_zero_in_the_table_too(tmp_path):
    truth, few, scenes = street(12, 0.5, 0)
    _, many, _ = street(12, 0.95, 1)
    a, b = write(tmp_path / "a", truth, few, scenes=scenes), write(tmp_path / "b", truth, many, scenes=scenes)
    (found,) = compare_detections(a, b, [CAR])
    assert (found.num_frames, found.num_scenes, found.shares) == (24, 12, {"frames": 1.0, "objects": 1.0})
    assert 0 < found.low < found.mean_difference < found.high
    rows = compare_precisions(a, b)
    row = next(row for row in rows if (row["metric"], row["overlap"], row["difficulty"]) == ("3d", "strict", "moderate"))
    assert f"[{row['low']:+.2f}, {row['high']:+.2f}]" in comparison_text([row])
    assert row["low"] > 0


def test_comparison_when_frames_or_scenes_are_left_out_then_counted_and_annotations_must_be_the_same(tmp_path):
    truth, found, scenes = street(4, 0.8, 2)
    a = write(tmp_path / "a", truth, found, scenes=scenes)
    b = write(tmp_path / "b", truth[:6], found[:6], scenes=scenes[:6])
    (one,) = compare_detections(a, b, [CAR])
    assert (one.num_frames, one.shares) == (6, {"frames": 6 / 8, "objects": 6 / 8})
    assert compare_detections(a, b, [CAR], left_out={"s00"})[0].num_frames == 4
    with pytest.raises(DetectionComparisonError, match="no frame in common: a has 2 frames, b has 0"):
        compare_detections(a, b, [CAR], left_out={"s00", "s01", "s02"})
    other = write(tmp_path / "c", [one[:3] for one in truth], found, scenes=scenes)
    with pytest.raises(DetectionComparisonError, match="the annotations of frame 's00/CAM/0' differ"):
        compare_detections(a, other, [CAR])
    lower = write(tmp_path / "d", truth, found, scenes=scenes, height_scale=0.1)
    with pytest.raises(DetectionComparisonError, match=r"benchmark times 1 in a and 0.1 in b.*train.evaluation.height_scale"):
        compare_detections(a, lower, [CAR])


def test_evaluation_when_of_a_former_version_then_no_interval_and_said_why(tmp_path):
    truth, found, scenes = street(3, 0.8, 3)
    a, b = (write(tmp_path / name, truth, found, scenes=scenes) for name in "ab")
    for name in DETECTION_FILES:
        (a / name).unlink()
    assert not has_measured_objects(a) and has_measured_objects(b)
    text = comparison_text(compare_precisions(a, b))
    assert "no interval: an evaluation of a former version keeps no objects. Run depthmill evaluate for both again" in text


@pytest.mark.parametrize("name", [*DETECTION_FILES, "average_precision.csv"])
def test_evaluation_when_a_file_is_changed_then_named(tmp_path, name):
    truth, found, scenes = street(3, 0.8, 3)
    a, b = (write(tmp_path / folder, truth, found, scenes=scenes) for folder in "ab")
    content = bytearray((a / name).read_bytes())
    content[len(content) // 2] ^= 4
    (a / name).write_bytes(content)
    with pytest.raises(StoreError, match=rf"{name}' .*not what was written"):
        compare_precisions(a, b)
