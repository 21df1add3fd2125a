"""Vehicles that stand without a driver: rows at the kerbs, bays and yards beside the street, motorcycles and bicycles.

Each side of the street is cut into stretches of 20 to 60 m, each with its own way to park.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from pipeline.sources.synthetic.town.traffic_plan import TrafficPlan
from pipeline.sources.synthetic.town.vehicles import length_of, vehicle

MIDDLE_M: Final = 1.8
KERB_ROW_M: Final = 4.85
BAY_M: Final = 8.9
CORNER_M: Final = 3.0  # what is kept free of parked cars at the mouths of side streets
YARD_SHARE: Final = 1.0
STRETCH_M: Final = (20.0, 60.0)
_HABITS: Final = ("row", "sparse", "bays", "cycles", "none")
# by side: cars at the kerb beside the ego lane are what a camera sees nearest, and a street has fewer of them there
_SHARES: Final = {-1: (0.16, 0.16, 0.21, 0.07, 0.4), 1: (0.38, 0.14, 0.19, 0.07, 0.22)}
_KERB_KINDS: Final = ("car", "truck", "lorry", "bus", "trailer")
_KERB_SHARES: Final = (0.91, 0.03, 0.01, 0.02, 0.03)


def parked(plan: TrafficPlan, rng: np.random.Generator) -> None:
    """Fill both sides of the whole street."""
    low, high = plan.busy_m
    for side in (-1, 1):
        s = low
        while s < high:
            end = min(s + float(rng.uniform(*STRETCH_M)), high)
            habit = str(rng.choice(_HABITS, p=_SHARES[side]))
            if habit in ("row", "sparse"):
                _row(plan, side, s, end, 0.85 if habit == "row" else 0.25, rng)
            elif habit == "bays":
                _bays(plan, side, s, end, rng)
            elif habit == "cycles":
                _cycles(plan, side, s, end, rng)
            if rng.uniform() < YARD_SHARE:
                _yard(plan, side, s, end, rng)
            s = end


def _stand(plan: TrafficPlan, kind: str, s: float, left: float, turned: float, rng: np.random.Generator) -> bool:
    """Put one parked vehicle at (s, left) if there is room."""
    if not plan.is_busy(s, rng):
        return False
    place = plan.along(np.array([s]), np.array([left]), turned)
    at_kerb = abs(left - MIDDLE_M) < KERB_ROW_M + 0.5
    if not plan.is_off_streets(place, CORNER_M if at_kerb else 0.9, may_be_on_driven=at_kerb):
        return False
    return plan.add(vehicle(plan, kind, place, rng, is_parked=True), margin_m=0.12)


def _row(plan: TrafficPlan, side: int, s: float, end: float, share: float, rng: np.random.Generator) -> None:
    """Park along the kerb, bumper to bumper."""
    while s < end:
        kind = str(rng.choice(_KERB_KINDS, p=_KERB_SHARES))
        length = length_of(kind)
        if rng.uniform() < share:
            turned = (np.pi if (side > 0) != (rng.uniform() < 0.06) else 0.0) + np.deg2rad(rng.normal(0.0, 1.2))
            _stand(plan, kind, s + length / 2, MIDDLE_M + side * (KERB_ROW_M + rng.normal(0.0, 0.07)), turned, rng)
        s += length + float(rng.uniform(0.7, 1.9))


def _bays(plan: TrafficPlan, side: int, s: float, end: float, rng: np.random.Generator) -> None:
    """Park across the street's direction, nose in or out, straight or at 60 degrees."""
    slant = float(rng.choice([90.0, 90.0, 60.0]))
    pitch = float(rng.uniform(2.5, 2.8)) / np.sin(np.deg2rad(slant))
    row = float(rng.choice([BAY_M, BAY_M, BAY_M + 6.0]))
    while s < end:
        if rng.uniform() < 0.75:
            turned = np.deg2rad(side * slant + rng.normal(0.0, 2.0)) + (np.pi if rng.uniform() < 0.4 else 0.0)
            _stand(plan, "car", s, MIDDLE_M + side * (row + rng.normal(0.0, 0.2)), turned, rng)
        s += pitch


def _yard(plan: TrafficPlan, side: int, s: float, end: float, rng: np.random.Generator) -> None:
    """Park in two or three rows behind each other, farther from the street, where it is open."""
    first = float(rng.uniform(10.5, 17.0))
    is_across = rng.uniform() < 0.6
    along, behind = (2.75, 5.4) if is_across else (5.9, 2.9)
    s += float(rng.uniform(0.0, 10.0))
    columns, share = int(rng.integers(3, 9)), float(rng.uniform(0.6, 0.95))
    for row in range(int(rng.integers(2, 4))):
        for k in range(columns):
            kind = str(rng.choice(("car", "truck", "trailer", "bus"), p=(0.94, 0.03, 0.02, 0.01)))
            turned = np.deg2rad((90.0 if is_across else 0.0) + rng.normal(0.0, 2.0)) + (np.pi if rng.uniform() < 0.5 else 0.0)
            left = MIDDLE_M + side * (first + behind * row + rng.normal(0.0, 0.2))
            if s + along * k < end and rng.uniform() < share:
                _stand(plan, kind, s + along * k, left, turned, rng)


def _cycles(plan: TrafficPlan, side: int, s: float, end: float, rng: np.random.Generator) -> None:
    """Park motorcycles, less often bicycles, side by side in groups at the kerb or on the pavement."""
    while s < end:
        kind = "motorcycle" if rng.uniform() < 0.8 else "bicycle"
        left = MIDDLE_M + side * (4.7 if kind == "motorcycle" and rng.uniform() < 0.6 else 9.2)
        turned = np.deg2rad(side * rng.uniform(60.0, 90.0))
        for _ in range(int(rng.integers(2, 9))):
            if s < end:
                _stand(plan, kind, s, left + rng.normal(0.0, 0.1), turned + rng.normal(0.0, 0.06), rng)
            s += float(rng.uniform(0.85, 1.15))
        s += float(rng.uniform(3.0, 12.0))
