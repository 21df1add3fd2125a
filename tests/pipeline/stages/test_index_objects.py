"""Objects in the frame of the rig: against the devkit on a tiny set, a town and a real key frame."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from pipeline.kernels.objects import track_velocities
from pipeline.recipe import parse_recipe
from pipeline.sources import open_source
from pipeline.stage import StageInput
from pipeline.stages import index_objects
from pipeline.stages.index_objects import Params
from storage_schemas.layout import UnitData, check, rows
from storage_schemas.manifest import open_manifest
from storage_schemas.store import Store
from tests.flows.test_cli import BARE
from tests.tiny_nuscenes import write_tiny_nuscenes


def objects_of(root: Path, cache: Path, scene: str, *, version: str = "v1.0-mini") -> tuple[list[dict], list[dict], str]:
    """Return the rows of both tables and the message of one scene."""
    recipe = parse_recipe(
        {"source": {"kind": "nuscenes", "root": str(root), "version": version}, "store": "unused"}, where="test"
    )
    raw = open_source(recipe.source, cache).reader()
    made = index_objects.kernel(StageInput(scene, "all", {"frames": UnitData(tables=raw.scene_tables(scene))}, raw), Params())
    check(index_objects.STAGE.writes, made.data, where="test")
    return rows(made.data.tables["objects"]), rows(made.data.tables["rigs"]), made.message


def changed_table(root: Path, name: str, change) -> None:
    path = root / "v1.0-mini" / f"{name}.json"
    path.write_text(json.dumps([change(record) for record in json.loads(path.read_text())]))


def compare_with_devkit(database, objects: list[dict], rigs: list[dict]) -> None:
    """Hold every object of one scene against the devkit's box in the world."""
    pose_of = {row["sample_index"]: np.array(row["world_from_rig"]).reshape(4, 4) for row in rigs}
    for row in objects:
        annotation, world_from_rig = database.get("sample_annotation", row["annotation_token"]), pose_of[row["sample_index"]]
        box = database.get_box(row["annotation_token"])
        center = world_from_rig @ [row["x_m"], row["y_m"], row["z_m"], 1]
        assert np.allclose(center[:3], box.center, atol=1e-6)
        assert np.allclose([row["width_m"], row["length_m"], row["height_m"]], box.wlh)
        heading = world_from_rig[:3, :3] @ [math.cos(row["yaw_rad"]), math.sin(row["yaw_rad"]), 0]
        assert np.dot(heading, box.orientation.rotation_matrix[:, 0]) > math.cos(math.radians(5))  # the road is not level
        assert row["category"] == box.name
        velocity = database.box_velocity(row["annotation_token"])
        assert math.isnan(row["vx_mps"]) == math.isnan(velocity[0])
        if not math.isnan(velocity[0]):
            assert np.allclose((world_from_rig[:3, :3].T @ velocity)[:2], [row["vx_mps"], row["vy_mps"]], atol=1e-6)
        attributes = [database.get("attribute", token)["name"] for token in annotation["attribute_tokens"]]
        assert row["attribute"] == ",".join(attributes)
        assert (row["num_lidar_points"], row["num_radar_points"]) == (annotation["num_lidar_pts"], annotation["num_radar_pts"])
        levels = {record["token"]: record["level"] for record in database.visibility}
        assert row["visibility"] == levels.get(annotation["visibility_token"], "")


def test_objects_when_a_tiny_set_then_are_where_the_cars_drive(tiny_root, tmp_path):
    objects, rigs, message = objects_of(tiny_root, tmp_path, "scene-0061")
    assert [row["sample_index"] for row in rigs] == [0, 1, 2]
    assert message == "3 key frames, 6 objects, 6 with a visibility that cannot be read"
    moving, parked = ([row for row in objects if round(row["y_m"]) == y] for y in (0, 4))
    assert [row["x_m"] for row in parked] == pytest.approx([18.0, 15.5, 13.0])  # the car drives 5 m/s, key frames are 0.5 s apart
    assert [row["x_m"] for row in moving] == pytest.approx([18.0, 17.5, 17.0])
    assert all((row["vx_mps"], row["vy_mps"]) == pytest.approx((4.0, 0.0)) for row in moving)
    assert {(row["width_m"], row["length_m"], row["height_m"]) for row in objects} == {(2.0, 4.0, 1.6)}
    assert {(row["num_lidar_points"], row["num_radar_points"], row["attribute"]) for row in objects} == {(10, 0, "")}


def test_velocities_when_tracks_have_gaps_then_follow_the_rule_of_the_devkit():
    second = 1_000_000
    times = np.array([0, 1, 2, 5, 0, 2, 0, 4, 4], np.int64) * second // 2
    tracks = np.array([0, 0, 0, 0, 1, 1, 2, 3, 3], np.int64)
    x = np.array([0, 1, 3, 9, 0, 5, 1, 0, 7], float)
    shuffled = np.random.default_rng(0).permutation(len(x))
    made = np.empty(len(x))
    made[shuffled] = track_velocities(np.stack([x, 0 * x, 0 * x], 1)[shuffled], times[shuffled], tracks[shuffled])[:, 0]
    # ends look to one neighbour up to 1.5 s away, the middle to both up to 3 s; one box alone, or two of one time, say nothing
    assert made == pytest.approx([2.0, 3.0, 4.0, 4.0, 5.0, 5.0, np.nan, np.nan, np.nan], nan_ok=True)


def test_objects_when_facts_are_absent_or_wrong_then_counted_and_kept_as_not_said(tmp_path):
    root = write_tiny_nuscenes(tmp_path / "data")
    (root / "v1.0-mini" / "attribute.json").write_text(json.dumps([{"token": "p", "name": "vehicle.parked"}]))
    changes = iter(
        [
            {"attribute_tokens": ["p"], "visibility_token": "9", "num_lidar_pts": -3},
            {"attribute_tokens": ["p", "p"], "num_radar_pts": True},
            {"attribute_tokens": ["unknown"], "num_lidar_pts": 2.5},
        ]
    )

    def change(record: dict) -> dict:
        changed = {**record, **next(changes, {})}
        if changed == record:
            for name in ("attribute_tokens", "visibility_token", "num_lidar_pts", "num_radar_pts"):
                del changed[name]
        return changed

    changed_table(root, "sample_annotation", change)
    objects, _, message = objects_of(root, tmp_path / "cache", "scene-0061")
    assert sorted(row["attribute"] for row in objects) == ["", "", "", "", "vehicle.parked", "vehicle.parked,vehicle.parked"]
    assert sorted(row["num_lidar_points"] for row in objects) == [-1, -1, -1, -1, -1, 10]
    assert message == (
        "3 key frames, 6 objects, 1 with an attribute that cannot be read, 2 with a num_lidar_points that cannot be read, 1 with a "
        "num_radar_points that cannot be read, 3 with a visibility that cannot be read, 1 with several attributes"
    )


def test_objects_when_attributes_and_levels_have_no_names_then_not_said_and_no_error(tmp_path):
    root = write_tiny_nuscenes(tmp_path / "data")
    (root / "v1.0-mini" / "attribute.json").write_text(json.dumps([{"token": "p", "name": 3}]))
    (root / "v1.0-mini" / "visibility.json").write_text(json.dumps([{"token": "4", "level": ""}, {"token": ""}]))  # as of Lyft
    changed_table(root, "sample_annotation", lambda record: {**record, "attribute_tokens": ["p"]})
    objects, _, message = objects_of(root, tmp_path / "cache", "scene-0061")
    assert {(row["attribute"], row["visibility"]) for row in objects} == {("", "")}
    assert message == "3 key frames, 6 objects, 6 with an attribute that cannot be read, 6 with a visibility that cannot be read"


def test_run_when_objects_are_asked_for_then_the_manifest_pins_them_and_else_keeps_its_columns(
    tiny_root, write_recipe, depthmill, tmp_path
):
    recipe = write_recipe(tiny_root)
    code, text = depthmill("run", recipe, *BARE, "--set", "stages.index_objects.enabled=true")
    assert code == 0, text
    manifest = open_manifest(Store(tmp_path / "store"))
    (unit,) = {manifest.unit_of(row, "objects") for row in manifest.rows() if row["scene"] == "scene-0061"}
    assert unit is not None and unit.camera == "all"
    assert len(rows(manifest.store.open_unit(unit).table("objects"))) == 6
    code, text = depthmill("run", recipe, *BARE)
    assert code == 0, text
    assert "unit_objects" not in open_manifest(Store(tmp_path / "store")).samples


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["nuscenes-keyframe", "kitti0001-as-nuscenes"])
def test_objects_when_real_key_frames_then_are_those_of_the_devkit(shared, tmp_path, name):
    root = shared / "data" / name
    database = pytest.importorskip("nuscenes.nuscenes").NuScenes("v1.0-mini", str(root), verbose=False)
    for scene in database.scene:
        objects, rigs, _ = objects_of(root, tmp_path, scene["name"])
        assert len(objects) > 10
        compare_with_devkit(database, objects, rigs)
