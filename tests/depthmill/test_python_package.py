"""depthmill from Python: a recipe to its table, a network in memory, and mistakes."""

from __future__ import annotations

import doctest
import inspect
import subprocess
import sys

import numpy as np
import pytest

import depthmill
from model.errors import InputError
from tests.conftest import REPOSITORY

SMALL = (
    "train.network.base_channels=8",
    "train.max_steps=2",
    "train.data.batch_size=1",
    "train.evaluation.num_strips=0",
)


pytestmark = pytest.mark.usefixtures("one_process")


def test_recipe_when_taken_from_plan_to_comparison_then_every_step_returns_its_value(tiny_root, write_recipe, tmp_path, capfd):
    recipe = write_recipe(tiny_root)
    to_do = depthmill.plan(recipe).to_do
    assert {item.stage for item in to_do} >= {"index_frames", "accumulate_lidar", "build_manifest"}
    made = depthmill.run(recipe, workers=1, report=False)
    assert (made.num_failed, made.summary.num_ok) == (0, len(to_do))
    assert depthmill.plan(recipe).to_do == ()
    (reason,) = {item.reason for item in depthmill.plan(recipe, overrides=("stages.clean_horizon.near_m=3",)).to_do[:1]}
    assert reason.startswith("params near_m:")
    frames = depthmill.open_dataset(recipe)
    assert frames.sizes["frame"] > 0 and "depth_clean_m" in frames
    assert depthmill.open_dataset(tmp_path / "store").attrs["manifest"] == frames.attrs["manifest"]

    assessed = depthmill.assess(recipe, frames=2)
    assert assessed.data["num_frames"] == 2
    assert assessed.text.startswith("2 frames of 2 scenes against the key sweep, held out")

    trained = depthmill.train(recipe, overrides=SMALL)
    folder = trained.training.folder
    answer = depthmill.evaluate(folder, recipe, out=tmp_path / "measured")
    assert answer.data["rows"][0]["radar"] == "on"
    assert answer.text.endswith(f"wrote {tmp_path / 'measured'}")
    compared = depthmill.compare(folder, tmp_path / "measured")
    assert compared.data[0]["mean_difference"] == 0
    assert compared.text.startswith(f"a = {folder}\n")

    model = depthmill.load_model(folder)
    assert (model.name, model.family.name) == (folder.name, "semodepth")
    image_u8 = frames["image"].isel(frame=0).values
    depth_m = model.predict(image_u8, radar_m=frames["radar_m"].isel(frame=0).values)  # NaN = no return, as xarray masks
    assert depth_m.shape == image_u8.shape[:2] and np.isfinite(depth_m).all() and depth_m.min() > 0
    assert model.predict_files(recipe, tmp_path / "predicted", pictures=False) == len(
        list((tmp_path / "predicted").rglob("*.png"))
    )
    with pytest.raises(InputError, match=r"radar_m has shape \(2, 2\), its image"):
        model.predict(image_u8, radar_m=np.zeros((2, 2), np.float32))
    assert capfd.readouterr().out == ""  # whoever calls from Python gets values, and prints what he likes


def test_functions_when_a_caller_is_mistaken_then_the_text_says_what_to_do(tmp_path):
    with pytest.raises(depthmill.DepthmillError, match=r"recipe '.*no\.yaml' does not exist. Write one with depthmill init"):
        depthmill.plan(tmp_path / "no.yaml")
    with pytest.raises(depthmill.DepthmillError, match="does not exist or is empty. Give the path or URL of a store"):
        depthmill.open_dataset(tmp_path / "nothing")
    with pytest.raises(depthmill.DepthmillError, match="checkpoint '.*' does not exist. Give the folder or URL of a training"):
        depthmill.load_model(tmp_path / "best.pt")


def test_train_when_out_is_a_file_then_refused(tiny_root, write_recipe):
    recipe = write_recipe(tiny_root)
    assert depthmill.run(recipe, workers=1, report=False).num_failed == 0
    with pytest.raises(
        depthmill.DepthmillError, match=r"recipe.yaml' is a file, expected a folder to write. Choose another with --out"
    ):
        depthmill.train(recipe, overrides=SMALL, out=recipe)


def test_package_when_imported_then_it_brings_no_torch_and_no_prefect():
    code = "import sys, depthmill; print(sorted({'torch', 'prefect', 'zarr'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_package_when_its_docstring_shows_calls_then_they_fit_the_signatures():
    (example,) = doctest.DocTestFinder(recurse=False).find(depthmill)
    names = [name for name in depthmill.__all__ if inspect.isfunction(getattr(depthmill, name))]
    called = "\n".join(one.source for one in example.examples)
    assert [name for name in names if f"depthmill.{name}(" not in called] == []
    assert all(inspect.getdoc(getattr(depthmill, name)) for name in depthmill.__all__)
