"""The pictures of a frame that a detector looked at, one a panel: boxes, LiDAR, heat of each class, depth, from above.

Reads  DetectionFrame
Writes Panel
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from flows.reports.html.depth_pictures import MAX_WIDTH_PX, dense_picture, median_words
from flows.reports.html.markup import plural
from flows.reports.html.pictures import Panel
from flows.reports.monoddle.bird_view import bird_view
from flows.reports.monoddle.over_image import (
    DETECTED,
    TRUTH,
    boxes_in_image,
    boxes_in_space,
    doubt_range,
    heat_picture,
    lidar_picture,
    moved,
    uncertainty_picture,
)
from flows.reports.monoddle.rear_view import rear_view
from model.monoddle.detection_frames import DetectionFrame
from model.train.kept_frames import NAMED, WORST

FROM_BEHIND, FROM_ABOVE = "From behind", "From above"

_REASONS = {NAMED: "asked for", WORST: "one of the worst"}

_BIRD_SHAPE = 600 / 720
"""Height of the view from above, of its width."""


def detection_panels(frame: DetectionFrame, width_px: int = MAX_WIDTH_PX) -> list[Panel]:
    """Draw boxes in the image and in space, LiDAR, heat of each class, depth, teacher, uncertainty, and points from two sides.

    What a frame has nothing of has no panel: LiDAR, teacher and uncertainty. The two views of points come last, because only
    these panels have other shapes.
    """
    height, width = frame.image_u8.shape[:2]
    size = width_px, max(1, round(width_px * height / width))
    panels = [
        _panel(frame, "Boxes in the image", boxes_in_image(frame, size), count_words(frame)),
        _panel(frame, "Boxes in space", boxes_in_space(frame, size), "crosses mark front faces"),
    ]
    if len(frame.lidar_m):
        words = f"{plural(len(frame.lidar_m), 'point')} of the sweep, coloured by depth"
        panels.append(_panel(frame, "LiDAR in the image", lidar_picture(frame, size), words))
    for title, heat in _heat_maps(frame).items():
        panels.append(_panel(frame, title, heat_picture(frame, heat, size), f"hottest cell {heat.max():.2f}"))
    caption = median_words(frame.depth_m)
    if frame.teacher_m is not None:
        difference = np.abs(frame.depth_m - frame.teacher_m)[frame.teacher_m > 0]
        caption += f", {difference.mean():.1f} m from the teacher in the mean"
    panels.append(_panel(frame, "Depth everywhere", dense_picture(frame.depth_m, size), caption))
    if frame.teacher_m is not None:
        is_there = frame.teacher_m > 0
        panels.append(_panel(frame, "Teacher", dense_picture(frame.teacher_m, size), median_words(frame.teacher_m[is_there])))
    if frame.log_scale is not None:
        low, high = doubt_range(frame.log_scale)
        words = f"log scale {low:.2f} (blue, believed) to {high:.2f} (red, doubted)"
        panels.append(_panel(frame, "Uncertainty of the teacher", uncertainty_picture(frame, frame.log_scale, size), words))
    return [*panels, *_space_panels(frame, width_px)]


def count_words(frame: DetectionFrame) -> str:
    """Say how many objects are annotated and found."""
    return f"{plural(len(frame.truth), 'object')} annotated, {len(frame.detections):,} found"


def choice_words(frame: DetectionFrame) -> list[str]:
    """Say why a frame was chosen, if not for its place in the split, and what is wrong about it, where that was measured."""
    words = [_REASONS[reason] for reason in frame.reasons if reason in _REASONS]
    if frame.error is not None:
        words.append(f"{frame.error.num_missed} missed, {frame.error.num_false} false")
        words += [f"depth off by up to {frame.error.depth_m:.1f} m"] if frame.error.depth_m > 0 else []
    return words


def _heat_maps(frame: DetectionFrame) -> dict[str, NDArray[np.float32]]:
    """Return the heat of each class by the title of its panel; former versions kept the hottest class only."""
    if not frame.class_heat:
        return {"Centre heat": frame.heat}
    return {f"Centre heat: {name}": heat for name, heat in frame.class_heat.items()}


def _space_panels(frame: DetectionFrame, width_px: int) -> list[Panel]:
    """Draw the points and boxes from behind, if there are points, and from above."""
    points, note = frame.lidar_m.astype(np.float64), "LiDAR points"
    if not len(points) and frame.teacher_m is not None:
        points, note = frame.points_of(frame.teacher_m), "points of the teacher's map, for want of LiDAR"
    boxes = ((frame.truth, TRUTH), (frame.detections, DETECTED))
    size = width_px, round(width_px * _BIRD_SHAPE)
    above = bird_view(points, boxes, projection=frame.projection, image_px=_image_px(frame), size_px=size)
    panel = _panel(frame, FROM_ABOVE, above, note if len(points) else "no LiDAR and no teacher, so no points")
    if not len(points):
        return [panel]
    behind = rear_view(points, boxes, width_px=width_px)
    return [_panel(frame, FROM_BEHIND, behind, f"{note}, coloured by depth"), panel]


def _image_px(frame: DetectionFrame) -> tuple[float, float]:
    """Return the first and the last column of the whole image that the network sees."""
    return tuple(moved(frame.image_from_input, np.array([[0.0, 0.0], [frame.image_u8.shape[1], 0.0]]))[:, 0].tolist())


def _panel(frame: DetectionFrame, title: str, picture: Image.Image, caption: str) -> Panel:
    return Panel(title, picture, caption, f"{title}, frame {frame.key}. {caption}".strip())
