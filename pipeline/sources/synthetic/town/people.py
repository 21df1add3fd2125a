"""People in a town: they stand alone and in groups, walk along the pavements, stop on their way, and cross the street."""

from __future__ import annotations

from typing import Final

import numpy as np

from pipeline.sources.synthetic.rigid import Floats
from pipeline.sources.synthetic.town import shapes
from pipeline.sources.synthetic.town.road_users import RoadUser
from pipeline.sources.synthetic.town.traffic_plan import TrafficPlan, drawn_size

MIDDLE_M: Final = 1.8
PAVEMENT_M: Final = (6.4, 9.8)
SQUARE_M: Final = (10.0, 23.0)
# of boxes of two drives of nuScenes mini-val
ADULT_M: Final = ((0.63, 0.68, 1.74), (0.09, 0.16, 0.13))
CHILD_M: Final = ((0.5, 0.5, 1.25), (0.06, 0.08, 0.12))
CHILD_SHARE: Final = 0.05
STANDING_SHARE: Final = (0.3, 0.65)
EVERY_M: Final = (2.4, 5.5)


def people(plan: TrafficPlan, rng: np.random.Generator) -> None:
    """Fill both pavements; how many people there are, and how many of them stand, is drawn a scene."""
    low, high = plan.busy_m
    every, standing = float(rng.uniform(*EVERY_M)), float(rng.uniform(*STANDING_SHARE))
    for side in (-1, 1):
        s = low + float(rng.uniform(0.0, every))
        while s < high:
            beside = PAVEMENT_M if rng.uniform() < 0.65 else SQUARE_M
            left = MIDDLE_M + side * float(rng.uniform(*beside))
            count = int(rng.choice((1, 2, 3, 4), p=(0.6, 0.25, 0.1, 0.05)))
            if not plan.is_busy(s, rng):
                pass
            elif rng.uniform() < standing:
                _group(plan, s, left, count, rng)
            else:
                _walkers(plan, s, left, count, rng)
            s += float(rng.exponential(every * 1.5)) + 0.5


def crossing(plan: TrafficPlan, rng: np.random.Generator) -> None:
    """Add people who cross the street, at places that parked cars are to leave free."""
    for _ in range(int(rng.choice(4, p=(0.3, 0.3, 0.25, 0.15)))):
        s = float(rng.uniform(plan.ego_s[0] + 5.0, plan.ego_s[-1] + 45.0))
        for _ in range(int(rng.choice((1, 2, 3), p=(0.5, 0.3, 0.2)))):
            for _ in range(4):  # another moment or direction, where somebody is in the way
                side = float(rng.choice([-1.0, 1.0]))
                half_s = float(rng.uniform(0.1, 0.9)) * plan.seconds[-1]
                across = side * float(rng.uniform(1.0, 1.7)) * (plan.seconds - half_s)
                left = MIDDLE_M + np.clip(across, -7.0 - rng.uniform(0, 2), 7.0 + rng.uniform(0, 2))
                at = s + rng.uniform(-1.5, 1.5) + 0.06 * across
                places = plan.along(at, left, side * np.pi / 2)
                if plan.add(person(plan, places, rng, is_walking=True), margin_m=0.5):
                    break


def person(plan: TrafficPlan, places: Floats, rng: np.random.Generator, *, is_walking: bool) -> RoadUser:
    """Return a person at places (1, 4) or (t, 4)."""
    is_child = rng.uniform() < CHILD_SHARE
    size = drawn_size(rng, *(CHILD_M if is_child else ADULT_M))
    size = (max(size[0], 0.45), max(size[1], 0.4), size[2])
    name = "child" if is_child else "adult"
    parts = shapes.person(size, rng, is_walking=is_walking)
    return plan.thing(name, f"human.pedestrian.{name}", size, parts, (0.3, 0.3, 0.3), places)


def _group(plan: TrafficPlan, s: float, left: float, count: int, rng: np.random.Generator) -> None:
    """Add people who stand together and look at each other, or one who looks anywhere."""
    first = float(rng.uniform(0, 2 * np.pi))
    radius = 0.0 if count == 1 else 0.35 + 0.12 * count
    for k in range(count):
        angle = first + 2 * np.pi * k / count
        place = plan.along(np.array([s + radius * np.cos(angle)]), np.array([left + radius * np.sin(angle)]), angle + np.pi)
        if plan.is_off_streets(place, 0.2):
            plan.add(person(plan, place, rng, is_walking=False), margin_m=0.02)


def _walkers(plan: TrafficPlan, s: float, left: float, count: int, rng: np.random.Generator) -> None:
    """Add people who walk side by side; some stop on their way, or begin to walk late."""
    forward = float(rng.choice([-1.0, 1.0]))
    speed = float(rng.uniform(0.8, 1.6))
    t = plan.seconds
    pace = np.full_like(t, speed)
    if rng.uniform() < 0.25:
        begin = float(rng.uniform(0.0, 0.8)) * t[-1]
        pace[(t > begin) & (t < begin + float(rng.uniform(2.0, 8.0)))] = 0.0
    walked = np.concatenate([[0.0], np.cumsum(pace[:-1] * np.diff(t))])
    at = s + forward * (walked - walked[-1] / 2)
    sway = float(rng.uniform(0.0, 0.25)) * np.sin(at / float(rng.uniform(5.0, 12.0)))
    for k in range(count):
        for shift in (0.0, 0.9, -0.9, 1.8):  # beside a tree or a pole that stands in the way
            places = plan.along(at, left + sway + 0.75 * k + shift, 0.0 if forward > 0 else np.pi)
            if plan.add(person(plan, places, rng, is_walking=True), margin_m=0.08):
                break
