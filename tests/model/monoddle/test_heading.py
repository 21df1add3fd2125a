from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.monoddle.heading import decode_heading, encode_heading, wrap_angle


@given(st.floats(-20, 20))
def test_angle_when_split_and_put_together_then_the_same_direction(angle):
    number, rest = encode_heading(np.array([angle]))
    assert 0 <= number[0] < 12
    assert abs(rest[0]) <= np.pi / 12 + 1e-12
    found = decode_heading(number, rest)[0]
    assert -np.pi <= found < np.pi
    assert np.exp(1j * found) == pytest.approx(np.exp(1j * angle), abs=1e-14)


def test_angle_when_near_a_border_of_bins_then_the_nearer_middle():
    width = np.pi / 6
    angles = np.array([0.0, -1e-18, width / 2 - 1e-9, width / 2 + 1e-9, -width / 2 + 1e-9, -width / 2 - 1e-9, np.pi, -np.pi])
    number, rest = encode_heading(angles)
    assert number.tolist() == [0, 0, 0, 1, 0, 11, 6, 6]
    assert rest[2:6] == pytest.approx(np.array([width / 2, -width / 2, -width / 2, width / 2]), abs=1e-8)
    assert rest[[0, 1, 6, 7]] == pytest.approx(0, abs=1e-15)


def test_angle_when_wrapped_then_in_the_half_open_turn_and_unchanged_inside():
    found = wrap_angle(np.array([np.pi, -np.pi, 3.5, -3.5, 0.1, 100.0]))
    assert found == pytest.approx(np.array([-np.pi, -np.pi, 3.5 - 2 * np.pi, 2 * np.pi - 3.5, 0.1, 100 - 32 * np.pi]))
    assert found[4] == 0.1
