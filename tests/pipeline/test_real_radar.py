"""Real radar files: read as the devkit reads them, projected as the devkit projects them, and lying in the annotated boxes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pipeline.geometry import rigid, transform_points, unproject
from pipeline.poses import intrinsic_of, world_from_cam, world_from_sensor
from pipeline.sources.nuscenes.config import NuScenesConfig
from pipeline.sources.nuscenes.source import NuScenesSource
from pipeline.stage import StageInput
from pipeline.stages import project_radar
from storage_schemas.layout import UnitData, rows
from tests.conftest import NEEDS_DEVKIT

pytestmark = pytest.mark.real_data

NUM_FILES = {
    "nuscenes-keyframe-radar": 1,
    "nuscenes-five-frames": 5,
    "nuscenes-radar-scenes": 81,
    "aimotive-as-nuscenes": 50,
}
EVERY_STATE = {
    "invalid_states": tuple(range(18)),
    "dynamic_properties": tuple(range(8)),
    "ambiguity_states": tuple(range(5)),
}
FILTERS = {"default": {}, "none": EVERY_STATE}


def open_source(root: Path, cache: Path) -> NuScenesSource:
    return NuScenesSource(NuScenesConfig(kind="nuscenes", root=str(root), version="v1.0-mini"), cache)


def unit_of(reader, scene: str) -> StageInput:
    return StageInput(scene, "CAM_FRONT", {"frames": UnitData(tables=reader.scene_tables(scene))}, reader)


@pytest.fixture
def devkit_filters():
    """The devkit's reader; its filters are settings of the class, so the defaults are put back afterwards."""
    reader = pytest.importorskip("nuscenes.utils.data_classes", reason=NEEDS_DEVKIT).RadarPointCloud
    yield reader
    reader.default_filters()


@pytest.mark.parametrize("name", NUM_FILES)
def test_every_real_file_when_read_then_each_value_is_the_devkits(name, shared, tmp_path, devkit_filters):
    root = shared / "data" / name
    reader = open_source(root, tmp_path).reader()
    files = sorted(path for folder in ("samples", "sweeps") for path in (root / folder).glob("RADAR_*/*.pcd"))
    assert len(files) == NUM_FILES[name]
    num_returns = num_kept = 0
    for path in files:
        points = reader.read_radar(str(path.relative_to(root)))
        for filters in FILTERS.values():
            devkit_filters.default_filters()
            if filters:
                devkit_filters.disable_filters()
            want = devkit_filters.from_file(str(path)).points
            kept = project_radar.keep_valid(points, project_radar.Params(**filters))
            np.testing.assert_array_equal(np.stack([values.astype(np.float64) for values in kept.values()]), want)
            if filters:
                assert want.shape == (18, len(points["x"]))
                num_returns += want.shape[1]
            else:
                num_kept += want.shape[1]
    assert 0 < num_kept <= num_returns


@pytest.mark.parametrize("filters", FILTERS)
@pytest.mark.parametrize("name", NUM_FILES)
def test_every_real_file_when_projected_then_the_devkits_returns_at_its_pixels(name, filters, shared, tmp_path, devkit_filters):
    """``map_pointcloud_to_image`` of the devkit: own reader, pyquaternion, own pinhole, image size from the image.

    Where there are sweeps between key frames, all within three of a key frame are projected, which is every file.
    """
    if FILTERS[filters]:
        devkit_filters.disable_filters()
    devkit = pytest.importorskip("nuscenes", reason=NEEDS_DEVKIT).NuScenes(
        "v1.0-mini", str(shared / "data" / name), verbose=False
    )
    token_of = {record["filename"]: record["token"] for record in devkit.sample_data}
    source = open_source(shared / "data" / name, tmp_path)
    reader = source.reader()
    p = project_radar.Params(past_sweeps=3, future_sweeps=3, **FILTERS[filters])
    seen: set[str] = set()
    num_points = 0
    for scene in source.scenes():
        unit = unit_of(reader, scene.name)
        ours = project_radar.kernel(unit, p).data.arrays
        sweeps = [sweep for sweep in unit.sweeps if sweep["channel"] == "RADAR_FRONT"]
        for frame, keyframe in enumerate(unit.keyframes):
            near = project_radar.sweeps_around(sweeps, keyframe["sample_index"], p)
            seen.update(sweep["file"] for sweep in near)
            theirs = [
                devkit.explorer.map_pointcloud_to_image(token_of[sweep["file"]], token_of[keyframe["file"]])[:2] for sweep in near
            ]
            want = np.concatenate([np.stack([image[0], image[1], depth_m], axis=-1) for image, depth_m in theirs])
            own = ours["frame_of_point"] == frame
            assert own.sum() == ours["num_points"][frame] == len(want)
            found = np.stack([ours[column][own] for column in ("u_px", "v_px", "depth_m")], axis=-1)
            np.testing.assert_allclose(found, want, rtol=0, atol=1e-6)
            num_points += len(want)
    assert len(seen) == NUM_FILES[name]
    assert num_points > 25 * len(seen)


def test_one_frame_when_two_sets_hold_it_then_its_returns_lie_on_the_same_pixels(shared, tmp_path):
    """One has the calibration and poses of nuScenes; the other found one rigid motion from points published in the camera's frame."""
    found = []
    for name in ("nuscenes-keyframe-radar", "nuscenes-five-frames"):
        unit = unit_of(open_source(shared / "data" / name, tmp_path).reader(), "scene-0061")
        returns = project_radar.kernel(unit, project_radar.Params()).data.arrays
        found.append(np.stack([returns[column] for column in ("u_px", "v_px", "depth_m")], axis=-1))
    assert len(found[0]) == len(found[1]) == 61
    np.testing.assert_allclose(found[0], found[1], rtol=0, atol=2e-3)
    np.testing.assert_allclose(found[0][:, 1:], found[1][:, 1:], rtol=0, atol=1e-5)


STRAIGHT_AHEAD_DEG = 13
NEARER_THAN_M = 60


def test_returns_when_counted_in_the_boxes_straight_ahead_then_the_published_number_in_200_of_204(shared, tmp_path):
    """A second way to know that returns lie where they should: ``num_radar_pts`` was counted by the makers of the boxes.

    They counted the returns over a box's footprint, before any filter, of all five radars. Only the front radar is here, so only
    boxes are asked whose centre is within 13 degrees of the ego vehicle's x axis at the image's time and nearer than 60 m. The
    returns are the store's: pixels and depth, taken back into the world. The other four boxes hold one return too many.
    """
    root = shared / "data/nuscenes-radar-scenes"
    published = {
        record["instance_token"]: record["num_radar_pts"]  # every box is an instance of its own here
        for record in json.loads((root / "v1.0-mini/sample_annotation.json").read_bytes())
    }
    source = open_source(root, tmp_path)
    found = {"none": [], "default": []}
    for scene in source.scenes():
        unit = unit_of(source.reader(), scene.name)
        boxes = rows(unit.units["frames"].tables["boxes"])
        for name, counts in found.items():
            returns = project_radar.kernel(unit, project_radar.Params(**FILTERS[name])).data.arrays
            for frame, keyframe in enumerate(unit.keyframes):
                own = returns["frame_of_point"] == frame
                in_cam = unproject(*(returns[column][own] for column in ("u_px", "v_px", "depth_m")), intrinsic_of(keyframe))
                in_world = transform_points(world_from_cam(keyframe), in_cam)
                ego = rigid(keyframe["world_from_ego_translation_m"], keyframe["world_from_ego_rotation_wxyz"])
                for box in boxes:
                    if box["sample_index"] != keyframe["sample_index"] or not published[box["instance_token"]]:
                        continue
                    forward_m, left_m, _ = ego[:3, :3].T @ (np.array(box["center_m"]) - ego[:3, 3])
                    is_ahead = np.degrees(abs(np.arctan2(left_m, forward_m))) < STRAIGHT_AHEAD_DEG
                    if not is_ahead or np.hypot(forward_m, left_m) >= NEARER_THAN_M:
                        continue
                    pose = rigid(box["center_m"], box["world_from_box_wxyz"])
                    in_box = (in_world - pose[:3, 3]) @ pose[:3, :3]
                    width_m, length_m, _ = box["size_wlh_m"]
                    inside = (np.abs(in_box[:, 0]) <= length_m / 2) & (np.abs(in_box[:, 1]) <= width_m / 2)
                    counts.append((published[box["instance_token"]], int(inside.sum())))
    unfiltered = np.array(found["none"])
    assert len(unfiltered) == 204
    assert (unfiltered[:, 0] == unfiltered[:, 1]).sum() == 200
    assert set(np.diff(unfiltered, axis=1).ravel()) == {0, 1}
    filtered = np.array(found["default"])
    assert (filtered[:, 0] == filtered[:, 1]).sum() < 100  # the devkit's default filter drops half of them


def test_static_returns_when_put_beside_the_lidar_map_then_most_stand_within_half_a_metre(shared, tmp_path):
    """Radar, LiDAR, calibration and poses of aiMotive in one: the map of what stands beside the motorway, seen from above."""
    from scipy.spatial import cKDTree

    source = open_source(shared / "data/aimotive-as-nuscenes", tmp_path)
    reader = source.reader()
    unit = unit_of(reader, "scene-0061")
    standing = []
    for sweep in (sweep for sweep in unit.sweeps if sweep["channel"] == "LIDAR_TOP"):
        points = reader.read_points(sweep["file"])[:, :3].astype(np.float64)
        range_m = np.hypot(points[:, 0], points[:, 1])
        above_ground = (points[:, 2] > 0.3) & (points[:, 2] < 2.5) & (range_m > 5) & (range_m < 60)
        standing.append(transform_points(world_from_sensor(sweep), points[above_ground])[:, :2])
    tree = cKDTree(np.concatenate(standing))
    share = {}
    for turned_deg in (-1.0, 0.0, 1.0):
        turn = rigid([0, 0, 0], [np.cos(np.radians(turned_deg) / 2), 0, 0, np.sin(np.radians(turned_deg) / 2)])
        distances = []
        for sweep in (sweep for sweep in unit.sweeps if sweep["channel"] == "RADAR_FRONT"):
            points = reader.read_radar(sweep["file"])
            in_radar = np.stack([points["x"], points["y"], points["z"]], axis=-1).astype(np.float64)
            range_m = np.hypot(in_radar[:, 0], in_radar[:, 1])
            is_static = (np.hypot(points["vx_comp"], points["vy_comp"]) < 1) & (range_m > 20) & (range_m < 90)
            in_world = transform_points(world_from_sensor(sweep) @ turn, in_radar[is_static])
            distances.append(tree.query(in_world[:, :2])[0])
        share[turned_deg] = float((np.concatenate(distances) < 0.5).mean())
    assert share[0.0] > 0.7, share
    assert share[-1.0] < share[0.0] - 0.05 and share[1.0] < share[0.0] - 0.05, share
