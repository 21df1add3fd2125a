from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.clip_rigs import nearest
from pipeline.geometry import inverse, rigid, transform_points
from pipeline.poses import world_from_cam
from pipeline.recipe import parse_recipe
from pipeline.sources import open_source
from pipeline.stage import StageInput
from pipeline.stages import index_windows
from pipeline.stages.index_windows import Params
from storage_schemas.errors import SourceError
from storage_schemas.layout import UnitData, check, columns_from_rows, rows
from storage_schemas.manifest import diff, open_manifest
from storage_schemas.prune import find_prunable
from storage_schemas.store import Store
from tests.flows.test_cli import BARE
from tests.tiny_nuscenes import CAMERAS, START_US, SWEEPS_PER_KEYFRAME

SCENE_US = START_US + 10**9  # scene-0103 is the second one
BOTH = tuple(CAMERAS)


def tables_of(root, cache, scene="scene-0103") -> dict:
    source = {"kind": "nuscenes", "root": str(root), "version": "v1.0-mini"}
    return (
        open_source(parse_recipe({"source": source, "store": "unused"}, where="test").source, cache).reader().scene_tables(scene)
    )


@pytest.fixture(scope="module")
def tables(tiny_root, tmp_path_factory):
    """The index of one scene: three key frames, two cameras, eleven sweeps."""
    return tables_of(tiny_root, tmp_path_factory.mktemp("cache"))


def windows_of(tables, **params):
    made = index_windows.kernel(StageInput("scene-0103", "all", {"frames": UnitData(tables=tables)}, None), Params(**params))
    check(index_windows.STAGE.writes, made.data, where="test")
    return made


def without(tables, name, keep) -> dict:
    """Return tables without some rows of one of them."""
    spec = index_windows.FRAMES.table(name)
    return {**tables, name: columns_from_rows(spec, [row for row in rows(tables[name]) if keep(row)])}


def in_order(made) -> list[list[int]]:
    found: dict[int, list[int]] = {}
    for row in rows(made.data.tables["windows"]):
        assert row["step"] == len(found.setdefault(row["window"], []))
        found[row["window"]].append(row["sample_index"])
    return list(found.values())


@pytest.mark.parametrize(
    ("params", "windows"),
    [
        ({"num_frames": 1}, [[0], [1], [2]]),
        ({"num_frames": 2}, [[1, 0], [2, 1]]),
        ({"num_frames": 3}, [[2, 1, 0]]),
        ({"num_frames": 2, "stride": 2}, [[2, 0]]),
        ({"num_frames": 4}, []),
    ],
)
def test_windows_when_length_and_stride_are_given_then_newest_first_and_every_key_frame_that_has_the_past(
    tables, params, windows
):
    made = windows_of(tables, cameras=BOTH, **params)
    assert in_order(made) == windows
    used = sorted({sample for window in windows for sample in window})
    assert made.data.tables["rigs"]["sample_index"] == used
    assert made.counts == {"frames": len(used), "windows": len(windows), "windows_left_out": 0}


def test_rig_when_the_key_frame_has_a_sweep_then_it_is_the_ego_frame_at_the_sweeps_time(tables):
    made = windows_of(tables, cameras=BOTH, num_frames=2)
    for row in rows(made.data.tables["rigs"]):
        assert row["timestamp_us"] == SCENE_US + row["sample_index"] * SWEEPS_PER_KEYFRAME * 100_000
        sweep = rows(tables["sweeps"])[row["lidar_sweep"]]
        assert (sweep["channel"], sweep["is_keyframe"], sweep["sample_index"]) == ("LIDAR_TOP", True, row["sample_index"])
        pose = rigid(sweep["world_from_ego_translation_m"], sweep["world_from_ego_rotation_wxyz"])
        np.testing.assert_array_equal(np.reshape(row["world_from_rig"], (4, 4)), pose)


def test_views_when_images_come_before_the_sweep_then_each_camera_is_where_it_was_at_its_own_time(tables):
    made = windows_of(tables, cameras=BOTH, num_frames=2)
    views, rigs = (
        rows(made.data.tables["views"]),
        {row["sample_index"]: np.reshape(row["world_from_rig"], (4, 4)) for row in rows(made.data.tables["rigs"])},
    )
    assert [(row["sample_index"], row["camera"]) for row in views] == [(k, camera) for k in range(3) for camera in BOTH]
    images = {(row["camera"], row["sample_index"]): row for row in rows(tables["keyframes"])}
    points = np.random.default_rng(0).uniform(-20, 20, (30, 3))
    for row in views:
        image = images[row["camera"], row["sample_index"]]
        assert (row["frame"], row["timestamp_us"]) == (row["sample_index"], image["timestamp_us"])
        cam_from_rig = np.reshape(row["cam_from_rig"], (4, 4))
        in_world = transform_points(rigs[row["sample_index"]], points)
        expected = transform_points(inverse(world_from_cam(image)), in_world)
        np.testing.assert_allclose(transform_points(cam_from_rig, points), expected, atol=1e-9)
        # 20 ms earlier the car, at 5 m/s, was 0.1 m behind the rig: so the camera, mounted 1.5 m ahead, stands at 1.4 m
        np.testing.assert_allclose(inverse(cam_from_rig)[:3, 3], [1.4, 0.0, 1.5], atol=1e-9)
        assert row["lidar_lag_us"] == 20_000
        assert rows(tables["sweeps"])[row["lidar_sweep"]]["timestamp_us"] == row["timestamp_us"] + 20_000


def test_window_when_a_camera_lacks_an_image_then_it_is_left_out_and_counted_and_other_frames_keep_their_numbers(tables):
    gap = without(tables, "keyframes", lambda row: (row["camera"], row["sample_index"]) != ("CAM_BACK", 0))
    made = windows_of(gap, cameras=BOTH, num_frames=2)
    assert in_order(made) == [[2, 1]]
    assert made.counts["windows_left_out"] == 1
    assert made.message == "1 window of 2 key frames, 2 cameras; 1 left out that lack an image"
    frames = [(row["camera"], row["sample_index"], row["frame"]) for row in rows(made.data.tables["views"])]
    assert frames == [("CAM_FRONT", 1, 1), ("CAM_BACK", 1, 0), ("CAM_FRONT", 2, 2), ("CAM_BACK", 2, 1)]
    assert len(in_order(windows_of(gap, cameras=("CAM_FRONT",), num_frames=2))) == 2


def test_rig_when_there_is_no_lidar_then_it_is_the_ego_frame_of_the_first_cameras_image(tables):
    blind = without(tables, "sweeps", lambda row: row["channel"] != "LIDAR_TOP")
    made = windows_of(blind, cameras=BOTH, num_frames=1)
    assert made.data.tables["rigs"]["lidar_sweep"] == [None] * 3
    assert set(made.data.tables["views"]["lidar_sweep"]) == set(made.data.tables["views"]["lidar_lag_us"]) == {None}
    assert made.data.tables["rigs"]["timestamp_us"][0] == SCENE_US - 20_000
    front = made.data.tables["views"]["cam_from_rig"][0]
    np.testing.assert_allclose(inverse(np.reshape(front, (4, 4)))[:3, 3], [1.5, 0.0, 1.5], atol=1e-9)


def test_rig_when_only_sweeps_between_key_frames_are_left_then_none_is_taken_for_the_key_sweep(tables):
    lost = without(tables, "sweeps", lambda row: not (row["is_keyframe"] and row["sample_index"] == 1))
    made = windows_of(lost, cameras=BOTH, num_frames=1)
    assert [sweep is None for sweep in made.data.tables["rigs"]["lidar_sweep"]] == [False, True, False]
    assert made.data.tables["views"]["lidar_lag_us"][2:4] == [-80_000] * 2  # the sweep before, 100 ms from the lost one


@given(st.lists(st.integers(0, 50), unique=True), st.integers(-5, 60))
def test_nearest_sweep_when_times_are_any_then_none_is_nearer_and_of_two_the_earlier_one_counts(times, time):
    ordered = sorted(times)
    found = nearest(np.array(ordered, np.int64), time)
    assert found == (min(range(len(ordered)), key=lambda k: (abs(ordered[k] - time), ordered[k])) if ordered else None)


def test_stage_when_the_source_knows_no_poses_or_no_such_camera_then_says_what_to_do(tables):
    keyframes = {**tables["keyframes"], "world_from_ego_translation_m": [[np.nan] * 3] * len(tables["keyframes"]["camera"])}
    with pytest.raises(SourceError) as error:
        windows_of({**tables, "keyframes": keyframes}, cameras=BOTH)
    assert str(error.value) == (
        "scene scene-0103, camera CAM_FRONT: the source knows no poses, so its images have no place in a common frame. "
        "Set stages.index_windows.enabled to false, or take a source with poses"
    )
    with pytest.raises(SourceError) as error:
        windows_of(tables, cameras=("CAM_FRONT", "CAM_SIDE"))
    assert str(error.value) == (
        "scene scene-0103 has no image of camera 'CAM_SIDE', so no window is complete; cameras there: CAM_BACK, CAM_FRONT. "
        "Correct stages.index_windows.cameras, or leave it out to take the recipe's"
    )


def test_recipe_when_windows_are_asked_for_then_they_are_of_its_cameras_unless_it_says_otherwise():
    def cameras(windows, **recipe) -> tuple[str, ...]:
        data = {"source": {"kind": "synthetic"}, "store": "s", "stages": {"index_windows": windows}, **recipe}
        return parse_recipe(data, where="test").stages.index_windows.cameras

    assert cameras({"enabled": True}) == ("CAM_FRONT",)
    assert cameras({"enabled": True}, cameras=["CAM_BACK", "CAM_FRONT"]) == ("CAM_BACK", "CAM_FRONT")
    assert cameras({"enabled": True, "cameras": ["CAM_BACK"]}, cameras=["CAM_BACK", "CAM_FRONT"]) == ("CAM_BACK",)
    assert cameras({"enabled": False}, cameras=["CAM_BACK"]) == ()
    kitti = {"kind": "kitti_object", "root": "r"}
    assert cameras({"enabled": True}, source=kitti) == ("CAM_2",)


def test_recipe_when_windows_are_on_then_every_row_names_one_unit_a_scene_and_nothing_else_is_made_again(
    tiny_root, tiny_store, write_recipe, depthmill, tmp_path
):
    shutil.copytree(tiny_store, tmp_path / "store")
    store = Store(tmp_path / "store")
    before = open_manifest(store)
    assert set(before.samples["unit_windows"]) == {None}
    assert not any("windows" in unit.layout for unit in before.named_units())

    recipe = write_recipe(tiny_root, stages={"index_windows": {"enabled": True, "num_frames": 2}})
    to_do = [(one["stage"], one["camera"], one["reason"]) for one in json.loads(depthmill("plan", recipe, "--json")[1])["to_do"]]
    assert to_do == [
        ("index_windows", "all", "new"),
        ("index_windows", "all", "new"),
        ("build_manifest", "all", "scene-0061, scene-0103 added"),
    ]
    code, text = depthmill("run", recipe, *BARE)
    assert code == 0, text
    assert "2 windows of 2 key frames, 1 camera" in text
    after = open_manifest(store)
    for row in after.rows():
        path = after.unit_of(row, "windows")
        assert (path.layout, path.scene, path.camera) == ("windows", row["scene"], "all")
        assert store.open_unit(path).table("views")["camera"] == ["CAM_FRONT"] * 3
    assert len(set(after.samples["unit_windows"])) == 2
    assert all(store.has(unit) for unit in after.named_units())
    assert not set(find_prunable(store).units) & after.named_units()
    assert diff(before, after)["changed"][0].endswith(" (windows)")
    assert depthmill("plan", recipe, "--check")[0] == 0
    other = write_recipe(tiny_root, stages={"index_windows": {"enabled": True, "num_frames": 2, "stride": 2}})
    assert "params stride: 1 -> 2" in depthmill("plan", other)[1]


def test_rig_when_lidars_are_listed_then_it_is_at_the_first_that_the_scene_has_and_an_absent_one_is_an_error(tables):
    one, listed = (
        windows_of(tables, cameras=BOTH, num_frames=1, lidar=lidar) for lidar in ("LIDAR_TOP", ["LIDAR_X", "LIDAR_TOP"])
    )
    assert listed.data.tables == one.data.tables
    with pytest.raises(
        SourceError, match="no files of LiDAR channel 'LIDAR_X'; LiDAR channels there: LIDAR_TOP. Set stages.index_w"
    ):
        windows_of(tables, cameras=BOTH, num_frames=1, lidar="LIDAR_X")
