"""``depthmill analyse``: what it writes and says of an evaluation, and what it refuses."""

from __future__ import annotations

import csv
import json
import shutil
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

import depthmill as package
from model.monoddle.evaluation import DetectionEvaluation, read_average_precision, write_detection_folder
from model.monoddle.measured_cameras import FrameCamera
from model.monoddle.precision.average_precision import average_precision
from storage_schemas.detection_evaluation import CAMERAS_FILE, DETECTION_FILES
from storage_schemas.files import StoreFiles
from tests.model.monoddle.made_up_cars import KITTI_P2, made_up_cars

TABLES = {"oracle.csv", "oracle_distance.csv", "distance.csv", "occlusion.csv", "height.csv", "shift.csv", "matches.csv"}
PLOTS = {
    f"car_{name}.svg"
    for name in ("replaced", "replaced_distance", "distance", "occlusion", "height", "errors", "shift_depth", "shift_side")
}


def write_evaluation(folder: Path, num_frames: int = 3) -> Path:
    """An evaluation of frames whose cars were found a metre too deep."""
    truth = [made_up_cars(4, image_px=(375, 1242), seed=seed) for seed in range(num_frames)]
    found = [replace(one, location_m=one.location_m + [0, 0, 1.0], score=np.linspace(0.9, 0.5, len(one))) for one in truth]
    names = [f"{number:06d}" for number in range(num_frames)]
    keys = [f"s/CAM_2/{number}" for number in range(num_frames)]
    rows = average_precision(truth, found, classes=("Car", "Cyclist"))
    by_name = (dict(zip(names, part, strict=True)) for part in (found, truth))
    frames = dict(zip(names, keys, strict=True))
    cameras = {key: FrameCamera(KITTI_P2, (375, 1242)) for key in keys}
    title = "made up on val of manifest 0123456789abcdef"
    write_detection_folder(folder, DetectionEvaluation(rows, *by_name, frame_keys=frames, cameras=cameras), title=title)
    return folder


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    return write_evaluation(tmp_path_factory.mktemp("analyse") / "evaluation")


@pytest.fixture
def evaluation(written, tmp_path) -> Path:
    return Path(shutil.copytree(written, tmp_path / "evaluation"))


def test_analyse_when_given_an_evaluation_then_tables_text_and_plots_are_in_it(evaluation, depthmill, tmp_path):
    code, text = depthmill("analyse", evaluation)
    assert code == 0, text
    out = evaluation / "analysis"
    assert {path.name for path in out.iterdir()} == TABLES | PLOTS | {"analysis.md"}
    whole = (out / "analysis.md").read_text()
    assert whole.startswith("# Analysis: made up on val of manifest 0123456789abcdef\n")
    assert "Car: average precision if every centre were moved" in whole and "Car by occlusion" in whole
    assert "Warning: Car: AP says little where fewer than 41 objects count" in text
    assert "Cyclist: no object counts, so nothing is measured." in text and "Cyclist by" not in whole
    assert f"with every centre moved: {out / 'analysis.md'}" in text and text.rstrip().endswith(f"wrote {out}")
    with (out / "oracle.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    table = read_average_precision(evaluation)
    nothing = [row for row in rows if row["replaced"] == "nothing"]
    assert [float(row["r40"]) for row in nothing] == [row.r40 for row in table]
    for path in out.glob("*.svg"):
        assert ET.fromstring(path.read_text()).tag.endswith("svg") and b"nan" not in path.read_bytes()
    answer = package.analyse(evaluation, out=tmp_path / "elsewhere").data
    assert answer["folder"] == str(tmp_path / "elsewhere")
    assert {path.name for path in (tmp_path / "elsewhere").iterdir()} == TABLES | PLOTS | {"analysis.md"}
    depth = [row["r40"] for row in answer["oracle"] if (row["replaced"], row["metric"]) == ("depth", "3d")]
    assert max(depth) > max(row.r40 for row in table if row.metric == "3d")
    assert {row["by"] for row in answer["groups"]} == {"all", "distance", "occlusion", "height"}


def test_analyse_when_done_again_then_replaced_and_a_new_evaluation_takes_it_away(evaluation, depthmill):
    assert depthmill("analyse", evaluation)[0] == 0
    out = evaluation / "analysis"
    (out / "notes.txt").write_text("mine")
    (out / "car_photo.svg").write_text("mine")
    (out / "pedestrian_errors.svg").write_text("of a former one, which had pedestrians")
    assert depthmill("analyse", evaluation)[0] == 0
    assert {path.name for path in out.iterdir()} == TABLES | PLOTS | {"analysis.md", "car_photo.svg", "notes.txt"}
    write_evaluation(evaluation, num_frames=2)
    assert sorted(path.name for path in out.iterdir()) == ["car_photo.svg", "notes.txt"]


def test_analyse_when_stopped_while_it_writes_then_says_so_and_may_be_done_again(evaluation, tmp_path, monkeypatch):
    out = tmp_path / "elsewhere"
    put = StoreFiles.put

    def put_but_stop(self, key, *pieces):
        if key == "shift.csv":
            raise KeyboardInterrupt
        put(self, key, *pieces)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(StoreFiles, "put", put_but_stop)
        package.analyse(evaluation, out=out)
    assert (out / "analysis.md").read_text().startswith("# Analysis: not finished\n") and (out / "oracle.csv").is_file()
    package.analyse(evaluation, out=out)
    assert (out / "analysis.md").read_text().startswith("# Analysis: made up on val") and (out / "shift.csv").is_file()


def test_analyse_when_given_a_trainings_folder_then_its_evaluation_is_analysed(evaluation, depthmill):
    code, text = depthmill("analyse", evaluation.parent)
    assert code == 0 and (evaluation / "analysis/analysis.md").is_file(), text


def test_analyse_when_it_is_no_evaluation_then_the_error_says_what_to_give(tmp_path, depthmill):
    code, text = depthmill("analyse", tmp_path / "nowhere")
    assert code == 2 and f"evaluation '{tmp_path / 'nowhere'}' does not exist. Give the folder or URL of a training" in text
    (tmp_path / "results").mkdir()
    (tmp_path / "results/000000.txt").write_text("")
    code, text = depthmill("analyse", tmp_path / "results")
    assert code == 2 and f"'{tmp_path / 'results'}' holds no evaluation. Give the folder of a training" in text
    assert "result files of another program are measured by depthmill evaluate first" in text


def test_analyse_when_it_is_of_another_family_then_refused_by_its_name(tmp_path, depthmill):
    (tmp_path / "frames.parquet").write_bytes(b"")
    code, text = depthmill("analyse", tmp_path)
    assert code == 2 and "(family semodepth), for which there is no analysis" in text and "depthmill compare" in text
    assert not (tmp_path / "analysis").exists()


@pytest.mark.parametrize("name", [*DETECTION_FILES, CAMERAS_FILE])
def test_analyse_when_a_former_version_kept_less_or_a_file_is_damaged_then_named(evaluation, depthmill, name):
    content = (evaluation / name).read_bytes()
    (evaluation / name).unlink()
    code, text = depthmill("analyse", evaluation)
    assert code == 1 and f"evaluation '{evaluation}' cannot be analysed: it keeps no {name}. It was stopped while it" in text
    assert "Run depthmill evaluate" in text
    middle = len(content) // 2
    (evaluation / name).write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    code, text = depthmill("analyse", evaluation)
    assert code == 1 and name in text and "is damaged" in text and "depthmill evaluate" in text
    assert not (evaluation / "analysis").exists()


def test_analyse_when_no_category_was_measured_then_said(tmp_path, depthmill):
    truth = [made_up_cars(2, image_px=(375, 1242), seed=0, category="Tram")]
    by_name = {"000000": truth[0]}
    kept = {"frame_keys": {"000000": "s/CAM_2/0"}, "cameras": {"s/CAM_2/0": FrameCamera(KITTI_P2, (375, 1242))}}
    write_detection_folder(tmp_path, DetectionEvaluation([], by_name, by_name, **kept), title="trams")
    code, text = depthmill("analyse", tmp_path)
    assert code == 1 and f"evaluation '{tmp_path}' measured no category (average_precision.csv has no row)" in text


def test_analyse_when_out_is_taken_then_nothing_is_written(evaluation, depthmill, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/oracle.csv").write_text("mine\n")
    code, text = depthmill("analyse", evaluation, "--out", tmp_path / "mine")
    assert code == 2 and f"'{tmp_path / 'mine'}' is not empty, and no analysis wrote what is there" in text
    assert (tmp_path / "mine/oracle.csv").read_text() == "mine\n" and len(list((tmp_path / "mine").iterdir())) == 1
    code, text = depthmill("analyse", evaluation, "--out", tmp_path / "mine/oracle.csv")
    assert code == 2 and "is a file, expected a folder to write. Choose another --out" in text


def test_analyse_when_result_files_were_evaluated_then_along_the_rays_of_the_stores_cameras(
    tiny_kitti_store, depthmill, tmp_path
):
    labels, results = tiny_kitti_store.parent / "raw/training/label_2", tmp_path / "results"
    results.mkdir()
    for path in labels.iterdir():
        lines = []
        for line in path.read_text().splitlines():
            words = line.split()
            deeper = float(words[13]) * 1.1
            across = [f"{float(words[place]) * 1.1:.6f}" for place in (11, 12)]
            lines.append(" ".join([*words[:11], *across, f"{deeper:.6f}", words[14], "0.9"]))
        (results / path.name).write_text("\n".join(line for line in lines if not line.startswith("DontCare")))
    source = {"kind": "kitti_object", "root": str(labels.parents[1]), "splits": ["train", "val"]}
    stages = {"predict_mono_depth": {"teacher": "plane_and_boxes"}, "align_mono_depth": {"method": "as_is", "sky": "none"}}
    recipe = {"source": source, "store": str(tiny_kitti_store), "cameras": ["CAM_2"], "stages": stages}
    recipe["train"] = {"family": "monoddle", "evaluation": {"height_scale": 0.1}}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    code, text = depthmill("evaluate", results, tmp_path / "recipe.yaml", "--split", "train", "--out", tmp_path / "out")
    assert code == 0, text
    code, text = depthmill("analyse", tmp_path / "out", "--json")
    answer = json.loads(text, parse_constant=lambda name: pytest.fail(f"JSON has {name}"))
    (row,) = (row for row in answer["groups"] if (row["by"], row["category"]) == ("all", "Car"))
    assert row["num_matched"] == row["num_truth"] > 0
    assert row["depth_mae_percent"] == pytest.approx(10.0, abs=0.1)
