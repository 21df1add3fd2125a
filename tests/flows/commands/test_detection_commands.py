from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from model.families import family_of
from model.monoddle.comparison import DetectionComparisonError, precision_differences
from model.monoddle.config import MonoDdleTrainConfig
from model.monoddle.detection_frames import frames_of
from model.monoddle.evaluation import read_average_precision
from model.monoddle.family import MonoDdleFamily
from model.monoddle.image_folder import find_calibrated_images
from model.monoddle.kitti_files import read_results
from model.monoddle.precision.average_precision import ApRow
from model.monoddle.reference import reference_key
from model.semodepth.net import SemoDepth
from model.semodepth.network_config import SemoDepthConfig
from model.semodepth.reference import reference_key as depth_reference_key
from model.train.checkpoint import Checkpoint, save_checkpoint
from storage_schemas.errors import SourceError
from tests.flows.reports.monoddle.made_up_detection_folder import write_detection_training

NETWORK = {"dla_widths": [8, 8, 16, 16, 24, 32], "head_width": 16, "input_px": [32, 96], "max_objects": 5, "uncertainty": True}
TRAIN = {
    "family": "monoddle", "network": NETWORK, "data": {"mono": True, "batch_size": 2}, "distill": {"form": "laplace"},
    "evaluation": {"height_scale": 0.1, "score_threshold": 0.05, "num_pictures": 1}, "max_steps": 2, "warm_up_epochs": 0,
}  # fmt: skip
STAGES = {"predict_mono_depth": {"teacher": "plane_and_boxes"}, "align_mono_depth": {"method": "as_is", "sky": "none"}}
VAL = ["000004", "000005"]


pytestmark = pytest.mark.usefixtures("one_process")


@pytest.fixture
def recipe(tiny_kitti_store, tmp_path) -> Path:
    """The recipe that made the store, with a detector to train."""
    source = {"kind": "kitti_object", "root": str(tiny_kitti_store.parent / "raw"), "splits": ["train", "val"]}
    content = {"source": source, "store": str(tiny_kitti_store), "cameras": ["CAM_2"], "stages": STAGES, "train": TRAIN}
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.fixture(scope="module")
def network():
    config = MonoDdleTrainConfig.model_validate(TRAIN)
    torch.manual_seed(3)
    return config, family_of(config).network(config)


@pytest.fixture(scope="module")
def checkpoint(network, tmp_path_factory) -> Path:
    config, one = network
    path = tmp_path_factory.mktemp("checkpoint") / "tiny.pt"
    save_checkpoint(Checkpoint(config, "0" * 16, 1, one.state_dict(), {}, {}, None, torch.get_rng_state(), {}), path)
    return path


@pytest.fixture(scope="module")
def public(network, tmp_path_factory) -> Path:
    """The same weights as the public code saves them."""
    path = tmp_path_factory.mktemp("public") / "checkpoint_epoch_140.pth"
    state = {f"module.{reference_key(key)}": value for key, value in network[1].state_dict().items()}
    torch.save({"epoch": 140, "model_state": state}, path)
    return path


def test_evaluate_when_the_checkpoint_is_a_detectors_then_table_results_and_pictures(
    checkpoint, tiny_kitti_store, depthmill, tmp_path
):
    out = tmp_path / "out"
    code, text = depthmill("evaluate", checkpoint, tiny_kitti_store, "--out", out)
    assert code == 0, text
    assert "tiny on val of manifest" in text and "least box heights times 0.1" in text and "3D@0.7" in text
    found = read_results(out / "results")
    assert list(found) == VAL and sum(map(len, found.values())) > 0
    assert len(list((out / "pictures").glob("*.jpg"))) == 1
    (out / "pictures" / "old.jpg").write_bytes(b"of a user")
    code, text = depthmill("evaluate", checkpoint, tiny_kitti_store, "--out", out, "--split", "train", "--json")
    assert code == 0, text
    rows = json.loads(text)["rows"]
    assert [ApRow(**row) for row in rows] == read_average_precision(out)
    assert list(read_results(out / "results")) == ["000000", "000001", "000002", "000003"]  # the former ones are gone
    assert (out / "pictures" / "old.jpg").exists()  # no evaluation wrote it


def test_evaluate_when_the_checkpoint_is_public_then_its_keys_and_the_recipe_say_what_it_is(
    checkpoint, public, recipe, depthmill, tmp_path
):
    assert depthmill("evaluate", checkpoint, recipe, "--out", tmp_path / "own")[0] == 0
    code, text = depthmill("evaluate", public, recipe, "--reference", "--out", tmp_path / "public")
    assert code == 0, text
    files = [(tmp_path / name / "average_precision.csv").read_text() for name in ("own", "public")]
    assert files[0] == files[1]
    code, text = depthmill("evaluate", public, recipe, "--out", tmp_path / "again")
    assert code == 1
    assert "is not a checkpoint of depthmill" in text and "give --reference" in text


def test_is_public_detector_when_it_is_a_depth_network_then_not(network):
    keys = [depth_reference_key(key) for key in SemoDepth(SemoDepthConfig(base_channels=8)).state_dict()]
    is_public_detector = MonoDdleFamily().is_reference
    assert not is_public_detector(dict.fromkeys(keys))
    assert not is_public_detector({"model_state_dict": dict.fromkeys(keys)})
    assert is_public_detector({reference_key(key): None for key in network[1].state_dict()})


@pytest.mark.parametrize(
    ("option", "value"), [("--target", "depth_single"), ("--max-depth", "80"), ("--plug-in", None)], ids=lambda one: str(one)
)
def test_evaluate_when_an_option_is_of_depth_only_then_named(checkpoint, tiny_kitti_store, depthmill, option, value):
    given = (option,) if value is None else (option, value)
    code, text = depthmill("evaluate", checkpoint, tiny_kitti_store, *given)
    assert code == 2
    assert f"{option} is of depth networks, and a detector has none: checkpoint '{checkpoint}' is one. Leave it out" in text


def test_evaluate_when_frames_are_chosen_then_their_pictures_and_why(checkpoint, tiny_kitti_store, depthmill, tmp_path):
    out, given = tmp_path / "out", ("--split", "train", "--frames", "000002, 000000", "--worst", "1", "--pictures", "1")
    code, text = depthmill("evaluate", checkpoint, tiny_kitti_store, "--out", out, *given)
    assert code == 0, text
    with np.load(out / "pictures.npz") as arrays:
        frames = frames_of(dict(arrays))
    assert [frame.reasons[0] for frame in frames[:2]] == ["named", "named"] and "worst" in sum(
        (frame.reasons for frame in frames), ()
    )
    assert [int(frame.key.rsplit("/")[-1]) for frame in frames[:2]] == [2, 0]
    assert {path.stem for path in (out / "pictures").iterdir()} == {frame.key.replace("/", "_") for frame in frames}
    assert all(list(frame.class_heat) == ["Car"] and frame.error is not None for frame in frames)
    worst = max(frame.error.for_order for frame in frames)
    assert next(frame for frame in frames if "worst" in frame.reasons).error.for_order == worst > (0, 0)
    code, text = depthmill("evaluate", checkpoint, tiny_kitti_store, "--out", out, "--pictures", "0")
    assert code == 0 and list((out / "pictures").iterdir()) == [] and not (out / "pictures.npz").exists()


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (("--frames", "00004"), "--frames names '00004', which is no frame of split val of manifest"),
        (("--frames", "000001"), "--frames names '000001', which is a frame of split train. Add --split train"),
        (("--frames", " ,"), "--frames is ' ,', expected names of frames with commas between them. Name some, or leave it out"),
    ],
)
def test_evaluate_when_a_frame_is_not_there_then_said_before_the_work(
    checkpoint, tiny_kitti_store, depthmill, tmp_path, given, text
):
    code, said = depthmill("evaluate", checkpoint, tiny_kitti_store, "--out", tmp_path / "out", *given)
    assert (code, text in said) == (2, True), said
    assert not (tmp_path / "out").exists()
    code, said = depthmill("predict", checkpoint, tiny_kitti_store, "--out", tmp_path / "found", *given)
    assert (code, text in said) == (2, True), said
    assert not (tmp_path / "found").exists()


def test_predict_when_frames_are_named_then_all_results_and_only_their_pictures(
    checkpoint, tiny_kitti_store, depthmill, tmp_path
):
    code, text = depthmill("predict", checkpoint, tiny_kitti_store, "--out", tmp_path / "split", "--frames", "000005")
    assert code == 0, text
    assert len(list((tmp_path / "split/data").iterdir())) == 2
    assert [path.name for path in (tmp_path / "split/pictures").iterdir()] == ["000005.jpg"]
    raw = tiny_kitti_store.parent / "raw/training"
    code, text = depthmill("predict", checkpoint, raw, "--out", tmp_path / "folder", "--frames", "000009")
    assert code == 2 and f"--frames names '000009', which is no frame of folder '{raw}'. There is 00000" in text
    code, text = depthmill("predict", checkpoint, raw, "--out", tmp_path / "folder", "--frames", "000002", "--no-pictures")
    assert code == 2 and "--frames says whose pictures are wanted, and --no-pictures that none are. Leave one of them out" in text


def test_evaluate_when_split_or_folder_are_wrong_then_said_before_the_work(checkpoint, tiny_kitti_store, depthmill, tmp_path):
    code, text = depthmill("evaluate", checkpoint, tiny_kitti_store, "--split", "validation", "--out", tmp_path / "a")
    assert code == 2
    assert "--split is 'validation': Input should be 'train', 'val' or 'test'" in text
    (tmp_path / "b/results").mkdir(parents=True)
    (tmp_path / "b/results/thesis.tex").write_text("words")
    code, text = depthmill("evaluate", checkpoint, tiny_kitti_store, "--out", tmp_path / "b")
    assert code == 2
    assert "results' is there already and no evaluation wrote it (average_precision.csv is missing beside it)" in text
    assert (tmp_path / "b/results/thesis.tex").is_file()


def test_predict_when_given_a_folder_then_the_same_objects_as_from_the_store(checkpoint, tiny_kitti_store, depthmill, tmp_path):
    code, text = depthmill("predict", checkpoint, tiny_kitti_store, "--out", tmp_path / "split", "--no-pictures")
    assert code == 0, text
    assert "wrote the objects of 2 frames" in text and [path.name for path in (tmp_path / "split").iterdir()] == ["data"]
    code, text = depthmill(
        "predict", checkpoint, tiny_kitti_store.parent / "raw/training", "--out", tmp_path / "folder", "--json"
    )
    assert code == 0, text
    assert json.loads(text)["frames"] == 6
    from_folder, from_split = read_results(tmp_path / "folder/data"), read_results(tmp_path / "split/data")
    assert list(from_split) == VAL and set(VAL) < set(from_folder)
    for name in VAL:
        assert len(from_split[name]) > 0
        assert np.array_equal(from_folder[name].location_m, from_split[name].location_m)
    pictures = sorted((tmp_path / "folder/pictures").glob("*.jpg"))
    assert len(pictures) == 6 and Image.open(pictures[0]).width == 1280
    code, text = depthmill("predict", checkpoint, tiny_kitti_store, "--out", tmp_path / "split")
    assert code == 2
    assert "split' is not empty; predict never mixes with what is there" in text
    code, text = depthmill("predict", checkpoint, tiny_kitti_store, "--out", tmp_path / "x", "--split", "validation")
    assert "split 'validation' does not exist; expected train, val or test" in text


@pytest.fixture
def images(tiny_kitti_store, tmp_path) -> Path:
    folder = tmp_path / "images"
    for part in ("image_2", "calib"):
        shutil.copytree(tiny_kitti_store.parent / "raw/training" / part, folder / part)
    return folder


def test_predict_when_a_calibration_is_wrong_then_file_and_key_are_named(checkpoint, images, depthmill, tmp_path):
    path = images / "calib/000003.txt"
    path.write_text(path.read_text().replace("P2:", "P9:"))
    code, text = depthmill("predict", checkpoint, images, "--out", tmp_path / "out")
    assert code == 2
    assert f"calibration '{path}' has no line 'P2:'; expected one, keys there: P0, P1, P9, P3" in text
    assert not (tmp_path / "out").exists()  # all calibrations are read before the first image
    path.unlink()
    code, text = depthmill("predict", checkpoint, images, "--out", tmp_path / "out")
    assert f"has no calibration: '{path}' is missing. Without its P2 nothing can be placed in space; copy the file there" in text


def test_find_calibrated_images_when_folders_are_odd_then_says_what_is_expected(images):
    (images / "image_2").rename(images / "image")
    assert [one.name for one in find_calibrated_images(images)] == [f"{number:06d}" for number in range(6)]
    shutil.copy(images / "image/000000.png", images / "image/000000.jpg")
    with pytest.raises(SourceError, match=r"have one name, so their objects would have one file. Rename one of them"):
        find_calibrated_images(images)
    shutil.rmtree(images / "image")
    (images / "image").mkdir()
    with pytest.raises(SourceError, match=r"no image found in '.*image'; expected files there that end in .jpg, .jpeg, .png"):
        find_calibrated_images(images)


def test_train_when_the_family_is_monoddle_then_the_report_is_a_detectors_and_a_stop_in_the_evaluation_loses_nothing(
    recipe, depthmill, tmp_path
):
    out = tmp_path / "training"
    code, text = depthmill("train", recipe, "--no-prefect", "--out", out)
    assert code == 0, text
    page = (out / "report.html").read_text()
    assert "Average precision" in page and "Boxes in space" in page and "Distillation from the teacher" in page
    before = (out / "evaluation/table.md").read_text()
    (out / "training.json").unlink()  # as if it was stopped between the tables and the record
    code, text = depthmill("train", recipe, "--no-prefect", "--out", out)
    assert code == 0, text
    assert (out / "training.json").is_file() and (out / "evaluation/table.md").read_text() == before


def test_compare_when_both_are_of_detectors_then_differences_of_precision(depthmill, tmp_path):
    out, again = (write_detection_training(tmp_path / name) for name in ("training", "again"))
    code, text = depthmill("compare", out, again / "evaluation")
    assert code == 0, text
    assert (
        "| Car 3d strict | easy |" in text
        and "+0.00" in text
        and "The interval is one over new scenes, of these two networks" in text
    )
    code, text = depthmill("compare", out, again, "--metric", "rmse_mm")
    assert code == 2
    assert "--metric is of depth networks, and a detector has none: these are evaluations of detectors" in text
    code, text = depthmill("compare", out, tmp_path / "nothing")
    assert (code, "does not exist. Give the folder or URL of a training, or one that depthmill evaluate" in text) == (2, True), (
        text
    )
    (tmp_path / "nothing").mkdir()
    code, text = depthmill("compare", out, tmp_path / "nothing")
    assert code == 1
    assert "holds no evaluation of a detector (average_precision.csv is missing). Run depthmill evaluate" in text
    (tmp_path / "depth").mkdir()
    (tmp_path / "depth/frames.parquet").write_bytes(b"PAR1")
    code, text = depthmill("compare", tmp_path / "depth", out)
    assert code == 1
    assert f"'{tmp_path / 'depth'}' is an evaluation of depth and '{out}' one of a detector, which have no measure" in text


def row(r40, *, difficulty="easy", num_truth=50, category="Car"):
    return ApRow(category, "3d", "strict", 0.7, difficulty, r40, 0.0, num_truth, 9)


def test_precision_differences_when_objects_are_the_same_then_b_minus_a():
    found = precision_differences([row(10.0), row(5.0, difficulty="hard")], [row(4.0, difficulty="hard"), row(12.5)])
    assert [(one["difficulty"], one["a"], one["b"], one["difference"]) for one in found] == [
        ("easy", 10.0, 12.5, 2.5),
        ("hard", 5.0, 4.0, -1.0),
    ]


def test_precision_differences_when_objects_differ_then_refused():
    with pytest.raises(DetectionComparisonError, match=r"of other objects: Car 3d strict easy counts 50 in a and 49 in b"):
        precision_differences([row(1.0)], [row(1.0, num_truth=49)])
    with pytest.raises(DetectionComparisonError, match=r"no average precision in common: a has Car, b has Cyclist"):
        precision_differences([row(1.0)], [row(1.0, category="Cyclist")])


def test_evaluate_when_a_users_files_lie_beside_a_former_evaluation_then_they_stay(
    checkpoint, tiny_kitti_store, depthmill, tmp_path
):
    out = tmp_path / "out"
    assert depthmill("evaluate", checkpoint, tiny_kitti_store, "--out", out)[0] == 0
    (out / "pictures").mkdir(exist_ok=True)
    (out / "pictures" / "holiday.jpg").write_bytes(b"\xff\xd8 mine")
    code, text = depthmill("evaluate", checkpoint, tiny_kitti_store, "--out", out)
    assert code == 0, text
    assert (out / "pictures" / "holiday.jpg").is_file()
    (out / "results" / "notes.txt").write_text("words")
    code, text = depthmill("evaluate", checkpoint, tiny_kitti_store, "--out", out)
    assert code == 2
    assert "notes.txt' lies among the results of a former evaluation, which are replaced, and no evaluation wrote it" in text
    assert (out / "results" / "notes.txt").read_text() == "words"
