from __future__ import annotations

import json
import subprocess
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import yaml
from PIL import Image

from pipeline.exporters.da3_depth_results import INFERNO, depth_picture
from pipeline.recipe import load_recipe
from storage_schemas.manifest import open_manifest
from storage_schemas.store import Store
from tests.conftest import REPOSITORY
from tests.tiny_kitti import write_tiny_kitti

BARE = ("--no-prefect", "--workers", 1)
PLANE = {"teacher": "plane_and_boxes", "short_side_px": 20}


@pytest.fixture(scope="module")
def kitti(tmp_path_factory):
    """A tiny set with maps of a teacher and their export; tests must not change it."""
    from flows.run.bare_loop import BareLoop
    from flows.run.making import make_units
    from flows.run.opening import open_recipe
    from flows.settings import Settings
    from pipeline.exporters.da3_depth_results import export_da3_depth_results

    folder = tmp_path_factory.mktemp("kitti")
    write_tiny_kitti(folder / "data", frames={"train": 3, "val": 1, "test": 2})
    write(folder / "recipe.yaml", folder, PLANE)
    opened = open_recipe(load_recipe(folder / "recipe.yaml"), Settings(workers=1, cache_dir=folder / "cache"))
    made = make_units(opened, BareLoop(), report=False)
    assert made.num_failed == 0
    assert export_da3_depth_results(open_manifest(opened.store), None, folder / "maps") == {"training": 4, "testing": 2}
    return folder


def write(recipe, folder, teacher, *, store="store", **stages):
    source = {"kind": "kitti_object", "root": str(folder / "data"), "splits": ["train", "val", "test"]}
    stages = {"predict_mono_depth": teacher, "align_mono_depth": {"method": "as_is"}, **stages}
    recipe.write_text(yaml.safe_dump({"source": source, "store": str(recipe.parent / store), "stages": stages}))
    return recipe


def teacher_units(store) -> dict[str, dict[str, np.ndarray]]:
    manifest = open_manifest(Store(str(store)))
    units = {path.scene: manifest.store.open_unit(path) for path in manifest.named_units() if path.layout == "depth_mono_raw"}
    return {scene: {name: unit.array(name) for name in unit.array_names} for scene, unit in units.items()}


def test_maps_when_exported_and_brought_back_then_every_stored_value_is_the_same(kitti, depthmill, tmp_path):
    recipe = write(tmp_path / "recipe.yaml", kitti, {"teacher": "depth_maps", "maps": str(kitti / "maps")})
    code, text = depthmill("run", recipe, *BARE)
    assert code == 0, text
    before, after = teacher_units(kitti / "store"), teacher_units(tmp_path / "store")
    assert before.keys() == after.keys()
    for scene in before:
        for name in before[scene]:
            np.testing.assert_array_equal(before[scene][name], after[scene][name])
    with np.load(kitti / "maps" / "training" / "000001.npz") as parts:
        assert {name: parts[name].dtype.name for name in parts.files} == {
            "depth": "float32",
            "intrinsics": "float32",
            "sky": "bool",
        }
        assert parts["intrinsics"][0, 2] / parts["depth"].shape[1] == pytest.approx(
            0.49
        )  # the principal point, whatever the size


def test_plan_when_a_map_changes_then_the_teachers_units_are_made_again(kitti, depthmill, tmp_path):
    maps = tmp_path / "maps"
    for file in (kitti / "maps").rglob("*.npz"):
        (maps / file.parent.name).mkdir(parents=True, exist_ok=True)
        (maps / file.parent.name / file.name).write_bytes(file.read_bytes())
    recipe = write(tmp_path / "recipe.yaml", kitti, {"teacher": "depth_maps", "maps": str(maps)})
    assert depthmill("run", recipe, *BARE)[0] == 0
    assert depthmill("plan", recipe, "--check")[0] == 0
    with np.load(maps / "training" / "000000.npz") as parts:
        np.savez(maps / "training" / "000000.npz", **{**parts, "depth": parts["depth"] + 1})
    code, text = depthmill("plan", recipe, "--check")
    assert code == 3
    line = next(line for line in text.splitlines() if line.startswith("predict_mono_depth"))
    assert line.split()[1:5] == ["0", "5", "params", "maps_sha256:"]
    (maps / "testing" / "000001.npz").unlink()
    code, text = depthmill("run", recipe, *BARE)
    assert code == 1
    assert "1 of 1 depth maps are not in" in text
    assert "testing/000001.npz; maps of testing/ must lie in a folder of that name" in text


def test_maps_when_they_differ_in_size_within_a_scene_then_the_error_names_both_frames(kitti, depthmill, tmp_path):
    (tmp_path / "maps/training").mkdir(parents=True)
    for number, width in ((0, 6), (2, 7)):
        np.savez(tmp_path / f"maps/training/00000{number}.npz", depth=np.ones((4, width), np.float32))
    recipe = write(tmp_path / "recipe.yaml", kitti, {"teacher": "depth_maps", "maps": str(tmp_path / "maps")})
    recipe.write_text(recipe.read_text() + "scenes: [train-124x38-0000]\n")
    code, text = depthmill("run", recipe, *BARE)
    assert code == 1
    assert "the map of 000000 is 6x4, that of 000002 in the same scene train-124x38-0000 is 7x4; expected maps alike" in text


def test_export_command_when_asked_for_then_writes_maps_and_pictures_and_never_over_others(kitti, depthmill, tmp_path):
    code, text = depthmill("export", kitti / "store", "--layout", "da3_depth_results", "--out", tmp_path / "out")
    assert (code, text) == (0, f"wrote {tmp_path / 'out'}: 4 training samples, 2 testing samples\n")
    for file in (tmp_path / "out").rglob("*.npz"):
        with np.load(file) as parts, Image.open(file.with_name(f"{file.stem}_vis.jpg")) as picture:
            assert picture.size == (parts["depth"].shape[1], 2 * parts["depth"].shape[0])
    assert len(list((tmp_path / "out/testing").iterdir())) == 4
    code, text = depthmill("export", kitti / "store", "--layout", "da3_depth_results", "--out", tmp_path / "out")
    assert code != 0
    assert "is not empty; export never mixes with what is there" in text


def test_export_command_when_it_cannot_then_says_what_is_missing(kitti, tiny_store, depthmill, tmp_path):
    code, text = depthmill("export", tiny_store, "--layout", "da3_depth_results", "--out", tmp_path / "out")
    assert code != 0
    assert "was built without depth_mono_raw. Name a teacher in stages.predict_mono_depth.teacher" in text
    assert not (tmp_path / "out").exists()
    assert (
        "expected one of: semodepth, depth_png, da3_depth_results"
        in depthmill("export", kitti / "store", "--layout", "x", "--out", "y")[1]
    )
    code, text = depthmill("import", kitti / "maps", "--store", tmp_path / "s", "--layout", "da3_depth_results")
    assert code == 2
    assert "are brought in by a recipe: set stages.predict_mono_depth.teacher to depth_maps and maps to" in text


def test_export_when_of_drives_then_files_are_named_by_frame_and_come_back(tiny_root, depthmill, write_recipe, tmp_path):
    stages = {"predict_mono_depth": PLANE, "align_mono_depth": {"method": "as_is"}}
    recipe = write_recipe(tiny_root, stages=stages)
    assert depthmill("run", recipe, *BARE)[0] == 0
    before = teacher_units(tmp_path / "store")
    code, text = depthmill("export", recipe, "--layout", "da3_depth_results", "--out", tmp_path / "maps")
    assert code == 0, text
    names = sorted(path.name for path in (tmp_path / "maps" / "training").glob("*.npz"))
    assert len(names) == 6  # also the last of each scene, which the manifest leaves out
    assert names[0].startswith("scene-0061_CAM_FRONT_15")
    stages["predict_mono_depth"] = {"teacher": "depth_maps", "maps": str(tmp_path / "maps")}
    assert depthmill("run", write_recipe(tiny_root, stages=stages), *BARE)[0] == 0
    after = teacher_units(tmp_path / "store")
    for scene in before:
        np.testing.assert_array_equal(before[scene]["value"], after[scene]["value"])


def test_export_when_values_are_not_metres_then_is_refused(kitti, depthmill, tmp_path, monkeypatch):
    from storage_schemas.catalog import VALUE_KINDS

    monkeypatch.setattr("pipeline.exporters.da3_depth_results.VALUE_KINDS", tuple(reversed(VALUE_KINDS)))
    code, text = depthmill("export", kitti / "store", "--layout", "da3_depth_results", "--out", tmp_path / "out")
    assert code != 0
    assert "the teacher gives inverse_relative values" in text
    assert not (tmp_path / "out").exists()


def test_picture_when_one_value_lies_far_out_then_the_others_keep_their_colours():
    depth = np.linspace(5, 50, 200, dtype=np.float32).reshape(10, 20)
    depth[0, 0], depth[0, 1] = 0.01, 0.0
    picture = depth_picture(np.full((30, 60, 3), 77, np.uint8), depth)
    assert picture.shape == (20, 20, 3)
    assert (picture[:10] == 77).all()
    assert picture[10, 1].tolist() == [0, 0, 0]
    below = picture[10:].reshape(-1, 3).astype(int)
    assert below[2:].max() > 200  # near ones are bright although one is nearer by far
    assert below[-1].tolist() == INFERNO[0].astype(int).tolist()
    assert len(np.unique(below, axis=0)) > 100


def test_depth_anything_3_when_it_sees_kitti_images_then_metres_by_the_focal_rule(kitti, depthmill, tmp_path, monkeypatch):
    class StandIn:
        @classmethod
        def from_pretrained(cls, folder):
            return cls()

        def to(self, device):
            return self

        def eval(self):
            return self

        def inference(self, images, **options):
            height, width = 14 * round(images[0].shape[0] * 56 / images[0].shape[1] / 14) or 14, 56
            return SimpleNamespace(depth=np.full((1, height, width), 10.0, np.float32), conf=None, sky=None)

    api = ModuleType("depth_anything_3.api")
    api.DepthAnything3 = StandIn
    monkeypatch.setitem(sys.modules, "depth_anything_3", ModuleType("depth_anything_3"))
    monkeypatch.setitem(sys.modules, "depth_anything_3.api", api)
    monkeypatch.setenv("DEPTHMILL_DEVICE", "cpu")
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights/model.safetensors").write_bytes(b"x")
    teacher = {"teacher": "depth_anything_3", "weights": str(tmp_path / "weights"), "da3_process_px": 56}
    recipe = write(tmp_path / "recipe.yaml", kitti, teacher)
    code, text = depthmill("run", recipe, *BARE)
    assert code == 0, text
    value = teacher_units(tmp_path / "store")["train-124x38-0000"]["value"]
    fx, fy = 0.58 * 124 * 56 / 124, 1.01 * 0.58 * 124 * 14 / 38
    assert value.mean() == pytest.approx(10 * (fx + fy) / 2 / 300, rel=1e-3)


def test_init_when_root_is_kitti_then_recipe_names_what_is_there_and_plans_at_once(kitti, depthmill, tmp_path):
    out = tmp_path / "recipe.yaml"
    code, text = depthmill("init", kitti / "data", "--out", out)
    assert code == 0, text
    assert text.startswith("KITTI object: 6 frames (3 train, 1 val, 2 test) of 2 image sizes\n")
    written = out.read_text()
    assert "images: 124x38 (3), 122x37 (3)" in written
    assert "train.txt names 3, val.txt names 1, test.txt names 2" in written
    assert "gives 5 scenes" in written
    assert "no DA3_depth_results/ here, so that there is no dense depth to distil from" in written
    assert "no velodyne/ here" in written
    recipe = load_recipe(out)
    assert (recipe.source.splits, recipe.cameras) == (("train", "val", "test"), ("CAM_2",))
    assert recipe.train["data"] == {"batch_size": 3}
    assert depthmill("plan", out)[0] == 0


def test_init_when_maps_and_sweeps_lie_beside_then_the_recipe_takes_them(kitti, depthmill, tmp_path):
    from model.families import parse_train_config

    root = write_tiny_kitti(tmp_path / "data", level="object", velodyne=True)
    (root / "DA3_depth_results").mkdir()
    for number in range(6):
        np.savez(root / "DA3_depth_results" / f"{number:06d}.npz", depth=np.ones((2, 6), np.float32))
    out = tmp_path / "recipe.yaml"
    answer = json.loads(depthmill("init", root, "--out", out, "--json")[1])
    assert answer["found"].startswith("KITTI object: 6 frames (4 train, 2 val)")
    written = out.read_text()
    assert "6 maps for 6 frames; maps_scale: focal_300 if DA3METRIC wrote them" in written
    assert "velodyne/ has the sweeps of 6 frames" in written
    recipe = load_recipe(out)
    assert recipe.stages.predict_mono_depth.maps == str(root / "DA3_depth_results")
    config = parse_train_config(recipe.train, where="test")
    assert (config.family, config.distill.form, config.data.mono) == ("monoddle", "l1", True)
    assert depthmill("plan", out)[0] == 0


def test_init_when_there_are_no_lists_then_the_error_has_a_command_that_makes_one(depthmill, tmp_path):
    root = write_tiny_kitti(tmp_path / "data")
    for file in (root / "ImageSets").iterdir():
        file.unlink()
    (root / "ImageSets").rmdir()
    code, text = depthmill("init", root, "--out", tmp_path / "recipe.yaml")
    assert code != 0 and f"'{root / 'ImageSets'}' is missing; expected train.txt" in text
    subprocess.run(text.partition("every image: ")[2].strip(), shell=True, check=True)
    code, text = depthmill("init", root, "--out", tmp_path / "recipe.yaml")
    assert (code, text.partition("\n")[0]) == (0, "KITTI object: 6 frames (6 train) of 2 image sizes"), text
    assert depthmill("plan", tmp_path / "recipe.yaml")[0] == 0


def test_init_when_types_are_not_kittis_then_the_recipe_says_what_they_are_taken_for(depthmill, tmp_path):
    root = write_tiny_kitti(tmp_path / "data")
    path = root / "training/label_2/000000.txt"
    lines = [line.replace("Car ", "PassengerCar ").replace("DontCare", "dontcare") for line in path.read_text().splitlines()]
    path.write_text("\n".join([*lines, lines[0].replace("PassengerCar", "traffic_cone")]))
    assert depthmill("init", root, "--out", tmp_path / "recipe.yaml")[0] == 0
    assert "  types: {PassengerCar: Car, traffic_cone: Misc}" in (tmp_path / "recipe.yaml").read_text()
    code, text = depthmill("run", tmp_path / "recipe.yaml", *BARE)
    assert code == 0, text


def test_plan_when_clips_are_asked_for_then_refused_since_there_are_no_poses(kitti, depthmill, tmp_path):
    recipe = write(tmp_path / "recipe.yaml", kitti, {"teacher": "none"}, index_windows={"enabled": True})
    for command in ("plan", "run", "train"):
        code, text = depthmill(command, recipe)
        assert code == 2
        assert (
            "source.kind kitti_object gives single frames without poses, of which no clips can be made. Set it to false" in text
        )
        assert "take a source of drives (nuscenes, synthetic" in text


def test_init_when_labels_or_calibration_are_broken_then_says_so_before_there_is_a_recipe(depthmill, tmp_path):
    root = write_tiny_kitti(tmp_path / "data")
    path = root / "training/calib/000003.txt"
    path.write_text(path.read_text().replace("0.000000000000e+00 1.000000000000e+00 3.0", "1.0e-02 9.998e-01 3.0"))
    code, text = depthmill("init", root, "--out", tmp_path / "recipe.yaml")
    assert code != 0 and "calib/000003.txt' line 3, key P2: the third row is 0 0.01 0.9998 0.003, expected 0 0 1 t" in text
    assert not (tmp_path / "recipe.yaml").exists()


def test_init_when_the_folder_is_not_the_root_then_names_the_right_one(kitti, depthmill, tmp_path):
    root = kitti / "data"
    text = depthmill("init", root / "training" / "image_2", "--out", tmp_path / "r.yaml")[1]
    assert f"'{root}' is. Run: depthmill init {root}" in text
    text = depthmill("init", root, "--out", tmp_path / "r.yaml", "--version", "v1.0-mini")[1]
    assert f"--version is of nuScenes-format data, '{root}' is kitti_object. Leave it out" in text


def test_ready_recipe_when_read_then_is_the_published_training_of_this_set():
    from model.families import parse_train_config

    recipe = load_recipe(REPOSITORY / "flows" / "recipes" / "kitti.yaml")
    config = parse_train_config(recipe.train, where="kitti.yaml")
    assert recipe.stages.build_manifest.drop_last_keyframe is False
    assert (recipe.stages.predict_mono_depth.teacher, recipe.stages.align_mono_depth.method) == ("depth_maps", "as_is")
    assert (config.family, config.epochs, config.data.batch_size, config.distill.weight) == ("monoddle", 140, 16, 0.5)


@pytest.mark.real_data
def test_init_when_kitti_is_real_then_recipe_runs_at_once(shared, depthmill, tmp_path):
    assert depthmill("init", shared / "data" / "kitti-object", "--out", tmp_path / "recipe.yaml")[0] == 0
    code, text = depthmill("run", tmp_path / "recipe.yaml", *BARE)
    assert code == 0, text
    rows = open_manifest(Store(str(tmp_path / "store"))).rows()
    assert [row["num_boxes"] for row in rows] == [1, 3, 2, 6, 5, 4, 4, 15]
