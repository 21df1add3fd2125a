from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from depthmill import recipes
from storage_schemas import errors as depthmill_errors
from storage_schemas.store import Store
from tests.flows.test_cli import BARE
from tests.tiny_kitti import write_tiny_kitti


def test_assess_when_nothing_was_run_then_measures_in_memory_and_stores_nothing(tiny_root, write_recipe, depthmill, tmp_path):
    code, text = depthmill("assess", write_recipe(tiny_root))
    assert code == 0, text
    assert "6 frames of 2 scenes against the key sweep, held out: an upper bound of the errors" in text
    assert "depth_accumulated  published" in text
    assert "depth_clean by range:" in text
    assert not (tmp_path / "store").exists()


def test_assess_when_units_are_there_then_gives_the_same_figures(tiny_root, write_recipe, depthmill):
    recipe = write_recipe(tiny_root)
    _, before = depthmill("assess", recipe, "--json")
    depthmill("run", recipe, *BARE)
    _, after = depthmill("assess", recipe, "--json")
    assert json.loads(before)["figures"] == json.loads(after)["figures"]


def test_report_when_the_manifest_was_assessed_then_shows_the_figures(tiny_root, write_recipe, depthmill, tmp_path):
    recipe = write_recipe(tiny_root)
    depthmill("run", recipe, *BARE)
    page = tmp_path / "r.html"
    depthmill("report", recipe, "--out", page)
    assert "These units were not assessed yet" in page.read_text()
    depthmill("assess", recipe)
    depthmill("report", recipe, "--out", page)
    assert "6 frames of 2 scenes against the key sweep, held out" in page.read_text()
    depthmill("report", recipe, "--out", page, "--set", "stages.build_manifest.drop_last_keyframe=false")
    assert "These units were not assessed yet" in page.read_text()
    (kept,) = (tmp_path / "store/runs/assessments").iterdir()
    kept.write_text("{")
    depthmill("report", recipe, "--out", page)
    assert "These units were not assessed yet" in page.read_text()


def test_assess_when_asked_for_json_then_counts_add_up(tiny_root, write_recipe, depthmill):
    code, text = depthmill("assess", write_recipe(tiny_root), "--json", "--hold-out", 1)
    answer = json.loads(text)
    assert (code, answer["against"], answer["held_out_neighbours"], answer["num_frames"]) == (0, "sweep", 1, 6)
    figures = {(one["store"], one["by"], one["group"]): one["plain"] for one in answer["figures"]}
    every = figures["depth_clean", "all", "all"]
    of_scenes = [plain for (store, by, _), plain in figures.items() if (store, by) == ("depth_clean", "scene")]
    assert every["pixels"] == sum(plain["pixels"] for plain in of_scenes)
    assert every["compared"] == sum(
        plain["compared"] for (store, by, _), plain in figures.items() if (store, by) == ("depth_clean", "range")
    )
    assert every["coverage"] == every["measured"] / every["pixels"]


def test_assess_when_given_a_folder_then_writes_tables_figures_and_pictures(tiny_root, write_recipe, depthmill, tmp_path):
    recipe, out = write_recipe(tiny_root), tmp_path / "out"
    code, text = depthmill("assess", recipe, "--out", out, "--pictures", 2, "--frames", 4)
    assert code == 0, text
    assert text.rstrip().endswith(f"wrote {out}")
    assert (out / "table.md").read_text().startswith("# Assessment of recipe\n")
    rows = list(csv.DictReader((out / "frames.csv").open()))
    assert len(rows) == 4 * 2
    assert {row["store"] for row in rows} == {"depth_accumulated", "depth_clean"}
    groups = list(csv.DictReader((out / "groups.csv").open()))
    assert {"all", "range", "image row", "light", "scene"} <= {row["by"] for row in groups}
    pictures = sorted(out.glob("worst-*.png"))
    assert [picture.name[:8] for picture in pictures] == ["worst-1-", "worst-2-"]
    with Image.open(pictures[0]) as picture:
        assert np.asarray(picture).std() > 5
    code, text = depthmill("assess", recipe, "--out", out)
    assert code == 2
    assert f"'{out}' is not empty; assess never mixes with what is there. Choose another --out" in text


def test_assess_when_scenes_are_named_then_measures_those(tiny_root, write_recipe, depthmill):
    code, text = depthmill("assess", write_recipe(tiny_root), "--scenes", "scene-0103")
    assert code == 0, text
    assert "frames of 1 scene against" in text


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--scenes", "scene-7"), "--scenes: scene 'scene-7' is not among those with accumulated depth: scene-0061, scene-0103"),
        (("--reference", "lidar"), "--reference 'lidar' is unknown; expected auto, truth or sweep"),
        (("--reference", "truth"), "--reference truth: the exact depth of these scenes is not known. Use --reference sweep"),
        (("--against", "best"), "--against 'best' is unknown; expected published or none"),
        (("--parts",), "--parts: the recipe switches no addition on, so there is none to leave out"),
        (("--set", "stages.accumulate_lidar.lidar=LIDAR_X"), "no scene has files of LIDAR_X; LiDARs there: LIDAR_TOP"),
    ],
)
def test_assess_when_options_do_not_fit_then_says_what_does(options, expected, tiny_root, write_recipe, depthmill):
    code, text = depthmill("assess", write_recipe(tiny_root), *options)
    assert code == 2, text
    assert expected in text


def test_assess_when_a_key_sweep_is_missing_then_warns_and_measures_the_others(tiny_root, write_recipe, depthmill, tmp_path):
    root = Path(shutil.copytree(tiny_root, tmp_path / "raw"))
    sorted((root / "samples/LIDAR_TOP").iterdir())[0].unlink()
    code, text = depthmill("assess", write_recipe(root))
    assert code == 0, text
    assert "5 frames of 2 scenes" in text
    assert "warning: scene-0061: key frames are left out, since they have no LIDAR_TOP file (1)" in text


def test_assess_when_a_sweep_file_is_broken_then_names_it(tiny_root, write_recipe, depthmill, tmp_path):
    root = Path(shutil.copytree(tiny_root, tmp_path / "raw"))
    file = sorted((root / "samples/LIDAR_TOP").iterdir())[0]
    file.write_bytes(file.read_bytes()[:-7])
    code, text = depthmill("assess", write_recipe(root))
    assert code == 2, text
    assert file.name in text


def test_assess_when_the_source_has_no_sweeps_then_says_so(depthmill, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    source = {"kind": "kitti_object", "root": str(write_tiny_kitti(tmp_path / "raw")), "splits": ["train", "val"]}
    recipe.write_text(yaml.safe_dump({"source": source, "store": str(tmp_path / "store"), "cameras": ["CAM_2"]}))
    code, text = depthmill("assess", recipe)
    assert code == 2, text
    assert "error: the recipe accumulates no LiDAR: no chosen scene has the channel of stages.accumulate_lidar.lidar" in text


def test_assess_when_the_world_is_simulated_then_compares_with_exact_depth(depthmill, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"source: {{kind: synthetic, root: {tmp_path}/world, scenes: 1, seconds: 1, image_size: [160, 90], "
        f"lidar_azimuth_steps: 60}}\nstore: {tmp_path}/store\n"
    )
    code, text = depthmill("assess", recipe, "--out", tmp_path / "out")
    assert code == 0, text
    assert "first the world of 1 scenes is simulated" in text
    assert "against exact depth" in text
    assert "depth_single" in text
    assert "moving annotated" in (tmp_path / "out/table.md").read_text()
    assert not list(Store(str(tmp_path / "store")).files.names(""))
    code, text = depthmill("assess", recipe, "--reference", "sweep")
    assert code == 0, text
    assert "held out" in text


def test_assess_when_called_from_python_with_no_frames_then_says_what_is_expected(tiny_root, write_recipe):
    with pytest.raises(depthmill_errors.RecipeError, match="--frames 0 is too small; expected 1 or more"):
        recipes.assess(write_recipe(tiny_root), frames=0)


def test_assess_when_nothing_is_left_beside_the_key_sweep_then_says_why(tiny_root, write_recipe, depthmill, tmp_path):
    out = tmp_path / "out"
    code, text = depthmill("assess", write_recipe(tiny_root), "--set", "stages.accumulate_lidar.num_sweeps=1", "--out", out)
    assert code == 2, text
    assert (
        "error: no pixel could be compared: without the held-out sweeps, no return of the windows falls where the key sweep"
        in text
    )
    assert not out.exists()
