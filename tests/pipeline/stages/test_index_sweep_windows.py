"""Windows whose older frames lie between key frames: camera_sweeps and windows units, on a simulated street of two cameras."""

from __future__ import annotations

import dataclasses
import hashlib
import json

import numpy as np
import pytest

from pipeline.geometry import inverse, rigid, transform_points
from pipeline.poses import world_from_cam, world_from_sensor
from pipeline.recipe import parse_recipe
from pipeline.sources import open_source
from pipeline.stage import StageInput
from pipeline.stages import index_camera_sweeps, index_windows
from pipeline.stages.index_windows import Params
from storage_schemas.errors import RecipeError, SourceError
from storage_schemas.layout import UnitData, check, columns_from_rows, rows

CAMERAS = ("CAM_FRONT_LEFT", "CAM_BACK_LEFT")  # the first and the last of a turn of the scanner
SCENE = "scene-0061"
SOURCE = {
    "kind": "synthetic", "scenes": 1, "seconds": 1.5, "seed": 3, "image_size": [64, 40], "lidar_azimuth_steps": 60,
    "cameras": CAMERAS,
}  # fmt: skip
SWEEPS = {"enabled": True, "frames": "sweep"}


def recipe_of(source: dict, windows: dict, **more):
    return parse_recipe({"source": source, "store": "unused", "stages": {"index_windows": windows}, **more}, where="test")


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """The reader of three key frames with five images of each camera between two."""
    folder = tmp_path_factory.mktemp("sweep-world")
    source = open_source(recipe_of({**SOURCE, "root": str(folder / "raw")}, SWEEPS).source, folder / "cache")
    source.prepare()
    return source.reader()


@pytest.fixture(scope="module")
def inputs(raw) -> dict[str, UnitData]:
    found = index_camera_sweeps.kernel(StageInput(SCENE, "all", {}, raw), index_camera_sweeps.Params())
    check(index_camera_sweeps.STAGE.writes, found.data, where="test")
    assert (found.counts, found.message) == ({"images": 26.0, "keyframes": 6.0}, "26 images, 20 of them between key frames")
    return {"frames": UnitData(tables=raw.scene_tables(SCENE)), "camera_sweeps": found.data}


def run(inputs, raw, **params) -> tuple[dict[str, list[dict]], index_windows.StageResult, StageInput]:
    """Return the tables as rows, the result, and what the kernel was given."""
    unit = StageInput(SCENE, "all", inputs, raw)
    made = index_windows.kernel(unit, Params(**{**SWEEPS, "cameras": CAMERAS, **params}))
    check(index_windows.STAGE.writes, made.data, where="test")
    return {name: rows(columns) for name, columns in made.data.tables.items()}, made, unit


def without(inputs, keep) -> dict[str, UnitData]:
    """Return inputs without some of the images."""
    spec = index_camera_sweeps.CAMERA_SWEEPS.table("camera_sweeps")
    left = [row for row in rows(inputs["camera_sweeps"].tables["camera_sweeps"]) if keep(row)]
    return {**inputs, "camera_sweeps": UnitData(tables={"camera_sweeps": columns_from_rows(spec, left)})}


def test_windows_when_older_frames_lie_between_then_a_reader_of_key_frames_sees_windows_of_one(inputs, raw):
    tables, made, _ = run(inputs, raw)
    assert tables["windows"] == [{"window": k, "step": 0, "sample_index": k + 1} for k in range(2)]  # the first has no past
    assert [row["sample_index"] for row in tables["rigs"]] == [1, 2]
    assert [(row["sample_index"], row["camera"], row["frame"]) for row in tables["views"]] == [
        (k, camera, k) for k in (1, 2) for camera in CAMERAS
    ]
    assert [(row["window"], row["step"]) for row in tables["sweep_rigs"]] == [(w, s) for w in range(2) for s in range(3)]
    assert made.message == "2 windows of 3 camera frames 83 ms apart, 2 cameras"
    assert made.counts == {"frames": 2, "windows": 2, "windows_left_out": 0}
    assert run(inputs, raw, stride=3, num_frames=2)[1].message == "2 windows of 2 camera frames 250 ms apart, 2 cameras"
    assert run(inputs, raw, num_frames=14)[1].message == "0 windows of 14 camera frames, 2 cameras"


def test_views_when_frames_go_back_then_each_camera_gives_its_own_images_at_their_own_times(inputs, raw):
    tables, _, _ = run(inputs, raw)
    images = {
        camera: [row for row in rows(inputs["camera_sweeps"].tables["camera_sweeps"]) if row["camera"] == camera]
        for camera in CAMERAS
    }
    rigs = {(row["window"], row["step"]): np.reshape(row["world_from_rig"], (4, 4)) for row in tables["sweep_rigs"]}
    points = np.random.default_rng(0).uniform(-20, 20, (30, 3))
    assert len(tables["sweep_views"]) == 2 * 3 * 2
    for number, row in enumerate(tables["sweep_views"]):
        assert (row["window"], row["step"], row["camera"]) == (number // 6, number // 2 % 3, CAMERAS[number % 2])
        image = images[row["camera"]][6 * (row["window"] + 1) - row["step"]]
        assert image["is_keyframe"] == (row["step"] == 0)
        for name in ("timestamp_us", "file", "height", "width", "intrinsic_px"):
            assert row[name] == image[name]
        cam_from_rig = np.reshape(row["cam_from_rig"], (4, 4))
        in_world = transform_points(rigs[row["window"], row["step"]], points)
        expected = transform_points(inverse(world_from_cam(image)), in_world)
        np.testing.assert_allclose(transform_points(cam_from_rig, points), expected, atol=1e-9)


@pytest.mark.parametrize("cameras", [CAMERAS, CAMERAS[:1]])  # of the one alone another sweep is nearer than the key sweep
def test_rigs_when_a_frame_lies_between_key_frames_then_the_sweep_nearest_to_the_middle_of_its_images_lies_still_in_it(
    inputs, raw, cameras
):
    tables, _, _ = run(inputs, raw, cameras=cameras)
    sweeps = rows(inputs["frames"].tables["sweeps"])
    lidar = [(number, sweep) for number, sweep in enumerate(sweeps) if sweep["channel"] == "LIDAR_TOP"]
    for row in tables["sweep_rigs"]:
        times = [v["timestamp_us"] for v in tables["sweep_views"] if (v["window"], v["step"]) == (row["window"], row["step"])]
        sweep = sweeps[row["lidar_sweep"]]
        nearest = {at: min(lidar, key=lambda one: abs(one[1]["timestamp_us"] - at))[0] for at in (np.mean(times), times[0])}
        if row["step"] == 0:
            assert sweep["is_keyframe"]
            assert sweep["sample_index"] == row["window"] + 1
            assert row["lidar_sweep"] != nearest[times[0]]
        else:
            assert row["lidar_sweep"] == nearest[np.mean(times)]
        if (row["step"], len(cameras)) == (1, 2):
            assert row["lidar_sweep"] != nearest[times[0]]
        assert (row["timestamp_us"], row["lidar_file"]) == (sweep["timestamp_us"], sweep["file"])
        pose = rigid(sweep["world_from_ego_translation_m"], sweep["world_from_ego_rotation_wxyz"])
        np.testing.assert_array_equal(np.reshape(row["world_from_rig"], (4, 4)), pose)
        world_from_lidar = np.reshape(row["world_from_rig"], (4, 4)) @ np.reshape(row["rig_from_lidar"], (4, 4))
        np.testing.assert_allclose(world_from_lidar, world_from_sensor(sweep), atol=1e-9)


def test_files_when_they_are_noted_then_their_digests_are_those_on_disk_and_the_lineage_names_them(inputs, raw):
    tables, _, unit = run(inputs, raw)
    noted = {row["lidar_file"]: row["lidar_sha256"] for row in tables["sweep_rigs"]}
    assert {row["lidar_columns"] for row in tables["sweep_rigs"]} == {5}
    noted |= {row["file"]: row["sha256"] for row in tables["sweep_views"]}
    assert len(noted) == 2 * 3 * (2 + 1)
    for file, digest in noted.items():
        assert hashlib.sha256((raw.root / file).read_bytes()).hexdigest() == digest
    assert unit.used_files == set(noted)


def test_window_when_a_camera_lacks_an_image_then_it_is_left_out_and_counted(inputs, raw):
    first = next(
        row
        for row in rows(inputs["camera_sweeps"].tables["camera_sweeps"])
        if row["camera"] == "CAM_BACK_LEFT" and row["sample_index"] == 1
    )
    lost = [
        row
        for row in rows(inputs["camera_sweeps"].tables["camera_sweeps"])
        if (row["camera"], row["sample_index"]) == (first["camera"], 1)
    ][-2]
    tables, made, _ = run(without(inputs, lambda row: row != lost), raw)
    assert [row["sample_index"] for row in tables["windows"]] == [2]
    assert made.message == "1 window of 3 camera frames 83 ms apart, 2 cameras; 1 left out that lack an image"
    keys_only = run(without(inputs, lambda row: row["is_keyframe"]), raw)[1]
    assert keys_only.message == "1 window of 3 camera frames 500 ms apart, 2 cameras"  # what is not 12 Hz says so


def test_rig_when_there_is_no_lidar_then_it_is_at_the_first_cameras_image_and_no_sweep_is_named(inputs, raw):
    spec = index_windows.FRAMES.table("sweeps")
    none = columns_from_rows(spec, [row for row in rows(inputs["frames"].tables["sweeps"]) if row["channel"] != "LIDAR_TOP"])
    tables, _, _ = run({**inputs, "frames": UnitData(tables={**inputs["frames"].tables, "sweeps": none})}, raw)
    for number, row in enumerate(tables["sweep_rigs"]):
        assert row["timestamp_us"] == tables["sweep_views"][2 * number]["timestamp_us"]
        assert {row[name] for name in ("lidar_sweep", "lidar_file", "lidar_sha256", "lidar_columns", "rig_from_lidar")} == {None}


def test_stage_when_a_file_between_key_frames_is_missing_or_cut_short_then_names_it(inputs, raw, tmp_path):
    lost = next(row["file"] for row in run(inputs, raw)[0]["sweep_views"] if row["step"] == 2)

    class Faulty:
        def __init__(self, content: bytes | None) -> None:
            self._content = content

        def __getattr__(self, name):
            return getattr(raw, name)

        def read_bytes(self, file: str) -> bytes:
            if file != lost:
                return raw.read_bytes(file)
            if self._content is None:
                raise SourceError(f"file missing: {file}")
            return self._content

    with pytest.raises(SourceError, match=f"file missing: {lost}"):
        run(inputs, Faulty(None))
    with pytest.raises(SourceError, match=f"image '{lost}' is cut short"):
        run(inputs, Faulty(raw.read_bytes(lost)[:-100]))


def test_fingerprint_when_frames_is_left_at_key_then_it_is_that_of_windows_made_before_there_was_a_choice():
    assert "frames" not in index_windows.STAGE.counted(Params(enabled=True), {})
    assert index_windows.STAGE.counted(Params(**SWEEPS), {})["frames"] == "sweep"
    assert [layout.name for layout in index_windows.STAGE.chosen_reads(Params())] == ["frames"]
    assert [layout.name for layout in index_windows.STAGE.chosen_reads(Params(**SWEEPS))] == ["frames", "camera_sweeps"]


def test_recipe_when_windows_of_sweeps_are_asked_for_then_the_source_indexes_them():
    nuscenes = {"kind": "nuscenes", "root": "r"}
    assert recipe_of(nuscenes, SWEEPS).source.camera_sweeps
    assert not recipe_of(nuscenes, {"enabled": True}).source.camera_sweeps
    assert not recipe_of(nuscenes, {"frames": "sweep"}).source.camera_sweeps
    assert recipe_of({"kind": "synthetic"}, SWEEPS).source.params.camera_sweeps


@pytest.mark.parametrize(
    ("source", "step"),
    [
        ({"kind": "kitti_object", "root": "r"}, "take a source that has them (nuscenes, synthetic)"),
        ({"kind": "zju_4dradarcam", "root": "r"}, "take a source that has them (nuscenes, synthetic)"),
        ({"kind": "nuscenes", "root": "r", "camera_sweeps": False}, "set source.camera_sweeps to true or leave it out"),
    ],
)
def test_recipe_when_the_source_has_no_images_between_key_frames_then_says_what_to_do(source, step):
    with pytest.raises(RecipeError) as error:
        recipe_of(source, SWEEPS)
    assert str(error.value) == (
        f"recipe 'test': stages.index_windows.frames is sweep, but source.kind {source['kind']} gives no images between key frames; "
        f"{step}, or set stages.index_windows.frames to key"
    )


def test_plan_when_sweeps_are_asked_for_later_then_nothing_but_their_index_and_the_windows_is_made(
    tiny_root, tiny_store, write_recipe, depthmill
):
    recipe = write_recipe(tiny_root, store=str(tiny_store), stages={"index_windows": SWEEPS})
    to_do = json.loads(depthmill("plan", recipe, "--json")[1])["to_do"]
    assert [(one["stage"], one["reason"]) for one in to_do] == [
        *[("index_camera_sweeps", "new"), ("index_windows", "new")] * 2,
        ("build_manifest", "scene-0061, scene-0103 added"),
    ]


def test_index_when_only_images_between_key_frames_change_then_it_alone_is_of_another_source(inputs, raw):
    from pipeline.plan import _source_of
    from pipeline.stage_list import stage_named
    from pipeline.types import SceneInfo
    from storage_schemas.lineage import SourceRef

    scene, source = SceneInfo(SCENE, "frames", (), {"camera_sweeps": "images"}), SourceRef(release="r", digest="frames")
    changed = dataclasses.replace(scene, offers={"camera_sweeps": "others"})
    for name, is_other in (("index_frames", False), ("index_camera_sweeps", True)):
        stage = stage_named(name)
        assert (_source_of(stage, scene, source) != _source_of(stage, changed, source)) == is_other
        assert _source_of(stage, scene, source).release == "r"
