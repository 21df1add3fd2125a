from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from pipeline.mono_depth.model import MonoDepthError, MonoDepthMap
from pipeline.plan import make_plan
from pipeline.recipe import parse_recipe
from pipeline.run import run_scene, scene_requests
from pipeline.sources import open_source
from pipeline.stage import StageInput
from pipeline.stages.predict_mono_depth import STAGE, Params, counted_params, kernel
from storage_schemas.catalog import DEPTH_MONO_RAW, VALUE_KINDS
from storage_schemas.layout import check
from storage_schemas.store import Store


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """One simulated drive of a second; its folder."""
    folder = tmp_path_factory.mktemp("drive")
    opened = open_source(recipe_over(folder, folder / "store").source, folder / "cache")
    opened.prepare()
    return folder


def recipe_over(folder, store, **stages):
    source = {
        "kind": "synthetic", "scenes": 1, "seconds": 1, "image_size": [160, 90], "lidar_azimuth_steps": 200, "root": str(folder / "raw"),
    }  # fmt: skip
    return parse_recipe({"source": source, "store": str(store), "stages": stages}, where="test")


def run(world, tmp_path, **stages) -> tuple[dict, Store]:
    """Run the first scene; return units by layout."""
    recipe = recipe_over(world, tmp_path / "store", **stages)
    opened, store = open_source(recipe.source, world / "cache"), Store(recipe.store)
    plan = make_plan(recipe, opened, store)
    results = [result for request in scene_requests(plan, recipe, store, opened.reader()) for result in run_scene(request)]
    assert {result.status for result in results} == {"OK"}, [result.message for result in results]
    return {item.path.layout: store.open_unit(item.path) for item in plan.items if item.stage != "build_manifest"}, store


def test_truth_when_spoilt_by_scale_and_shift_then_alignment_by_radar_brings_the_metres_back(world, tmp_path):
    units, _ = run(
        world,
        tmp_path,
        predict_mono_depth={"teacher": "truth", "truth_noise": 0, "truth_scale_spread": 1.0},
        align_mono_depth={"fit": "robust"},
    )
    truth, mono = (units[name].array("depth_m") / 256 for name in ("depth_truth", "depth_mono"))
    raw = units["depth_mono_raw"]
    assert raw.array("value").shape == mono.shape
    seen = (truth > 2) & (truth < 60)
    error = np.abs(mono / np.maximum(truth, 1) - 1)[seen]
    assert np.median(error) < 0.05
    per_m = raw.array("value").astype(np.float64)[seen]
    assert np.median(np.abs(per_m * truth[seen] - 1)) > 0.15  # before, it was not even near


def test_clean_horizon_when_a_teacher_is_there_then_pass_b_drops_more_and_only_drops(world, tmp_path):
    rule = {"near_m": 60, "near_mono_m": 60, "mono_disagree_m": 2, "upper_fraction": 0.9}
    with_mono, _ = run(world, tmp_path / "a", predict_mono_depth={"teacher": "truth", "truth_noise": 0}, clean_horizon=rule)
    without, _ = run(world, tmp_path / "b", clean_horizon=rule)
    a, b = (units["depth_clean"] for units in (with_mono, without))
    assert (a.array("num_by_mono") > 0).all() and not b.array("num_by_mono").any()
    assert np.array_equal(a.array("num_by_window"), b.array("num_by_window"))
    assert ((a.array("depth_m") == b.array("depth_m")) | (a.array("depth_m") == 0)).all()


def test_kernel_when_the_data_set_knows_no_truth_then_says_what_to_choose(tiny_root, tmp_path):
    with pytest.raises(
        MonoDepthError,
        match=r"teacher 'truth' finds no exact depth: .*Only a simulated world has it: set source.kind to synthetic",
    ):
        kernel(tiny_unit(tiny_root, tmp_path), Params(teacher="truth"))


def tiny_unit(tiny_root, tmp_path, *, mode="bytes", teacher=None) -> StageInput:
    """The first scene of the tiny database, as the stage gets it."""
    from pipeline.stages.index_frames import STAGE as INDEX
    from pipeline.stages.pack_images import STAGE as PACK

    source = {"kind": "nuscenes", "root": str(tiny_root), "version": "v1.0-mini"}
    recipe = parse_recipe({"source": source, "store": "unused", "stages": {"pack_images": {"mode": mode}}}, where="test")
    raw = open_source(recipe.source, tmp_path / "cache").reader()
    frames = INDEX.kernel(StageInput("scene-0061", "all", {}, raw), recipe.stages.index_frames).data
    images = PACK.kernel(StageInput("scene-0061", "CAM_FRONT", {"frames": frames}, raw), recipe.stages.pack_images).data
    return StageInput("scene-0061", "CAM_FRONT", {"frames": frames, "images": images}, raw, depth_model=teacher)


class Onlooker:
    """Keeps what it is shown."""

    name, sees = "dpt", frozenset({"image"})

    def __init__(self, found=None):
        self.frames, self._found = [], found

    def predict(self, frame):
        self.frames.append(frame)
        return self._found or MonoDepthMap(
            np.full((4, 7), 2.0 + len(self.frames), np.float32), "relative", np.ones((4, 7), np.float32), np.eye(4, 7) > 0
        )

    def provenance(self):
        return {"onlooker": "1.2"}


DPT = Params(teacher="dpt", weights="/weights")


@pytest.mark.parametrize("mode", ["bytes", "reference"])
def test_kernel_when_a_teacher_is_injected_then_sees_images_and_calibration_and_all_it_says_is_kept(tiny_root, tmp_path, mode):
    onlooker = Onlooker()
    unit = tiny_unit(tiny_root, tmp_path, mode=mode, teacher=lambda: onlooker)
    made = kernel(unit, DPT)
    check(DEPTH_MONO_RAW, made.data, where="test")
    assert [frame.frame_key for frame in onlooker.frames] == [f"scene-0061/CAM_FRONT/{number}" for number in range(3)]
    frame = onlooker.frames[1]
    assert frame.image_u8.shape == (frame.height, frame.width, 3) == (36, 64, 3)
    assert frame.intrinsic_px[0, 0] == pytest.approx(0.8 * 64)
    assert frame.exact_m is None and frame.boxes == ()
    assert made.data.arrays["value"][:, 0, 0].tolist() == [3, 4, 5]
    assert made.data.arrays["is_sky"].sum() == 3 * 4
    assert (made.data.arrays["confidence"] == 1).all()
    assert {VALUE_KINDS[kind] for kind in made.data.arrays["value_kind"]} == {"relative"}
    assert made.provenance == {"onlooker": "1.2"}
    assert made.message == "3 frames by dpt, 7x4, relative"
    assert len(unit.used_files) == (3 if mode == "reference" else 0)


def test_kernel_when_the_teacher_gives_nonsense_then_names_teacher_and_frame(tiny_root, tmp_path):
    bad = MonoDepthMap(np.full((4, 7), np.nan, np.float32), "metric")
    with pytest.raises(MonoDepthError, match="teacher dpt, frame scene-0061/CAM_FRONT/0: value lies in"):
        kernel(tiny_unit(tiny_root, tmp_path, teacher=lambda: Onlooker(bad)), DPT)


def test_boxes_when_the_plane_teacher_sees_them_then_those_of_the_key_frame_only(tiny_root, tmp_path):
    unit = tiny_unit(tiny_root, tmp_path)
    made = kernel(unit, Params(teacher="plane_and_boxes")).data.arrays
    assert made["value"].shape == (3, 36, 64)
    assert not unit.used_files
    without = dataclasses.replace(unit, units={**unit.units, "frames": without_boxes(unit)})
    plain = kernel(without, Params(teacher="plane_and_boxes")).data.arrays
    assert ((made["value"] < plain["value"]).sum(axis=(1, 2)) > 5).all()
    assert len(np.unique(plain["value"], axis=0)) == 1 and len(np.unique(made["value"], axis=0)) == 3  # boxes come nearer


def without_boxes(unit):
    frames = unit.units["frames"]
    return dataclasses.replace(frames, tables={**frames.tables, "boxes": {name: [] for name in frames.tables["boxes"]}})


def test_counted_params_when_a_teacher_is_chosen_then_its_own_rules_only():
    assert counted_params(Params(teacher="plane_and_boxes", truth_noise=0.4), {}) == {
        "teacher": "plane_and_boxes", "teacher_version": 1, "short_side_px": 384,
    }  # fmt: skip
    assert counted_params(DPT, {"weights_sha256": "ab"})["weights_sha256"] == "ab"
    assert "weights" not in counted_params(DPT, {"weights_sha256": "ab"})
    assert "truth_noise" in counted_params(Params(teacher="truth"), {})
    assert STAGE.chosen_reads(Params(teacher="truth")) == STAGE.reads[:1]
    assert STAGE.chosen_reads(DPT) == STAGE.reads[:2]
    assert STAGE.chosen_reads(Params(teacher="plane_and_boxes")) == (STAGE.reads[0], STAGE.reads[2])
