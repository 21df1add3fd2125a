"""The whole pipeline on real LiDAR, held against golden numbers of the public scripts and against the devkit itself."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.geometry import rotation_matrix
from pipeline.kernels.boxes import SceneBoxes
from pipeline.poses import world_from_sensor
from pipeline.sources.nuscenes.config import NuScenesConfig
from pipeline.sources.nuscenes.source import NuScenesSource
from pipeline.stage import StageInput
from pipeline.stages import accumulate_lidar, index_frames, project_lidar, project_radar
from storage_schemas.layout import UnitData, rows
from tests.conftest import NEEDS_DEVKIT

pytestmark = pytest.mark.real_data

MAX_SHARE_DIFFERING = 0.002
"""Rounding tolerance: float64 itself differs from the public script's float32 on 917 of 611,488 pixels (0.15 %)."""


@pytest.fixture(scope="module")
def kitti(shared, tmp_path_factory):
    config = NuScenesConfig(kind="nuscenes", root=str(shared / "data/kitti0001-as-nuscenes"), version="v1.0-mini")
    return NuScenesSource(config, tmp_path_factory.mktemp("cache"))


def inputs(source, scene: str, camera: str = "CAM_FRONT") -> StageInput:
    reader = source.reader()
    return StageInput(scene, camera, {"frames": UnitData(tables=reader.scene_tables(scene))}, reader)


CASES = {
    "acc160_keep": (accumulate_lidar, {"moving": "keep"}),
    "acc30_keep": (accumulate_lidar, {"moving": "keep", "num_sweeps": 30}),
    "single_sweep": (project_lidar, {}),
}


@pytest.mark.parametrize("name", CASES)
def test_depth_agrees_with_the_public_script_within_its_float32_rounding(name, kitti, shared):
    stage, params = CASES[name]
    golden = json.loads((shared / "data/golden/kitti0001_accumulate.json").read_text())["sets"][name]
    num_valid = num_differing = num_far = 0
    for scene in kitti.scenes():
        unit = inputs(kitti, scene.name)
        found = stage.kernel(unit, stage.Params(**params))
        for keyframe, steps in zip(unit.keyframes, found.data.arrays["depth_m"], strict=True):
            file = Path(keyframe["file"]).stem + ".png"
            want = np.asarray(Image.open(shared / "data/golden" / name / file)).astype(int)
            assert abs(np.count_nonzero(steps) - golden[file]["valid"]) <= 0.001 * golden[file]["valid"]
            difference = np.abs(steps.astype(int) - want)
            num_valid += np.count_nonzero(want)
            num_differing += np.count_nonzero(difference)
            num_far += np.count_nonzero(difference > 1)
    assert num_differing <= MAX_SHARE_DIFFERING * num_valid
    assert num_far <= 0.0005 * num_valid


@pytest.mark.parametrize("name", ["acc160_keep", "acc30_keep", "single_sweep"])
def test_reference_precision_reproduces_the_public_scripts_digests(name, kitti, shared):
    params = CASES[name][1] or {"moving": "keep", "num_sweeps": 1}
    golden = json.loads((shared / "data/golden/kitti0001_accumulate.json").read_text())["sets"][name]
    num_frames = 0
    for scene in kitti.scenes():
        unit = inputs(kitti, scene.name)
        found = accumulate_lidar.kernel(unit, accumulate_lidar.Params(precision="reference", **params))
        for keyframe, steps in zip(unit.keyframes, found.data.arrays["depth_m"], strict=True):
            digest = hashlib.sha256(steps.astype("<u2").tobytes()).hexdigest()
            assert digest == golden[Path(keyframe["file"]).stem + ".png"]["sha256"]
            num_frames += 1
    assert num_frames == len(golden) == 22


def test_radar_agrees_with_the_devkit_golden(kitti, shared):
    golden = json.loads((shared / "data/golden/kitti0001_radar.json").read_text())["frames"]
    unit = inputs(kitti, "scene-0061")
    found = project_radar.kernel(unit, project_radar.Params()).data.arrays
    sweeps = [sweep for sweep in unit.sweeps if sweep["channel"] == "RADAR_FRONT" and sweep["is_keyframe"]]
    assert len(sweeps) == len(golden) == 11
    for frame, sweep in enumerate(sweeps):
        want = golden[Path(sweep["file"]).name]
        points = unit.raw.read_radar(sweep["file"])
        assert len(points["x"]) == want["in_file"]
        assert len(project_radar.keep_valid(points, project_radar.Params())["x"]) == want["kept"]
        own = found["frame_of_point"] == frame
        assert own.sum() == want["in_image"] == found["num_points"][frame]
        uvd = np.stack([found[name][own] for name in ("u_px", "v_px", "depth_m")], axis=1)
        np.testing.assert_allclose(uvd, want["uvd"], atol=2e-5)


def test_index_agrees_with_the_devkit_record_by_record(kitti, shared):
    devkit = pytest.importorskip("nuscenes", reason=NEEDS_DEVKIT).NuScenes(
        "v1.0-mini", str(shared / "data/kitti0001-as-nuscenes"), verbose=False
    )
    for scene in devkit.scene:
        tables = index_frames.kernel(inputs(kitti, scene["name"]), index_frames.Params()).data.tables
        sample = devkit.get("sample", scene["first_sample_token"])
        current = devkit.get("sample_data", sample["data"]["LIDAR_TOP"])
        while current["prev"]:
            current = devkit.get("sample_data", current["prev"])
        boxes = SceneBoxes(tables["boxes"], moving_mps=0.5)
        everything = SceneBoxes({**tables["boxes"], "speed_mps": [None] * len(tables["boxes"]["speed_mps"])}, moving_mps=0.0)
        num_boxes = 0
        for sweep in [row for row in rows(tables["sweeps"]) if row["channel"] == "LIDAR_TOP"]:
            assert (sweep["file"], sweep["timestamp_us"]) == (current["filename"], current["timestamp"])
            assert sweep["chain"] == 0
            theirs = [box for box in devkit.get_boxes(current["token"]) if box.name.startswith(("vehicle", "human", "animal"))]
            ours = {tuple(np.round(box.world_from_box[:3, 3], 6)): box for box in everything.moving_at_sweep(sweep)}
            assert len(ours) == len(theirs)
            moving = {tuple(np.round(box.world_from_box[:3, 3], 6)) for box in boxes.moving_at_sweep(sweep)}
            for box in theirs:
                key = tuple(np.round(box.center, 6))
                np.testing.assert_allclose(ours[key].world_from_box[:3, :3], box.rotation_matrix, atol=1e-6)
                velocity = np.linalg.norm(devkit.box_velocity(box.token)[:2])
                assert (key in moving) == (not velocity <= 0.5)
                num_boxes += 1
            current = devkit.get("sample_data", current["next"]) if current["next"] else None
        assert current is None
        assert num_boxes > 100


def test_keyframe_set_when_it_has_no_radar_and_six_cameras_then_all_work(shared, tmp_path, depthmill):
    recipe = tmp_path / "recipe.yaml"
    root = shared / "data/nuscenes-keyframe"
    cameras = "[CAM_FRONT, CAM_FRONT_LEFT, CAM_FRONT_RIGHT, CAM_BACK, CAM_BACK_LEFT, CAM_BACK_RIGHT]"
    recipe.write_text(
        f"source: {{kind: nuscenes, root: {root}, version: v1.0-mini}}\nstore: {tmp_path / 'store'}\ncameras: {cameras}\n"
        "stages: {build_manifest: {drop_last_keyframe: false}}\n"
    )
    code, text = depthmill("run", recipe, "--no-prefect", "--workers", 1)
    assert code == 0, text
    assert "6 samples of 1 scene: 6 train" in text
    assert "project_radar  " not in text
    assert "scene-0061: no radar file, so project_radar makes nothing" in text
    assert depthmill("verify", recipe)[0] == 0
    assert depthmill("report", recipe, "--out", tmp_path / "report.html")[0] == 0


def test_lidar_edges_lie_on_image_edges(kitti):
    """Depth discontinuities of the projected sweep coincide with image gradients better than when shifted by some pixels."""
    unit = inputs(kitti, "scene-0061")
    found = project_lidar.kernel(unit, project_lidar.Params()).data.arrays["depth_m"]
    scores = dict.fromkeys((-12, -8, 0, 8, 12), 0.0)
    for keyframe, steps in zip(unit.keyframes, found, strict=True):
        path = kitti.root / keyframe["file"]
        gray = np.asarray(Image.open(path).convert("L")).astype(float)
        gradient = np.abs(np.diff(gray, axis=1, prepend=gray[:, :1]))
        for row in range(steps.shape[0]):
            columns = np.flatnonzero(steps[row])
            depth = steps[row, columns] / 256
            jump = np.flatnonzero((np.abs(np.diff(depth)) > 3) & (np.diff(columns) <= 4))
            for at in columns[jump]:
                for shift in scores:
                    low, high = at + shift - 1, at + shift + 5
                    if 15 < at < steps.shape[1] - 20:
                        scores[shift] += gradient[row, low:high].max()
    assert all(scores[0] > 1.05 * scores[shift] for shift in scores if shift), scores


def test_world_from_sensor_agrees_with_the_devkit_chain(kitti):
    sweep = inputs(kitti, "scene-0061").sweeps[0]
    ego = rotation_matrix(sweep["world_from_ego_rotation_wxyz"]) @ np.array(sweep["ego_from_sensor_translation_m"])
    np.testing.assert_allclose(world_from_sensor(sweep)[:3, 3], ego + sweep["world_from_ego_translation_m"])
