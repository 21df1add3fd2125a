from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pipeline.kernels.occluded import drop_occluded, farthest_steps, occluded_twin
from pipeline.stages.clean_horizon import STAGE, Occluded, Params, drop_hidden

RULE = {"focal_px": 1266.0, "reach_m": 0.15, "behind_m": 1.0, "behind_share": 0.1}
METRES = st.one_of(st.just(0), st.integers(257, 65534), st.sampled_from([256 * 5, 256 * 16, 256 * 17, 256 * 30, 256 * 60]))
MAPS = hnp.arrays(np.uint16, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=24), elements=METRES)


@settings(max_examples=200, deadline=None)
@given(MAPS, st.sampled_from([100.0, 400.0, 1266.0]), st.sampled_from([0.03, 0.15]))
def test_fast_kernel_agrees_with_twin_and_only_removes(steps, focal_px, reach_m):
    rule = {**RULE, "focal_px": focal_px, "reach_m": reach_m}
    is_dropped = occluded_twin(steps / 256, **rule)
    found = steps.copy()
    assert drop_occluded(found, **rule) == is_dropped.sum()
    assert np.array_equal(found, np.where(is_dropped, 0, steps))


def fence(*, every: int, depth_m: float, behind_m: float) -> np.ndarray:
    """A surface measured at every nth row and column, and what lies behind it at one pixel between."""
    steps = np.zeros((40, 40), np.uint16)
    steps[::every, ::every] = 256 * depth_m
    steps[every * 5 + 1, every * 5 + 1] = 256 * behind_m
    return steps


@pytest.mark.parametrize(("every", "depth_m", "behind_m", "num_dropped"), [
    (2, 20.0, 60.0, 1),
    (6, 20.0, 60.0, 1),  # 9 pixels are 14 cm on this surface
    (6, 60.0, 90.0, 0),  # and 43 cm on this one: 5 pixels may be taken, which do not close it
    (4, 60.0, 90.0, 1),
    (2, 20.0, 20.9, 0),  # less than 1 m behind
    (2, 60.0, 65.0, 0),  # less than 10 %
    (2, 60.0, 66.5, 1),
])  # fmt: skip
def test_return_when_seen_through_the_gaps_of_a_surface_then_is_dropped(every, depth_m, behind_m, num_dropped):
    steps = fence(every=every, depth_m=depth_m, behind_m=behind_m)
    assert drop_occluded(steps, **RULE) == num_dropped


def test_background_when_beside_a_pole_or_below_a_wire_then_stays():
    steps = np.full((40, 60), 256 * 50, np.uint16)
    steps[12, :] = 256 * 12
    steps[:, 30] = 256 * 10
    before = steps.copy()
    assert drop_occluded(steps, **RULE) == 0
    assert np.array_equal(steps, before)


def test_window_when_the_image_is_coarse_then_closes_near_surfaces_only():
    assert farthest_steps(9, focal_px=1266.0, reach_m=0.15) == int(256 * 0.3 * 1266 / 8)  # 47 m
    assert farthest_steps(5, focal_px=230.0, reach_m=0.15) == int(256 * 0.3 * 230 / 4)  # 17 m
    coarse = {**RULE, "focal_px": 230.0}
    assert drop_occluded(fence(every=2, depth_m=20.0, behind_m=60.0), **coarse) == 1
    assert drop_occluded(fence(every=4, depth_m=20.0, behind_m=60.0), **coarse) == 0


def test_stage_when_occluded_is_off_then_reads_and_names_its_unit_as_before():
    assert [layout.name for layout in STAGE.chosen_reads(Params())] == ["depth_accumulated", "depth_mono"]
    assert "occluded" not in STAGE.identity_params(Params(), {})
    on = Params(occluded=Occluded())
    assert [layout.name for layout in STAGE.chosen_reads(on)] == ["depth_accumulated", "depth_mono", "frames"]
    assert STAGE.identity_params(on, {})["occluded"] == {"reach_m": 0.3, "behind_m": 1.0, "behind_share": 0.1}


def test_focal_length_when_pixels_are_not_square_then_is_the_geometric_mean():
    steps = fence(every=4, depth_m=20.0, behind_m=60.0)
    keyframe = {"intrinsic_px": [4 * 1266.0, 0, 20, 0, 1266.0 / 4, 20, 0, 0, 1]}
    assert drop_hidden(steps, keyframe, Occluded()) == 1
