from __future__ import annotations

import numpy as np
import pytest

from model.monoddle.gaussian import draw_peak, uncorrected_radius


@pytest.mark.parametrize(
    ("height", "width", "radius"), [(10, 10, 2), (30, 20, 6), (20, 30, 6), (80, 60, 18), (1, 1, 0), (0, 0, 0)]
)
def test_radius_when_of_cornernets_code_then_the_published_values(height, width, radius):
    assert uncorrected_radius(height, width) == radius


def test_peak_when_drawn_then_a_gaussian_cut_off_at_the_radius():
    heatmap = np.zeros((20, 30), np.float32)
    draw_peak(heatmap, 12, 9, radius=3)
    assert heatmap[9, 12] == 1
    sigma = 7 / 6
    assert heatmap[9 + 2, 12 - 3] == pytest.approx(np.exp(-(4 + 9) / (2 * sigma**2)))
    assert np.count_nonzero(heatmap) == 49
    assert heatmap[9, 16] == 0


def test_peaks_when_they_overlap_or_stick_out_then_the_higher_value_and_the_part_inside():
    heatmap = np.zeros((8, 8), np.float32)
    draw_peak(heatmap, 0, 0, radius=2)
    alone = heatmap.copy()
    draw_peak(heatmap, 1, 0, radius=0)
    draw_peak(heatmap, 7, 7, radius=5)
    assert alone[0, 1] == pytest.approx(np.exp(-1 / (2 * (5 / 6) ** 2)))
    assert heatmap[0, 1] == 1
    assert (heatmap >= alone).all()
    assert heatmap[7, 7] == heatmap[0, 0] == 1
    draw_peak(heatmap, 3, 3, radius=0)
    assert heatmap[3, 3] == 1
    assert heatmap[3, 4] < 1
