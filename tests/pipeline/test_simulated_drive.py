"""Where the truth is known exactly: what accumulation, cleaning and carrying do to the error of the supervision."""

from __future__ import annotations

import numpy as np
import pytest

from flows.reports.store.depth_errors import TruthComparison, compare_with_truth
from pipeline.plan import make_plan
from pipeline.recipe import parse_recipe
from pipeline.run import run_manifest, run_scene, scene_requests
from pipeline.sources import open_source
from storage_schemas.catalog import SURFACES
from storage_schemas.manifest import open_manifest
from storage_schemas.store import Store

SOURCE = {"kind": "synthetic", "scenes": 2, "seconds": 8, "seed": 7, "image_size": [480, 270], "lidar_azimuth_steps": 700}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return tmp_path_factory.mktemp("simulated")


def build(world, moving: str) -> list[dict[str, np.ndarray]]:
    """Run a recipe over the simulated world and return the maps of every sample."""
    data = {
        "source": {**SOURCE, "root": str(world / "raw")},
        "store": str(world / "store"),
        "stages": {"accumulate_lidar": {"moving": moving}},
    }
    recipe = parse_recipe(data, where="test")
    source, store = open_source(recipe.source, world / "cache"), Store(recipe.store)
    plan = make_plan(recipe, source, store)
    source.prepare()
    results = [result for request in scene_requests(plan, recipe, store, source.reader()) for result in run_scene(request)]
    results += run_manifest(plan, recipe, store, source.reader(), results)
    assert {result.status for result in results} <= {"OK"}, [result.message for result in results]
    manifest = open_manifest(store, plan.manifest.path.fingerprint)
    found = []
    for row in manifest.rows():
        units = {
            name: store.open_unit(manifest.unit_of(row, name)) for name in ("depth_accumulated", "depth_clean", "depth_truth")
        }
        maps = {name: unit.array("depth_m", row["frame"]) for name, unit in units.items()}
        found.append({**maps, "surface": units["depth_truth"].array("surface", row["frame"])})
    return found


def compared(samples) -> TruthComparison:
    parts = [
        compare_with_truth(one["depth_accumulated"], one["depth_clean"], one["depth_truth"], one["surface"]) for one in samples
    ]
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def num_correct_on_moving(samples) -> int:
    """Pixels of annotated moving objects within 1 m of the truth."""
    moving = SURFACES.index("moving_annotated")
    return sum(
        np.count_nonzero(
            (one["surface"] == moving)
            & (one["depth_clean"] > 0)
            & (np.abs(one["depth_clean"].astype(int) - one["depth_truth"]) < 256)
        )
        for one in samples
    )


@pytest.mark.slow
def test_supervision_when_cleaned_then_gross_errors_fall_clearly_and_good_pixels_stay(world):
    total = compared(build(world, "drop")).total
    assert total.gross_removed_share > 0.15
    assert total.after.gross_share < 0.9 * total.before.gross_share
    assert total.after.num_gross_near < 0.75 * total.before.num_gross_near
    assert total.good_lost_share < 0.002
    assert total.after.median_error_m < 0.2
    assert total.after.coverage > 0.3


def test_moving_cars_when_carried_then_have_many_more_correct_pixels_than_when_dropped(world):
    dropped, carried = build(world, "drop"), build(world, "carry")
    assert num_correct_on_moving(carried) > 5 * num_correct_on_moving(dropped)
    assert compared(carried).total.before.gross_share < compared(dropped).total.before.gross_share


def test_every_camera_of_the_rig_agrees_with_its_exact_depth(tmp_path):
    cameras = ["CAM_FRONT", "CAM_FRONT_LEFT", "CAM_FRONT_RIGHT", "CAM_BACK", "CAM_BACK_LEFT", "CAM_BACK_RIGHT"]
    source = {
        "kind": "synthetic",
        "scenes": 1,
        "seconds": 2,
        "image_size": [200, 112],
        "lidar_azimuth_steps": 400,
        "root": str(tmp_path / "raw"),
    }
    recipe = parse_recipe({"source": source, "store": str(tmp_path / "store"), "cameras": cameras}, where="test")
    opened, store = open_source(recipe.source, tmp_path / "cache"), Store(recipe.store)
    plan = make_plan(recipe, opened, store)
    opened.prepare()
    results = [result for request in scene_requests(plan, recipe, store, opened.reader()) for result in run_scene(request)]
    assert {result.status for result in results} == {"OK"}
    units = {
        (item.stage, item.identity.camera): store.open_unit(item.path) for item in plan.items if item.identity.camera in cameras
    }
    for camera in cameras:
        depth, truth = units["project_lidar", camera].array("depth_m"), units["pack_truth", camera].array("depth_m")
        seen = (depth > 0) & (truth > 0)
        assert seen.sum() > 300, camera
        error_m = np.abs(depth[seen].astype(int) - truth[seen]) / 256
        assert np.median(error_m) < 0.3, camera
        assert (error_m < 0.05 * truth[seen] / 256).mean() > 0.8, camera


def test_exact_depth_when_it_repeats_itself_then_it_is_no_finding(tmp_path):
    source = {"kind": "synthetic", "scenes": 1, "seconds": 2, "image_size": [96, 64], "lidar_azimuth_steps": 100}
    data = {"source": {**source, "root": str(tmp_path / "raw")}, "store": str(tmp_path / "store")}
    recipe = parse_recipe(data, where="test")
    opened, store = open_source(recipe.source, tmp_path / "cache"), Store(recipe.store)
    plan = make_plan(recipe, opened, store)
    opened.prepare()
    for kind in ("truth", "samples"):  # as where a car stands still before a wall, and as where a file was copied twice
        first, second, *_ = sorted((tmp_path / "raw" / kind).rglob("*CAM_FRONT*.*"))
        second.write_bytes(first.read_bytes())
    results = [result for request in scene_requests(plan, recipe, store, opened.reader()) for result in run_scene(request)]
    assert {result.status for result in results} == {"OK"}
    assert {result.stage for result in results if "files_repeated" in result.counts} == {"pack_images"}
