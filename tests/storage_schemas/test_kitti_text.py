from __future__ import annotations

import re

import numpy as np
import pytest

from storage_schemas.errors import SourceError
from storage_schemas.kitti_text import count_objects, parse_labels, parse_matrix

CAR = "Car 0.12 1 -1.58 587.01 173.33 614.12 200.12 1.65 1.67 3.64 -0.65 1.71 46.70 -1.59"
DONT_CARE = "DontCare -1 -1 -10 503.89 169.71 590.61 190.13 -1 -1 -1 -1000 -1000 -1000 -10"
P2 = "P2: 707.0493 0 604.0814 45.75831 0 707.0493 180.5066 -0.3454157 0 0 1 0.004981016"


def test_labels_when_read_then_every_number_is_kept_and_dont_care_too():
    car, region = parse_labels(f"{CAR}\n\n{DONT_CARE}\n".encode(), where="a.txt")
    assert car == {
        "category": "Car",
        "source_category": "Car",
        "instance_token": None,
        "truncation": 0.12,
        "occlusion": 1,
        "alpha_rad": -1.58,
        "left_px": 587.01,
        "top_px": 173.33,
        "right_px": 614.12,
        "bottom_px": 200.12,
        "height_m": 1.65,
        "width_m": 1.67,
        "length_m": 3.64,
        "x_m": -0.65,
        "y_m": 1.71,
        "z_m": 46.70,
        "rotation_y_rad": -1.59,
    }
    assert (region["category"], region["truncation"], region["occlusion"], region["x_m"]) == ("DontCare", -1.0, -1, -1000.0)
    assert parse_labels(b"", where="a.txt") == []


def changed(column: int, value: str) -> str:
    words = CAR.split()
    words[column] = value
    return " ".join(words)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (
            f"{CAR.rsplit(' ', 1)[0]} 90",
            "rotation_y_rad is 90, expected radians from -pi to pi, or -10 = not said. Is it in degrees",
        ),
        (CAR.rsplit(" ", 1)[0], "has 14 columns, expected 15: type, truncation, occlusion, alpha_rad"),
        (f"{CAR} 0.98", r"has 16 columns, expected 15: .* (16 with a score: a result file is no label file). Correct the line"),
        (changed(0, "Cra"), "type 'Cra' is unknown; did you mean 'Car'? Correct the line"),
        (changed(0, "Cra"), "or say in the recipe which of KITTI's types it is, e.g. source.types: {Cra: Car}"),
        (changed(0, "xyzzy"), "Tram, Misc, DontCare. Correct the line, or say in the recipe"),
        (changed(0, "xyzzy"), "type 'xyzzy' is unknown; expected one of: Car, Van, Truck, Pedestrian, Person_sitting"),
        (changed(13, "far"), "z_m is 'far', expected a finite number"),
        (changed(13, "nan"), "z_m is 'nan', expected a finite number"),
        (changed(8, "-1"), "height_m of a Car is -1, expected 0 or more"),
        (changed(6, "580"), "right_px 580 is smaller than left_px 587.01; expected left, top, right, bottom in this order"),
        (changed(7, "100"), "bottom_px 100 is smaller than top_px 173.33"),
        (changed(1, "1.2"), "truncation is 1.2, expected 0 to 1, or -1 = not known"),
        (changed(2, "4"), "occlusion is 4, expected 0, 1, 2, 3, or -1 = not said"),
        (changed(2, "0.5"), "occlusion is 0.5, expected 0, 1, 2, 3"),
    ],
)
def test_labels_when_a_line_is_bad_then_the_error_names_file_line_and_expectation(line, words):
    with pytest.raises(SourceError) as error:
        parse_labels(f"{DONT_CARE}\n{line}\n".encode(), where="label_2/000007.txt")
    assert str(error.value).startswith("'label_2/000007.txt' line 2")
    before, _, after = words.partition(".*")
    assert before in str(error.value) and after in str(error.value)


def test_calibration_when_lines_stand_in_another_order_then_the_key_counts_and_every_digit(tmp_path):
    content = f"\n\nTr_velo_to_cam: {'1 ' * 12}\n{P2}\nR0_rect: {'0.5 ' * 9}\n".encode()
    assert parse_matrix(content, "P2", where="c.txt")[:, 3].tolist() == [45.75831, -0.3454157, 0.004981016]
    assert parse_matrix(content, "R0_rect", where="c.txt").shape == (3, 3)
    assert parse_matrix(content, "Tr_velo_to_cam", where="c.txt").dtype == np.float64


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("P0: 1\nP3: 2", "calibration 'calib/7.txt' has no line 'P2:'; expected one, keys there: P0, P3."),
        ("", "has no line 'P2:'; expected one, keys there: none."),
        (f"{P2}\n{P2}", "has the key 'P2' in lines 1 and 2; expected one"),
        (P2.rsplit(" ", 1)[0], "'calib/7.txt' line 1, key P2: 11 numbers, expected 12, a 3x4 matrix row by row."),
        (P2.replace("604.0814", "wide"), "line 1, key P2: P2 is 'wide', expected a finite number"),
        (P2.replace("P2: 707.0493", "P2: 0"), "focal lengths are 0 and 707.049 pixels, expected more than 0"),
    ],
)
def test_calibration_when_broken_then_the_error_names_file_key_and_expectation(text, words):
    with pytest.raises(SourceError, match=re.escape(words)):
        parse_matrix(text.encode(), "P2", where="calib/7.txt")


def test_text_when_it_is_none_then_says_so():
    with pytest.raises(SourceError, match=r"'a.txt' is no text"):
        parse_labels(b"\xff\xfe\x00\x01", where="a.txt")


def test_labels_when_types_are_mapped_then_case_is_one_and_the_text_of_the_file_is_kept():
    lines = [CAR.replace("Car", name, 1) for name in ("car", "CAR", "PassengerCar", "van", "dontcare")]
    rows = parse_labels("\n".join(lines).encode(), where="a.txt", types={"passengercar": "Car", "Van": "Car"})
    assert [row["category"] for row in rows] == ["Car", "Car", "Car", "Car", "DontCare"]
    assert [row["source_category"] for row in rows] == ["car", "CAR", "PassengerCar", "van", "dontcare"]


@pytest.mark.parametrize("alpha", ["-10", "-10.00"])
def test_labels_when_alpha_is_not_said_then_it_is_the_turn_less_the_bearing(alpha):
    for x, z, turn in ((-0.65, 46.7, -1.59), (20.0, 5.0, -3.0), (-20.0, 5.0, 3.1)):
        line = CAR.replace("-1.58", alpha).replace("-0.65", str(x)).replace("46.70", str(z)).replace("-1.59", str(turn))
        (row,) = parse_labels(line.encode(), where="a.txt")
        expected = np.angle(np.exp(1j * (turn - np.arctan2(x, z))))
        assert row["alpha_rad"] == pytest.approx(expected, abs=1e-12)
        assert count_objects(f"{DONT_CARE}\n{line}\n".encode()) == (1, 1)
    (kept,) = parse_labels(CAR.encode(), where="a.txt")
    assert kept["alpha_rad"] == -1.58
    assert count_objects(f"{CAR}\n{DONT_CARE}\n".encode()) == (1, 0)


@pytest.mark.parametrize(
    "line",
    [
        "Car -1 -1 -10 10 20 60 50 -1 -1 -1 -1000 -1000 -1000 -10",
        "Car 0.1 0 -10 10 20 60 50 0 0 0 0 0 0 0",
        "Car 0.1 0 -10 10 20 60 50 1.5 1.6 3.9 -1000 -1000 -1000 0.3",
        "Car 0.1 0 -10 10 20 60 50 1.5 1.6 3.9 1 1.6 20 -10",
    ],
)
def test_labels_when_an_object_is_of_the_image_only_then_it_stays_so_and_every_number_is_kept(line):
    (row,) = parse_labels(line.encode(), where="a.txt")
    words = line.split()
    assert (row["category"], row["alpha_rad"], row["height_m"], row["z_m"], row["rotation_y_rad"]) == (
        "Car",
        -10.0,
        *(float(words[k]) for k in (8, 13, 14)),
    )
    assert count_objects(line.encode()) == (1, 0)


def test_calibration_when_written_as_in_the_tracking_benchmark_then_is_read_by_the_same_keys():
    turn = " ".join(str(value) for value in np.arange(9) / 10)
    content = f"{P2}\nR_rect {turn}\nTr_velo_cam\t{'1 ' * 12}\nTr_imu_velo {'1 ' * 12}\n".encode()
    assert parse_matrix(content, "R0_rect", where="c.txt").ravel().tolist() == [float(word) for word in turn.split()]
    assert parse_matrix(content, "Tr_velo_to_cam", where="c.txt").shape == (3, 4)
    with pytest.raises(SourceError, match=r"has no line 'P3:'; expected one, keys there: P2, R_rect, Tr_velo_cam, Tr_imu_velo"):
        parse_matrix(content, "P3", where="c.txt")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            P2.replace("0 0 1 0.004981016", "0.01 0 0.9998 1.5"),
            "the third row is 0.01 0 0.9998 1.5, expected 0 0 1 t: a projection",
        ),
        (P2.replace("0 0 1 0.004981016", "0 0 2 0"), "the third row is 0 0 2 0, expected 0 0 1 t"),
        (P2.replace("707.0493 0 604", "707.0493 3.5 604"), "the first row is 707.049 3.5 604.081 45.7583, with 3.5 in column 2"),
        (
            P2.replace("45.75831 0 707", "45.75831 0.5 707"),
            "the second row is 0.5 707.049 180.507 -0.345416, with 0.5 in column 1",
        ),
    ],
)
def test_calibration_when_the_projection_turns_or_skews_then_the_error_names_the_row_and_the_frame_of_labels(text, words):
    with pytest.raises(SourceError) as error:
        parse_matrix(f"P0: 1\n{text}".encode(), "P2", where="calib/7.txt")
    assert f"'calib/7.txt' line 2, key P2: {words}" in str(error.value)
    assert "of labels in the rectified camera frame. Turn labels and points into that frame" in str(error.value)
