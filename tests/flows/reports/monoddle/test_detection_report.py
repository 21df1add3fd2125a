from __future__ import annotations

import re
import shutil

import numpy as np
import pytest

from flows.reports.monoddle import write_report
from flows.reports.monoddle.curves import validation_section
from flows.reports.monoddle.files import EVALUATION_COLUMNS, STEP_COLUMNS, DetectionFiles, MeasuredAt
from flows.reports.monoddle.results import few_words
from model.monoddle.analysis.analysis import read_analysis
from model.monoddle.evaluation import read_average_precision
from model.monoddle.precision.average_precision import ApRow
from storage_schemas.detection_evaluation import CAMERAS_FILE
from storage_schemas.errors import StoreError
from tests.flows.reports.monoddle.made_up_detection_folder import KEYS, write_detection_training
from tests.flows.reports.semodepth.made_up_training_folder import write_csv
from tests.flows.reports.store.made_up_report import words


@pytest.fixture
def folder(tmp_path):
    return write_detection_training(tmp_path / "training")


def test_report_when_all_is_there_then_it_holds_the_tables_numbers(folder):
    page = write_report(folder).read_text(encoding="utf-8")
    shown = words(page)
    rows = read_average_precision(folder / "evaluation")
    metrics = {("3d", 0.7): "3D@0.7", ("bev", 0.5): "BEV@0.5", ("2d", 0.7): "2D@0.7"}
    for (metric, overlap), name in metrics.items():
        own = [f"{row.r40:.2f}" for row in rows if (row.metric, row.min_overlap) == (metric, overlap)]
        assert f"{name} {' '.join(own)}" in shown
    counts = [f"{row.num_truth}" for row in rows[:3]]
    assert f"Objects that count {' '.join(counts)}" in shown
    assert "AP says little where fewer than 41 objects count" in shown and "Measured on split val." in shown
    assert "AP R40 Car 3d strict, moderate 6.43 at step 40" in shown and "0.19 million monoddle" in shown
    assert "60 steps. A step took 500 ms in the median, and 240 frames were seen. Lines are moving medians." in shown
    assert "made-up &lt;GPU&gt;" in page and "scan engine" not in page
    for key in KEYS:
        assert key in page
    assert " yet" not in shown
    chosen = "1 with the most missed and false objects (Car 3D@0.7, moderate), 2 spread evenly over the split."
    assert f"input: {chosen}" in shown
    assert shown.count("4 missed, 4 false") == 3 and shown.count("one of the worst") == 1


def test_report_when_opened_alone_then_needs_nothing_else(folder):
    page = write_report(folder).read_text(encoding="utf-8")
    assert not re.search(r"""(?:src|href)\s*=\s*["'](?!data:image/|#)""", page)
    anchors = set(re.findall(r'href="#([^"]+)"', page))
    assert (
        anchors == {"about", "precision", "analysis", "frames", "steps", "validation"} <= set(re.findall(r'id="([^"]+)"', page))
    )
    assert page.count("<img ") == len(re.findall(r'<img [^>]*alt="[^"]+"', page)) == 9 * len(KEYS) + 1
    assert page.count("<svg") == page.count('role="img" aria-label=') and "nan" not in "".join(re.findall(r"<svg.*?</svg>", page))
    assert page.count("points of the teacher&#x27;s map, for want of LiDAR</figcaption>") == 2  # the first frame has LiDAR


def test_report_when_there_was_no_distillation_then_no_chart_of_it(tmp_path, folder):
    bare = write_report(write_detection_training(tmp_path / "bare", distilled=False)).read_text(encoding="utf-8")
    full = write_report(folder).read_text(encoding="utf-8")
    titles = ("Distillation from the teacher", "Mean distance from the teacher, m", "Mean log scale of the uncertainty")
    assert all(title in full and title not in bare for title in titles)
    assert "Terms in the image" in bare and "Terms in space" in bare


def test_report_when_a_term_falls_below_0_then_its_axis_is_not_called_logarithmic(folder):
    page = write_report(folder).read_text(encoding="utf-8")
    charts = {alt: svg for svg, alt in re.findall(r'(<svg[^>]*aria-label="([^"]*)".*?</svg>)', page)}
    assert "logarithmic" not in charts["Terms in space over the steps"]  # the Laplace term of the depth may be negative
    assert "logarithmic" in charts["Terms in the image over the steps"]
    assert "logarithmic" not in charts["Mean log scale of the uncertainty over the steps"]  # it is a logarithm already


def test_report_when_the_training_is_not_finished_then_says_what_is_missing(folder):
    shutil.rmtree(folder / "evaluation")
    (folder / "training.json").unlink()
    (folder / "evaluations.csv").unlink()
    write_csv(folder / "steps.csv", STEP_COLUMNS, [])
    page = write_report(folder).read_text(encoding="utf-8")
    shown = words(page)
    for sentence in (
        "No training.json yet", "No evaluation yet, so no average precision.", "No evaluation/pictures.npz, so no pictures.",
        "No step in steps.csv yet", "No row in evaluations.csv yet",
    ):  # fmt: skip
        assert sentence in shown
    assert set(re.findall(r'href="#([^"]+)"', page)) == {"about"}


def test_report_when_one_step_and_one_evaluation_then_still_a_page(tmp_path):
    folder = write_detection_training(tmp_path / "t", num_steps=1)
    lines = (folder / "evaluations.csv").read_text().splitlines()
    (folder / "evaluations.csv").write_text("\n".join(line for line in lines if line.startswith(("step", "40"))) + "\n")
    shown = words(write_report(folder).read_text(encoding="utf-8"))
    assert "1 step." in shown and "AP R40, moderate: Car, in space and from above" in shown


def test_curves_when_difficulties_differ_then_moderate_is_drawn(tmp_path):
    rows = [MeasuredAt(5, "Car", "3d", "strict", *one) for one in (("easy", 10.0), ("moderate", 80.0), ("hard", 20.0))]
    section = validation_section(DetectionFiles(tmp_path, None, None, rows, None, None))
    assert section is not None and ">80</text>" in section
    assert validation_section(DetectionFiles(tmp_path, None, None, rows[:1], None, None)) is None


def test_few_words_when_there_are_41_objects_then_none():
    row = ApRow("Car", "3d", "strict", 0.7, "easy", 0.0, 0.0, 41, 0)
    assert few_words([row]) == ""
    few = few_words([row._replace(num_truth=0), row._replace(difficulty="hard", num_truth=20)])
    assert few.endswith("perfect detections get 2.5 times N - 1: easy 0, hard 47.5.")


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("training.json", "{", r"training.json' cannot be read"),
        ("steps.csv", "step,loss\n1,2\n", r"steps.csv' cannot be read: column 'epoch' is missing from its first line"),
        ("evaluations.csv", ",".join(EVALUATION_COLUMNS) + "\n1,2\n", r"line 2 has another number of values than the first"),
        (
            "evaluation/average_precision.csv",
            "a,b\n",
            r"its content is not what was written\. Delete it, then evaluate again",
        ),
        ("evaluation/pictures.npz", "PK", r"pictures.npz' cannot be read: .*Delete it, then train or evaluate again"),
    ],
)
def test_report_when_a_file_is_damaged_then_names_it(folder, name, content, text):
    (folder / name).write_text(content)
    with pytest.raises(StoreError, match=text):
        write_report(folder)
    assert not (folder / "report.html").exists()


def test_report_when_pictures_do_not_fit_then_says_which(folder):
    path = folder / "evaluation/pictures.npz"
    arrays = dict(np.load(path))
    np.savez(path, **{**arrays, "heat": arrays["heat"][:2]})
    with pytest.raises(StoreError, match=r"pictures.npz' cannot be read: heat is of 2 frames, frame_keys of 3"):
        write_report(folder)


def test_report_when_it_is_no_training_then_says_what_to_give(tmp_path):
    with pytest.raises(StoreError, match="holds neither training.json nor steps.csv"):
        write_report(tmp_path)


def test_analysis_when_objects_and_cameras_are_kept_then_its_tables_and_charts_are_on_the_page(folder):
    page = write_report(folder).read_text(encoding="utf-8")
    shown, analysis = words(page), read_analysis(folder / "evaluation")
    wanted = [f"{row.r40:.2f}" for row in analysis.oracle if (row.replaced, row.metric, row.overlap) == ("depth", "3d", "loose")]
    row = re.search(r"AP R40 of Car: easy, moderate, hard, if a quantity were right.*? depth (.*?) projected centre", shown)
    assert row is not None and " ".join(wanted) in row[1]
    for title in (
        "AP R40 with one quantity right",
        "share of the objects found, by occlusion",
        "AP R40 with all centres moved deeper",
    ):
        assert f"Car: {title}" in shown
    assert "Car: AP says little where fewer than 41 objects count" in shown
    (folder / "evaluation" / CAMERAS_FILE).unlink()
    shown = words(write_report(folder).read_text(encoding="utf-8"))
    assert "No objects and cameras kept, so no analysis of what is wrong." in shown and "one quantity right" not in shown
