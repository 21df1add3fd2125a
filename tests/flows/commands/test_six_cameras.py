"""One recipe with all six cameras and five radars: every stage, the reports, the loader, a network's whole life."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from model.semodepth.config import DataConfig
from model.semodepth.data import FrameLoader
from model.semodepth.dense import dense_batch
from pipeline.plan import make_plan
from pipeline.recipe import load_recipe
from pipeline.run import run_scene, scene_requests
from pipeline.sources import open_source
from pipeline.sources.nuscenes.files import NuScenesFiles
from storage_schemas.catalog import RADAR_CHANNELS
from storage_schemas.manifest import open_manifest
from storage_schemas.store import Store
from tests.flows.test_cli import BARE

CAMERAS = ["CAM_FRONT", "CAM_FRONT_LEFT", "CAM_FRONT_RIGHT", "CAM_BACK", "CAM_BACK_LEFT", "CAM_BACK_RIGHT"]
RECIPE = f"""
source: {{kind: synthetic, scenes: 2, seconds: 1.5, seed: 3, image_size: [96, 64], lidar_azimuth_steps: 120, root: ROOT/raw}}
store: ROOT/store
cameras: [{", ".join(CAMERAS)}]
stages:
  project_radar: {{channels: [{", ".join(RADAR_CHANNELS)}], past_sweeps: 2, target_motion: doppler}}
  interpolate_depth: {{of: depth_single}}
train:
  network: {{base_channels: 8}}
  data: {{batch_size: 1, dense_target: depth_interpolated}}
  evaluation: {{num_strips: 1}}
  max_steps: 2
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the recipe, run."""
    folder = tmp_path_factory.mktemp("six")
    (folder / "recipe.yaml").write_text(RECIPE.replace("ROOT", str(folder)))
    recipe = load_recipe(folder / "recipe.yaml")
    source, store = open_source(recipe.source, folder / "cache"), Store(recipe.store)
    source.prepare()
    plan = make_plan(recipe, source, store)
    for request in scene_requests(plan, recipe, store, source.reader()):
        results = run_scene(request)
        assert {result.status for result in results} == {"OK"}, [result.message for result in results]
    return folder


@pytest.fixture(autouse=True)
def _one_process(monkeypatch, folder):
    monkeypatch.setenv("DEPTHMILL_LOADER_WORKERS", "0")
    monkeypatch.setenv("DEPTHMILL_DEVICE", "cpu")


@pytest.fixture
def manifest(folder, depthmill):
    assert depthmill("run", folder / "recipe.yaml", *BARE)[0] == 0
    return open_manifest(Store(folder / "store"))


def test_batches_when_six_cameras_are_asked_for_then_mix_them_and_each_frame_is_its_own_cameras(manifest):
    rows = {row["frame_key"]: row for row in manifest.rows()}
    assert Counter(row["camera"] for row in rows.values()) == dict.fromkeys(CAMERAS, 4)
    with FrameLoader(manifest, DataConfig(dense_target="depth_interpolated", batch_size=6, piece_frames=1)) as loader:
        batches = list(loader)
    assert max(len({key.split("/")[1] for key in batch.frame_keys}) for batch in batches) >= 3
    for batch in batches:
        dense = dense_batch(batch, max_depth_m=255.0)
        for place, key in enumerate(batch.frame_keys):
            unit = manifest.store.open_unit(manifest.unit_of(rows[key], "depth_interpolated"))
            np.testing.assert_array_equal(dense.target_m[place], unit.array("depth_m", rows[key]["frame"]) / np.float32(256))
            assert (dense.radar_m[place] > 0).sum() > 10


def test_lidar_and_radar_when_there_are_six_cameras_then_every_file_is_read_as_often_as_for_one(folder, tmp_path, monkeypatch):
    reads: Counter[str] = Counter()
    read_bytes = NuScenesFiles.read_bytes

    def counted(self, file):
        reads[file] += 1
        return read_bytes(self, file)

    monkeypatch.setattr(NuScenesFiles, "read_bytes", counted)

    def reads_of(cameras: list[str]) -> dict[str, int]:
        reads.clear()
        recipe = load_recipe(folder / "recipe.yaml")
        recipe = recipe.model_copy(update={"cameras": tuple(cameras), "store": str(tmp_path / f"store-{len(cameras)}")})
        source, store = open_source(recipe.source, folder / "cache"), Store(recipe.store)
        first = scene_requests(make_plan(recipe, source, store), recipe, store, source.reader())[0]
        assert {result.status for result in run_scene(first)} == {"OK"}
        return {file: count for file, count in reads.items() if "LIDAR" in file or "RADAR" in file}

    one, six = reads_of(["CAM_FRONT"]), reads_of(CAMERAS)
    assert len([file for file in six if "LIDAR" in file]) == 21
    assert six == one
    assert {count for file, count in six.items() if "RADAR" in file or "sweeps/" in file} == {1}


@pytest.mark.slow
def test_reports_training_evaluation_and_prediction_when_there_are_six_cameras_then_all_cover_them(
    folder, manifest, depthmill, tmp_path
):
    recipe = folder / "recipe.yaml"
    assert depthmill("report", recipe, "--out", tmp_path / "report.html")[0] == 0
    page = (tmp_path / "report.html").read_text()
    assert all(camera in page for camera in CAMERAS)
    code, text = depthmill("train", recipe, "--no-prefect", "--out", tmp_path / "training")
    assert code == 0, text
    assert "| on | all | 80 | 12 |" in text
    checkpoint = tmp_path / "training" / "best.pt"
    code, text = depthmill("evaluate", checkpoint, recipe, "--out", tmp_path / "evaluation")
    assert code == 0, text
    code, text = depthmill("predict", checkpoint, recipe, "--out", tmp_path / "predicted")
    assert code == 0, text
    assert {camera for camera in CAMERAS for path in (tmp_path / "predicted").rglob("*.png") if camera in str(path)} == set(
        CAMERAS
    )
