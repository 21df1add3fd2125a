"""The ten classes of the nuScenes detection task, and the categories that belong to them.

Why    The table is data of ours, so that training and prediction need no devkit; a test compares it with the devkit's
Source docs/method/uvtr.md#classes
"""

from __future__ import annotations

CLASSES = (
    "car",
    "truck",
    "construction_vehicle",
    "bus",
    "trailer",
    "barrier",
    "motorcycle",
    "bicycle",
    "pedestrian",
    "traffic_cone",
)
"""The classes in the order of the released networks' outputs; a label is a number in this order."""

RACK = "static_object.bicycle_rack"
"""Category of the places in which bicycles and motorcycles are not measured."""

VEHICLES = frozenset({"car", "truck", "construction_vehicle", "bus", "trailer", "motorcycle", "bicycle"})
"""Classes that the segmentation from above takes for vehicles."""

_CLASS_OF = {
    "vehicle.car": "car",
    "vehicle.truck": "truck",
    "vehicle.construction": "construction_vehicle",
    "vehicle.bus.bendy": "bus",
    "vehicle.bus.rigid": "bus",
    "vehicle.trailer": "trailer",
    "movable_object.barrier": "barrier",
    "vehicle.motorcycle": "motorcycle",
    "vehicle.bicycle": "bicycle",
    "human.pedestrian.adult": "pedestrian",
    "human.pedestrian.child": "pedestrian",
    "human.pedestrian.construction_worker": "pedestrian",
    "human.pedestrian.police_officer": "pedestrian",
    "movable_object.trafficcone": "traffic_cone",
}
_LABEL_OF = {category: CLASSES.index(name) for category, name in _CLASS_OF.items()}


def class_of(category: str) -> int | None:
    """Return the label of a nuScenes category, a number in ``CLASSES``; None if the task has no class for it, e.g. strollers."""
    return _LABEL_OF.get(category)
