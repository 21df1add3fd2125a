from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage_schemas.encoding import MAX_DEPTH_M, decode_depth, encode_depth


@given(st.lists(st.integers(0, 65535), min_size=1, max_size=50))
def test_round_trip_when_steps_are_whole_then_exact(steps):
    stored = np.array(steps, np.uint16)
    assert np.array_equal(encode_depth(decode_depth(stored)), stored)


@given(st.floats(0, MAX_DEPTH_M))
def test_encode_when_between_steps_then_truncates(depth):
    step = int(encode_depth(np.array([depth]))[0])
    assert step / 256 <= depth < (step + 1) / 256


@pytest.mark.parametrize("bad", [np.nan, -0.1, 256.0])
def test_encode_when_out_of_range_then_says_bounds(bad):
    with pytest.raises(ValueError, match=r"depth must lie in \[0, 255.996\] m without NaN"):
        encode_depth(np.array([1.0, bad]))
