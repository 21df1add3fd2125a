"""Objects as KITTI's files describe them, as boxes in the scene.

Frames a KITTI box stands in the frame of its 3x4 projection: x right, y down, z forward; (x, y, z) is the centre of its bottom
       face, and at rotation 0 its length lies along x
Source docs/method/formats.md#kitti-labels
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from flows.viewing.frame_content import Boxes, Float64
from pipeline.geometry import quaternion_wxyz, transform_points


def boxes_of_camera(
    objects: Sequence[Mapping[str, Any]],
    projection_px: Float64,
    scene_from_cam: Float64,
    scores: Sequence[float] | None = None,
) -> Boxes:
    """Return the objects of one image that have a place and a size.

    Args:
        objects: rows with the columns of ``boxes.boxes``, in any order.
        projection_px: (3, 4) projection of the frame that the objects are in.
        scene_from_cam: (4, 4) pose of the camera.
        scores: of detections, one an object; shown beside the category.
    """
    chosen = [k for k, row in enumerate(objects) if row["category"] != "DontCare" and row["z_m"] > 0 and row["length_m"] > 0]
    place = _numbers(objects, chosen, ("x_m", "y_m", "z_m"))
    size_lhw = _numbers(objects, chosen, ("length_m", "height_m", "width_m"))
    center_cam = place + np.linalg.solve(projection_px[:, :3], projection_px[:, 3])  # K [R | t] with R = 1
    center_cam[:, 1] -= size_lhw[:, 1] / 2
    angle = _numbers(objects, chosen, ("rotation_y_rad",))[:, 0]
    cam_from_box = np.zeros((len(chosen), 3, 3))
    cam_from_box[:, 0, 0] = cam_from_box[:, 2, 2] = np.cos(angle)
    cam_from_box[:, 0, 2], cam_from_box[:, 2, 0], cam_from_box[:, 1, 1] = np.sin(angle), -np.sin(angle), 1.0
    labels = [str(objects[k]["category"]) for k in chosen]
    if scores is not None:
        labels = [f"{label} {scores[k]:.2f}" for label, k in zip(labels, chosen, strict=True)]
    return Boxes(
        transform_points(scene_from_cam, center_cam),
        size_lhw / 2,
        quaternion_wxyz(scene_from_cam[:3, :3] @ cam_from_box),
        tuple(labels),
        np.zeros(len(chosen), np.bool_),
    )


def _numbers(objects: Sequence[Mapping[str, Any]], chosen: Sequence[int], names: Sequence[str]) -> Float64:
    """Return columns (n, len(names)) of the chosen rows."""
    return np.array([[objects[k][name] for name in names] for k in chosen], np.float64).reshape(-1, len(names))
