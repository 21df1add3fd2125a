from __future__ import annotations

import re

import numpy as np
import pytest

from storage_schemas.errors import SourceError
from storage_schemas.kitti_text import parse_labels, parse_matrix

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
        (CAR.rsplit(" ", 1)[0], "has 14 columns, expected 15: type, truncation, occlusion, alpha_rad"),
        (f"{CAR} 0.98", r"has 16 columns, expected 15: .* (16 with a score: a result file is no label file). Correct the line"),
        (changed(0, "Cra"), "type 'Cra' is unknown; did you mean 'Car'? Correct the line"),
        (changed(0, "car"), "type 'car' is unknown; did you mean 'Car'?"),
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
