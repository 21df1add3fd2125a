"""Drives that are only like nuScenes: the same numbers with a word about what was put right, less with a counted line, or an error.

Each edit of the tiny database stands for something that users of such data report.
"""

from __future__ import annotations

import json
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from storage_schemas.manifest import open_manifest
from storage_schemas.store import Store
from tests.tiny_nuscenes import write_tiny_nuscenes

RUN = ("--no-prefect", "--no-report", "--workers", 1)
SOUND = ([3, 5, 3], [4701, 7867, 4732], [425, 458, 493], 79)
"""Of the tiny scene with windows of 5: sweeps and points of each window, pixels measured in each frame, radar returns."""

Tables = dict[str, list[dict]]
Edit = Callable[[Tables, Path], None]


def edited(root: Path, edit: Edit, *scenes: str, version: str = "v1.0-mini", **options) -> Path:
    """Write the tiny database with tables (and files) changed; an empty dict removes a table."""
    write_tiny_nuscenes(root, scenes or ("scene-0061",), version=version, **options)
    folder = root / version
    tables = {path.stem: json.loads(path.read_text()) for path in folder.glob("*.json")}
    before = set(tables)
    edit(tables, root)
    for name, rows in tables.items():
        (folder / f"{name}.json").write_text(json.dumps(rows))
    for name in before - set(tables):
        (folder / f"{name}.json").unlink()
    return root


def files_of(tables: Tables, channel: str) -> list[dict]:
    """Return the records of a channel's files."""
    sensors = {row["token"] for row in tables["sensor"] if row["channel"] == channel}
    mounted = {row["token"] for row in tables["calibrated_sensor"] if row["sensor_token"] in sensors}
    return [row for row in tables["sample_data"] if row["calibrated_sensor_token"] in mounted]


def numbers(store: Path, scene: str = "scene-0061"):
    """Return sweeps, points and measured pixels of a scene's accumulated depth, and how many radar returns it has."""
    manifest = open_manifest(Store(str(store)))
    units = {path.layout: manifest.store.open_unit(path) for path in manifest.named_units() if path.scene == scene}
    depth = units["depth_accumulated"]
    of_depth = [depth.array(name).tolist() for name in ("num_sweeps", "num_points", "num_measured")]
    return (*of_depth, int(units["radar_points"].array("num_points").sum()))


@pytest.fixture
def recipe(write_recipe, tmp_path):
    def write(**changes: object) -> Path:
        stages = {"accumulate_lidar": {"num_sweeps": 5}}
        return write_recipe(tmp_path / "data", **{"stages": stages, "cameras": ["CAM_FRONT"], **changes})

    return write


def each(table: str, **fields: object) -> Edit:
    return lambda tables, root: [row.update(fields) for row in tables[table]] and None


def times(factor: Callable[[int], object]) -> Edit:
    def edit(tables, root):
        for name in ("sample", "sample_data", "ego_pose"):
            for row in tables[name]:
                row["timestamp"] = factor(row["timestamp"])

    return edit


def file_names(rename: Callable[[Path, str], str]) -> Edit:
    def edit(tables, root):
        for row in tables["sample_data"]:
            row["filename"] = rename(root, row["filename"])

    return edit


def turn_chains(tables, root):
    for row in tables["sample_data"]:
        row["prev"], row["next"] = row["next"], row["prev"]


def without_order(tables, root):
    for name in ("sample", "sample_data", "sample_annotation", "ego_pose"):
        random.Random(1).shuffle(tables[name])
    for row in (*tables["sample"], *tables["sample_annotation"]):
        row["prev"] = row["next"] = ""


def utm(tables, root):
    for row in (*tables["ego_pose"], *tables["sample_annotation"]):
        row["translation"] = [a + b for a, b in zip(row["translation"], (5e5, 5.3e6, 400.0), strict=True)]


def categories(*names: str) -> Edit:
    def edit(tables, root):
        for row, name in zip(tables["category"], names, strict=True):
            row["name"] = name

    return edit


def nan_velocity(tables, root):
    for row in tables["sample_annotation"]:
        row["velocity"] = [float("nan")] * 3
        row["num_lidar_pts"] = None


def twice(tables, root):
    row = files_of(tables, "RADAR_FRONT")[1]
    tables["sample_data"].append({**row, "token": "again", "is_key_frame": False, "prev": "", "next": ""})


def below_a_link(tables, root):
    for name in ("samples", "sweeps"):
        (root / name).rename(root.parent / f"other disk ä {name}")
        (root / name).symlink_to(root.parent / f"other disk ä {name}")


NO_CHAIN = "LIDAR_TOP files have no link to the file before them (10). Windows of sweeps follow time instead"
ODD_NAME = "LIDAR_TOP files are named with backslashes or from the root of the disk (11)"


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (each("sample_data", prev="", next=""), NO_CHAIN),
        (turn_chains, "Windows of sweeps follow time instead"),
        (without_order, "links between boxes of one object are absent (8). Speeds follow instance_token and time instead"),
        (file_names(lambda root, name: name.replace("/", "\\")), ODD_NAME),
        (file_names(lambda root, name: str(root / name)), ODD_NAME),
        (file_names(lambda root, name: "D:\\sets\\nuscenes\\" + name.replace("/", "\\")), ODD_NAME),
        (file_names(lambda root, name: f"E:/{name}"), ODD_NAME),
        (file_names(lambda root, name: f"/mnt/other/disk/{name}"), ODD_NAME),
        (file_names(lambda root, name: f"./{name}"), ""),
        (below_a_link, ""),
        (nan_velocity, ""),
        (utm, ""),
        (times(float), ""),
        (categories("car", "pedestrian", "bicycle_rack"), ""),
        (twice, "RADAR_FRONT files are named by two records (1)"),
        (each("calibrated_sensor", camera_distortion=[0.0] * 5, distortion_model="plumb_bob", D=None), ""),
    ],
    ids=["no chain", "chain turned", "no order", "backslashes", "absolute", "Windows", "drive", "other disk", "dot slash", "links", "NaN", "UTM", "float times",
         "other categories", "file twice", "no distortion"],
)  # fmt: skip
def test_run_when_tables_say_the_same_in_another_way_then_numbers_are_the_same(edit, said, recipe, depthmill, tmp_path):
    edited(tmp_path / "data", edit)
    code, text = depthmill("run", recipe(), *RUN)
    assert code == 0, text
    assert (said in text) if said else ("warning:" not in text)
    assert numbers(tmp_path / "store") == SOUND


def without_annotations(tables, root):
    for name in ("instance", "sample_annotation", "visibility", "attribute", "map"):
        del tables[name]
    shutil.rmtree(root / "maps")


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (without_annotations, "no sample_annotation.json, so no moving object is dropped or carried"),
        (lambda tables, root: tables["sample_annotation"].clear(), "no annotated box, so no moving object is dropped or carried"),
    ],
)
def test_run_when_nothing_is_annotated_then_all_points_stay_and_a_line_says_so(edit, said, recipe, depthmill, tmp_path):
    edited(tmp_path / "data", edit)
    code, text = depthmill("run", recipe(), *RUN)
    assert code == 0, text
    assert f"warning: scene-0061: {said}" in text
    assert numbers(tmp_path / "store")[1] == [4980, 8300, 4980]


def unlink(number: int, channel: str = "LIDAR_TOP") -> Edit:
    return lambda tables, root: (root / files_of(tables, channel)[number]["filename"]).unlink()


def forget(number: int, channel: str = "LIDAR_TOP") -> Edit:
    return lambda tables, root: tables["sample_data"].remove(files_of(tables, channel)[number])


GAP = ([3, 5, 3], [4701, 7863, 4732], [425, 458, 493], 79)
TWO_FRAMES = ([3, 3], [4701, 4732], [425, 493], 52)


@pytest.mark.parametrize(
    ("edit", "said", "wanted"),
    [
        (unlink(3), "LIDAR_TOP files between key frames are not on the disk (1). Windows reach over the gap", GAP),
        (forget(3), "LIDAR_TOP files are linked to a file that is not there (1). Windows of sweeps follow time instead", GAP),
        (forget(5), "key frames are left out, since they have no LIDAR_TOP file (1)", TWO_FRAMES),
        (forget(1, "CAM_FRONT"), "key frames have no CAM_FRONT file in sample_data.json (1)", TWO_FRAMES),
        (forget(1, "RADAR_FRONT"), "key frames have no RADAR_FRONT file in sample_data.json (1)", (*SOUND[:3], 52)),
    ],
)
def test_run_when_a_file_or_record_is_missing_then_the_rest_is_used_and_a_line_counts_it(
    edit, said, wanted, recipe, depthmill, tmp_path
):
    edited(tmp_path / "data", edit)
    code, text = depthmill("run", recipe(), *RUN)
    assert code == 0, text
    assert f"warning: scene-0061: {said}" in text
    assert numbers(tmp_path / "store") == wanted
    code, text = depthmill("status", recipe())
    assert said in text


def test_run_when_scenes_are_not_unpacked_then_the_others_are_a_manifest_and_one_line_names_them(recipe, depthmill, tmp_path):
    def edit(tables, root):
        for file in [*root.rglob("tiny-scene-0103*"), *root.rglob("tiny-scene-0553*")]:
            file.unlink()

    edited(tmp_path / "data", edit, "scene-0061", "scene-0103", "scene-0553")
    file = "samples/CAM_FRONT/tiny-scene-0103__CAM_FRONT__1600000999980000.jpg"
    line = "warning: 2 of 3 scenes left out (scene-0103, scene-0553): CAM_FRONT files are not on the disk (3 of 3, e.g. "
    for verb in (("plan", recipe()), ("run", recipe(), *RUN), ("status", recipe())):
        code, text = depthmill(*verb)
        assert code == 0, text
        assert f"{line}{file})" in text
    assert numbers(tmp_path / "store") == SOUND
    assert {row["scene"] for row in open_manifest(Store(tmp_path / "store")).rows()} == {"scene-0061"}


def test_run_when_only_key_frames_are_unpacked_then_the_advice_of_the_error_works(recipe, depthmill, tmp_path):
    edited(tmp_path / "data", lambda tables, root: shutil.rmtree(root / "sweeps"))
    code, text = depthmill("run", recipe(), *RUN)
    assert code == 2
    assert "scene-0061: LIDAR_TOP files are not on the disk (8 of 11, e.g. sweeps/LIDAR_TOP/" in text
    assert "; stages.accumulate_lidar.neighbors: keyframes does without them" in text
    code, text = depthmill("run", recipe(), *RUN, "--set", "stages.accumulate_lidar.neighbors=keyframes")
    assert code == 0, text
    assert numbers(tmp_path / "store")[0] == [3, 3, 3]


def test_plan_when_the_camera_is_not_unpacked_then_says_which(recipe, depthmill, tmp_path):
    edited(tmp_path / "data", lambda tables, root: shutil.rmtree(root / "samples/CAM_FRONT"))
    code, text = depthmill("plan", recipe())
    assert code == 2
    assert (
        "no scene of 1 has the files that the recipe reads. scene-0061: CAM_FRONT files are not on the disk (3 of 3, e.g. "
        in text
    )
    assert text.endswith("Unpack the archives that hold them, or choose cameras and scenes that are there\n")
    assert "neighbors" not in text


def one_name(tables, root):
    tables["scene"][1]["name"] = "scene-0061"


def numbered_tokens(tables, root):
    numbers: dict[str, int] = {}
    text = re.sub(r'"([0-9a-f]{32})"', lambda match: str(numbers.setdefault(match[1], len(numbers) + 1)), json.dumps(tables))
    tables.update(json.loads(text))


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (times(lambda us: us * 1000), ["key frames are 500 s apart (median), expected about 0.5 s. Are timestamps in nanoseconds?"]),
        (times(lambda us: us / 1e6), ["key frames are 5e-07 s apart", "Are timestamps in seconds?"]),
        (times(lambda us: us // 1000), ["key frames are 0.0005 s apart", "Are timestamps in milliseconds?"]),
        (times(str), ["sample.json': record 0", "has the timestamp '1600000000000000', expected a number of microseconds"]),
        (one_name, ["two scenes are named 'scene-0061' in scene.json; expected a name for each"]),
        (
            each("calibrated_sensor", camera_distortion=[-0.35, 0.12, 0.001, -0.0005, -0.02]),
            ["of CAM_FRONT has camera_distortion [-0.35, 0.12, 0.001, -0.0005, -0.02]", "images must be rectified"],
        ),
        (each("calibrated_sensor", D=[-0.35, 0.12], distortion_model="plumb_bob"), ["of CAM_FRONT has D [-0.35, 0.12]", "set D to zeros"]),
        (each("calibrated_sensor", distortion={"k1": -0.35}), ["of CAM_FRONT has distortion {'k1': -0.35}"]),
        (each("calibrated_sensor", k1=-0.35), ["of CAM_FRONT has k1 -0.35"]),
        (
            each("calibrated_sensor", camera_distortion=[0.0] * 4, distortion_model="fisheye"),
            ["of CAM_FRONT has distortion_model fisheye", "set distortion_model to pinhole"],
        ),
        (each("calibrated_sensor", camera_intrinsic=[]), ["CAM_FRONT: camera_intrinsic is []", "[[fx, s, cx], [0, fy, cy], [0, 0, 1]]"]),
        (each("sample_data", width=0, height=0), ["is 0x0 in sample_data.json. Expected pixels, 1 to 20,000"]),
        (each("ego_pose", rotation=[0, 0, 0, 0]), ["ego_pose '", "rotation [0.0, 0.0, 0.0, 0.0]", "a unit quaternion w, x, y, z"]),
        (numbered_tokens, ["sensor.json': record 0 (token ", "expected a text that is not empty. Correct the table"]),
    ],
    ids=["ns", "s", "ms", "text", "one name", "distortion", "D", "k1 of distortion", "k1", "fisheye", "no intrinsics", "no size", "no rotation", "tokens"],
)  # fmt: skip
def test_plan_when_results_would_be_wrong_then_the_error_names_what_and_what_was_expected(
    edit, words, recipe, depthmill, tmp_path
):
    edited(tmp_path / "data", edit, "scene-0061", "scene-0103")
    for verb in (("plan", recipe()), ("run", recipe(), *RUN)):
        code, text = depthmill(*verb)
        assert code == 2, text
        for part in words:
            assert part in text
    assert not (tmp_path / "store/depth_accumulated").exists()


def test_run_when_there_is_no_lidar_then_the_rest_is_made_and_a_line_says_what_is_not(recipe, depthmill, tmp_path):
    def edit(tables, root):
        for row in files_of(tables, "LIDAR_TOP"):
            tables["sample_data"].remove(row)
        shutil.rmtree(root / "samples/LIDAR_TOP")
        shutil.rmtree(root / "sweeps")

    edited(tmp_path / "data", edit)
    code, text = depthmill("run", recipe(), *RUN)
    assert code == 0, text
    assert "warning: scene-0061: no LiDAR file, so project_lidar and accumulate_lidar make nothing" in text
    manifest = open_manifest(Store(tmp_path / "store"))
    assert len(manifest) == 2
    assert {path.layout for path in manifest.named_units()} == {"frames", "images", "radar_points"}


def test_run_when_scene_names_have_slashes_and_signs_then_units_are_made_and_whole(recipe, depthmill, tmp_path):
    edited(tmp_path / "data", lambda tables, root: None, "drive/01", "straße 🚗 02", version="v1.0-own")
    source = {"kind": "nuscenes", "root": str(tmp_path / "data"), "version": "v1.0-own"}
    code, text = depthmill("run", recipe(source=source), *RUN)
    assert code == 0, text
    assert "warning: drive_01: called 'drive/01' in scene.json; a slash cannot be in the name of a folder" in text
    assert numbers(tmp_path / "store", "drive_01") == SOUND
    assert depthmill("verify", recipe(source=source))[0] == 0


def test_run_when_the_data_is_read_only_then_nothing_is_written_there(recipe, depthmill, tmp_path):
    root = edited(tmp_path / "data", lambda tables, root: None)
    before = {path: path.stat().st_mtime_ns for path in [root, *root.rglob("*")]}
    for folder in [path for path in before if path.is_dir()]:
        folder.chmod(0o555)
    try:
        code, text = depthmill("run", recipe(), *RUN)
        assert code == 0, text
        assert {path: path.stat().st_mtime_ns for path in [root, *root.rglob("*")]} == before
    finally:
        for folder in [path for path in before if path.is_dir()]:
            folder.chmod(0o755)


@pytest.mark.slow
def test_training_when_one_camera_has_two_sizes_then_the_advice_is_to_choose_scenes_and_works(recipe, depthmill, tmp_path):
    def edit(tables, root):
        scenes = {row["token"]: row["scene_token"] for row in tables["sample"]}
        last = tables["scene"][-1]["token"]
        for row in files_of(tables, "CAM_FRONT"):
            if scenes[row["sample_token"]] == last:
                with open(root / row["filename"], "wb") as stream:
                    Image.fromarray(np.zeros((48, 96, 3), np.uint8)).save(stream, "JPEG")
                row["width"], row["height"] = 96, 48

    edited(tmp_path / "data", edit, "scene-0061", "scene-0103", "scene-0553")
    small = [
        f"--set=train.{one}" for one in ("network.base_channels=8", "max_steps=1", "data.batch_size=1", "evaluation.num_strips=1")
    ]
    code, text = depthmill("train", recipe(), "--no-prefect", "--workers", 1, *small)
    assert code == 1
    assert "choose scenes of one size with scenes: [...] in the recipe, and run it again: one camera has several sizes" in text
    code, text = depthmill("train", recipe(scenes=["scene-0061", "scene-0103"]), "--no-prefect", "--workers", 1, *small)
    assert code == 0, text
    assert "trained 1 step in" in text
