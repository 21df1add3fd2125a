"""Average precision with every centre moved: where an overlap worked out by hand is lost, and what a bias looks like."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from made_up_cars import KITTI_P2, centres_px
from made_up_detector import CAMERA, Errors, detected, street
from test_oracle import ALL_WRONG, analysed, assert_consistent, unchanged
from test_oracle_matches import seen_at

from model.data.objects import Objects
from model.monoddle.analysis.analysis_text import analysis_text, bias_text, summary_text
from model.monoddle.analysis.centre_shift import DEPTHS_M, ShiftRow, shifted, sides_px
from model.monoddle.measured_cameras import FrameCamera
from model.monoddle.precision.average_precision import KITTI_DIFFICULTIES, average_precision

AHEAD_PX = KITTI_P2[0, 2]  # a car here drives along its ray


def curve(rows: list[ShiftRow], detections: str, by: str, metric: str = "3d", overlap: str = "strict") -> dict[float, float]:
    return {row.shift: row.r40 for row in rows if row[:2] == (detections, by) and (row.metric, row.overlap) == (metric, overlap)}


def driving_ahead(row: float = KITTI_P2[1, 2]) -> Objects:
    """A car 1.6 m wide and 4 m long whose length lies along the ray of its centre, 20 m away."""
    one = seen_at(AHEAD_PX, row=row)
    return replace(
        one, size_hwl_m=np.array([[1.5, 1.6, 4.0]]), rotation_y_rad=np.array([-math.pi / 2]), location_m=one.location_m
    )


def test_truth_when_moved_along_the_ray_then_lost_where_the_lengths_no_longer_share_enough():
    truth = [driving_ahead() for _ in range(50)]
    rows = analysed(truth, [Objects.none()] * 50).shifts
    strict, loose = curve(rows, "truth", "depth_m"), curve(rows, "truth", "depth_m", overlap="loose")
    for share, values in ((0.7, strict), (0.5, loose)):
        lost_m = 4.0 * (1 - share) / (1 + share)  # (4 - d) / (4 + d) = share
        assert list(values) == list(DEPTHS_M)
        assert values == {shift: pytest.approx(100.0 if abs(shift) < lost_m else 0.0) for shift in values}
    assert set(curve(rows, "own", "depth_m").values()) == {0.0}


def test_truth_when_moved_to_the_side_then_lost_where_the_widths_no_longer_share_enough():
    truth = [driving_ahead() for _ in range(50)]
    rows = analysed(truth, [Objects.none()] * 50).shifts
    lost_px = 1.6 * 0.3 / 1.7 * KITTI_P2[0, 0] / 20.0
    values = curve(rows, "truth", "side_px", metric="bev")
    assert list(values) == [-16.0, -8.0, -6.0, -4.0, -2.0, -1.0, 0.0, 1.0, 2.0, 4.0, 6.0, 8.0, 16.0]
    assert values == {shift: pytest.approx(100.0 if abs(shift) < lost_px else 0.0) for shift in values}


def test_own_when_the_detector_is_biased_then_its_highest_point_is_where_the_bias_is_undone():
    truth = [street(seed) for seed in range(20)]
    found = []
    for seed, one in enumerate(truth):
        (cars, _) = detected(one, Errors(), seed)
        projections = np.broadcast_to(KITTI_P2, (len(cars), 3, 4))
        found.append(shifted(cars, projections, "depth_m", 1.0))
    analysis = analysed(truth, found)
    values = curve(analysis.shifts, "own", "depth_m")
    assert values[-1.0] == pytest.approx(100.0) and max(value for shift, value in values.items() if shift != -1.0) < 90
    assert values[0.0] < 10
    (text,) = bias_text(analysis, "Car")
    assert text.startswith(
        "The depth of Car is biased: with every centre 1 m nearer the AP of 3D@0.7 at moderate would be 100.00"
    )
    assert text in summary_text(analysis, "biased") and text in analysis_text(analysis, "biased")
    exact = analysed(truth, [detected(one, Errors(), seed)[0] for seed, one in enumerate(truth)])
    assert bias_text(exact, "Car") == []


def test_own_when_moved_then_the_precision_of_the_moved_detections():
    truth = [street(seed, count=6) for seed in range(10)]
    found = [detected(one, ALL_WRONG._replace(missed=0.2, twice=0.2, alarms=0.3), seed)[0] for seed, one in enumerate(truth)]
    rows = analysed(truth, found).shifts
    for by, shift in (("depth_m", -0.5), ("depth_m", 3.0), ("side_px", -4.0), ("side_px", 16.0)):
        moved = [shifted(one, np.broadcast_to(KITTI_P2, (len(one), 3, 4)), by, shift) for one in found]
        wanted = average_precision(truth, moved, classes=["Car"], difficulties=KITTI_DIFFICULTIES[1:2])[:4]
        measured = [row for row in rows if row[:3] == ("own", by, shift)]
        assert [row.r40 for row in measured] == pytest.approx([row.r40 for row in wanted])


def test_detections_when_shifted_then_copies_on_their_rays_and_angles_that_agree():
    cars = street(3, count=8)
    projections = np.broadcast_to(KITTI_P2, (len(cars), 3, 4))
    deeper = shifted(cars, projections, "depth_m", 2.0)
    assert np.abs(centres_px(deeper) - centres_px(cars)).max() < 1e-9
    assert deeper.location_m[:, 2] - cars.location_m[:, 2] == pytest.approx(2.0)
    assert unchanged(cars, deeper, "location_m")
    aside = shifted(cars, projections, "side_px", 5.0)
    assert np.abs(centres_px(aside) - centres_px(cars) - [5.0, 0.0]).max() < 1e-9
    assert unchanged(cars, aside, "location_m", "rotation_y_rad")
    assert_consistent(aside)
    assert shifted(cars, projections, "depth_m", -100.0).location_m[:, 2] == pytest.approx(0.1)
    nowhere = replace(cars, location_m=np.full_like(cars.location_m, -1000.0))
    assert unchanged(nowhere, shifted(nowhere, projections, "depth_m", 1.0))


@pytest.mark.parametrize(("width", "step"), [(1242, 1.0), (1600, 1.0), (320, 0.25), (124, 0.125)])
def test_sides_when_images_are_narrow_then_fewer_pixels(width, step):
    sides = sides_px([FrameCamera(CAMERA.projection, (100, width))] * 3)
    assert sides[7] == step and sides[-1] == 16 * step
