"""Side streets: vehicles parked along them, vehicles that wait at the corner or come out of it, people who walk there."""

from __future__ import annotations

from typing import Final

import numpy as np

from pipeline.sources.synthetic.town.people import person
from pipeline.sources.synthetic.town.streets import Street
from pipeline.sources.synthetic.town.traffic_plan import TrafficPlan
from pipeline.sources.synthetic.town.vehicles import length_of, vehicle

REACH_M: Final = 38.0
MOUTH_M: Final = 13.0


def side_streets(plan: TrafficPlan, rng: np.random.Generator) -> None:
    """Fill every side street near the driven part."""
    low, high = plan.busy_m
    near = plan.along(np.arange(low, high, 5.0), np.zeros(len(np.arange(low, high, 5.0))))[:, :2]
    for street in plan.streets[1:]:
        distance = np.hypot(*(near - street.middle.points_m[0]).T).min()
        if street.is_open or distance > 25.0:
            continue
        _parked_along(plan, street, rng)
        if rng.uniform() < 0.35:
            _waiting(plan, street, rng)
        _walking(plan, street, rng)


def _parked_along(plan: TrafficPlan, street: Street, rng: np.random.Generator) -> None:
    """Park along both kerbs, in narrow streets along one."""
    end = min(REACH_M, float(street.middle.s_m[-1]) - 4.0)
    sides = (-1, 1) if street.half_m > 4.0 else (int(rng.choice([-1, 1])),)
    share = float(rng.uniform(0.4, 0.95))
    for side in sides:
        s = MOUTH_M + float(rng.uniform(0.0, 4.0))
        while s < end:
            kind = str(rng.choice(("car", "truck", "motorcycle"), p=(0.93, 0.04, 0.03)))
            s += length_of(kind) / 2
            if rng.uniform() < share:
                left = np.array([side * (street.half_m - 1.0 + rng.normal(0.0, 0.08))])
                place = plan.along(np.array([s]), left, np.pi if side > 0 else 0.0, of=street.middle)
                plan.add(vehicle(plan, kind, place, rng, is_parked=True), margin_m=0.12)
            s += length_of(kind) / 2 + float(rng.uniform(0.7, 1.9))


def _waiting(plan: TrafficPlan, street: Street, rng: np.random.Generator) -> None:
    """Let one or two vehicles wait at the mouth, for a gap that does not come in this scene."""
    s = 8.2 + float(rng.uniform(0.0, 1.0))
    for _ in range(int(rng.integers(1, 3))):
        s += length_of("car") / 2
        place = plan.along(np.array([s]), np.array([1.35 if street.half_m > 3.0 else 0.6]), np.pi, of=street.middle)
        plan.add(vehicle(plan, "car", place, rng), margin_m=0.15)
        s += length_of("car") / 2 + float(rng.uniform(1.0, 2.5))


def _walking(plan: TrafficPlan, street: Street, rng: np.random.Generator) -> None:
    """Let people walk along one side or stand there."""
    for _ in range(int(rng.integers(0, 5))):
        left = float(rng.choice([-1.0, 1.0])) * (street.half_m + float(rng.uniform(0.5, 1.0)))
        start = float(rng.uniform(10.0, 45.0))
        if rng.uniform() < 0.5:
            place = plan.along(np.array([start]), np.array([left]), float(rng.uniform(0, 6.28)), of=street.middle)
            plan.add(person(plan, place, rng, is_walking=False), margin_m=0.05)
        else:
            forward = float(rng.choice([-1.0, 1.0]))
            s = start + forward * float(rng.uniform(0.8, 1.6)) * (plan.seconds - plan.seconds[-1] / 2)
            places = plan.along(s, np.full_like(s, left), 0.0 if forward > 0 else np.pi, of=street.middle)
            plan.add(person(plan, places, rng, is_walking=True), margin_m=0.08)
