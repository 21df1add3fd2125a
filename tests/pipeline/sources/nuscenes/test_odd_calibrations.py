"""A calibration that is unlike nearly all others of its channel is named; fleets of different cars are not."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.sources.nuscenes.odd_calibrations import odd_calibrations


def calibrations(num=12):
    rng = np.random.default_rng(1)
    return [
        {
            "token": f"c{number}",
            "sensor_token": "s",
            "translation": (np.array([1.5, 0.0, 1.5]) + rng.normal(0, 0.03, 3)).tolist(),
            "rotation": [0.5, -0.5, 0.5, -0.5],
            "camera_intrinsic": [[1266.0 + number, 0, 800], [0, 1266.0 + number, 450], [0, 0, 1]],
        }
        for number in range(num)
    ]


def odd(records):
    return odd_calibrations(records, {"s": "CAM_FRONT"})


def test_calibrations_when_of_cars_of_one_kind_then_none_is_odd():
    assert odd(calibrations()) == {}


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("translation", [1.5, 0.0, 0.0], "It lies 1.5"),
        ("rotation", [0.5, 0.5, -0.5, -0.5], "degrees"),
        ("camera_intrinsic", [[633.0, 0, 400], [0, 633.0, 225], [0, 0, 1]], "focal length differs by 50 %"),
    ],
)
def test_calibration_when_unlike_all_others_then_it_is_odd(field, value, said):
    records = calibrations()
    records[3][field] = value
    assert list(odd(records)) == ["c3"]
    assert said in odd(records)["c3"]


def test_calibrations_when_of_two_kinds_of_cars_or_few_or_broken_then_nothing_is_said():
    records = calibrations()
    for record in records[:4]:
        record["translation"][2] = 3.0
    assert odd(records) == {}
    few = calibrations(3)
    few[0]["translation"] = [0.0, 0.0, 0.0]
    assert odd(few) == {}
    broken = calibrations()
    broken[0]["translation"] = None
    broken[1]["camera_intrinsic"] = [[]]
    broken[2]["rotation"] = [1.0]
    assert odd(broken) == {}
