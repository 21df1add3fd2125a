"""Boxes of one key frame as the nuScenes metric sees them: in the world frame, with attributes, and only those that count.

Source the detection task of nuScenes-devkit 1.2.0; docs/method/uvtr.md#metric
Rules  A box counts if its level distance from the rig is below its class's range. An annotated object that has no return of LiDAR
       or radar does not count; a detection of it stays, and is a false alarm. Bicycles and motorcycles inside a bicycle rack do
       not count, annotated or detected.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from model.uvtr.classes import CLASSES
from model.uvtr.detections import Detections
from model.uvtr.objects import FrameObjects, Racks

Float64 = NDArray[np.float64]

CLASS_RANGE_M = {
    "car": 50.0,
    "truck": 50.0,
    "bus": 50.0,
    "trailer": 50.0,
    "construction_vehicle": 50.0,
    "pedestrian": 40.0,
    "motorcycle": 40.0,
    "bicycle": 40.0,
    "traffic_cone": 30.0,
    "barrier": 30.0,
}
"""How far from the rig boxes of a class count, metres."""

MOVING_MPS = 0.2
"""From this speed a detection is said to move; nothing else of an attribute is predicted."""

_RANGES_M = np.array([CLASS_RANGE_M[name] for name in CLASSES])
_WITH_RACKS = np.array([CLASSES.index(name) for name in ("bicycle", "motorcycle")])
_MOVING = {
    **dict.fromkeys(("car", "truck", "bus", "trailer", "construction_vehicle"), "vehicle.moving"),
    **dict.fromkeys(("bicycle", "motorcycle"), "cycle.with_rider"),
    "pedestrian": "pedestrian.moving",
}
_STANDING = {
    **dict.fromkeys(("car", "truck", "trailer", "construction_vehicle"), "vehicle.parked"),
    "bus": "vehicle.stopped",
    **dict.fromkeys(("bicycle", "motorcycle"), "cycle.without_rider"),
    "pedestrian": "pedestrian.standing",
}

ATTRIBUTES = frozenset({*_MOVING.values(), *_STANDING.values(), "pedestrian.sitting_lying_down"})
"""Every attribute that the task knows."""


@dataclass(frozen=True)
class WorldBoxes:
    """n boxes of one key frame in the world frame.

    Attributes:
        centers_m: (n, 3) float64 gravity centres, metres.
        sizes_wlh_m: (n, 3) width, length, height, metres.
        rotations: (n, 3, 3) float64 box axes in the world; the first column is the direction of the length.
        velocities_mps: (n, 2) over ground along x and y of the world; NaN = not known.
        labels: (n,) int64 number in ``CLASSES``.
        scores: (n,) float64; -1 for annotations.
        attributes: (n,) str nuScenes attribute; empty = none.
        num_points: (n,) int64 LiDAR and radar returns of annotations; -1 = not said.
        visibility: (n,) str visible share of annotations in the source's words; empty = not said.
        ranges_m: (n,) level distance from the rig, metres.
    """

    centers_m: Float64
    sizes_wlh_m: Float64
    rotations: Float64
    velocities_mps: Float64
    labels: NDArray[np.int64]
    scores: Float64
    attributes: NDArray[np.str_]
    num_points: NDArray[np.int64]
    visibility: NDArray[np.str_]
    ranges_m: Float64

    def __len__(self) -> int:
        """Return the number of boxes."""
        return len(self.labels)

    def where(self, chosen: NDArray[np.bool_] | NDArray[np.int64]) -> WorldBoxes:
        """Return the boxes that a mask (n,) or numbers name, in that order."""
        return WorldBoxes(**{field.name: getattr(self, field.name)[chosen] for field in fields(self)})

    @property
    def yaws_rad(self) -> Float64:
        """Heading (n,) of the length about the world's z axis from x, counter-clockwise."""
        return np.asarray(np.arctan2(self.rotations[:, 1, 0], self.rotations[:, 0, 0]))


def annotated_in_world(objects: FrameObjects, world_from_rig: Float64) -> WorldBoxes:
    """Return the annotated objects of a key frame, whether they count or not.

    An attribute that the task does not know, or several of one object, become none: its attribute is not measured.

    Args:
        objects: in the rig frame.
        world_from_rig: (4, 4) pose of the rig.
    """
    attributes = np.where(np.isin(objects.attributes, sorted(ATTRIBUTES)), objects.attributes, "").astype(np.str_)
    return _in_world(objects, world_from_rig, np.full(len(objects), -1.0), attributes, objects)


def detected_in_world(detections: Detections, world_from_rig: Float64) -> WorldBoxes:
    """Return the detections of a key frame, whether they count or not, each with the attribute that its speed tells.

    Args:
        detections: in the rig frame.
        world_from_rig: (4, 4) pose of the rig.
    """
    return _in_world(detections, world_from_rig, detections.scores, attributes_of(detections), None)


def attributes_of(detections: Detections) -> NDArray[np.str_]:
    """Return the nuScenes attribute (k,) of each detection by its speed; an unknown speed counts as standing."""
    speeds = np.linalg.norm(detections.velocities_mps, axis=1)
    return np.array(
        [
            (_MOVING if speed > MOVING_MPS else _STANDING).get(CLASSES[label], "")
            for label, speed in zip(detections.labels, speeds, strict=True)
        ],
        np.str_,
    )


def that_count(boxes: WorldBoxes, racks: Racks, world_from_rig: Float64) -> WorldBoxes:
    """Return the boxes that the metric counts, see the module's rules, in their order."""
    counts = (boxes.ranges_m < _RANGES_M[boxes.labels]) & (boxes.num_points != 0)
    if len(racks):
        counts &= ~(np.isin(boxes.labels, _WITH_RACKS) & _is_inside(boxes.centers_m, racks, world_from_rig))
    return boxes.where(counts)


def _in_world(
    boxes: FrameObjects | Detections,
    world_from_rig: Float64,
    scores: Float64,
    attributes: NDArray[np.str_],
    annotated: FrameObjects | None,
) -> WorldBoxes:
    turn, place = world_from_rig[:3, :3], world_from_rig[:3, 3]
    centers = boxes.centers_m @ turn.T  # from the rig: true positions are kilometres
    number = len(boxes)
    return WorldBoxes(
        centers_m=centers + place,
        sizes_wlh_m=boxes.sizes_wlh_m,
        rotations=turn @ about_z(boxes.yaws_rad),
        velocities_mps=boxes.velocities_mps @ turn[:2, :2].T,
        labels=boxes.labels,
        scores=scores,
        attributes=attributes,
        num_points=np.full(number, -1, np.int64) if annotated is None else annotated.num_points,
        visibility=np.full(number, "", np.str_) if annotated is None else annotated.visibility,
        ranges_m=np.linalg.norm(centers[:, :2], axis=1),
    )


def about_z(yaws_rad: Float64) -> Float64:
    """Return the turns (n, 3, 3) about the z axis."""
    turns = np.zeros((len(yaws_rad), 3, 3))
    turns[:, 0, 0] = turns[:, 1, 1] = np.cos(yaws_rad)
    turns[:, 1, 0] = np.sin(yaws_rad)
    turns[:, 0, 1] = -turns[:, 1, 0]
    turns[:, 2, 2] = 1.0
    return turns


def _is_inside(centers_m: Float64, racks: Racks, world_from_rig: Float64) -> NDArray[np.bool_]:
    """Say which places (n, 3) in the world lie inside a rack, its faces included."""
    in_rig = (centers_m - world_from_rig[:3, 3]) @ world_from_rig[:3, :3]
    from_racks = in_rig[:, None] - racks.centers_m
    in_racks = np.einsum("nri,rij->nrj", from_racks, about_z(racks.yaws_rad))  # along the rack's length, width, height
    half_m = racks.sizes_wlh_m[:, [1, 0, 2]] / 2
    inside: NDArray[np.bool_] = (np.abs(in_racks) <= half_m).all(axis=2).any(axis=1)
    return inside
