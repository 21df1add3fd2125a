"""What cannot be right in the tables is refused with the record, the value and what was expected; what is missing is counted."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.sources.nuscenes.names import refuse_channel_name, scene_names
from storage_schemas.errors import SourceError
from tests.tiny_nuscenes import write_tiny_nuscenes

Tables = dict[str, list[dict[str, Any]]]


@pytest.fixture
def plan_after(tmp_path, write_recipe, depthmill) -> Callable[..., tuple[int, str]]:
    """Change the tables of a tiny set and plan it."""

    def plan(change: Callable[[Tables], object], *, scenes: tuple[str, ...] = ("scene-0061",)) -> tuple[int, str]:
        root = write_tiny_nuscenes(tmp_path / "data", scenes)
        folder = root / "v1.0-mini"
        tables = {path.stem: json.loads(path.read_text()) for path in folder.glob("*.json")}
        change(tables)
        for name, records in tables.items():
            (folder / f"{name}.json").write_text(json.dumps(records))
        return depthmill("plan", write_recipe(root))

    return plan


def files_of(tables: Tables, channel: str) -> list[dict[str, Any]]:
    return [record for record in tables["sample_data"] if f"/{channel}/" in record["filename"]]


def calibration_of(tables: Tables, channel: str) -> dict[str, Any]:
    (token,) = {record["calibrated_sensor_token"] for record in files_of(tables, channel)}
    return next(record for record in tables["calibrated_sensor"] if record["token"] == token)


def scale_times(tables: Tables, factor: float) -> None:
    for record in (*tables["sample"], *tables["sample_data"]):
        record["timestamp"] = int(record["timestamp"] * factor)


def shift_boxes(tables: Tables) -> None:
    for record in tables["sample_annotation"]:
        record["translation"] = [value - 5000 for value in record["translation"]]


def xyzw(tables: Tables) -> None:
    """Write rotations in the order x, y, z, w, of a car that drives north-east on a slope."""
    for record in tables["ego_pose"]:
        record["rotation"] = [0.1, 0.05, 0.38, 0.918]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: scale_times(t, 1e3), "key frames are 500 s apart (median), expected about 0.5 s. Are timestamps in nanoseconds?"),
        (lambda t: scale_times(t, 1e-3), "are 0.0005 s apart (median), expected about 0.5 s. Are timestamps in milliseconds?"),
        (lambda t: t["sample"][1].update(timestamp=t["sample"][0]["timestamp"]), "have the time of the one before them"),
        (lambda t: t["sample"][1].update(timestamp="noon"), "has the timestamp 'noon', expected"),
        (lambda t: files_of(t, "LIDAR_TOP")[4].update(timestamp=0), "1 LIDAR_TOP files lie more than a minute outside their scene"),
        (lambda t: t["ego_pose"][3].update(rotation=[0, 0, 0, 0]), "rotation [0.0, 0.0, 0.0, 0.0]. Expected metres below 1e+08"),
        (lambda t: t["ego_pose"][3].update(rotation=[1, 0, 0]), "has the rotation [1, 0, 0], expected a list of 4 numbers"),
        (lambda t: t["ego_pose"][3].update(translation=[0, 0, 0]), "the car jumps 58"),
        (xyzw, "Are quaternions in the order x, y, z, w?"),
        (
            lambda t: calibration_of(t, "CAM_FRONT").update(rotation=[1, 0, 0, 0]),
            "of CAM_FRONT: its z axis points +1.00 upward and its y axis +0.00. Expected the camera frame x right, y down, z forward",
        ),
        (
            lambda t: calibration_of(t, "CAM_FRONT").update(camera_distortion=[-0.3, 0.1, 0, 0, 0]),
            "has camera_distortion [-0.3, 0.1, 0, 0, 0]. Depth would be off by many pixels: images must be rectified",
        ),
        (lambda t: calibration_of(t, "CAM_FRONT").update(camera_intrinsic=[]), "camera_intrinsic is []. Its shape is (0,)"),
        (lambda t: calibration_of(t, "CAM_FRONT")["camera_intrinsic"][0].__setitem__(0, 0), "A focal length is not positive"),
        (lambda t: calibration_of(t, "LIDAR_TOP").update(translation=[1e308, 0, 0]), "of LIDAR_TOP is translation [1e+308, 0, 0]"),
        (lambda t: [one.update(width=0) for one in files_of(t, "CAM_FRONT")], "is 0x36 in sample_data.json. Expected pixels"),
        (shift_boxes, "m from the car (median). Expected boxes in the world frame"),
        (lambda t: t["sample_annotation"][1].update(size=[1e300, 1, 1]), "size [1e+300, 1.0, 1.0]. Expected metres"),
        (lambda t: t["sample_data"].append({**t["sample_data"][2], "timestamp": 5}), "two different records with the token"),
        (lambda t: files_of(t, "LIDAR_TOP")[1].update(is_key_frame=True), "1 key frames have two LIDAR_TOP files that are their own"),
        (lambda t: t["scene"][0].pop("name"), "lacks the field 'name'"),
    ],
)  # fmt: skip
def test_plan_when_a_table_cannot_be_right_then_names_it(plan_after, change, said):
    code, text = plan_after(change)
    assert code == 2, text
    assert "Traceback" not in text
    assert said in text


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: [one.update(prev="", next="") for one in t["sample_data"]], "LIDAR_TOP files have no link to the file before them (10)"),
        (lambda t: t["sample_data"].remove(files_of(t, "LIDAR_TOP")[3]), "LIDAR_TOP files are linked to a file that is not there (1)"),
        (lambda t: t["sample_data"].remove(files_of(t, "RADAR_FRONT")[1]), "key frames have no RADAR_FRONT file in sample_data.json (1)"),
        (lambda t: t["sample_data"].append(dict(t["sample_data"][2])), "LIDAR_TOP files are named twice by the same record (1)"),
        (lambda t: t["sample_annotation"].append(dict(t["sample_annotation"][0])), "boxes are in sample_annotation.json twice (1)"),
        (lambda t: t["sample_annotation"].clear(), "no annotated box, so no moving object is dropped or carried"),
        (lambda t: t["sample_annotation"][0].update(size=[0, 4, 1.6]), "boxes have a side that is not positive (1)"),
        (lambda t: [one.update(prev="", next="") for one in t["sample_annotation"]], "links between boxes of one object are absent (8)"),
        (lambda t: files_of(t, "LIDAR_TOP")[4].update(ego_pose_token=files_of(t, "LIDAR_TOP")[9]["token"]),
         "LIDAR_TOP files have the ego pose of another time ("),
        (lambda t: [one.update(filename=one["filename"].replace("/", "\\")) for one in files_of(t, "LIDAR_TOP")],
         "LIDAR_TOP files are named with backslashes or from the root of the disk (11)"),
        (lambda t: calibration_of(t, "LIDAR_TOP").update(translation=[0, 0, 0]), "LIDAR_TOP sits at the origin of the car (1)"),
        (lambda t: next(one for one in t["sensor"] if one["channel"] == "CAM_BACK").update(modality="sonar"),
         "files of CAM_BACK are not read: it is no camera, LiDAR or radar (3)"),
    ],
)  # fmt: skip
def test_plan_when_something_is_missing_then_counts_it(plan_after, change, said):
    code, text = plan_after(change)
    assert code == 0, text
    assert f"warning: scene-0061: {said}" in text


def test_plan_when_what_is_wrong_is_of_a_camera_that_nobody_reads_then_is_no_fault(plan_after):
    code, text = plan_after(
        lambda tables: calibration_of(tables, "CAM_BACK").update(camera_distortion=[0.1], rotation=[1, 0, 0, 0])
    )
    assert code == 0
    assert "warning" not in text


def test_init_when_one_scene_cannot_be_right_then_takes_the_others(tmp_path, depthmill):
    root = write_tiny_nuscenes(tmp_path / "data", ("scene-0061", "scene-0103", "scene-0553"))
    path = root / "v1.0-mini/ego_pose.json"
    poses = json.loads(path.read_text())
    poses[0]["translation"] = [0.0, 0.0, 0.0]
    path.write_text(json.dumps(poses))
    code, text = depthmill("init", root, "--out", tmp_path / "recipe.yaml")
    assert code == 0, text
    recipe = Path(tmp_path / "recipe.yaml").read_text()
    assert "scenes: [scene-0103, scene-0553]" in recipe
    assert "1 scene left out that cannot be right, e.g. scene-0061: the car jumps" in recipe
    assert depthmill("plan", tmp_path / "recipe.yaml")[0] == 0


def test_init_when_every_scene_cannot_be_right_then_says_why_and_writes_nothing(tmp_path, depthmill):
    root = write_tiny_nuscenes(tmp_path / "data")
    path = root / "v1.0-mini/calibrated_sensor.json"
    path.write_text(path.read_text().replace("[0.5, -0.5, 0.5, -0.5]", "[0, 0, 0, 0]"))
    code, text = depthmill("init", root, "--out", tmp_path / "recipe.yaml")
    assert code == 2
    assert "of CAM_FRONT is translation [1.5, 0.0, 1.5], rotation [0, 0, 0, 0]" in text
    assert not (tmp_path / "recipe.yaml").exists()


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["scene-0061", "scene-0061"], "two scenes are named 'scene-0061' in scene.json"),
        (["a/b", "a_b"], r"two scenes are named 'a_b' in scene.json \(the other as 'a/b'\)"),
        (["Drive 1", "drive 1"], "'Drive 1' and 'drive 1' of scene.json differ in capitals or in how letters are encoded alone"),
        (["caf\u00e9", "cafe\u0301"], "would be one folder on some disks"),
        (["."], "does not lie below the store"),
        (["../x"], "does not lie below the store"),
        ([".hidden"], "does not lie below the store"),
        (["x" * 300], "cannot be the name of a folder"),
        (["two\nlines"], "cannot be the name of a folder"),
        (["\x1b[31mred"], "cannot be the name of a folder"),
        (["all"], "cannot be the name of a folder"),
        ([None], "has no name"),
        ([""], "has no name"),
    ],
)
def test_scene_names_when_they_cannot_be_folders_or_are_the_same_then_are_refused(names, said):
    with pytest.raises(SourceError, match=said):
        scene_names(names)


def test_scene_names_when_they_have_slashes_and_signs_then_are_names_of_folders():
    assert scene_names(["log/1", "straße ü 02", "雨"]) == {"log/1": "log_1", "straße ü 02": "straße ü 02", "雨": "雨"}


@pytest.mark.parametrize("channel", ["", "CAM/FRONT", ".", "a\tb"])
def test_channel_name_when_it_cannot_be_a_folder_then_is_refused(channel):
    with pytest.raises(SourceError, match=r"sensor\.json"):
        refuse_channel_name(channel)
