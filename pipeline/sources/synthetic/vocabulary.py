"""The table rows that are the same in every nuScenes database: categories, attributes, visibilities, sensors."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Final

from pipeline.sources.synthetic.config import CAMERA_CHANNELS

Row = dict[str, Any]

CATEGORIES: Final = (
    "human.pedestrian.adult",
    "human.pedestrian.child",
    "human.pedestrian.wheelchair",
    "human.pedestrian.stroller",
    "human.pedestrian.personal_mobility",
    "human.pedestrian.police_officer",
    "human.pedestrian.construction_worker",
    "animal",
    "vehicle.car",
    "vehicle.motorcycle",
    "vehicle.bicycle",
    "vehicle.bus.bendy",
    "vehicle.bus.rigid",
    "vehicle.truck",
    "vehicle.construction",
    "vehicle.emergency.ambulance",
    "vehicle.emergency.police",
    "vehicle.trailer",
    "movable_object.barrier",
    "movable_object.trafficcone",
    "movable_object.pushable_pullable",
    "movable_object.debris",
    "static_object.bicycle_rack",
)
ATTRIBUTES: Final = (
    "vehicle.moving",
    "vehicle.stopped",
    "vehicle.parked",
    "cycle.with_rider",
    "cycle.without_rider",
    "pedestrian.sitting_lying_down",
    "pedestrian.standing",
    "pedestrian.moving",
)
VISIBILITIES: Final = (("1", "v0-40"), ("2", "v40-60"), ("3", "v60-80"), ("4", "v80-100"))


def token_of(*parts: object) -> str:
    """Return the token (32 hex digits) of the thing with this name; the same name always has the same token."""
    return hashlib.md5("|".join(str(part) for part in parts).encode(), usedforsecurity=False).hexdigest()


def constant_tables(radars: Sequence[str]) -> dict[str, list[Row]]:
    """Return the rows that do not depend on any scene, with a sensor for the LiDAR, the given radars and all cameras."""
    modality = {"LIDAR_TOP": "lidar", **dict.fromkeys(radars, "radar"), **dict.fromkeys(CAMERA_CHANNELS, "camera")}
    return {
        "category": [{"token": token_of("category", n), "name": n, "description": ""} for n in CATEGORIES],
        "attribute": [{"token": token_of("attribute", n), "name": n, "description": ""} for n in ATTRIBUTES],
        "visibility": [
            {"token": token, "level": level, "description": f"between {level[1:].replace('-', ' and ')} % is visible"}
            for token, level in VISIBILITIES
        ],
        "sensor": [
            {"token": token_of("sensor", channel), "channel": channel, "modality": kind} for channel, kind in modality.items()
        ],
    }
