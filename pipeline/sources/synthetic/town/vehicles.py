"""Vehicles of a town by kind: category, size as nuScenes has it, and shape.

Sizes are means and standard deviations w l h in metres of boxes of two drives of nuScenes mini-val
(shared/data/nuscenes-trajectories); of kinds that are not in them, of the kind's usual make.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from pipeline.sources.synthetic.actors import Part
from pipeline.sources.synthetic.rigid import Floats
from pipeline.sources.synthetic.town import shapes
from pipeline.sources.synthetic.town.road_users import RoadUser
from pipeline.sources.synthetic.town.shapes import Colour, Size
from pipeline.sources.synthetic.town.traffic_plan import TrafficPlan, drawn_size

_SIZES: Final[dict[str, tuple[str, Size, Size]]] = {
    "car": ("vehicle.car", (1.81, 4.53, 1.67), (0.14, 0.37, 0.18)),
    "truck": ("vehicle.truck", (2.23, 5.9, 2.71), (0.25, 0.6, 0.4)),
    "lorry": ("vehicle.truck", (2.5, 8.6, 3.4), (0.08, 0.9, 0.25)),
    "bus": ("vehicle.bus.rigid", (2.85, 11.6, 3.4), (0.06, 0.6, 0.12)),
    "trailer": ("vehicle.trailer", (2.5, 10.2, 3.8), (0.08, 1.2, 0.2)),
    "construction": ("vehicle.construction", (2.6, 6.0, 3.1), (0.2, 0.6, 0.25)),
    "motorcycle": ("vehicle.motorcycle", (0.66, 2.05, 1.33), (0.07, 0.2, 0.09)),
    "bicycle": ("vehicle.bicycle", (0.6, 1.78, 1.2), (0.08, 0.12, 0.08)),
}
_SHAPES: Final[dict[str, Callable[[Size, Colour, np.random.Generator], tuple[Part, ...]]]] = {
    "car": shapes.car,
    "truck": shapes.truck,
    "lorry": shapes.truck,
    "bus": shapes.bus,
    "trailer": shapes.trailer,
    "construction": shapes.construction_vehicle,
}
_RIDDEN_HEIGHT_M: Final = (1.72, 0.08)


def length_of(kind: str) -> float:
    """Return the usual length of a kind of vehicle, metres."""
    return _SIZES[kind][1][1]


def vehicle(
    plan: TrafficPlan, kind: str, places: Floats, rng: np.random.Generator, *, is_parked: bool = False, has_rider: bool = False
) -> RoadUser:
    """Return a vehicle of this kind, of random size and paint, at places (1, 4) or (t, 4) x y z yaw."""
    category, mean, sd = _SIZES[kind]
    size, paint = drawn_size(rng, mean, sd), shapes.paint(rng)
    if kind in ("bicycle", "motorcycle"):
        if has_rider:
            size = (max(size[0], 0.66), size[1], float(rng.normal(*_RIDDEN_HEIGHT_M)))
        shape = shapes.bicycle if kind == "bicycle" else shapes.motorcycle
        parts = shape(size, paint, rng, has_rider=has_rider)
    else:
        parts = _SHAPES[kind](size, (0.85, 0.6, 0.1) if kind == "construction" else paint, rng)
    return plan.thing(kind, category, size, parts, paint, places, is_parked=is_parked, has_rider=has_rider)
