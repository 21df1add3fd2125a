"""How a car drives through a town (`motion: town`): it stands, pulls off, brakes, queues, cruises, and turns at corners.

Every scene has a plan (`PLANS`). Twenty scenes in a row hold each plan as often as the list does, in an order drawn from the
seed, so that a few scenes already stand, cruise and turn as often as real ones. The planned lane is a line with one vertex a
metre. The car follows it some decimetres to its side, and so looks at the houses at up to four degrees.

Source docs/method/world.md#motion.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from pipeline.sources.synthetic.rigid import Floats, Ints, Motion, quaternion_from_yaw_pitch_roll

BEFORE_M: Final = 140.0
BEYOND_M: Final = 300.0
FINE_M: Final = 0.1
ACCELERATION_MPS2: Final = (-2.6, 1.6)
TOP_MPS: Final = 15.0
JERK_S: Final = 0.7
TURN_MPS2: Final = 2.6
TURN_DEG: Final = (66.0, 110.0)
# corners beyond the driven part: metres to the first and between two, and their radius
AHEAD_M: Final = (4.0, 20.0)
CORNER_RADIUS_M: Final = (10.0, 16.0)
AHEAD_EVERY_M: Final = (50.0, 160.0)
# degrees of pitch and roll per m/s2 along and across, as a sprung car dives and leans
DIVE_DEG: Final = 0.28
LEAN_DEG: Final = 0.2
NOD_DEG: Final = (0.24, 0.19)
# slow pitch and roll: on a plane in place of slopes, on slopes what load and wind add to them
PLANE_DEG: Final = (1.1, 0.4)
SLOPES_DEG: Final = (0.4, 0.1)

Plan = Literal["stand", "pull off", "brake", "creep", "cruise", "fast", "turn"]
PLANS: Final[tuple[Plan, ...]] = (
    "stand", "stand", "pull off", "pull off", "pull off", "pull off", "brake", "brake", "creep", "creep", "creep",
    "cruise", "cruise", "cruise", "cruise", "cruise", "fast", "fast", "fast", "turn",
)  # fmt: skip


@dataclass(frozen=True)
class Corner:
    """Where a turn begins, metres from the first knot, and the radius of the bend, metres."""

    s_m: float
    radius_m: float


@dataclass(frozen=True)
class TownMotion:
    """The true motion of one scene, its plan, and the planned lane: lane_m (n, 2), of which vertex `lane_start` is s = 0."""

    plan: Plan
    motion: Motion
    lane_m: Floats
    lane_start: int


def plan_of(seed: int, index: int) -> Plan:
    """Return the plan of scene `index`."""
    block, place = divmod(index, len(PLANS))
    return PLANS[int(np.random.default_rng((seed, block, 101)).permutation(len(PLANS))[place])]


def town_motion(seed: int, index: int, time_us: Ints, *, start_us: int, end_us: int, is_graded: bool) -> TownMotion:
    """Return the motion of scene `index` at the knots `time_us` (n,), evenly spaced; the scene itself runs from start to end.

    is_graded: the ground has slopes of its own, to which most of the slow pitch and roll is left.
    """
    plan = plan_of(seed, index)
    rng = np.random.default_rng((seed, index, 101, 1))
    t = (time_us - start_us) * 1e-6
    seconds = (end_us - start_us) * 1e-6
    speed, corner = _planned_speed(plan, t, seconds, rng)
    step_s = float(t[1] - t[0])
    s = np.cumsum(speed) * step_s
    s -= s[0]
    ahead = np.random.default_rng((seed, index, 101, 2))
    line_s, line_xy, line_yaw = _lane(float(s[-1]), float(speed.max()), corner, rng, ahead)
    left, slope = _lane_offset(s, float(speed.max()), rng)
    x, y = (np.interp(s, line_s, line_xy[:, k]) for k in range(2))
    yaw = np.interp(s, line_s, line_yaw)
    x, y = x - left * np.sin(yaw), y + left * np.cos(yaw)
    yaw = yaw + np.arctan(slope)
    pitch, roll = _body_angles(t, speed, s, yaw, rng, is_graded=is_graded)
    motion = Motion(time_us, quaternion_from_yaw_pitch_roll(yaw, pitch, roll), np.stack([x, y, 0 * x], axis=1))
    every = round(1.0 / FINE_M)
    return TownMotion(plan, motion, line_xy[::every], round(BEFORE_M))


def _planned_speed(plan: Plan, t: Floats, seconds: float, rng: np.random.Generator) -> tuple[Floats, Corner | None]:
    """Return the speed (n,) m/s at times `t` (n,) s, and the corner of a turn."""
    cruise = float(rng.uniform(4.5, 9.5))
    wave = 0.06 * np.sin(2 * np.pi * t / rng.uniform(7.0, 13.0) + rng.uniform(0, 6.28))
    if plan == "stand":
        return np.zeros_like(t), None
    if plan == "pull off":
        wanted = np.where(t < rng.uniform(0.15, 0.6) * seconds, 0.0, cruise)
    elif plan == "brake":
        wanted = np.where(t < rng.uniform(0.35, 0.8) * seconds - cruise / 2.0, cruise, 0.0)
    elif plan == "creep":
        phase, period = rng.uniform(0, 6.28), rng.uniform(8.0, 16.0)
        wanted = np.maximum(rng.uniform(1.0, 3.0) + 2.2 * np.sin(2 * np.pi * t / period + phase), 0.0)
    elif plan == "turn":
        return _speed_of_a_turn(t, seconds, cruise, rng)
    else:
        top = float(rng.uniform(9.5, 14.5)) if plan == "fast" else float(rng.uniform(5.5, 9.5))
        drift = float(rng.uniform(-0.25, 0.25))
        wanted = np.minimum(top * (1.0 + wave + drift * np.clip(t / seconds, 0, 1)), TOP_MPS)
    return _followed(wanted, float(t[1] - t[0])), None


def _speed_of_a_turn(t: Floats, seconds: float, cruise: float, rng: np.random.Generator) -> tuple[Floats, Corner]:
    """Return the speed of a car that slows down, turns at 5 to 8 m/s in mid-scene, and goes on; and the corner."""
    slow = float(rng.uniform(5.0, 7.0))
    before, after = max(cruise, slow + 1.5), float(rng.uniform(7.0, 10.0))
    at = float(rng.uniform(0.3, 0.5)) * seconds
    wanted = np.where(t < at - 1.0, before, np.where(t < at + 3.0, slow, after))
    speed = _followed(wanted, float(t[1] - t[0]))
    travelled = np.cumsum(speed) * float(t[1] - t[0])
    return speed, Corner(float(np.interp(at, t, travelled) - travelled[0]), slow**2 / TURN_MPS2)


def _followed(wanted_mps: Floats, step_s: float) -> Floats:
    """Return a speed (n,) that follows the wanted one with a car's acceleration, without jerks."""
    speed = np.empty_like(wanted_mps)
    now = float(wanted_mps[0])
    low, high = ACCELERATION_MPS2[0] * step_s, ACCELERATION_MPS2[1] * step_s
    for i, goal in enumerate(wanted_mps.tolist()):
        now += min(max(goal - now, low), high)
        speed[i] = now
    width = max(round(JERK_S / step_s), 1)
    padded = np.concatenate([speed[:1].repeat(width), speed, speed[-1:].repeat(width)])
    smooth = np.convolve(padded, np.ones(width) / width, mode="same")[width:-width]
    return np.where(smooth < 0.02, 0.0, smooth)


def _lane(
    driven_m: float, top_mps: float, corner: Corner | None, rng: np.random.Generator, ahead: np.random.Generator
) -> tuple[Floats, Floats, Floats]:
    """Return s (n,), points (n, 2) and heading (n,) of the lane, every decimetre, from before the start to beyond the end."""
    s = np.arange(round((BEFORE_M + driven_m + BEYOND_M) / FINE_M) + 1) * FINE_M - BEFORE_M
    bend = np.zeros_like(s)
    for length in (rng.uniform(110.0, 190.0), rng.uniform(300.0, 600.0)):
        # a bend of this length turns the street by up to `swing` to one side and back
        swing = np.deg2rad(rng.uniform(2.0, 9.0))
        bend += swing * 2 * np.pi / length * np.cos(2 * np.pi * s / length + rng.uniform(0, 6.28))
    bend *= min(1.0, 9.0 / max(top_mps, 1.0))
    if corner is not None:
        angle = np.deg2rad(rng.uniform(*TURN_DEG)) * rng.choice([-1.0, 1.0])
        length = abs(angle) * corner.radius_m
        ramp = 5.0  # curvature grows and falls over some metres, as a driver steers
        profile = np.clip((s - corner.s_m) / ramp + 0.5, 0, 1) * np.clip((corner.s_m + length - s) / ramp + 0.5, 0, 1)
        bend = bend * (1 - profile) + profile * angle / length
    bend = bend + _corners_ahead(s, driven_m, ahead)
    yaw = rng.uniform(0, 2 * np.pi) + np.cumsum(bend) * FINE_M
    start = rng.uniform(400.0, 1200.0, size=2)
    points = start + np.cumsum(np.stack([np.cos(yaw), np.sin(yaw)], axis=1), axis=0) * FINE_M
    return s, points, yaw


def _corners_ahead(s: Floats, driven_m: float, rng: np.random.Generator) -> Floats:
    """Return the curvature (n,), 1/m, of corners beyond the driven part: streets of a town seldom go straight on out of sight."""
    bend, at = np.zeros_like(s), driven_m + rng.uniform(*AHEAD_M)
    while at < s[-1]:
        angle, radius = np.deg2rad(rng.uniform(*TURN_DEG)) * rng.choice([-1.0, 1.0]), rng.uniform(*CORNER_RADIUS_M)
        length, ramp = abs(angle) * radius, min(0.4 * abs(angle) * radius, 8.0)
        profile = np.clip((s - at) / ramp, 0, 1) * np.clip((at + length + ramp - s) / ramp, 0, 1)
        bend += profile * angle / length
        at += length + rng.uniform(*AHEAD_EVERY_M)
    return bend


def _lane_offset(s: Floats, top_mps: float, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Return metres (n,) to the left of the lane's middle at s (n,), and the slope of that line."""
    middle = float(rng.uniform(-0.5, 0.7))
    length = max(float(rng.uniform(45.0, 90.0)), 6.0 * top_mps)
    size = float(rng.uniform(0.15, 0.7))
    angle = 2 * np.pi * s / length + rng.uniform(0, 6.28)
    return middle + size * np.sin(angle), size * 2 * np.pi / length * np.cos(angle)


def _body_angles(
    t: Floats, speed: Floats, s: Floats, yaw: Floats, rng: np.random.Generator, *, is_graded: bool
) -> tuple[Floats, Floats]:
    """Return pitch (nose down is positive) and roll (n,) in radians: brake dive and lean, slow grade, and the nods of springs."""
    step = float(t[1] - t[0])
    along = np.gradient(speed, step)
    across = speed * np.gradient(np.unwrap(yaw), step)
    across = np.convolve(across, np.ones(15) / 15, mode="same")
    pitch, roll = -DIVE_DEG * along, LEAN_DEG * across
    moving = np.clip(speed / 5.0, 0.03, 1.0)
    for angle, size in ((pitch, NOD_DEG[0]), (roll, NOD_DEG[1])):
        for _ in range(5):
            angle += moving * size * np.sqrt(2 / 5) * np.sin(2 * np.pi * t * rng.uniform(0.6, 2.2) + rng.uniform(0, 6.28))
    for angle, size in zip((pitch, roll), SLOPES_DEG if is_graded else PLANE_DEG, strict=True):
        angle += rng.normal(0.0, size)
        for length in (rng.uniform(45.0, 90.0), rng.uniform(120.0, 260.0)):
            angle += size * rng.uniform(0.5, 1.2) * np.sin(2 * np.pi * s / length + rng.uniform(0, 6.28))
    return np.deg2rad(pitch), np.deg2rad(roll)
