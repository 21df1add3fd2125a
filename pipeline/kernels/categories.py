"""What the name of an annotated category says: whether such an object can move on its own, and KITTI's type for it.

Data sets name the same things in many ways: vehicle.car, car, Car, CAR, TYPE_VEHICLE, Pickup Truck. So a name is read word by
word. The words are those of nuScenes, man-truckscenes, Lyft level 5, T4, KITTI, Waymo, Argoverse 2, PandaSet, ONCE, nuPlan and
aiMotive.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cache

_NUSCENES_MOVABLE = ("vehicle.", "human.", "animal")
"""How the names of those categories of nuScenes begin that can move on their own."""

_NUSCENES_TYPES = {
    "vehicle.car": "Car",
    "vehicle.emergency.police": "Car",
    "vehicle.emergency.ambulance": "Van",
    "vehicle.truck": "Truck",
    "vehicle.bicycle": "Cyclist",
    "vehicle": "Misc",
    "human.pedestrian": "Pedestrian",
    "human.pedestrian.wheelchair": "Person_sitting",
    "human.pedestrian.stroller": "Misc",
    "human.pedestrian.personal_mobility": "Misc",
    "animal": "Misc",
}
"""nuScenes category, or the beginning of one, -> KITTI type; the longest match counts. KITTI's Misc is what it has no type for:
bus, trailer, motorcycle, construction vehicle. A bicycle counts as Cyclist whether someone rides it or not, which the index does
not say."""

_STANDING = (
    "static movable noise flat barrier cone trafficcone pylon barrel bollard debris rack sign pole post stop crossing lane "
    "shelter fence wall building tree vegetation hydrant container obstacle generic dont ignore pushable pullable"
)
"""Words of what stands still. One of them decides, whatever else the name says: bicycle rack, bus stop, movable_object."""

_MOVING = (
    ("Person_sitting", "sitting wheelchair"),
    ("Misc", "stroller mobility wheeled"),
    ("Pedestrian", "pedestrian human person people adult child worker walker signaler"),
    ("Misc", "trailer motorcycle motorbike motorcyclist moped scooter rideable pedicab"),
    ("Cyclist", "cyclist bicyclist bicycle bike rider"),
    ("Van", "van minivan ambulance"),
    ("Truck", "truck lorry"),
    ("Car", "car suv sedan taxi pickup police"),
    ("Tram", "tram"),
    ("Misc", "bus minibus train trolley subway tractor animal dog cat horse bird misc"),
)
"""KITTI type and the words of it, in the order in which they decide: a motorcycle rider is no cyclist."""

_OTHER_VEHICLE = "emergency other large xl construction uncommon railed towed"
"""Words beside vehicle that say that it is no car."""


def moves(category: str, movable: Sequence[str] = ()) -> bool:
    """Say whether objects of a category can move on their own; all others belong to the static world.

    Args:
        category: name in the data set.
        movable: further names, or beginnings of names, of what can move; upper and lower case are the same.
    """
    return _moves(category) or category.casefold().startswith(tuple(name.casefold() for name in movable))


def unknown_categories(categories: Iterable[str], movable: Sequence[str] = ()) -> list[str]:
    """Return the names that say neither that such an object can move nor that it stands still, sorted."""
    return sorted(name for name in set(categories) if not moves(name, movable) and not _stands(name))


def kitti_type(category: str) -> str | None:
    """Return the KITTI type of a category, None for what can not move (barriers, cones, debris, bicycle racks) or is unknown."""
    if (kind := _nuscenes_type(category)) and category != "vehicle":
        return kind
    return _type_of_words(category) if _moves(category) else None


def read_otherwise_before(categories: Iterable[str]) -> list[str]:
    """Return the names, sorted, that were taken for another thing when only nuScenes' names were known."""
    return sorted(
        name
        for name in set(categories)
        if _moves(name) != name.startswith(_NUSCENES_MOVABLE) or kitti_type(name) != _nuscenes_type(name)
    )


@cache
def _words(category: str) -> frozenset[str]:
    """Return the words of a name in lower case, each also without a last s: TYPE_CAR, PickupTruck, Road Barriers."""
    words = [word.casefold() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", category)]
    return frozenset([*words, *(word.removesuffix("s") for word in words)])


@cache
def _moves(category: str) -> bool:
    return category.startswith(_NUSCENES_MOVABLE) or (not _stands(category) and _type_of_words(category) is not None)


def _stands(category: str) -> bool:
    words = _words(category)
    return not words.isdisjoint(_STANDING.split()) or {"traffic", "light"} <= words


def _type_of_words(category: str) -> str | None:
    words = _words(category)
    is_vehicle = not words.isdisjoint(("vehicle", "vehicular"))
    if kind := next((kind for kind, of_kind in _MOVING if not words.isdisjoint(of_kind.split())), None):
        return kind
    return ("Car" if words.isdisjoint(_OTHER_VEHICLE.split()) else "Misc") if is_vehicle else None


def _nuscenes_type(category: str) -> str | None:
    parts = category.split(".")
    return next((kind for n in range(len(parts), 0, -1) if (kind := _NUSCENES_TYPES.get(".".join(parts[:n])))), None)
