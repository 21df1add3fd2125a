"""The order of stages follows from what they read and write."""

from __future__ import annotations

import dataclasses
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.plan import make_plan
from pipeline.recipe import parse_recipe
from pipeline.sources import open_source
from pipeline.stage_list import OUR_STAGES, STAGES, stage_named
from pipeline.stage_order import StageOrderError, in_order
from storage_schemas.catalog import DEPTH_CLEAN, DEPTH_INTERPOLATED, DEPTH_MONO, FRAMES
from storage_schemas.errors import RecipeError
from storage_schemas.store import Store


def test_order_when_nothing_is_installed_then_is_the_one_that_plans_print():
    assert [stage.name for stage in STAGES] == [
        "index_frames", "index_camera_sweeps", "index_windows", "index_objects", "pack_images", "project_radar", "project_lidar",
        "pack_radar", "pack_depth", "pack_interpolated", "pack_boxes", "predict_mono_depth", "project_boxes",
        "align_mono_depth", "accumulate_lidar", "clean_horizon", "interpolate_depth", "pack_truth", "build_manifest",
    ]  # fmt: skip
    assert in_order(STAGES) == STAGES


@given(st.permutations(OUR_STAGES))
def test_order_when_list_is_shuffled_then_every_stage_still_runs_after_the_makers_of_what_it_reads(shuffled):
    ordered = in_order(shuffled)
    place = {stage.name: number for number, stage in enumerate(ordered)}
    assert len(ordered) == len(shuffled)
    assert ordered[-1].name == "build_manifest"
    for stage in ordered:
        for maker in ordered:
            if maker.writes in stage.reads and maker.name != "project_boxes":
                assert place[maker.name] < place[stage.name]
    assert place["project_boxes"] > place["predict_mono_depth"]  # its boxes are not those that a depth model takes
    assert in_order(ordered) == ordered


@pytest.mark.parametrize("seed", range(4))
def test_plan_when_list_is_shuffled_then_has_the_same_units(seed, tiny_root, tmp_path, monkeypatch):
    stages = {
        "predict_mono_depth": {"teacher": "plane_and_boxes"}, "project_boxes": {"enabled": True},
        "interpolate_depth": {"of": "depth_clean"}, "index_windows": {"enabled": True, "num_frames": 2},
    }  # fmt: skip
    source = {"kind": "nuscenes", "root": str(tiny_root), "version": "v1.0-mini"}
    recipe = parse_recipe({"source": source, "store": str(tmp_path / "store"), "stages": stages}, where="test")
    opened = open_source(recipe.source, tmp_path)
    before = {item.path for item in make_plan(recipe, opened, Store(tmp_path / "store")).items}
    shuffled = list(OUR_STAGES)
    random.Random(seed).shuffle(shuffled)
    monkeypatch.setattr("pipeline.plan.STAGES", in_order(shuffled))
    assert {item.path for item in make_plan(recipe, opened, Store(tmp_path / "store")).items} == before
    assert {path.layout for path in before} >= {"boxes", "windows", "depth_interpolated", "depth_mono", "manifest"}


def test_order_when_stages_wait_for_each_other_then_error_names_them():
    clean = dataclasses.replace(stage_named("clean_horizon"), reads=(DEPTH_INTERPOLATED,))
    rest = [stage for stage in OUR_STAGES if stage.name != "clean_horizon"]
    with pytest.raises(
        StageOrderError, match="clean_horizon after interpolate_depth after clean_horizon|interpolate_depth after clean"
    ):
        in_order([clean, *rest])


def test_order_when_stage_reads_what_it_writes_then_error_names_it():
    clean = dataclasses.replace(stage_named("clean_horizon"), reads=(DEPTH_CLEAN,))
    with pytest.raises(StageOrderError, match="clean_horizon after clean_horizon"):
        in_order([clean])


def test_order_when_two_stages_always_make_one_layout_then_error_names_both():
    other = dataclasses.replace(stage_named("align_mono_depth"), name="other", reads=(FRAMES,), writes=DEPTH_CLEAN)
    with pytest.raises(StageOrderError, match="stages clean_horizon and other both write 'depth_clean' for every scene"):
        in_order([*OUR_STAGES, other])
    with pytest.raises(StageOrderError, match="two stages have the name 'pack_images'"):
        in_order([*OUR_STAGES, stage_named("pack_images")])


def test_order_when_stage_of_another_package_makes_what_ours_read_then_it_runs_before_them():
    other = dataclasses.replace(stage_named("project_lidar"), name="other", writes=DEPTH_MONO)
    names = [stage.name for stage in in_order([*OUR_STAGES, other])]
    assert names.index("accumulate_lidar") < names.index("other") < names.index("clean_horizon")


def test_plan_when_two_stages_of_a_recipe_make_one_layout_then_error_names_both(tiny_root, tmp_path, monkeypatch):
    accumulate = dataclasses.replace(stage_named("accumulate_lidar"), writes=DEPTH_CLEAN)
    rest = [stage for stage in STAGES if stage.name not in ("accumulate_lidar", "clean_horizon")]
    source = {"kind": "nuscenes", "root": str(tiny_root), "version": "v1.0-mini"}
    recipe = parse_recipe({"source": source, "store": str(tmp_path / "store")}, where="test")
    clean = dataclasses.replace(stage_named("clean_horizon"), reads=(FRAMES,))
    monkeypatch.setattr("pipeline.plan.STAGES", (*rest, accumulate, clean))
    with pytest.raises(RecipeError, match="stages accumulate_lidar and clean_horizon both make depth_clean of scene-0061"):
        make_plan(recipe, open_source(recipe.source, tmp_path), Store(tmp_path / "store"))
