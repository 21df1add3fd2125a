"""Annotated objects of a key frame in the rig frame, and detections of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from model.uvtr.classes import CLASSES
from model.uvtr.detections import Detections
from model.uvtr.objects import FrameObjects, Racks
from model.uvtr.world_boxes import about_z

NO_RACKS = Racks(np.empty((0, 3)), np.empty((0, 3)), np.empty(0))
_ATTRIBUTE = {
    "pedestrian": "pedestrian.moving", "bicycle": "cycle.with_rider", "motorcycle": "cycle.with_rider", "barrier": "",
    "traffic_cone": "",
}  # fmt: skip


def made_up_objects(seed: int, *, number: int = 20, racks: Racks = NO_RACKS, reach_m: float = 18.0) -> FrameObjects:
    """Return moving objects of all classes within every class's range, each hit by LiDAR, 4 m apart or more where there are few."""
    generator = np.random.default_rng(seed)
    labels = np.arange(number) % len(CLASSES)
    side = max(int(np.ceil(np.sqrt(number))), 2)
    steps = np.linspace(-reach_m, reach_m, side)
    places = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)[:number]
    return FrameObjects(
        centers_m=np.column_stack([places + generator.uniform(-0.5, 0.5, (number, 2)), generator.uniform(0, 2, number)]),
        sizes_wlh_m=generator.uniform(0.5, 4.0, (number, 3)),
        yaws_rad=generator.uniform(-np.pi, np.pi, number),
        velocities_mps=generator.uniform(1, 3, (number, 2)),
        labels=labels,
        num_points=np.full(number, 3, np.int64),
        attributes=np.array([_ATTRIBUTE.get(CLASSES[label], "vehicle.moving") for label in labels], np.str_),
        visibility=np.array([("v0-40", "v40-60", "v60-80", "v80-100")[k % 4] for k in range(number)], np.str_),
        instance_tokens=np.array([f"i{k}" for k in range(number)], np.str_),
        racks=racks,
    )


def detections_of(objects: FrameObjects, *, scores: NDArray[np.float64], labels: NDArray[np.int64] | None = None) -> Detections:
    """Return the objects as if a network had found them exactly."""
    return Detections(
        objects.centers_m, objects.sizes_wlh_m, objects.yaws_rad, objects.velocities_mps,
        objects.labels if labels is None else labels, scores,
    )  # fmt: skip


def posed(number: int) -> NDArray[np.float64]:
    """Return a pose (4, 4) of the rig kilometres from the origin, on a road that is not quite level."""
    yaw = about_z(np.array([0.3 + 0.5 * number]))[0]
    pitch = np.array([[np.cos(0.02), 0, np.sin(0.02)], [0, 1, 0], [-np.sin(0.02), 0, np.cos(0.02)]])
    pose = np.eye(4)
    pose[:3, :3] = yaw @ pitch
    pose[:3, 3] = [1000.0 + 5 * number, 600.0, 3.0]
    return pose
