"""A Rerun recording is read back with Rerun's own reader and held against the store that it was made from."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import yaml

import depthmill as dm
from pipeline.geometry import inverse, project, rotation_matrix, transform_points
from storage_schemas.encoding import STEPS_PER_M
from storage_schemas.errors import RecipeError, StoreError
from storage_schemas.layout import rows
from storage_schemas.manifest import open_manifest
from storage_schemas.public_files import encode_png
from storage_schemas.store import Store
from tests.conftest import REPOSITORY

pytest.importorskip("rerun", reason="rerun-sdk is not installed: pip install 'depthmill[view]'")
dataframe = pytest.importorskip("rerun.dataframe", reason="this version of rerun-sdk reads no recordings in this way")

SCENE, CAMERA = "scene-0061", "CAM_FRONT"
AHEAD_M = 2.0
"""The made-up prediction lies so much behind the cleaned map."""


class Recording:
    """A recording, read by entity."""

    def __init__(self, path: Path) -> None:
        self._archive = dataframe.load_recording(path)
        self.schema = self._archive.schema()
        self.entities = {column.entity_path for column in self.schema.component_columns()}

    def values(self, entity: str, component: str, timeline: str = "frame") -> dict[int, np.ndarray]:
        """Return a component of an entity by time."""
        table = self._archive.view(index=timeline, contents=entity).select().read_all()
        name = next(name for name in table.schema.names if name.startswith(f"{entity}:") and name.endswith(component))
        times = table[timeline].cast("int64").to_pylist()
        return {time: np.array(value) for time, value in zip(times, table[name].to_pylist(), strict=True) if value is not None}


@pytest.fixture(scope="module")
def recipe(tiny_root: Path, tiny_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("view") / "recipe.yaml"
    source = {"kind": "nuscenes", "root": str(tiny_root), "version": "v1.0-mini"}
    path.write_text(yaml.safe_dump({"source": source, "store": str(tiny_store)}))
    return path


@pytest.fixture(scope="module")
def samples(tiny_store: Path) -> list[dict]:
    return [row for row in open_manifest(Store(tiny_store)).rows() if row["scene"] == SCENE]


@pytest.fixture(scope="module")
def predictions(tiny_store: Path, samples: list[dict], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as ``depthmill predict`` writes it: the cleaned map, two metres farther."""
    folder, manifest = tmp_path_factory.mktemp("predictions"), open_manifest(Store(tiny_store))
    for row in samples:
        steps = manifest.store.open_unit(manifest.unit_of(row, "depth_clean")).array("depth_m", row["frame"])
        file = folder / "depth" / f"{row['frame_key']}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(encode_png(np.where(steps > 0, steps + np.uint16(AHEAD_M * STEPS_PER_M), steps)))
    return folder


@pytest.fixture(scope="module")
def recording(recipe: Path, predictions: Path, tmp_path_factory: pytest.TempPathFactory) -> Recording:
    out = tmp_path_factory.mktemp("recording") / "scene.rrd"
    seen = dm.view(recipe, SCENE, out=out, predictions=predictions, points=0)
    assert seen.path == out and seen.data["frames"] == 2 and seen.data["kept_share"] == 1
    return Recording(out)


def clean_maps(tiny_store: Path, samples: list[dict], layout: str) -> dict[int, np.ndarray]:
    manifest = open_manifest(Store(tiny_store))
    return {
        row["frame"]: manifest.store.open_unit(manifest.unit_of(row, layout)).array("depth_m", row["frame"]) for row in samples
    }


def in_camera(row: dict, origin_m: np.ndarray, points_m: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return column, row and depth of points of the recording in a sample's image."""
    pose = np.array(row["world_from_cam"]).reshape(4, 4)
    u, v, depth_m = project(transform_points(inverse(pose), points_m + origin_m), np.array(row["intrinsic_px"]).reshape(3, 3))
    return u, v, depth_m


def test_recording_when_made_then_it_holds_every_kind_of_thing_at_every_key_frame(recording: Recording) -> None:
    expected = {
        "/world/ego", "/world/boxes", "/world/lidar/LIDAR_TOP", f"/world/camera/{CAMERA}", f"/world/camera/{CAMERA}/image",
        f"/world/radar/{CAMERA}", f"/world/velocity/{CAMERA}", f"/world/errors/predicted/{CAMERA}", "/about",
        *(f"/world/depth/{name}/{CAMERA}" for name in ("single", "accumulated", "clean", "removed", "predicted")),
        *(f"/pictures/{CAMERA}/{name}" for name in ("camera", "single", "accumulated", "clean", "removed", "predicted")),
        f"/plots/measured/clean/{CAMERA}", f"/plots/mae/predicted/{CAMERA}", f"/plots/radar_returns/{CAMERA}",
    }  # fmt: skip
    assert expected <= recording.entities
    assert not any("truth" in entity for entity in recording.entities)  # this data set has none
    assert set(recording.values(f"/world/depth/clean/{CAMERA}", "Position3D")) == {0, 1}
    times = set(recording.values(f"/world/depth/clean/{CAMERA}", "Position3D", "time"))
    assert all(time % 1000 == 0 for time in times) and len(times) == 2


def test_recording_when_points_are_projected_then_they_are_the_pixels_of_the_map(
    recording: Recording, samples: list[dict], tiny_store: Path
) -> None:
    origin_m = np.array(samples[0]["world_from_cam"]).reshape(4, 4)[:3, 3]
    maps = clean_maps(tiny_store, samples, "depth_clean")
    for number, points_m in recording.values(f"/world/depth/clean/{CAMERA}", "Position3D").items():
        u, v, depth_m = in_camera(samples[number], origin_m, points_m.astype(np.float64))
        again = np.zeros_like(maps[number])
        again[np.floor(v).astype(int), np.floor(u).astype(int)] = np.rint(depth_m * STEPS_PER_M)
        assert np.array_equal(again, maps[number]) and again.any()


def test_recording_when_the_lidar_sweep_is_projected_then_it_makes_the_single_sweeps_map(
    recording: Recording, samples: list[dict], tiny_store: Path
) -> None:
    origin_m = np.array(samples[0]["world_from_cam"]).reshape(4, 4)[:3, 3]
    maps = clean_maps(tiny_store, samples, "depth_single")
    for number, points_m in recording.values("/world/lidar/LIDAR_TOP", "Position3D").items():
        u, v, depth_m = in_camera(samples[number], origin_m, points_m.astype(np.float64))
        height, width = maps[number].shape
        seen = (depth_m > 0.5) & (u >= 0) & (u < width) & (v >= 0) & (v < height)
        nearest = np.full(maps[number].shape, np.inf)
        np.minimum.at(nearest, (v[seen].astype(int), u[seen].astype(int)), depth_m[seen])
        both = np.isfinite(nearest) & (maps[number] > 0)
        close = np.abs(nearest[both] * STEPS_PER_M - maps[number][both] - 0.5) < 1  # stored depth is truncated
        assert both.sum() > 0.9 * (maps[number] > 0).sum() and close.mean() > 0.95  # float32 moves some to the next pixel


def test_recording_when_radar_measures_velocity_then_arrows_are_turned_into_the_scene(
    recording: Recording, samples: list[dict], tiny_store: Path
) -> None:
    manifest = open_manifest(Store(tiny_store))
    unit = manifest.store.open_unit(manifest.unit_of(samples[0], "radar_points"))
    index = manifest.store.open_unit(manifest.unit_of_scene("frames", SCENE))
    arrows = recording.values(f"/world/velocity/{CAMERA}", "Vector3D")
    num_moving = 0
    for number, row in enumerate(samples):
        of_frame = unit.array("frame_of_point") == row["frame"]
        in_radar = np.stack([unit.array("vx_comp_mps"), unit.array("vy_comp_mps"), 0 * unit.array("vx_comp_mps")], 1)[of_frame]
        sweep = next(
            sweep for sweep in rows(index.table("sweeps"))
            if sweep["channel"] == "RADAR_FRONT" and sweep["is_keyframe"] and sweep["sample_index"] == number
        )  # fmt: skip
        turn = rotation_matrix(sweep["world_from_ego_rotation_wxyz"]) @ rotation_matrix(sweep["ego_from_sensor_rotation_wxyz"])
        expected = (in_radar @ turn.T)[np.linalg.norm(in_radar, axis=1) >= 0.2]
        num_moving += len(expected)
        assert np.allclose(np.array(arrows.get(number, np.zeros((0, 3)))).reshape(-1, 3), expected, atol=1e-5)
    assert num_moving


def test_recording_when_a_box_is_annotated_then_it_stands_where_the_index_says(
    recording: Recording, samples: list[dict], tiny_store: Path
) -> None:
    manifest = open_manifest(Store(tiny_store))
    boxes = rows(manifest.store.open_unit(manifest.unit_of_scene("frames", SCENE)).table("boxes"))
    first = [box for box in boxes if box["sample_index"] == 0]
    origin_m = np.array(samples[0]["world_from_cam"]).reshape(4, 4)[:3, 3]
    assert np.allclose(
        recording.values("/world/boxes", "Translation3D")[0] + origin_m, [box["center_m"] for box in first], atol=1e-4
    )
    wlh = np.array([box["size_wlh_m"] for box in first])
    assert np.allclose(2 * recording.values("/world/boxes", "HalfSize3D")[0], wlh[:, [1, 0, 2]], atol=1e-5)
    xyzw = recording.values("/world/boxes", "RotationQuat")[0]
    assert np.allclose(np.roll(xyzw, 1, axis=1), [box["world_from_box_wxyz"] for box in first], atol=1e-6)


def test_recording_when_a_prediction_is_two_metres_off_then_its_error_is(recording: Recording) -> None:
    errors = recording.values(f"/plots/mae/predicted/{CAMERA}", "Scalar")
    assert set(errors) == {0, 1} and np.allclose([float(np.ravel(error)[0]) for error in errors.values()], AHEAD_M)


def test_view_when_points_are_few_then_maps_keep_the_same_pixels(recipe: Path, tmp_path: Path) -> None:
    seen = dm.view(recipe, SCENE, out=tmp_path / "few.rrd", points=50)
    assert 0 < seen.data["kept_share"] < 1 and "thinned to 50 points (--points 0 keeps all)" in seen.text
    recording = Recording(seen.path)
    clean, accumulated = (
        {tuple(point) for point in recording.values(f"/world/depth/{name}/{CAMERA}", "Position3D")[0]}
        for name in ("clean", "accumulated")
    )
    assert clean and clean <= accumulated and len(accumulated) < 100


def test_view_when_a_store_is_given_then_it_says_that_sweeps_are_missing(
    tiny_store: Path, tmp_path: Path, depthmill: Callable[..., tuple[int, str]]
) -> None:
    code, text = depthmill("view", tiny_store, SCENE, "--out", tmp_path / "a.rrd")
    assert code == 0 and f"Next: rerun {tmp_path / 'a.rrd'}" in text
    assert text.count("warning: LiDAR sweeps are not shown: a store does not say where its source lies. Give the recipe") == 1
    assert not any("lidar" in entity for entity in Recording(tmp_path / "a.rrd").entities)
    code, text = depthmill("view", tiny_store, "--out", tmp_path / "a.rrd", "--json")
    assert code == 0 and json.loads(text[text.index("{") : text.index("}") + 1])["recording"] == str(tmp_path / "a.rrd")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("scene-9999",), "scene 'scene-9999' is not in manifest"),
        ((SCENE, "--camera", "CAM_TOP"), "scene 'scene-0061' has no frames of camera 'CAM_TOP'; cameras there: CAM_FRONT"),
        ((SCENE, "--out", "a.mp4"), "cannot write recording 'a.mp4': its name ends with '.mp4', expected .rrd. Choose e.g. --out a.rrd"),
        ((SCENE, "--out", "no-such/a.rrd"), "does not exist. Create it (mkdir -p) or choose another --out"),
        ((SCENE, "--predictions", "no-such"), "--predictions 'no-such' does not exist; expected a folder of predictions. Make one"),
        ((SCENE, "--predictions", "."), "--predictions '.' has no folder depth/ and no folder data/; expected a folder of predictions. Make one with: depthmill predict"),
    ],
)  # fmt: skip
def test_view_when_asked_for_what_is_not_there_then_it_says_what_is(
    recipe: Path, arguments: tuple[str, ...], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    depthmill: Callable[..., tuple[int, str]],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    code, text = depthmill("view", recipe, *arguments)
    assert code == 2 and expected in text and not list(tmp_path.iterdir())


def test_view_when_the_port_is_taken_then_it_says_so_before_it_works(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, depthmill: Callable[..., tuple[int, str]]
) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, text = depthmill("view", recipe, "--serve", "--port", port - 1)
    assert code == 2 and f"port {port} of this machine cannot be used (Address already in use)" in text
    assert not list(tmp_path.iterdir())


def _two_free_ports() -> int:
    """Return the first of two ports in a row that are free now."""
    while True:
        with socket.socket() as one, socket.socket() as other, suppress(OSError):
            one.bind(("127.0.0.1", 0))
            port: int = one.getsockname()[1]
            other.bind(("127.0.0.1", port + 1))
            return port


@pytest.mark.slow
def test_view_when_served_then_the_page_answers_until_ctrl_c(recipe: Path, tmp_path: Path) -> None:
    port = _two_free_ports()
    command = [sys.executable, "-c", "from flows.cli import main; main()", "view", str(recipe), "--serve", "--port", str(port)]
    with subprocess.Popen([*command, "--out", str(tmp_path / "a.rrd")], cwd=REPOSITORY) as served:
        while served.poll() is None:
            try:
                page = urllib.request.urlopen(f"http://127.0.0.1:{port}/").read()
                break
            except OSError:
                time.sleep(0.2)
        served.send_signal(signal.SIGINT)
    assert served.returncode == 0 and b"rerun" in page.lower()
    with pytest.raises(OSError):  # the server has gone with the command
        while urllib.request.urlopen(f"http://127.0.0.1:{port}/"):
            time.sleep(0.2)


def test_view_when_predictions_are_of_another_scene_then_it_names_that_scene(
    recipe: Path, predictions: Path, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match="has none of scene 'scene-0103'; the first scene with some is 'scene-0061'"):
        dm.view(recipe, "scene-0103", predictions=predictions, out=tmp_path / "a.rrd")


def test_view_when_rerun_is_not_installed_then_it_names_the_extra(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(RecipeError, match=r"needs rerun-sdk, which is not installed here\. Run: pip install .*\[view\]"):
        dm.view(recipe)


def test_view_when_a_unit_is_damaged_then_the_former_recording_stays(copied_store: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.rrd"
    out.write_bytes(b"former")
    manifest = open_manifest(Store(copied_store))
    path = manifest.unit_of(manifest.rows()[0], "depth_clean")
    chunk = copied_store / path.key / "depth_m/c/0/0/0"
    chunk.write_bytes(chunk.read_bytes()[:-40])
    with pytest.raises(StoreError, match="depth_clean/scene-0061"):
        dm.view(copied_store, SCENE, out=out)
    assert out.read_bytes() == b"former" and [file.name for file in tmp_path.iterdir() if "rrd" in file.name] == ["a.rrd"]
