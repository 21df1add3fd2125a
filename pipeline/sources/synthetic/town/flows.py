"""Moving vehicles of a town: who drives ahead of and behind the ego vehicle, who comes towards it, cyclists at the kerb.

A row of vehicles follows one track S(t): vehicle i is at S(t - delay_i) minus its place in the queue, so that all keep a
headway in seconds while they drive, and a gap in metres while they stand.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from pipeline.sources.synthetic.rigid import Floats
from pipeline.sources.synthetic.town.traffic_plan import TrafficPlan
from pipeline.sources.synthetic.town.vehicles import length_of, vehicle

LANE_M: Final = 3.75
LATERAL_MPS2: Final = 2.4
ALONG_MPS2: Final = 2.5
_KINDS: Final = ("car", "truck", "lorry", "bus", "motorcycle")
_SHARES: Final = (0.82, 0.04, 0.03, 0.06, 0.05)


def same_way(plan: TrafficPlan, rng: np.random.Generator) -> None:
    """Add vehicles ahead of the ego vehicle and behind it, which drive as it does, earlier and later."""
    for direction, most in ((1.0, 3), (-1.0, 2)):
        reach, delay = 1.4, 0.0
        for _ in range(int(rng.choice(most + 1))):
            kind = str(rng.choice(_KINDS, p=_SHARES))
            half = length_of(kind) / 2
            gap = float(rng.uniform(3.5, 8.0)) if rng.uniform() < 0.45 else float(rng.uniform(9.0, 28.0))
            delay += float(rng.uniform(1.4, 2.6))
            reach += half + gap + (2.3 if reach == 1.4 else 0.0)
            s = _shifted(plan, direction * delay) + direction * reach
            reach += half
            left = np.full_like(s, float(rng.uniform(-0.2, 0.3)))
            _drive(plan, kind, s, left, rng, back=False)


def _shifted(plan: TrafficPlan, seconds: float) -> Floats:
    """Return where the ego vehicle's middle is, s (t,), some seconds later; it goes on at its last speed."""
    t, s = plan.seconds, plan.ego_s
    first, last = (s[1] - s[0]) / (t[1] - t[0]), (s[-1] - s[-6]) / (t[-1] - t[-6])
    at = t + seconds
    moved: Floats = np.interp(at, t, s) + np.minimum(at - t[0], 0.0) * first + np.maximum(at - t[-1], 0.0) * last
    return moved


def oncoming(plan: TrafficPlan, rng: np.random.Generator) -> None:
    """Add vehicles that come towards the ego vehicle: a flow, a queue that stands, or one that pulls off."""
    state = str(rng.choice(("flow", "queue", "pull off"), p=(0.66, 0.14, 0.2)))
    if state == "flow":
        track_t, track_s = _track(plan, float(rng.uniform(5.0, 12.0)), rng)
        at = float(rng.uniform(0.0, 6.0))
        while at < track_t[-1] - track_t[0]:
            kind = str(rng.choice(_KINDS, p=_SHARES))
            s = np.interp(plan.seconds - at, track_t, track_s)
            _drive(plan, kind, s, np.full_like(s, LANE_M + rng.uniform(-0.1, 0.2)), rng, back=True)
            at += float(rng.uniform(1.8, 4.0) if rng.uniform() < 0.5 else rng.uniform(5.0, 14.0))
        return
    start = plan.ego_s[0] + float(rng.uniform(-10.0, 40.0))
    begin = float(rng.uniform(1.0, 8.0)) if state == "pull off" else np.inf
    for i in range(int(rng.integers(2, 7))):
        kind = str(rng.choice(_KINDS, p=_SHARES))
        start += length_of(kind) / 2 + float(rng.uniform(1.5, 3.5))
        driven = np.maximum(plan.seconds - begin - 1.3 * i, 0.0) if np.isfinite(begin) else 0.0 * plan.seconds
        driven = np.where(driven < 5.0, 0.7 * driven**2, 17.5 + 7.0 * (driven - 5.0))
        s = start - driven
        start += length_of(kind) / 2
        _drive(plan, kind, s, np.full_like(s, LANE_M + rng.uniform(-0.1, 0.2)), rng, back=True)


def _track(plan: TrafficPlan, top_mps: float, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Return times and s of a vehicle that drives from the route's end to its start, slower in bends; it begins in the past."""
    low, high = plan.span_m
    s = np.arange(high + 30.0, low - 30.0, -1.0)
    bend = np.abs(np.gradient(plan.route.yaw_at(s)))
    wide = np.convolve(np.pad(bend, 8, mode="edge"), np.ones(17) / 17, mode="valid")
    speed = np.minimum(top_mps, np.sqrt(LATERAL_MPS2 / np.maximum(wide, 1e-4)))
    # v2 grows and falls by no more than 2 a a metre: a vehicle brakes before a bend, not in it
    slope = 2.0 * ALONG_MPS2 * np.arange(len(s))
    ahead = np.minimum.accumulate((speed**2 + slope)[::-1])[::-1] - slope
    speed = np.sqrt(np.minimum.accumulate(ahead - slope) + slope)
    t = np.concatenate([[0.0], np.cumsum(1.0 / speed[:-1])])
    return t - float(rng.uniform(0.5, 1.0)) * t[-1], s


def cyclists(plan: TrafficPlan, rng: np.random.Generator) -> None:
    """Add people on bicycles along the kerbs."""
    for _ in range(int(rng.choice(4, p=(0.45, 0.3, 0.15, 0.1)))):
        is_back = bool(rng.uniform() < 0.5)
        left = 5.35 if is_back else -1.75
        left = left if rng.uniform() < 0.5 else (8.3 if is_back else -4.7)
        start = float(rng.uniform(plan.ego_s[0] - 10.0, plan.ego_s[-1] + 60.0))
        s = start + (-1.0 if is_back else 1.0) * float(rng.uniform(3.0, 5.5)) * (plan.seconds - plan.seconds[-1] / 2)
        _drive(plan, "bicycle", s, np.full_like(s, left + rng.uniform(-0.15, 0.15)), rng, back=is_back)


def _drive(plan: TrafficPlan, kind: str, s_m: Floats, left_m: Floats, rng: np.random.Generator, *, back: bool) -> bool:
    """Add one moving vehicle at s and left (t,); it is there while it is on the route."""
    low, high = plan.span_m
    is_on = (s_m > low) & (s_m < high)
    if not is_on.any():
        return False
    user = vehicle(plan, kind, plan.along(s_m, left_m, np.pi if back else 0.0), rng, has_rider=True)
    if not is_on.all():
        on_us = plan.time_us[is_on]
        user = replace(user, present_us=(int(on_us[0]), int(on_us[-1])))
    return plan.add(user, margin_m=0.3)
