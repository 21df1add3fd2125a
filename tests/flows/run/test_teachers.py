from __future__ import annotations

import json
import pickle
import subprocess
import sys

import numpy as np
import pytest
import yaml

from flows.run.opening import open_recipe
from flows.run.teachers import _loaded, teacher_factory, teacher_facts
from flows.settings import Settings
from pipeline.mono_depth.model import MonoDepthError
from pipeline.recipe import parse_recipe
from pipeline.run import run_scene, scene_requests
from storage_schemas.catalog import VALUE_KINDS
from storage_schemas.errors import RecipeError
from storage_schemas.manifest import open_manifest
from storage_schemas.store import Store
from tests.conftest import REPOSITORY

BARE = ("--no-prefect", "--workers", 1)


@pytest.fixture(autouse=True)
def _one_process(monkeypatch):
    monkeypatch.setenv("DEPTHMILL_LOADER_WORKERS", "0")
    monkeypatch.setenv("DEPTHMILL_DEVICE", "cpu")
    _loaded.cache_clear()


@pytest.fixture
def weights(tmp_path):
    """Something with the names of weights; good enough for a plan."""
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "config.json").write_text("{}")
    return folder


def planned(recipe_file, cache, **changes):
    recipe = yaml.safe_load(recipe_file.read_text())
    recipe["stages"] = {"predict_mono_depth": changes}
    opened = open_recipe(parse_recipe(recipe, where="test"), Settings(workers=1, cache_dir=cache))
    return opened, {(item.stage, item.identity.scene): item for item in opened.plan().items}


def test_plan_when_no_teacher_is_named_then_there_is_no_monocular_depth(tiny_root, write_recipe, tmp_path):
    _, items = planned(write_recipe(tiny_root), tmp_path / "cache", teacher="none", truth_noise=0.3)
    assert not {stage for stage, _ in items} & {"predict_mono_depth", "align_mono_depth"}
    assert set(items["clean_horizon", "scene-0061"].inputs) == {"depth_accumulated"}


def test_fingerprint_when_weights_change_then_changes_and_when_they_move_or_another_teachers_rule_changes_then_not(
    tiny_root, write_recipe, weights, tmp_path
):
    recipe, cache = write_recipe(tiny_root), tmp_path / "cache"
    options = {"teacher": "dpt", "weights": str(weights)}

    def unit(**changes):
        return planned(recipe, cache, **{**options, **changes})[1]["predict_mono_depth", "scene-0061"].path.fingerprint

    first = unit()
    assert unit(da3_process_px=700, truth_noise=0.2, da3_output="metres") == first
    assert unit(short_side_px=256) != first
    weights.rename(tmp_path / "moved")
    options["weights"] = str(tmp_path / "moved")
    assert unit() == first
    (tmp_path / "moved" / "model.safetensors").write_bytes(b"others!")
    assert unit() != first
    assert unit(teacher="depth_anything_3") not in (first, unit())


def test_plan_when_made_with_weights_then_torch_is_not_loaded(tiny_root, write_recipe, weights, depthmill):
    recipe = write_recipe(tiny_root, stages={"predict_mono_depth": {"teacher": "dpt", "weights": str(weights)}})
    code = (
        f"import sys; sys.argv = ['depthmill', 'plan', {str(recipe)!r}]\n"
        "from flows.cli import main\n"
        "try:\n main()\nexcept SystemExit:\n pass\n"
        "print({'torch', 'transformers'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "set()"
    assert "predict_mono_depth           0      2  new" in done.stdout


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"teacher": "dpt"}, "teacher dpt needs weights: the local folder of the model (nothing is downloaded)"),
        ({"teacher": "dpt", "weights": "/nowhere"}, "teacher weights '/nowhere' do not exist. Copy them there"),
        ({"teacher": "midas"}, "stages.predict_mono_depth.teacher is 'midas': Input should be 'none', 'plane_and_boxes'"),
    ],
)
def test_recipe_when_the_teacher_cannot_be_then_plan_says_why_with_exit_code_2(
    tiny_root, write_recipe, depthmill, changes, words
):
    code, text = depthmill("plan", write_recipe(tiny_root, stages={"predict_mono_depth": changes}))
    assert code == 2
    assert words in text


def test_factory_when_the_weights_were_replaced_after_planning_then_refuses(tiny_root, write_recipe, weights, tmp_path):
    opened, _ = planned(write_recipe(tiny_root), tmp_path / "cache", teacher="dpt", weights=str(weights))
    factory = pickle.loads(pickle.dumps(teacher_factory(opened.recipe, opened.settings)))
    assert len(pickle.dumps(factory)) < 2000
    assert teacher_facts(opened.recipe, opened.settings) == {"weights_sha256": factory.weights_sha256}
    (weights / "model.safetensors").write_bytes(b"others!")
    with pytest.raises(
        MonoDepthError, match="the run was planned with .* They were replaced meanwhile, or this machine has others"
    ):
        factory()
    (weights / "model.safetensors").unlink()
    with pytest.raises(RecipeError, match="the folder has no file that ends in"):
        factory()


def test_run_when_the_teacher_cannot_be_loaded_then_the_other_stages_are_made(
    tiny_root, write_recipe, weights, depthmill, tmp_path
):
    recipe = write_recipe(tiny_root, stages={"predict_mono_depth": {"teacher": "depth_anything_3", "weights": str(weights)}})
    code, text = depthmill("run", recipe, *BARE)
    assert code == 1
    assert "teacher depth_anything_3 needs the package depth-anything-3" in text
    assert "SKIP" in text and "predict_mono_depth failed" in text
    assert len(list(Store(tmp_path / "store").units("depth_accumulated"))) == 2


def test_run_when_a_network_is_the_teacher_then_its_maps_and_versions_are_in_the_store(
    tiny_root, write_recipe, tmp_path, depthmill
):
    pytest.importorskip("transformers", reason="the extra 'mono' is not installed")
    from tests.model.teachers.test_dpt import save_dpt

    save_dpt(tmp_path / "weights")
    options = {"teacher": "dpt", "weights": str(tmp_path / "weights"), "short_side_px": 32}
    recipe = write_recipe(tiny_root, stages={"predict_mono_depth": options})
    opened, _ = planned(recipe, tmp_path / "cache", **options)
    plan = opened.plan()
    teacher = teacher_factory(opened.recipe, opened.settings)
    requests = scene_requests(plan, opened.recipe, opened.store, opened.source.reader(), depth_model=teacher)
    results = {result.stage: result for result in run_scene(pickle.loads(pickle.dumps(requests[0])))}
    assert results["predict_mono_depth"].message == "3 frames by dpt, 64x32, inverse_relative"
    assert results["align_mono_depth"].status == "OK"
    store = Store(tmp_path / "store")
    path = next(iter(store.units("depth_mono_raw")))
    unit = store.open_unit(path)
    assert unit.array("value").shape == (3, 32, 64)
    assert np.ptp(unit.array("value", 0).astype(np.float32)) > 0
    assert {VALUE_KINDS[kind] for kind in unit.array("value_kind")} == {"inverse_relative"}
    record = store.lineage(path)
    assert {"torch", "transformers", "teacher_device"} <= set(record.provenance)
    assert record.identity.params == {
        "teacher": "dpt", "teacher_version": 1, "short_side_px": 32, "multiple_px": 32,
        "weights_sha256": teacher.weights_sha256,
    }  # fmt: skip


SMALL = (
    "--set", "train.network.base_channels=8", "--set", "train.max_steps=2", "--set", "train.data.batch_size=2",
    "--set", "train.evaluation.num_strips=1",
)  # fmt: skip


@pytest.mark.slow
def test_train_when_plugged_in_then_from_recipe_to_both_tables(
    tiny_root, tiny_store, write_recipe, depthmill, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    stages = {"predict_mono_depth": {"teacher": "plane_and_boxes"}, "clean_horizon": {"upper_fraction": 0.9, "near_m": 60}}
    train = {"network": {"plug_in": True}, "data": {"mono": True}}
    recipe = write_recipe(tiny_root, stages=stages, train=train)
    code, text = depthmill("train", recipe, *BARE, "--out", tmp_path / "training", *SMALL)
    assert code == 0, text
    assert ", monocular depth given" in text and ", monocular depth withheld" in text
    manifest = open_manifest(Store(tmp_path / "store"))
    mono = manifest.store.open_unit(manifest.unit_of(manifest.rows()[0], "depth_mono"))
    assert (mono.array("num_measured") == 36 * 64).all()
    assert (mono.array("fit_scale") > 0.8).all() and (mono.array("fit_scale") < 1.2).all()  # radar agrees with plane and boxes
    given, withheld = (tmp_path / "training" / "evaluation" / name / "frames.parquet" for name in ("", "without-mono"))
    assert given.read_bytes() != withheld.read_bytes()
    code, text = depthmill("compare", tmp_path / "training", tmp_path / "training" / "evaluation" / "without-mono")
    assert code == 0, text
    code, text = depthmill("evaluate", tmp_path / "training", recipe, "--json", "--out", tmp_path / "again")
    assert code == 0, text
    found = json.loads(text)
    assert found["rows"] != found["rows_without_mono"]
    code, text = depthmill("predict", tmp_path / "training", recipe, "--out", tmp_path / "depth")
    assert code == 0, text
    code, text = depthmill("evaluate", tmp_path / "training", tiny_store, "--out", tmp_path / "elsewhere")  # a store without
    assert code == 0, text
    assert "monocular depth withheld: the split has none" in text
    assert not (tmp_path / "elsewhere" / "without-mono").exists()


def test_recipe_when_mono_is_delivered_to_a_network_without_the_branch_then_says_which_key(tiny_root, write_recipe, depthmill):
    code, text = depthmill("train", write_recipe(tiny_root, train={"data": {"mono": True}}), *BARE)
    assert code == 2
    assert "train.data.mono is true, and the network has no branch for monocular depth. Set train.network.plug_in to true" in text
