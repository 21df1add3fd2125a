"""Result files of any detector, measured by ``depthmill evaluate`` and from Python."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import yaml

import depthmill as package
from model.monoddle.evaluation import AP_FILE, read_average_precision, scaled_difficulties
from model.monoddle.kitti_files import evaluate_result_folder
from model.monoddle.precision.average_precision import STRICT_OVERLAP, ApRow
from model.train.result_files import DIGESTS_FILE, rows_as_csv
from storage_schemas.errors import StoreError
from tests.time_limit import within

TRAIN = ["000000", "000001", "000002", "000003"]


@pytest.fixture
def labels(tiny_kitti_store) -> Path:
    return tiny_kitti_store.parent / "raw/training/label_2"


@pytest.fixture
def results(labels, tmp_path) -> Path:
    """What a detector that errs a little would write of every frame: a bit to the side, some missed, one that is not there."""
    folder = tmp_path / "results_of_other"
    folder.mkdir()
    for number, path in enumerate(sorted(labels.iterdir())):
        lines = []
        for place, line in enumerate(line for line in path.read_text().splitlines() if not line.startswith("DontCare")):
            words = line.split()
            words[11] = f"{float(words[11]) + 0.03 * place:.2f}"
            lines.append(" ".join([*words, f"{0.9 - 0.07 * number - 0.1 * place:.2f}"]))
        lines.append("Van -1 -1 0.1 3 4 60 30 1.5 1.6 4.0 30 1.6 40 0.2 0.3")
        (folder / path.name).write_text("\n".join(lines[number % 2 :]))
    return folder


@pytest.fixture
def recipe(tiny_kitti_store, tmp_path) -> Path:
    stages = {"predict_mono_depth": {"teacher": "plane_and_boxes"}, "align_mono_depth": {"method": "as_is", "sky": "none"}}
    source = {"kind": "kitti_object", "root": str(tiny_kitti_store.parent / "raw"), "splits": ["train", "val"]}
    content = {"source": source, "store": str(tiny_kitti_store), "cameras": ["CAM_2"], "stages": stages}
    content["train"] = {"family": "monoddle", "evaluation": {"height_scale": 0.1}}
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_evaluate_when_given_result_files_then_measures_them_as_the_label_files_do(results, recipe, labels, depthmill, tmp_path):
    code, text = depthmill("evaluate", results, recipe, "--split", "train", "--out", tmp_path / "out", "--json")
    assert code == 0, text
    answer = json.loads(text)
    wanted = evaluate_result_folder(labels, results, TRAIN, classes=tuple(STRICT_OVERLAP), difficulties=scaled_difficulties(0.1))
    by_class = {row["category"] for row in answer["rows"]}
    assert answer["rows"] == [row._asdict() for row in wanted if row.category in by_class]
    assert any(row["r40"] > 0 for row in answer["rows"])
    assert (answer["num_frames"], answer["num_missing"], answer["num_other_files"]) == (4, 0, 2)
    assert [row._asdict() for row in read_average_precision(tmp_path / "out")] == answer["rows"]
    again = package.evaluate(results, recipe, split="train", out=tmp_path / "again")
    assert again.data["rows"] == answer["rows"]
    assert again.text.startswith("results_of_other on train of manifest")
    assert "least box heights times 0.1" in again.text
    assert "Not measured: Van. KITTI defines least overlaps of Car, Pedestrian, Cyclist only." in again.text
    code, text = depthmill("compare", tmp_path / "out", tmp_path / "again")
    assert code == 0, text


@pytest.mark.parametrize("inner", ["data", "results"])
def test_evaluate_when_result_files_lie_one_level_down_then_they_are_found(results, recipe, depthmill, tmp_path, inner):
    (tmp_path / "above").mkdir()
    results.rename(tmp_path / "above" / inner)
    code, text = depthmill("evaluate", tmp_path / "above", recipe, "--out", tmp_path / "out")
    assert (code, text.partition(" of ")[0]) == (0, "above on val"), text


def test_evaluate_when_frames_have_no_file_then_they_count_as_empty_and_are_counted(results, recipe, depthmill, tmp_path):
    for frame in ("000001", "000003"):
        (results / f"{frame}.txt").unlink()
    code, text = depthmill("evaluate", results, recipe, "--split", "train", "--out", tmp_path / "out")
    assert code == 0
    assert f"2 of 4 frames have no file in '{results}' and count as frames in which nothing was found: 000001, 000003." in text
    with_gaps = read_average_precision(tmp_path / "out")
    for frame in ("000001", "000003"):
        (results / f"{frame}.txt").write_text("")
    assert depthmill("evaluate", results, recipe, "--split", "train", "--out", tmp_path / "out")[0] == 0
    assert read_average_precision(tmp_path / "out") == with_gaps


def test_evaluate_when_result_files_are_wrong_then_the_error_says_what_and_what_to_do(
    results, recipe, labels, depthmill, tmp_path
):
    code, text = depthmill("evaluate", results / "000002.txt", recipe)
    assert code == 1 and "is the result file of one frame" in text and f"Give the folder of the files: '{results}'" in text
    code, text = depthmill("evaluate", labels, recipe, "--split", "train", "--out", tmp_path / "out")
    assert code == 1 and "000000.txt' line 1 has 15 fields, expected the 16 of a detection" in text
    assert "a label file has 15 and is no result file" in text
    for frame in ("000004", "000005"):
        (results / f"{frame}.txt").unlink()
    code, text = depthmill("evaluate", results, recipe, "--out", tmp_path / "out")
    assert code == 1 and "none of the 4 result files in" in text and "They are of split train: choose --split train" in text
    path = results / "000002.txt"
    path.write_text(path.read_text() + "\nCar 0 0 wide 1 2 3 4 1 1 1 1 1 1 0 0.5\n")
    code, text = depthmill("evaluate", results, recipe, "--split", "train", "--out", tmp_path / "out")
    assert code == 1 and "has alpha 'wide', expected a finite number" in text and "000002.txt' line" in text
    code, text = depthmill("evaluate", results, recipe, "--target", "depth_single")
    assert code == 2 and "--target is of depth networks" in text
    (tmp_path / "notes.csv").write_text("x\n")
    code, text = depthmill("evaluate", tmp_path / "notes.csv", recipe)
    assert code == 1 and "it is no file of tensors that torch wrote" in text and "weights_only" not in text
    assert not (tmp_path / "out").exists()


def test_evaluate_when_the_recipe_is_of_another_family_then_the_benchmarks_heights_count(results, recipe, depthmill, tmp_path):
    content = yaml.safe_load(recipe.read_text())
    recipe.write_text(yaml.safe_dump({**content, "train": {"family": "semodepth"}}))
    code, text = depthmill("evaluate", results, recipe, "--out", tmp_path / "out")
    assert code == 0 and "least box heights" not in text
    assert all(row.num_truth == 0 for row in read_average_precision(tmp_path / "out"))  # the tiny images are 38 pixels high


def test_evaluate_when_the_folder_holds_files_of_a_user_then_refused_and_they_stay(results, recipe, depthmill, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    words = ("evaluate", results, recipe, "--split", "train", "--out", out)
    for name in ("table.md", "frames.parquet"):
        (out / name).write_text("# my own\n")
        code, text = depthmill(*words)
        assert code == 2
        assert (
            f"folder '{out}' holds '{name}' that no evaluation wrote, and this one would replace it. Nothing was written" in text
        )
        assert [path.name for path in out.iterdir()] == [name] and (out / name).read_text() == "# my own\n"
        (out / name).unlink()
    (out / "notes.txt").write_text("mine")
    for _ in range(2):  # the second time in place of the first
        assert depthmill(*words)[0] == 0
    (out / "table.md").unlink()  # as a kill leaves it
    assert depthmill(*words)[0] == 0
    assert (out / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("name", [AP_FILE, DIGESTS_FILE])
def test_evaluation_when_a_file_of_it_is_a_pipe_then_said_and_nothing_waits_for_it(tmp_path, name):
    if name == DIGESTS_FILE:
        (tmp_path / AP_FILE).write_bytes(rows_as_csv(ApRow, []))
    os.mkfifo(tmp_path / name)
    with within(60), pytest.raises(StoreError, match=f"{AP_FILE}' cannot be read"):
        read_average_precision(tmp_path)
    (tmp_path / name).unlink()
    (tmp_path / name).symlink_to("/dev/zero")
    with within(60), pytest.raises(StoreError, match=f"{AP_FILE}' cannot be read"):
        read_average_precision(tmp_path)


def test_evaluate_when_pictures_of_result_files_are_chosen_then_says_that_there_are_none(results, recipe, depthmill, tmp_path):
    code, text = depthmill("evaluate", results, recipe, "--worst", "2", "--out", tmp_path / "out")
    said = f"--worst chooses frames for pictures, and none are drawn: '{results}' holds result files. Leave it out"
    assert (code, said in text, (tmp_path / "out").exists()) == (2, True, False), text
