from __future__ import annotations

import re

import numpy as np
import pytest

from flows.reports.html import curves, line_chart


def test_thinned_when_there_are_many_points_then_few_are_kept_and_the_spikes_are_among_them():
    x, y = np.arange(50_000.0), np.random.default_rng(0).normal(0, 1, 50_000)
    y[12_345], y[40_001] = 100.0, -100.0
    few_x, few_y = curves.thinned(x, y)
    assert len(few_x) <= 4 * curves.BUCKETS and np.all(np.diff(few_x) > 0) and (few_y.max(), few_y.min()) == (100.0, -100.0)
    assert curves.thinned(x[:10], y[:10])[0].tolist() == x[:10].tolist()


def test_moving_median_when_there_are_spikes_then_follows_the_curve_and_begins_with_it():
    x = np.arange(6000.0)
    y = np.exp(-x / 1000)
    spiked = np.where(np.arange(6000) % 7 == 3, 50.0, y)
    few_x, few_y = curves.moving_median(x, spiked)
    assert (few_x[0], few_x[-1], len(few_x)) == (0, 5999, curves.BUCKETS)
    assert np.abs(few_y - np.exp(-few_x / 1000)).max() < 0.03


@pytest.mark.parametrize(
    ("low", "high", "want"),
    [(0, 80, [0, 20, 40, 60, 80]), (0.81, 0.95, [0.85, 0.9, 0.95]), (480, 24_000, [5000, 10000, 15000, 20000])],
)
def test_even_ticks_when_bounds_are_given_then_round_values_between(low, high, want):
    assert line_chart.even_ticks(low, high) == pytest.approx(want)


def test_log_ticks_when_bounds_are_given_then_enough_round_values_between():
    assert line_chart.log_ticks(0.03, 30) == pytest.approx([0.1, 1, 10])
    assert line_chart.log_ticks(0.9, 40) == pytest.approx([1, 3, 10, 30])
    assert line_chart.log_ticks(0.95, 1.05) == pytest.approx([0.96, 0.98, 1.0, 1.02, 1.04])


def test_line_chart_when_all_values_are_equal_then_draws_inside_the_picture():
    one = line_chart.Series("a", np.array([3.0]), np.array([0.0]), "on")
    svg = line_chart.line_chart([one], x_label="x", alt="a", is_log=True)
    assert "nan" not in svg and all(0 <= float(value) <= 400 for value in re.findall(r' [xy]\d?="([^"]+)"', svg))
