"""The simulated world is a true nuScenes database, and what its sensors measure is consistent with its truth."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydantic import ValidationError
from pyquaternion import Quaternion

from pipeline.sources.synthetic import (
    SyntheticParams,
    is_complete,
    scene_digest,
    scene_names,
    simulate_scene,
    version_name,
    write_world,
)
from pipeline.sources.synthetic.drive import make_drive, times_between
from storage_schemas.errors import SourceError
from tests.conftest import NEEDS_DEVKIT

nuscenes = pytest.importorskip("nuscenes", reason=NEEDS_DEVKIT)
data_classes = pytest.importorskip("nuscenes.utils.data_classes", reason=NEEDS_DEVKIT)
geometry = pytest.importorskip("nuscenes.utils.geometry_utils", reason=NEEDS_DEVKIT)

PARAMS = SyntheticParams(scenes=2, seconds=2.0, image_size=(200, 112), lidar_azimuth_steps=200)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    write_world(PARAMS, folder)
    return folder


@pytest.fixture(scope="module")
def database(root: Path) -> nuscenes.NuScenes:
    return nuscenes.NuScenes(version="v1.0-mini", dataroot=str(root), verbose=False)


def _files(root: Path) -> dict[str, bytes]:
    folders = ("samples", "sweeps", "truth", "maps", "simulated")
    return {str(p.relative_to(root)): p.read_bytes() for f in folders for p in (root / f).rglob("*") if p.is_file()}


def _chain(database: nuscenes.NuScenes, token: str) -> list[dict]:
    while (record := database.get("sample_data", token))["prev"]:
        token = record["prev"]
    chain = [record]
    while chain[-1]["next"]:
        chain.append(database.get("sample_data", chain[-1]["next"]))
    return chain


def _world_from_sensor(database: nuscenes.NuScenes, record: dict) -> NDArray[np.float64]:
    pose = database.get("ego_pose", record["ego_pose_token"])
    sensor = database.get("calibrated_sensor", record["calibrated_sensor_token"])
    matrices = [geometry.transform_matrix(row["translation"], Quaternion(row["rotation"])) for row in (pose, sensor)]
    return matrices[0] @ matrices[1]


def _points(root: Path, record: dict) -> NDArray[np.float32]:
    return np.fromfile(root / record["filename"], dtype=np.float32).reshape(-1, 5)


def test_every_file_named_in_the_tables_exists_and_nothing_else(root: Path, database: nuscenes.NuScenes) -> None:
    written = {str(p.relative_to(root)) for f in ("samples", "sweeps") for p in (root / f).rglob("*.*")}
    assert written == {record["filename"] for record in database.sample_data}
    assert len(database.category) == 23


@pytest.mark.parametrize(("channel", "hertz"), [("LIDAR_TOP", 20.0), ("RADAR_FRONT", 13.0), ("CAM_FRONT", 2.0)])
def test_chains_stay_in_their_scene_and_run_forward_in_time(database: nuscenes.NuScenes, channel: str, hertz: float) -> None:
    for scene in database.scene:
        first = database.get("sample", scene["first_sample_token"])
        chain = _chain(database, first["data"][channel])
        times = np.array([record["timestamp"] for record in chain])
        assert np.median(np.diff(times)) == pytest.approx(1e6 / hertz, rel=0.01)
        samples = [database.get("sample", record["sample_token"]) for record in chain]
        assert {sample["scene_token"] for sample in samples} == {scene["token"]}
        assert sum(record["is_key_frame"] for record in chain) == scene["nbr_samples"]
        key_times = np.array([s["timestamp"] for s in database.sample if s["scene_token"] == scene["token"]])
        for record, sample in zip(chain, samples, strict=True):
            if not record["is_key_frame"]:
                later = key_times[key_times >= record["timestamp"]]
                assert sample["timestamp"] == (later.min() if len(later) else key_times.max())


def test_lidar_sweep_has_five_columns_of_a_32_beam_scanner(root: Path, database: nuscenes.NuScenes) -> None:
    for record in database.sample_data:
        if record["channel"] == "LIDAR_TOP":
            points = _points(root, record)
            assert 0.6 * 32 * 200 < len(points) < 32 * 200
            elevation = np.rad2deg(np.arcsin(points[:, 2] / np.linalg.norm(points[:, :3], axis=1)))
            expected = np.linspace(-30.67, 10.67, 32)[points[:, 4].astype(int)]
            np.testing.assert_allclose(elevation, expected, atol=0.01)


def test_radar_file_is_read_by_the_devkit_and_its_default_filter_drops_some(root: Path, database: nuscenes.NuScenes) -> None:
    scans = [str(root / r["filename"]) for r in database.sample_data if r["channel"] == "RADAR_FRONT"]
    for path in scans[:6]:
        kept = data_classes.RadarPointCloud.from_file(path).points
        every = data_classes.RadarPointCloud.from_file(path, list(range(18)), list(range(8)), list(range(5))).points
        assert 20 < kept.shape[1] < every.shape[1]
        assert np.all(kept[2] == 0)


def test_radar_doppler_of_standing_things_is_the_ego_motion(root: Path, database: nuscenes.NuScenes) -> None:
    record = next(r for r in database.sample_data if r["channel"] == "RADAR_FRONT" and r["is_key_frame"])
    x, y, _, dynamic, _, _, vx, vy, vx_comp, vy_comp = data_classes.RadarPointCloud.from_file(
        str(root / record["filename"])
    ).points[:10]
    standing = (dynamic == 1) & (np.hypot(x, y) > 5)
    bearing = np.arctan2(y, x)[standing]
    assert np.abs(np.hypot(vx_comp, vy_comp)[standing]).max() < 0.6
    speed = -(vx * np.cos(np.arctan2(y, x)) + vy * np.sin(np.arctan2(y, x)))[standing]
    assert np.median(speed / np.cos(bearing)) == pytest.approx(8.6, abs=0.8)


def test_projected_sweep_agrees_with_the_exact_depth_at_most_pixels(root: Path, database: nuscenes.NuScenes) -> None:
    for sample in database.sample:
        lidar, camera = (database.get("sample_data", sample["data"][c]) for c in ("LIDAR_TOP", "CAM_FRONT"))
        assert lidar["ego_pose_token"] != camera["ego_pose_token"]
        camera_from_lidar = np.linalg.inv(_world_from_sensor(database, camera)) @ _world_from_sensor(database, lidar)
        points = _points(root, lidar)[:, :3].astype(np.float64) @ camera_from_lidar[:3, :3].T + camera_from_lidar[:3, 3]
        points = points[points[:, 2] > 1.0]
        intrinsic = database.get("calibrated_sensor", camera["calibrated_sensor_token"])["camera_intrinsic"]
        u, v = (points @ np.array(intrinsic).T)[:, :2].T / points[:, 2]
        seen = (u >= 0) & (u < 200) & (v >= 0) & (v < 112)
        stem = Path(camera["filename"]).stem
        truth = np.asarray(Image.open(root / "truth" / "CAM_FRONT" / f"{stem}.depth.png")).astype(float) / 256
        expected = truth[v[seen].astype(int), u[seen].astype(int)]
        depth = points[seen, 2]
        assert seen.sum() > 300
        assert np.mean(np.abs(depth - expected) < 0.05 * expected + 0.1) > 0.8


def test_truth_has_depth_exactly_where_it_has_a_surface(root: Path) -> None:
    for depth_path in (root / "truth" / "CAM_FRONT").glob("*.depth.png"):
        depth = np.asarray(Image.open(depth_path))
        surface = np.asarray(Image.open(str(depth_path).replace(".depth.", ".surface.")))
        assert depth.dtype == np.uint16 and surface.dtype == np.uint8
        np.testing.assert_array_equal(depth > 0, surface > 0)
        assert surface.max() <= 4 and (surface == 2).any()


def test_interpolated_boxes_hold_the_points_of_their_car(root: Path, database: nuscenes.NuScenes) -> None:
    """A box grown by a metre holds hardly more points above the road than the box itself, in sweeps too."""
    held = around = 0
    for record in database.sample_data:
        if record["channel"] != "LIDAR_TOP" or record["timestamp"] % 3:
            continue
        world_from_lidar = _world_from_sensor(database, record)
        points = (_points(root, record)[:, :3].astype(float) @ world_from_lidar[:3, :3].T + world_from_lidar[:3, 3]).T
        points = points[:, (points[2] > 0.2) & (points[2] < 1.6)]
        for box in database.get_boxes(record["token"]):
            speed = np.linalg.norm(database.box_velocity(box.token))
            if box.name == "vehicle.car" and speed > 2.0:
                held += geometry.points_in_box(box, points).sum()
                box.wlh = box.wlh + np.array([0.8, 0.8, 0.0])
                around += geometry.points_in_box(box, points).sum()
    assert held > 100
    assert held > 0.97 * around


def test_annotation_counts_are_those_of_the_key_sweep(root: Path, database: nuscenes.NuScenes) -> None:
    sample = database.sample[1]
    record = database.get("sample_data", sample["data"]["LIDAR_TOP"])
    world_from_lidar = _world_from_sensor(database, record)
    points = (_points(root, record)[:, :3].astype(float) @ world_from_lidar[:3, :3].T + world_from_lidar[:3, 3]).T
    for token in sample["anns"]:
        annotation = database.get("sample_annotation", token)
        counted = int(geometry.points_in_box(database.get_box(token), points).sum())
        assert abs(counted - annotation["num_lidar_pts"]) <= 3 + 0.15 * counted  # the pose written down is jittered


def test_second_scene_is_at_night_and_says_so(root: Path, database: nuscenes.NuScenes) -> None:
    brightness = []
    for scene in database.scene:
        sample = database.get("sample", scene["first_sample_token"])
        camera = database.get("sample_data", sample["data"]["CAM_FRONT"])
        brightness.append(np.asarray(Image.open(root / camera["filename"])).mean())
    assert ["night" in scene["description"].lower() for scene in database.scene] == [False, True]
    assert brightness[1] < 0.5 * brightness[0]


def test_adding_a_scene_leaves_the_others_byte_for_byte(root: Path, tmp_path: Path) -> None:
    one = PARAMS.model_copy(update={"scenes": 1})
    write_world(one, tmp_path)
    before = _files(tmp_path)
    assert before.items() <= _files(root).items()
    assert is_complete(one, tmp_path) and not is_complete(PARAMS, tmp_path)
    tables = json.loads((tmp_path / "v1.0-mini" / "sample_data.json").read_text())
    assert tables == json.loads((root / "v1.0-mini" / "sample_data.json").read_text())[: len(tables)]


@pytest.mark.parametrize("damage", ["cut", "empty", "null", "another number"])
def test_world_when_a_record_or_a_table_is_damaged_then_it_is_whole_again_after_the_same_command(
    root: Path, tmp_path: Path, damage: str
) -> None:
    change = {
        "cut": lambda text: text[: len(text) // 2],
        "empty": lambda _: "",
        "null": lambda _: "null",
        "another number": lambda text: text.replace("1.5", "2.5", 1),
    }[damage]
    shutil.copytree(root, tmp_path / "world")
    for name in (f"simulated/{scene_names(PARAMS)[0]}.json", "v1.0-mini/calibrated_sensor.json", "v1.0-mini/scene.json"):
        path = tmp_path / "world" / name
        before = path.read_bytes()
        path.write_text(change(path.read_text()))
        if path.read_bytes() == before:  # no such number in it
            continue
        if name.startswith("simulated"):
            (tmp_path / "world/v1.0-mini/log.json").unlink()  # records are read where tables are missing
        assert not is_complete(PARAMS, tmp_path / "world")
        write_world(PARAMS, tmp_path / "world")
        assert path.read_bytes() == before
        assert is_complete(PARAMS, tmp_path / "world")


def test_write_world_again_simulates_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("simulated again")

    monkeypatch.setattr("pipeline.sources.synthetic.database.simulate_scene", refuse)
    write_world(PARAMS, root)
    assert is_complete(PARAMS, root)


def test_simulate_scene_when_another_seed_is_asked_for_gives_another_world(tmp_path: Path) -> None:
    other = PARAMS.model_copy(update={"seed": 1, "seconds": 1.0})
    same = [simulate_scene(other, 0, tmp_path / str(i)) for i in range(2)]
    assert same[0] == same[1]
    assert _files(tmp_path / "0") == _files(tmp_path / "1")
    assert scene_digest(other, 0) != scene_digest(PARAMS, 0)


def test_scene_digest_depends_on_content_and_not_on_the_number_of_scenes(tmp_path: Path) -> None:
    assert scene_digest(PARAMS, 0) == scene_digest(PARAMS.model_copy(update={"scenes": 9}), 0)
    assert scene_digest(PARAMS, 0) != scene_digest(PARAMS, 1)
    names = [tmp_path / "a.json", tmp_path / "b.json"]
    for name in names:
        name.write_text("[]")
    digests = [scene_digest(PARAMS.model_copy(update={"trajectories": str(name)}), 0) for name in names]
    assert digests[0] == digests[1] != scene_digest(PARAMS, 0)


def test_scene_names_are_those_of_the_devkit_splits() -> None:
    splits = pytest.importorskip("nuscenes.utils.splits", reason=NEEDS_DEVKIT).create_splits_scenes()
    mini = SyntheticParams(scenes=10)
    assert sorted(scene_names(mini)) == sorted([*splits["mini_train"], *splits["mini_val"]])
    assert scene_names(mini)[0] in splits["mini_train"] and scene_names(mini)[1] in splits["mini_val"]
    many = SyntheticParams(scenes=850)
    assert set(scene_names(many)) == {*splits["train"], *splits["val"]}
    assert scene_names(many)[:10] == scene_names(mini)
    assert (version_name(mini), version_name(many)) == ("v1.0-mini", "v1.0-trainval")


@pytest.mark.parametrize("wrong", [{"scenes": 0}, {"image_size": (8, 8)}, {"cameras": ("CAM_TOP",)}, {"scene": 2}])
def test_params_when_out_of_bounds_are_refused(wrong: dict) -> None:
    with pytest.raises(ValidationError):
        SyntheticParams(**wrong)


def test_trajectories_when_the_file_is_missing_names_it(tmp_path: Path) -> None:
    missing = PARAMS.model_copy(update={"trajectories": str(tmp_path / "none.json")})
    with pytest.raises(SourceError, match=r"none\.json' cannot be read"):
        simulate_scene(missing, 0, tmp_path)


@pytest.mark.parametrize("content", ["nonsense", '{"a": 1}', "[]", "[1]", '[{"log": "x"}]'])
def test_trajectories_when_the_file_is_another_names_it_and_what_was_expected(content: str, tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    path.write_text(content)
    with pytest.raises(SourceError, match=r"other\.json' (is not JSON|holds no drives: expected a list).*mini_val_scenes\.json"):
        make_drive(PARAMS.model_copy(update={"trajectories": str(path)}), 0)


def test_recorded_drive_gives_its_own_times_and_poses(tmp_path: Path) -> None:
    """Three seconds of a drive at 10 m/s with one sweep missing."""
    poses = [
        {"timestamp_us": 10**9 + 50_000 * i, "ego2global_translation": [0.5 * i, 7.0, 0.0], "ego2global_rotation": [1, 0, 0, 0]}
        for i in range(61)
        if i != 33
    ]
    frames = []
    for i in range(0, 61, 10):
        early = {
            "timestamp_us": 10**9 + 50_000 * i - 35_000,
            "ego2global_translation": [0.5 * i - 0.35, 7.0, 0.0],
            "ego2global_rotation": [1, 0, 0, 0],
        }
        frames.append({"lidar_timestamp_us": 10**9 + 50_000 * i, "cameras": {"CAM_FRONT": early}, "boxes": []})
    path = tmp_path / "drives.json"
    path.write_text(json.dumps([{"log": "x", "calibration": {}, "lidar_poses": poses, "keyframes": frames}]))
    tables = simulate_scene(PARAMS.model_copy(update={"trajectories": str(path)}), 0, tmp_path / "w")
    lidar = [r["timestamp"] for r in tables["sample_data"] if "LIDAR_TOP" in r["filename"]]
    assert lidar == [p["timestamp_us"] for p in poses if p["timestamp_us"] <= 10**9 + 1_500_000]
    pose = {r["token"]: r["translation"] for r in tables["ego_pose"]}
    camera = [r for r in tables["sample_data"] if "CAM_FRONT" in r["filename"]]
    np.testing.assert_allclose([pose[r["token"]][0] for r in camera], [-0.35, 4.65, 9.65, 14.65], atol=0.06)


@pytest.fixture(scope="module")
def sweeps_root(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the first scene of `root` with camera images between key frames; `root` is there to compile the simulator first."""
    folder = tmp_path_factory.mktemp("sweeps")
    write_world(PARAMS.model_copy(update={"scenes": 1, "camera_sweeps": True}), folder)
    return folder


def test_camera_sweeps_when_asked_for_leave_everything_else_byte_for_byte_and_every_pose(root: Path, sweeps_root: Path) -> None:
    log = "simulated-s0-0000__"
    plain, more = ({name: content for name, content in _files(one).items() if log in name} for one in (root, sweeps_root))
    assert plain.items() <= more.items()
    added = more.keys() - plain.keys()
    assert len(added) == 3 * 15  # image, depth and surface of five images between each two of four key frames
    assert {name.split("/")[0] for name in added} == {"sweeps", "truth"}
    for table, unlike in (("sample_data", {"prev", "next"}), ("ego_pose", set())):
        few, many = (
            {
                row["token"]: {k: v for k, v in row.items() if k not in unlike}
                for row in json.loads((one / "v1.0-mini" / f"{table}.json").read_text())
            }
            for one in (root, sweeps_root)
        )
        both = few.keys() & many.keys()
        assert len(many) - len(both) == 15
        assert all(few[token] == many[token] for token in both)
    assert scene_digest(PARAMS, 0) != scene_digest(PARAMS.model_copy(update={"camera_sweeps": True}), 0)
    assert "camera_sweeps" not in PARAMS.model_dump()  # worlds that were written before keep their digest


def test_camera_sweeps_when_the_devkit_walks_the_chain_come_at_12_hz_from_where_the_vehicle_then_was(sweeps_root: Path) -> None:
    database = nuscenes.NuScenes(version="v1.0-mini", dataroot=str(sweeps_root), verbose=False)
    chain = _chain(database, database.get("sample", database.scene[0]["first_sample_token"])["data"]["CAM_FRONT"])
    times = np.array([record["timestamp"] for record in chain])
    assert [record["is_key_frame"] for record in chain] == [number % 6 == 0 for number in range(19)]
    assert set(np.diff(times)) <= {83_333, 83_334}
    places = np.array([database.get("ego_pose", record["ego_pose_token"])["translation"] for record in chain])
    steps_m = np.linalg.norm(np.diff(places, axis=0), axis=1)
    assert np.abs(steps_m - 8.5 / 12).max() < 0.1  # 8.5 m/s, and what localisation is off
    shown = [np.asarray(Image.open(sweeps_root / record["filename"])).astype(float) for record in chain[:3]]
    assert all(np.abs(shown[k + 1] - shown[k]).mean() > 2 for k in range(2))
    # exact depth of an image, moved by the poses, is that of another: each was taken where it says
    first, third = (chain[number] for number in (0, 3))
    depth, later = (_truth(sweeps_root, record, "depth") / 256.0 for record in (first, third))
    intrinsic = np.array(database.get("calibrated_sensor", first["calibrated_sensor_token"])["camera_intrinsic"])
    v, u = np.nonzero((_truth(sweeps_root, first, "surface") == 1) & (depth > 0) & (depth < 40))
    rays = np.stack([u + 0.5, v + 0.5, np.ones(len(u))], axis=1) @ np.linalg.inv(intrinsic).T
    third_from_first = np.linalg.inv(_world_from_sensor(database, third)) @ _world_from_sensor(database, first)
    moved = rays * depth[v, u][:, None] @ third_from_first[:3, :3].T + third_from_first[:3, 3]
    image = moved @ intrinsic.T
    columns, lines = (image[:, :2] / image[:, 2:]).T
    inside = (moved[:, 2] > 1) & (columns >= 0) & (columns < 200) & (lines >= 0) & (lines < 112)
    found = later[lines[inside].astype(int), columns[inside].astype(int)]
    assert np.median(np.abs(found / moved[inside, 2] - 1)) < 0.01
    assert np.median(np.abs(later[v, u] / depth[v, u] - 1)) > 0.02  # without the poses


def _truth(root: Path, record: dict, name: str) -> NDArray[np.float64]:
    return np.asarray(Image.open(root / "truth" / "CAM_FRONT" / f"{Path(record['filename']).stem}.{name}.png")).astype(float)


def test_times_between_when_key_frames_are_not_evenly_spread_then_gaps_are_split_as_near_to_12_hz_as_that_goes() -> None:
    assert times_between(np.array([0, 500_000, 700_000, 750_000], np.int64)).tolist() == [
        83_333, 166_666, 250_000, 333_333, 416_666, 600_000,
    ]  # fmt: skip
    assert times_between(np.array([5], np.int64)).tolist() == []
