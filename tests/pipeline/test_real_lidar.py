"""Real key sweeps of nuScenes: the pixels and depths of ``depth_single`` against a chain of pyquaternion and plain NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from pipeline.sources.nuscenes.config import NuScenesConfig
from pipeline.sources.nuscenes.source import NuScenesSource
from pipeline.stage import StageInput
from pipeline.stages import project_lidar
from storage_schemas.layout import UnitData
from tests.conftest import NEEDS_DEVKIT

pytestmark = pytest.mark.real_data

SIX_CAMERAS = ("CAM_FRONT", "CAM_FRONT_LEFT", "CAM_FRONT_RIGHT", "CAM_BACK", "CAM_BACK_LEFT", "CAM_BACK_RIGHT")
CAMERAS = {
    "nuscenes-keyframe-radar": SIX_CAMERAS,
    "nuscenes-five-frames": ("CAM_FRONT",),
    "aimotive-as-nuscenes": ("CAM_FRONT",),
}


def depth_by_the_devkits_steps(devkit, sample: dict, camera: str) -> np.ndarray:
    """Return (height, width) float64 metres, 0 = no measurement: four steps from sensor to camera, the nearest return a pixel."""
    from nuscenes.utils.geometry_utils import view_points
    from pyquaternion import Quaternion

    lidar = devkit.get("sample_data", sample["data"]["LIDAR_TOP"])
    image = devkit.get("sample_data", sample["data"][camera])
    points = np.fromfile(devkit.get_sample_data_path(lidar["token"]), np.float32).reshape(-1, 5)[:, :3].astype(np.float64)
    of_lidar, of_camera = (
        (devkit.get("calibrated_sensor", record["calibrated_sensor_token"]), devkit.get("ego_pose", record["ego_pose_token"]))
        for record in (lidar, image)
    )
    for step in of_lidar:
        points = points @ Quaternion(step["rotation"]).rotation_matrix.T + np.array(step["translation"])
    for step in reversed(of_camera):
        points = (points - np.array(step["translation"])) @ Quaternion(step["rotation"]).rotation_matrix
    with np.errstate(divide="ignore", invalid="ignore"):
        u, v, _ = view_points(points.T, np.array(of_camera[0]["camera_intrinsic"]), normalize=True)
    width, height = Image.open(devkit.get_sample_data_path(image["token"])).size
    depth_m = points[:, 2]
    seen = (depth_m > 1) & (depth_m < 65535 / 256) & (u >= 0) & (u < width) & (v >= 0) & (v < height)
    nearest = np.full((height, width), np.inf)
    np.minimum.at(nearest, (np.floor(v[seen]).astype(int), np.floor(u[seen]).astype(int)), depth_m[seen])
    return np.where(np.isfinite(nearest), nearest, 0)


@pytest.mark.parametrize("name", CAMERAS)
def test_key_sweep_when_projected_by_other_means_then_the_same_pixels_and_depths(name, shared, tmp_path):
    """The fast loop computes in float32: a return on a pixel's border may fall to the neighbour, and a depth may round by a step."""
    root = shared / "data" / name
    devkit = pytest.importorskip("nuscenes", reason=NEEDS_DEVKIT).NuScenes("v1.0-mini", str(root), verbose=False)
    source = NuScenesSource(NuScenesConfig(kind="nuscenes", root=str(root), version="v1.0-mini"), tmp_path)
    reader = source.reader()
    sample_of = {record["filename"]: devkit.get("sample", record["sample_token"]) for record in devkit.sample_data}
    counts = {"measured": 0, "in one only": 0, "one step": 0, "more": 0}
    for scene in source.scenes():
        frames = UnitData(tables=reader.scene_tables(scene.name))
        for camera in CAMERAS[name]:
            unit = StageInput(scene.name, camera, {"frames": frames}, reader)
            found = project_lidar.kernel(unit, project_lidar.Params()).data.arrays["depth_m"]
            for keyframe, steps in zip(unit.keyframes, found, strict=True):
                want_m = depth_by_the_devkits_steps(devkit, sample_of[keyframe["file"]], camera)
                both = (steps > 0) & (want_m > 0)
                difference = np.abs(steps[both].astype(int) - np.floor(want_m[both] * 256).astype(int))
                assert np.count_nonzero(want_m) > 1500
                counts["measured"] += np.count_nonzero(want_m)
                counts["in one only"] += np.count_nonzero((steps > 0) != (want_m > 0))
                counts["one step"] += np.count_nonzero(difference == 1)
                counts["more"] += np.count_nonzero(difference > 1)
    print(name, counts)
    assert counts["in one only"] <= 0.001 * counts["measured"], counts
    assert counts["one step"] <= 0.005 * counts["measured"], counts
    assert counts["more"] <= 0.0002 * counts["measured"], counts
