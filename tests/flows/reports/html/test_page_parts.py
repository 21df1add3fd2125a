from __future__ import annotations

import numpy as np

from flows.reports.html.colormap import DROPPED, depth_colors
from flows.reports.html.depth_pictures import draw_points
from flows.reports.html.markup import GAP, moment, seconds


def test_draw_points_when_points_meet_then_the_higher_priority_is_seen():
    canvas, mask = np.zeros((3, 3, 3), np.uint8), np.ones((6, 6), bool)
    drawn = draw_points(canvas, mask, np.arange(36, dtype=np.uint16), np.arange(36, dtype=np.uint8)[:, None].repeat(3, axis=1), 0)
    assert drawn.all() and canvas[0, 0, 0] == 7 and canvas[2, 2, 0] == 35


def test_depth_colors_when_near_then_warm_when_far_then_cool_and_never_the_mark():
    near, far = depth_colors(np.array([2.0, 80.0])).astype(int)
    assert near[0] > near[2] + 100 and far[2] > far[0] + 80
    everything = depth_colors(np.geomspace(1, 255, 500)).astype(int)
    assert np.abs(everything - np.array(DROPPED)).sum(axis=1).min() > 150


def test_moment_when_time_is_of_a_lineage_then_it_is_read_to_the_second_and_other_text_stays():
    assert moment("2026-11-21T12:18:33.060242+00:00") == "2026-11-21 12:18:33 UTC"
    assert moment("2026-11-21T12:18:33+02:00") == "2026-11-21 10:18:33 UTC"
    assert moment("yester<day>") == "yester&lt;day&gt;"


def test_seconds_when_very_short_then_are_not_said_to_be_nothing():
    assert [seconds(value).replace(GAP, " ") for value in (0.0, 0.0002, 0.0006, 90, 7200)] == [
        "0 ms",
        "&lt; 1 ms",
        "1 ms",
        "90.0 s",
        "2.0 h",
    ]
