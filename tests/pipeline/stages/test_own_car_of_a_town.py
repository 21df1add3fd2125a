"""Rows of the own car and of empty slots, as the simulated `lidar: nuscenes` writes them: what the presets make of them."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.presets import PRESETS
from pipeline.sources.synthetic import SyntheticParams
from tests.pipeline.kernels.test_accumulate import sweep_row
from tests.pipeline.stages.test_dropped_returns import made, unit_of
from tests.world_statistics.lidar import ranges
from tests.world_statistics.sensor_frames import simulated_frames


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    params = SyntheticParams(scenes=1, seconds=1.0, lidar="nuscenes", image_size=(64, 36), spray=0.0)
    found = next(simulated_frames(params, 0)).rows
    assert found is not None
    return found


def depth_of(sweeps: list[np.ndarray], **params: float) -> tuple[np.ndarray, dict]:
    """Return the depth of the key frame, the third of five sweeps in a row of 3 m each, and what the unit counts."""
    driven = [sweep_row(k, x=3.0 * (k - 2), is_keyframe=k == 2) for k in range(5)]
    unit = made(unit_of(sweeps, driven), **params)
    return unit.data.arrays["depth_m"][0], unit.counts


@pytest.mark.slow
def test_surface_preset_when_rows_are_nearer_than_a_metre_then_drops_them_and_published_shows_them_as_false_pixels(
    rows: np.ndarray,
) -> None:
    """Without such rows in the file both presets see the same scene: what they add is false."""
    returns = rows[ranges(rows) > 2.5]
    own_car_m = PRESETS["surface"]["stages"]["accumulate_lidar"]["own_car_m"]
    clean, _ = depth_of([returns] * 5)
    dropped, counts = depth_of([rows] * 5, own_car_m=own_car_m)
    published, _ = depth_of([rows] * 5)
    np.testing.assert_array_equal(dropped, clean)
    assert counts["share_own_car"] == pytest.approx((ranges(rows) <= own_car_m).mean(), abs=1e-3)
    false = published != clean
    assert false.sum() > 20
    assert 0.5 < np.median(published[false]) / 256 < 6.5  # metres: the car as it stands a few sweeps later
