"""A building site at the kerb in some scenes: barriers, cones, an excavator, workers."""

from __future__ import annotations

from typing import Final

import numpy as np

from pipeline.sources.synthetic.town import shapes
from pipeline.sources.synthetic.town.traffic_plan import TrafficPlan, drawn_size
from pipeline.sources.synthetic.town.vehicles import vehicle

MIDDLE_M: Final = 1.8
SHARE: Final = 0.45
# usual sizes w l h of nuScenes barriers, and those of cones in two of its mini-val drives
BARRIER_M: Final = ((2.3, 0.6, 1.0), (0.3, 0.08, 0.06))
CONE_M: Final = ((0.35, 0.35, 0.91), (0.05, 0.05, 0.2))
WORKER_M: Final = ((0.68, 0.7, 1.75), (0.08, 0.15, 0.08))


def roadworks(plan: TrafficPlan, rng: np.random.Generator) -> None:
    """Add one site beside the driven part of the street, in a share of the scenes."""
    if rng.uniform() > SHARE:
        return
    side = float(rng.choice([-1.0, 1.0]))
    start = float(rng.uniform(plan.ego_s[0], plan.ego_s[-1] + 40.0))
    length = float(rng.uniform(12.0, 26.0))
    inner, outer = MIDDLE_M + side * 3.75, MIDDLE_M + side * 6.3
    for k in range(int(rng.integers(2, 6))):
        _cone(plan, start - 1.5 - 1.6 * k, inner + side * 0.35 * k, rng)
        _cone(plan, start + length + 1.5 + 2.2 * k, inner + side * 0.4 * k, rng)
    for s in np.arange(start, start + length, 2.7):
        size = drawn_size(rng, *BARRIER_M)
        place = plan.along(np.array([s]), np.array([inner]), np.pi / 2)
        plan.add(plan.thing("barrier", "movable_object.barrier", size, shapes.barrier(size), shapes.WHITE, place), margin_m=0.0)
    middle = (inner + outer) / 2 + side * 0.6
    if rng.uniform() < 0.7:
        place = plan.along(
            np.array([start + length * rng.uniform(0.4, 0.6)]), np.array([middle]), float(rng.choice([0.0, np.pi]))
        )
        plan.add(vehicle(plan, "construction", place, rng, is_parked=bool(rng.uniform() < 0.5)), margin_m=0.05)
    for _ in range(int(rng.integers(1, 4))):
        size = drawn_size(rng, *WORKER_M)
        place = plan.along(
            np.array([start + rng.uniform(0.0, length)]), np.array([middle + rng.uniform(-0.8, 0.8)]), float(rng.uniform(0, 6.28))
        )
        parts = shapes.person(size, rng, is_walking=False)
        category = "human.pedestrian.construction_worker"
        plan.add(plan.thing("worker", category, size, parts, (0.8, 0.5, 0.1), place), margin_m=0.05)


def _cone(plan: TrafficPlan, s: float, left: float, rng: np.random.Generator) -> None:
    """Add one traffic cone."""
    width, length, height = drawn_size(rng, *CONE_M)
    parts = shapes.cone((min(width, length), length, height))
    place = plan.along(np.array([s]), np.array([left]), float(rng.uniform(0, 6.28)))
    plan.add(plan.thing("cone", "movable_object.trafficcone", (width, length, height), parts, (0.9, 0.3, 0.1), place))
