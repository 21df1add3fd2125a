"""Label and result files: what is read back, what real labels score, and what a broken file says."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from made_up_detections import awkward_world, cars

from model.data.objects import Objects
from model.monoddle.kitti_files import (
    KittiFileError,
    evaluate_result_folder,
    read_labels,
    read_result,
    read_results,
    write_results,
)
from model.monoddle.precision.overlap_pairs import AveragePrecisionError

CAR = "Car 0.00 0 1.85 387.63 181.54 423.81 203.12 1.67 1.87 3.69 -16.53 2.39 58.49 1.57"
AREA = "DontCare -1 -1 -10 503.89 169.71 590.61 190.13 -1 -1 -1 -1000 -1000 -1000 -10"


def _assert_equal(found: Objects, expected: Objects, atol: float = 0.0) -> None:
    for field in fields(Objects):
        one, other = getattr(found, field.name), getattr(expected, field.name)
        assert one.shape == other.shape and one.dtype.kind == other.dtype.kind, field.name
        if one.dtype.kind == "U":
            assert one.tolist() == other.tolist()
        else:
            np.testing.assert_allclose(one, other, rtol=0, atol=atol, err_msg=field.name)


def test_results_when_written_and_read_then_scores_are_the_same_bits_and_the_rest_is_near(tmp_path: Path) -> None:
    _, found = awkward_world(1, num_frames=20)
    scores = np.random.default_rng(0)
    results = {
        f"{i:06d}": replace(one, category=np.char.capitalize(one.category) if len(one) else one.category, score=scores.random(len(one)) * 10.0 ** scores.integers(-9, 3, len(one)))
        for i, one in enumerate(found)
    }  # fmt: skip
    write_results(tmp_path / "made" / "results", results)
    back = read_results(tmp_path / "made" / "results")
    assert list(back) == list(results)
    for frame, objects in results.items():
        _assert_equal(back[frame], objects, atol=5.1e-7)
        np.testing.assert_array_equal(back[frame].score, objects.score)
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["results"]  # no unfinished folder is left


def test_results_when_nothing_is_found_then_the_file_is_empty(tmp_path: Path) -> None:
    write_results(tmp_path / "out", {"000007": Objects.none(), "000003": cars(1)})
    assert (tmp_path / "out" / "000007.txt").read_bytes() == b""
    back = read_results(tmp_path / "out", ids=["000007", "000003"])
    assert [(frame, len(objects)) for frame, objects in back.items()] == [("000007", 0), ("000003", 1)]


@pytest.mark.parametrize(
    ("score", "text"),
    [
        (0.5, "0.5000"),
        (1e-7, "0.0000001"),
        (1 / 3, "0.3333333333333333"),
        (12.0, "12.0000"),
        (np.float32(0.1), "0.10000000149011612"),
    ],
)
def test_scores_when_written_then_have_four_decimals_or_as_many_as_needed(tmp_path: Path, score: float, text: str) -> None:
    write_results(tmp_path / "out", {"1": replace(cars(1), score=np.array([score], float))})
    words = (tmp_path / "out" / "1.txt").read_text().split()
    assert len(words) == 16 and words[-1] == text
    assert words[0] == "Car" and words[2] == "0" and all(len(word.split(".")[1]) == 6 for word in words[3:-1])


def test_labels_when_read_then_are_the_columns_of_the_lines(tmp_path: Path) -> None:
    file = tmp_path / "000001.txt"
    file.write_text(f"{CAR}\n{AREA}\n\n{CAR.replace('Car', 'person_SITTING')}")  # no final newline, as KITTI's lists
    labels = read_labels(file)
    assert labels.category.tolist() == ["Car", "DontCare", "Person_sitting"]
    np.testing.assert_array_equal(labels.box_px[0], [387.63, 181.54, 423.81, 203.12])
    np.testing.assert_array_equal(labels.size_hwl_m[0], [1.67, 1.87, 3.69])
    np.testing.assert_array_equal(labels.location_m[0], [-16.53, 2.39, 58.49])
    assert (labels.alpha_rad[0], labels.rotation_y_rad[0], labels.score[0]) == (1.85, 1.57, 0.0)
    assert labels.truncation.tolist() == [0, -1, 0] and labels.occlusion.tolist() == [0, -1, 0]
    assert labels.occlusion.dtype == np.int64


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (CAR, r"'.*/7\.txt' line 2 has 15 fields, expected the 16 of a detection: type truncated .* rotation_y score\. Correct it"),
        (f"{CAR} 0.5 1", "line 2 has 17 fields, expected the 16"),
        (f"{CAR} high", "line 2 has score 'high', expected a finite number"),
        (f"{CAR} nan", "line 2 has score 'nan', expected a finite number"),
        (f"{CAR.replace('58.49', '1e999')} 0.5", "line 2 has z '1e999', expected a finite number"),
        (f"{CAR.replace(' 0 ', ' 0.5 ')} 0.5", "line 2 has occluded '0.5', expected a whole number"),
        (f"{CAR.replace('Car', 'Cra')} 0.5", r"line 2 has the type 'Cra', expected one of Car, Van, .*; did you mean Car\?"),
        (f"{CAR.replace('Car', 'Submarine')} 0.5", r"has the type 'Submarine', expected one of .*\. Correct it"),
    ],
)  # fmt: skip
def test_results_when_a_later_line_is_broken_then_names_file_line_and_expectation(
    tmp_path: Path, line: str, message: str
) -> None:
    (tmp_path / "7.txt").write_text(f"{CAR} 0.5\n{line}\n")
    with pytest.raises(KittiFileError, match=message):
        read_results(tmp_path)


def test_labels_when_a_line_has_a_score_then_says_what_a_label_has(tmp_path: Path) -> None:
    (tmp_path / "7.txt").write_text(f"{CAR} 0.5\n")
    with pytest.raises(KittiFileError, match="line 1 has 16 fields, expected the 15 of a label"):
        read_labels(tmp_path / "7.txt")


def test_files_when_missing_or_no_text_then_say_so(tmp_path: Path) -> None:
    with pytest.raises(
        KittiFileError, match=r"cannot read '.*/9\.txt': No such file or directory\. Copy it there, or leave its frame out"
    ):
        read_labels(tmp_path / "9.txt")
    (tmp_path / "9.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(KittiFileError, match=r"'.*/9\.txt' is no text: .* Copy it again"):
        read_result(tmp_path / "9.txt")


def test_result_folder_when_wrong_then_says_where_to_look(tmp_path: Path) -> None:
    with pytest.raises(KittiFileError, match=r"'.*/gone' is no folder, expected one with result files <frame>\.txt"):
        read_results(tmp_path / "gone", ids=["1"])
    with pytest.raises(KittiFileError, match=r"'.*' holds no result files, .* Correct the path"):
        read_results(tmp_path)
    write_results(tmp_path / "data", {"1": cars(1)})
    with pytest.raises(KittiFileError, match=r"holds no result files, .*Did you mean '.*/data'\?"):
        read_results(tmp_path)
    with pytest.raises(KittiFileError, match=r"has no result file of 1; expected .*Did you mean '.*/data'\?"):
        read_results(tmp_path, ids=["1"])


@pytest.mark.parametrize("there", ["a file", "a folder with a file"])
def test_write_when_the_folder_is_not_empty_then_writes_nothing(tmp_path: Path, there: str) -> None:
    out = tmp_path / "out"
    if there == "a file":
        out.write_text("mine")
    else:
        out.mkdir()
        (out / "mine.txt").write_text("mine")
    with pytest.raises(
        KittiFileError, match=r"'.*/out' is there already, expected a new or an empty folder: .*delete this one first"
    ):
        write_results(out, {"1": cars(1)})
    assert [path.name for path in tmp_path.rglob("*.txt")] == ([] if there == "a file" else ["mine.txt"])


@pytest.mark.parametrize(
    ("frame", "change", "message"),
    [
        ("000002", {"score": np.array([0.5, np.nan])}, r"frame '000002': object 1 is \{.*'score': nan\}, expected finite numbers\. Leave it out"),
        ("000002", {"category": np.array(["Car", "Bus"])}, "frame '000002': object 1 is a 'Bus', which KITTI's files do not know; expected one of Car"),
        ("../000002", {}, r"'\.\./000002' names no file, expected a name such as 000123"),
        ("", {}, "'' names no file"),
    ],
)  # fmt: skip
def test_write_when_one_frame_is_wrong_then_nothing_is_written(
    tmp_path: Path, frame: str, change: dict[str, np.ndarray], message: str
) -> None:
    with pytest.raises(KittiFileError, match=message):
        write_results(tmp_path / "out", {"000001": cars(1), frame: replace(cars(2), **change)})
    assert list(tmp_path.iterdir()) == []


def test_write_when_the_disk_fails_midway_then_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = []
    write_text = Path.write_text

    def fail_on_the_second(self: Path, *args: object, **named: object) -> int:
        written.append(self)
        if len(written) == 2:
            raise OSError(28, "No space left on device")
        return write_text(self, *args, **named)

    monkeypatch.setattr(Path, "write_text", fail_on_the_second)
    with pytest.raises(KittiFileError, match=r"cannot write results to '.*/out': .*No space left on device\. Free space there"):
        write_results(tmp_path / "out", {"1": cars(1), "2": cars(1), "3": cars(1)})
    assert len(written) == 2 and list(tmp_path.iterdir()) == []


def _label_folder(tmp_path: Path, count: int) -> Path:
    folder = tmp_path / "label_2"
    folder.mkdir()
    for i in range(count):
        (folder / f"{i:06d}.txt").write_text(f"{CAR.replace('203.12', '253.12').replace('58.49', f'{20 + i}.49')}\n{AREA}\n")
    return folder


def test_evaluate_when_results_are_the_labels_then_is_100(tmp_path: Path) -> None:
    labels = _label_folder(tmp_path, 45)
    ids = [f"{i:06d}" for i in range(45)]
    truth = {frame: read_labels(labels / f"{frame}.txt") for frame in ids}
    write_results(tmp_path / "out", {frame: one[one.category != "DontCare"] for frame, one in truth.items()})
    rows = evaluate_result_folder(labels, tmp_path / "out", ids, classes=("Car",))
    assert {(row.r40, row.num_truth, row.num_found) for row in rows} == {(100.0, 45, 45)}
    # by name, not by place: other files in both folders, and the frames in another order
    (labels / "a.txt").write_text("broken")
    (tmp_path / "out" / "b.txt").write_text("broken")
    assert evaluate_result_folder(labels, tmp_path / "out", ids[::-1], classes=("Car",)) == rows


def test_evaluate_when_files_are_missing_then_names_them(tmp_path: Path) -> None:
    labels = _label_folder(tmp_path, 9)
    ids = [f"{i:06d}" for i in range(9)]
    write_results(tmp_path / "out", {frame: Objects.none() for frame in ids[7:]})
    with pytest.raises(
        KittiFileError,
        match=r"'.*/out' has no result file of 000000, 000001, 000002, 000003, 000004 and 2 more; expected <frame>\.txt for each of 9 frames\. "
        "Write an empty file for a frame without detections, or leave the frame out",
    ):
        evaluate_result_folder(labels, tmp_path / "out", ids)
    with pytest.raises(KittiFileError, match=r"'.*/label_2' has no label file of 000010; .* Copy it there"):
        evaluate_result_folder(labels, tmp_path / "out", [*ids[7:], "000010"])
    with pytest.raises(KittiFileError, match="000008 named more than once, expected each frame once"):
        evaluate_result_folder(labels, tmp_path / "out", [*ids[7:], "000008"])
    with pytest.raises(AveragePrecisionError, match=r"category 'car', expected of .*did you mean Car\?"):
        evaluate_result_folder(labels, tmp_path / "out", ids[7:], classes=("car",))


@pytest.mark.real_data
def test_evaluate_when_real_labels_are_their_own_results_then_reaches_the_ceiling(shared: Path, tmp_path: Path) -> None:
    labels = shared / "data" / "kitti-object" / "training" / "label_2"
    ids = [file.stem for file in labels.glob("*.txt")]
    truth = {frame: read_labels(labels / f"{frame}.txt") for frame in ids}
    write_results(tmp_path / "out", {frame: one[one.category != "DontCare"] for frame, one in truth.items()})
    rows = evaluate_result_folder(labels, tmp_path / "out", ids)
    assert {(row.category, row.difficulty): row.num_truth for row in rows if row.metric == "2d"}["Car", "easy"] >= 8
    for row in rows:
        assert row.r40 == pytest.approx(2.5 * max(0, min(row.num_truth, 41) - 1)), row
