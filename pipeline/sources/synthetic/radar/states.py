"""What a radar says about its own returns: validity, motion, ambiguity, false-alarm class and accuracy.

The meaning of the codes is that of the sensor's interface (invalid_state 4 low rcs, 9 child of a stronger return, 11 no local
maximum, 16 several targets, 3 far beam without the near one, 7 outside the field of view, 10 artefact of 50 degrees, 15 beyond
95 m in the near beam). How often each occurs is a table by strength and range, counted in 86 real files.

Source docs/method/world.md#radar
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipeline.sources.synthetic.radar.plain import POINT
from pipeline.sources.synthetic.radar.returns import ReturnKind, Returns
from pipeline.sources.synthetic.rigid import Floats

VALID, FAR_UNCONFIRMED, LOW_RCS, OUTSIDE, CHILD, ARTEFACT_50, NOT_A_PEAK, BEYOND_NEAR, MULTI = 0, 3, 4, 7, 9, 10, 11, 15, 16
_STATES: Final = np.array([VALID, LOW_RCS, CHILD, NOT_A_PEAK, MULTI])
_RCS_EDGES_DB: Final = np.array([-2.0, 1.0, 8.0, 14.0])
_RANGE_EDGES_M: Final = np.array([20.0, 40.0])
# [range band][rcs band]: shares of `_STATES`
_STATE_SHARES: Final = np.array(
    [
        [(0.64, 0.04, 0.09, 0.16, 0.07), (0.78, 0.0, 0.05, 0.09, 0.08), (0.82, 0.0, 0.04, 0.07, 0.07),
         (0.90, 0.0, 0.01, 0.05, 0.04), (0.91, 0.0, 0.01, 0.04, 0.04)],
        [(0.08, 0.54, 0.17, 0.19, 0.02), (0.47, 0.13, 0.14, 0.15, 0.11), (0.60, 0.0, 0.12, 0.18, 0.10),
         (0.77, 0.0, 0.06, 0.11, 0.06), (0.91, 0.0, 0.01, 0.04, 0.04)],
        [(0.0, 0.68, 0.14, 0.18, 0.0), (0.14, 0.53, 0.14, 0.17, 0.02), (0.61, 0.0, 0.11, 0.19, 0.09),
         (0.73, 0.0, 0.09, 0.13, 0.05), (0.87, 0.0, 0.02, 0.07, 0.04)],
    ]
)  # fmt: skip
_FALSE_ALARM: Final = {VALID: 1, MULTI: 1, BEYOND_NEAR: 1, FAR_UNCONFIRMED: 6, OUTSIDE: 6}
# share of standing returns that have not been seen for long enough (dyn_prop 3), by range
_CANDIDATE_M: Final = (5.0, 15.0, 30.0, 55.0, 85.0, 150.0)
_CANDIDATE_SHARE: Final = (0.02, 0.09, 0.24, 0.5, 0.62, 0.8)
MOVING_MPS: Final = 0.8
GRID_M: Final = 0.2
SPEED_STEP_MPS: Final = 0.25
SPEED_NOISE_MPS: Final = 0.12
LEAST_RCS_DB: Final = -5.0


def write_points(found: Returns, own_mps: Floats, yaw_rate_radps: float, rng: np.random.Generator) -> NDArray[np.void]:
    """Return returns as the fields of a file: places on the grid, speeds in steps, states by strength and range."""
    count = len(found)
    x = np.rint(found.range_m * np.cos(found.azimuth) / GRID_M) * GRID_M
    y = (np.floor(found.range_m * np.sin(found.azimuth) / GRID_M) + 0.5) * GRID_M
    range_m = np.maximum(np.hypot(x, y), GRID_M)
    cosine, sine = np.maximum(x, GRID_M) / range_m, y / range_m
    own_along = own_mps[0] * cosine + own_mps[1] * sine
    is_stray = found.kind == ReturnKind.STRAY
    heavy = np.where(rng.uniform(size=count) < 0.1, 3.0, 1.0)
    relative = found.speed_mps - own_along + rng.normal(0.0, SPEED_NOISE_MPS, count) * heavy
    vx = np.rint((relative / cosine + yaw_rate_radps * y) / SPEED_STEP_MPS) * SPEED_STEP_MPS
    vy = np.rint(-yaw_rate_radps * x / SPEED_STEP_MPS) * SPEED_STEP_MPS + np.zeros(count)
    over_ground = vx * cosine + vy * sine + own_along
    over_ground = np.where(is_stray, own_along, over_ground)

    points = np.zeros(count, dtype=POINT)
    points["x"], points["y"], points["id"] = x, y, np.arange(count)
    points["rcs"] = np.maximum(np.rint(2.0 * found.rcs_db) / 2.0, LEAST_RCS_DB)
    points["vx"], points["vy"] = np.where(is_stray, 0.0, vx), np.where(is_stray, 0.0, vy)
    points["vx_comp"], points["vy_comp"] = over_ground * cosine, over_ground * sine
    points["is_quality_valid"] = 1
    states = _states(range_m, np.rad2deg(np.arctan2(y, x)), points["rcs"], over_ground, found, rng)
    for name, values in states.items():
        points[name] = values
    return points


def _states(
    range_m: Floats, azimuth_deg: Floats, rcs_db: Floats, speed_mps: Floats, found: Returns, rng: np.random.Generator
) -> dict[str, NDArray[np.int8]]:
    """Return the fields invalid_state, dyn_prop, ambig_state, pdh0 and the four rms, each (n,).

    speed_mps is the measured speed over ground along the line of sight.
    """
    count = len(range_m)
    shares = _STATE_SHARES[np.digitize(range_m, _RANGE_EDGES_M), np.digitize(rcs_db, _RCS_EDGES_DB)]
    drawn = (found.lot[:, None] > np.cumsum(shares, axis=1)[:, :-1]).sum(axis=1)
    state = _STATES[drawn]
    lot = rng.uniform(size=count)
    bearing = np.abs(azimuth_deg)
    state = np.where((range_m > 95.0) & (bearing < 9.0) & (lot < 0.45), BEYOND_NEAR, state)
    state = np.where((np.abs(bearing - 51.0) < 2.0) & (lot < 0.35), ARTEFACT_50, state)
    state = np.where(found.kind == ReturnKind.FAR_ONLY, FAR_UNCONFIRMED, state)
    state = np.where(found.kind == ReturnKind.STRAY, OUTSIDE, state)
    is_unresolved = (state == FAR_UNCONFIRMED) | (state == OUTSIDE)
    is_moving = (np.abs(speed_mps) > MOVING_MPS) & (np.abs(found.speed_mps) > 0.3)

    dynamic = np.where(rng.uniform(size=count) < np.interp(range_m, _CANDIDATE_M, _CANDIDATE_SHARE), 3, 1)
    dynamic = np.where((dynamic == 3) & (rcs_db > 8.0) & (range_m < 70.0) & (rng.uniform(size=count) < 0.5), 1, dynamic)
    dynamic = np.where(is_moving, np.where(speed_mps > 0, 0, 2), dynamic)
    dynamic = np.where(is_moving & (rng.uniform(size=count) < 0.05) & (range_m < 35.0), 6, dynamic)
    dynamic = np.where(state == OUTSIDE, 4, dynamic)
    ambiguous = np.where(
        rng.uniform(size=count) < np.where(is_moving, 0.32, 0.002), rng.choice([1, 1, 1, 1, 1, 2], size=count), 3
    )
    ambiguous = np.where(is_unresolved, 0, ambiguous)
    alarm = np.full(count, 3)
    for value, number in _FALSE_ALARM.items():
        alarm = np.where(state == value, number, alarm)
    return {
        "invalid_state": state.astype(np.int8),
        "dyn_prop": dynamic.astype(np.int8),
        "ambig_state": ambiguous.astype(np.int8),
        "pdh0": alarm.astype(np.int8),
        **_accuracy(range_m, rcs_db, state == OUTSIDE, rng),
    }


def _accuracy(
    range_m: Floats, rcs_db: Floats, is_unknown: NDArray[np.bool_], rng: np.random.Generator
) -> dict[str, NDArray[np.int8]]:
    """Return x_rms, y_rms, vx_rms and vy_rms (n,), codes of the sensor; 0 where the return is outside the field of view."""
    count = len(range_m)
    weak = np.clip((6.0 - rcs_db) / 10.0, 0.0, 1.0)
    along = 19.0 + np.clip(rng.normal(range_m / 75.0 + 0.5 * weak - 0.05, 0.75), 0.0, 4.0)
    across = 19.0 + np.clip(rng.normal(range_m / 36.0 - 0.25, 0.65), 0.0, 9.0)
    speed = 16.0 + np.clip(rng.normal(1.3 - range_m / 42.0, 0.8), 0.0, 4.0)
    codes = {"x_rms": along, "y_rms": across, "vx_rms": speed, "vy_rms": np.full(count, 3.0)}
    return {name: np.where(is_unknown, 0, np.floor(value)).astype(np.int8) for name, value in codes.items()}
