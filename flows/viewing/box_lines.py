"""Boxes of the scene drawn into a camera's picture as the lines of their edges."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
from PIL import ImageDraw

from flows.viewing.frame_content import Boxes, CameraFrame, Float64
from pipeline.geometry import inverse, rotation_matrix, transform_points

NEAREST_M = 0.1
"""Lines are cut where they come nearer to the camera's plane than this."""

_CORNERS = np.array(list(product((-1.0, 1.0), repeat=3)))
"""(8, 3) signs of a box's corners."""

EDGES = [(a, b) for a in range(8) for b in range(a + 1, 8) if np.count_nonzero(_CORNERS[a] != _CORNERS[b]) == 1]
"""Pairs of corners that share an edge."""


def drawn_boxes(
    draw: ImageDraw.ImageDraw,
    boxes: Boxes,
    frame: CameraFrame,
    scale: tuple[float, float],
    colors: Sequence[tuple[int, int, int]],
) -> None:
    """Draw the edges of boxes into a picture of a frame.

    Args:
        draw: of the picture.
        boxes: in the scene.
        frame: whose camera sees them.
        scale: turns pixels of the image into those of the picture, in x and y.
        colors: one a box.
    """
    cam_from_scene = inverse(frame.scene_from_cam)
    for number, color in enumerate(colors):
        corners = transform_points(cam_from_scene, corners_of(boxes, number))
        for start, end in seen_edges(corners, frame.intrinsic_px):
            draw.line([tuple(start * scale), tuple(end * scale)], fill=color, width=2)


def corners_of(boxes: Boxes, number: int) -> Float64:
    """Return the corners (8, 3) of a box in the scene."""
    turned = (_CORNERS * boxes.half_size_m[number]) @ rotation_matrix(boxes.scene_from_box_wxyz[number]).T
    return np.asarray(boxes.center_m[number] + turned)


def seen_edges(corners_cam: Float64, intrinsic_px: Float64) -> list[tuple[Float64, Float64]]:
    """Return the ends, in pixels, of the edges before the camera; those that cross its plane are cut there."""
    seen = []
    for a, b in EDGES:
        near, far = sorted((corners_cam[a], corners_cam[b]), key=lambda corner: float(corner[2]))
        if far[2] <= NEAREST_M:
            continue
        if near[2] < NEAREST_M:
            near = far + (near - far) * (far[2] - NEAREST_M) / (far[2] - near[2])
        ends = [(intrinsic_px @ (end / end[2]))[:2] for end in (near, far)]
        seen.append((ends[0], ends[1]))
    return seen
