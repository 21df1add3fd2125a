"""``poses:`` of accumulate_lidar on simulated drives, whose recorded poses are off by a known jitter."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.geometry import inverse, rigid
from pipeline.kernels import refined_poses
from pipeline.kernels.trajectory import logarithm
from pipeline.plan import make_plan
from pipeline.recipe import parse_recipe
from pipeline.run import run_scene, scene_requests
from pipeline.sources import open_source
from pipeline.sources.synthetic.config import SyntheticParams
from pipeline.sources.synthetic.drive import make_drive
from storage_schemas.errors import RecipeError
from storage_schemas.layout import rows
from storage_schemas.store import Store

WORLD = {"scenes": 1, "seconds": 6, "seed": 3, "image_size": [320, 180], "lidar_azimuth_steps": 500}
CAMERAS = ("CAM_FRONT", "CAM_BACK")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("simulated")


def made(folder, accumulate: dict, *, cameras=CAMERAS):
    """Run a recipe over the world; return the store and, by camera, the unit of depth_accumulated with its result."""
    source = {"kind": "synthetic", **WORLD, "cameras": list(CAMERAS), "root": str(folder / "raw")}
    data = {
        "source": source,
        "store": str(folder / "store"),
        "cameras": list(cameras),
        "stages": {"accumulate_lidar": accumulate},
    }
    recipe = parse_recipe(data, where="test")
    opened, store = open_source(recipe.source, folder / "cache"), Store(recipe.store)
    plan = make_plan(recipe, opened, store)
    opened.prepare()
    results = [result for request in scene_requests(plan, recipe, store, opened.reader()) for result in run_scene(request)]
    assert {result.status for result in results} <= {"OK"}, [result.message for result in results]
    items = [item for item in plan.items if item.identity.layout == "depth_accumulated"]
    return store, {item.identity.camera: item.path for item in items}, results


def maps(store, path) -> np.ndarray:
    return store.open_unit(path).array("depth_m")


def test_poses_when_smoothed_then_nearer_to_the_true_motion_and_said(folder, monkeypatch):
    seen = {}
    real = refined_poses.refine_keyframes

    def watched(keyframes, sweeps, choice):
        seen[keyframes[0]["camera"]] = (keyframes, real(keyframes, sweeps, choice), sweeps)
        return seen[keyframes[0]["camera"]][1]

    monkeypatch.setattr(refined_poses, "refine_keyframes", watched)
    store, paths, results = made(folder, {"poses": {}})
    drive = make_drive(SyntheticParams(**WORLD, cameras=CAMERAS), 0)

    def off_m(given) -> float:
        recorded = rigid(
            [row["world_from_ego_translation_m"] for row in given], [row["world_from_ego_rotation_wxyz"] for row in given]
        )
        exact = [drive.world_from_ego.at(row["timestamp_us"]) for row in given]
        true = np.stack([rigid(pose.translation_m, pose.quaternion) for pose in exact])
        return float(np.sqrt((logarithm(inverse(true) @ recorded)[:, :3] ** 2).sum(1).mean()))

    for camera in CAMERAS:
        given, smoothed, _ = seen[camera]
        assert off_m(smoothed) < 0.8 * off_m(given)
    counts = store.lineage(paths["CAM_FRONT"]).counts
    assert counts["poses_smoothed"] == 1.0
    assert counts["surface_thickness_smoothed_m"] < counts["surface_thickness_given_m"]
    assert 0.0 < counts["pose_shift_m"] < 0.1
    assert "pose_shift_m" in counts and "poses_beyond_bound" in counts and "poses_alone" in counts
    messages = [result.message for result in results if "poses smoothed: surfaces" in result.message]
    assert len(messages) == len(CAMERAS), [result.message for result in results]


def test_units_when_cameras_are_made_together_or_alone_then_equal(folder, tmp_path):
    store, paths, _ = made(folder, {"poses": {}})
    (tmp_path / "raw").symlink_to(folder / "raw")
    alone, own, _ = made(tmp_path, {"poses": {}}, cameras=("CAM_BACK",))
    np.testing.assert_array_equal(maps(store, paths["CAM_BACK"]), maps(alone, own["CAM_BACK"]))


def test_poses_when_smoothing_makes_the_map_worse_then_are_taken_as_given_and_said(folder):
    worse = {"poses": {"half_window_s": 2.0, "degree": 1, "max_m": 1.0, "max_deg": 5.0}}
    store, paths, results = made(folder, worse)
    plain, as_given, _ = made(folder, {})
    for camera in CAMERAS:
        np.testing.assert_array_equal(maps(store, paths[camera]), maps(plain, as_given[camera]))
    assert store.lineage(paths["CAM_FRONT"]).counts["poses_smoothed"] == 0.0
    assert any("poses as given: smoothed, surfaces would be" in result.message for result in results)


def test_poses_when_none_has_enough_others_then_said(folder):
    _, _, results = made(folder, {"poses": {"half_window_s": 0.06}}, cameras=("CAM_FRONT",))
    assert any("poses as given: none has enough others near it in time to be smoothed" in result.message for result in results)


def test_units_when_poses_are_not_asked_for_then_are_named_as_before_the_key_existed(folder):
    recipe = parse_recipe({"source": {"kind": "synthetic"}, "store": str(folder / "store")}, where="test")
    assert "poses" not in recipe.stages.accumulate_lidar.model_dump(mode="json")


def test_poses_when_the_public_script_is_repeated_then_refused():
    stages = {"accumulate_lidar": {"precision": "reference", "poses": {}}}
    with pytest.raises(RecipeError, match="precision: reference repeats the public script, which has no poses"):
        parse_recipe({"source": {"kind": "synthetic"}, "store": "store", "stages": stages}, where="test")


@pytest.mark.real_data
def test_poses_when_of_the_real_drive_then_smoothing_would_blur_it_and_is_not_applied(shared, tmp_path):
    from pipeline.kernels.refined_poses import refine_sweeps
    from pipeline.pose_choice import Poses

    root = shared / "data" / "kitti0001-as-nuscenes"
    recipe = parse_recipe(
        {"source": {"kind": "nuscenes", "root": str(root), "version": "v1.0-mini"}, "store": str(tmp_path)}, where="test"
    )
    source = open_source(recipe.source, tmp_path / "cache")
    reader = source.reader()
    sweeps = [row for row in rows(reader.scene_tables("scene-0061")["sweeps"]) if row["channel"] == "LIDAR_TOP"]
    found = refine_sweeps(reader, sweeps, Poses(half_window_s=0.35))
    assert not found.is_applied and found.sweeps == sweeps
    assert found.thickness.given_m < found.thickness.other_m
    assert found.thickness.given_m == pytest.approx(0.022, abs=0.004)
