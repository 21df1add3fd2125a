"""What is said of a split before a training: what cannot be measured, and what is not learned."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tests.tiny_kitti import write_tiny_kitti

NETWORK = {"dla_widths": [8, 8, 16, 16, 24, 32], "head_width": 16, "input_px": [32, 96]}


pytestmark = pytest.mark.usefixtures("one_process")


def write(tmp_path: Path, *, change=lambda line: line, **train) -> Path:
    """Write a tiny set whose labels are changed line by line, and a recipe for one step on it."""
    root = write_tiny_kitti(tmp_path / "data")
    for path in (root / "training/label_2").iterdir():
        lines = [line for old in path.read_text().splitlines() if (line := change(old))]
        path.write_text("".join(f"{line}\n" for line in lines))
    network = {**NETWORK, **train.pop("network", {})}
    evaluation = {"height_scale": 0.1, "num_pictures": 0, **train.pop("evaluation", {})}
    train = {
        "family": "monoddle",
        "network": network,
        "evaluation": evaluation,
        "data": {"batch_size": 2},
        "max_steps": 1,
        **train,
    }
    source = {"kind": "kitti_object", "root": str(root)}
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump({"source": source, "store": str(tmp_path / "store"), "train": {"warm_up_epochs": 0, **train}}))
    return path


def column(number: int, value: str):
    """Return what puts a value into a column of every label but DontCare."""

    def change(line: str) -> str:
        words = line.split()
        return line if words[0] == "DontCare" else " ".join([*words[:number], value, *words[number + 1 :]])

    return change


def trained(depthmill, recipe, *, low: bool = True) -> str:
    """Train one step and return what was said; ``low``: objects of the tiny images are high enough."""
    options = ("--set", "train.targets.min_height_px=2") if low else ()
    code, text = depthmill("train", recipe, "--no-prefect", "--workers", 1, *options)
    assert code == 0, text
    return text


def test_train_when_a_class_has_no_least_overlap_then_it_is_trained_and_named_as_not_measured(depthmill, tmp_path):
    recipe = write(tmp_path, network={"classes": ["Car", "Van"], "train_classes": ["Car", "Van"]}, evaluate_every_epochs=0.5)
    text = trained(depthmill, recipe)
    warning = "Not measured: Van. KITTI defines least overlaps of Car, Pedestrian, Cyclist only."
    assert f"WARNING: {warning}\n" in text
    assert "WARNING: 0 of 0 objects of Van are learned: split train has none.\n" in text
    assert text.count(warning) == 2  # above the table too
    (folder,) = (tmp_path / "store/runs/trainings").iterdir()
    assert json.loads((folder / "training.json").read_text())["notices"][0] == warning
    assert warning in (folder / "report.html").read_text()
    code, text = depthmill("evaluate", folder, recipe, "--out", tmp_path / "out")
    assert code == 0 and warning in text and "| Car: easy" in text and "| Van" not in text


def test_train_when_the_precision_told_cannot_be_measured_then_refused_before_anything_is_made(depthmill, tmp_path):
    for classes, words in ((["Van", "Car"], "Choose Car"), (["Van"], "Choose one of Car, Pedestrian, Cyclist, and train on it")):
        network = {"classes": classes, "train_classes": classes}
        code, text = depthmill("train", write(tmp_path, network=network, evaluation={"category": "Van"}), "--no-prefect")
        assert code == 2
        assert "train.evaluation.category is 'Van', which cannot be measured" in text and words in text
    network = {"classes": ["Car", "cyclist"], "train_classes": ["Car"]}
    code, text = depthmill("train", write(tmp_path, network=network), "--no-prefect")
    assert code == 2 and "train.network.classes has 'cyclist', which no object is of; did you mean 'Cyclist'?" in text
    assert not (tmp_path / "store").exists()


def only_regions(line: str) -> str:
    return line if line.startswith("DontCare") else ""


def pedestrians(line: str) -> str:
    return " ".join(["Pedestrian", *line.split()[1:]]) if not line.startswith("DontCare") else line


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (only_regions, "0 of 0 objects are learned: split train has no annotated object, only 4 DontCare regions."),
        (
            pedestrians,
            "0 of 12 objects are learned: 12 are of types that train.network.train_classes (Car) does not name (12 Pedest",
        ),
        (column(2, "3"), "objects are learned: 6 are occluded worse than 2, 6 are of types that train.network.train_classes"),
        (column(8, "0"), "objects are learned: 6 say no size in space, 6 are of types"),
        (column(13, "70"), "objects are learned: 6 are farther than 65 m, 6 are of types"),
    ],
)
def test_train_when_nothing_can_be_learned_then_says_how_many_objects_and_why(depthmill, tmp_path, change, words):
    text = trained(depthmill, write(tmp_path, change=change))
    assert "WARNING: 0 of " in text and words in text, text
    (folder,) = (tmp_path / "store/runs/trainings").iterdir()
    assert "objects are learned" in (folder / "report.html").read_text()


def test_train_when_every_alpha_is_left_out_then_it_is_computed_and_objects_are_learned(depthmill, tmp_path):
    texts = []
    for name, change in (("said", lambda line: line), ("left_out", column(3, "-10"))):
        (tmp_path / name).mkdir()
        texts.append(trained(depthmill, write(tmp_path / name, change=change)))
    assert "WARNING" not in texts[0] + texts[1]
    losses = [text.partition("1/1 loss ")[2].partition(",")[0] for text in texts]
    assert float(losses[0]) == pytest.approx(float(losses[1]), rel=1e-2)


def test_train_when_objects_are_too_low_then_says_the_least_height(depthmill, tmp_path):
    text = trained(depthmill, write(tmp_path, change=column(7, "20")), low=False)
    assert "are lower than 25 pixels" in text
