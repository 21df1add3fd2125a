"""The pictures of one camera's frame: image with radar and boxes, depth maps on the dimmed image, and errors.

Reads  CameraFrame, and what a network predicted for it
Writes pictures of one size, by title
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from flows.reports.html.colormap import DROPPED
from flows.reports.html.depth_pictures import (
    MAX_WIDTH_PX,
    dense_picture,
    dimmed,
    draw_points,
    draw_radar,
    errors_on,
    mark_reach_px,
    points_on,
)
from flows.reports.html.depth_pictures import RadarReturns as ImageReturns
from flows.viewing.box_lines import drawn_boxes
from flows.viewing.frame_content import Boxes, CameraFrame
from storage_schemas.encoding import decode_depth
from storage_schemas.image_files import opened_image

TITLES = {
    "camera": "camera, radar, boxes",
    "single": "single LiDAR sweep",
    "accumulated": "accumulated LiDAR",
    "clean": "cleaned",
    "removed": "removed by cleaning",
    "interpolated": "interpolated",
    "mono": "monocular depth",
    "truth": "exact depth",
    "predicted": "predicted",
    "errors_clean": "errors of cleaned depth",
    "errors_predicted": "errors of the prediction",
}
"""Every picture of a frame with the words above it, in the order that they are shown."""

DENSE = ("interpolated", "mono", "truth")
"""Maps that are drawn as areas: nearly every pixel has a depth."""

ANNOTATED, MOVING, PREDICTED = (120, 200, 255), (255, 170, 60), (255, 90, 220)
"""Colours of boxes: annotated and standing, annotated and moving, predicted."""


@dataclass(frozen=True)
class Errors:
    """Where a map and its reference both have a depth.

    Attributes:
        of: the compared map, as a word: ``clean`` or ``predicted``.
        against: layout of the reference.
        steps: (y, x) quanta of the compared map, 0 where either has none.
        reference: (y, x) quanta of the reference, 0 where either has none.
    """

    of: str
    against: str
    steps: NDArray[np.uint16]
    reference: NDArray[np.uint16]

    @property
    def mask(self) -> NDArray[np.bool_]:
        """Pixels that both have."""
        return np.asarray(self.steps > 0)

    @property
    def error_m(self) -> NDArray[np.float32]:
        """Map minus reference (n,) metres, row by row."""
        return decode_depth(self.steps[self.mask]) - decode_depth(self.reference[self.mask])


def errors_of(frame: CameraFrame, predicted: NDArray[np.uint16] | None) -> list[Errors]:
    """Return what can be compared in a frame: cleaned depth with exact depth, and a prediction with the best there is."""
    compared = []
    truth = frame.maps.get("depth_truth")
    if truth is not None and "depth_clean" in frame.maps:
        compared.append(_compare("clean", frame.maps["depth_clean"], "depth_truth", truth))
    if predicted is not None:
        reference = next((name for name in ("depth_truth", "depth_clean", "depth_single") if name in frame.maps), None)
        if reference is not None:
            compared.append(_compare("predicted", predicted, reference, frame.maps[reference]))
    return compared


def _compare(of: str, steps: NDArray[np.uint16], against: str, reference: NDArray[np.uint16]) -> Errors:
    both = (steps > 0) & (reference > 0)
    return Errors(of, against, np.where(both, steps, np.uint16(0)), np.where(both, reference, np.uint16(0)))


def frame_pictures(
    frame: CameraFrame, boxes: Boxes | None, predicted: NDArray[np.uint16] | None, found: Boxes | None
) -> dict[str, Image.Image]:
    """Draw the pictures of a frame by their names in ``TITLES``, all of one size; what the store does not have is left out.

    Args:
        frame: the camera's frame.
        boxes: annotated boxes.
        predicted: (y, x) quanta of a predicted map.
        found: predicted boxes.
    """
    image = rgb_image(frame)
    size = picture_size(frame.size)
    base = dimmed(image, size)
    pictures = {"camera": _camera(frame, image, size, boxes, found)}
    for layout, steps in frame.maps.items():
        name, depth_m = layout.removeprefix("depth_"), decode_depth(steps)
        pictures[name] = dense_picture(depth_m, size) if name in DENSE else points_on(base, depth_m)
    if "depth_clean" in frame.maps and "depth_accumulated" in frame.maps:
        pictures["removed"] = _removed(base, removed_by_cleaning(frame))
    if predicted is not None:
        pictures["predicted"] = dense_picture(decode_depth(predicted), size)
    for errors in errors_of(frame, predicted):
        pictures[f"errors_{errors.of}"] = errors_on(base, decode_depth(errors.steps), decode_depth(errors.reference))
    return {name: pictures[name] for name in TITLES if name in pictures}


def picture_size(size: tuple[int, int]) -> tuple[int, int]:
    """Return (width, height) of the pictures of an image (height, width): at most ``MAX_WIDTH_PX`` wide."""
    scale = min(1.0, MAX_WIDTH_PX / size[1])
    return round(size[1] * scale), round(size[0] * scale)


def rgb_image(frame: CameraFrame) -> Image.Image | None:
    """Return the camera's image; None where it is not at hand.

    Raises:
        SourceError: the image is damaged.
    """
    if frame.image is None:
        return None
    with opened_image(io.BytesIO(frame.image), what=f"image of '{frame.key}'", remedy="Run depthmill verify") as image:
        return image.convert("RGB")


def removed_by_cleaning(frame: CameraFrame) -> NDArray[np.bool_]:
    """Return the pixels (y, x) that cleaning set to 0."""
    return np.asarray((frame.maps["depth_accumulated"] > 0) & (frame.maps["depth_clean"] == 0))


def _camera(
    frame: CameraFrame, image: Image.Image | None, size: tuple[int, int], boxes: Boxes | None, found: Boxes | None
) -> Image.Image:
    canvas = Image.fromarray(dimmed(None, size)) if image is None else image.resize(size, Image.Resampling.BILINEAR)
    scale = size[0] / frame.size[1], size[1] / frame.size[0]
    draw = ImageDraw.Draw(canvas)
    for some, color in ((boxes, None), (frame.objects, None), (found, PREDICTED)):
        if some is not None:
            drawn_boxes(draw, some, frame, scale, [color or (MOVING if moves else ANNOTATED) for moves in some.is_moving])
    if frame.radar is not None:
        draw_radar(canvas, ImageReturns(frame.radar.u_px, frame.radar.v_px, frame.radar.depth_m), *scale)
    return canvas


def _removed(base: NDArray[np.uint8], mask: NDArray[np.bool_]) -> Image.Image:
    canvas = base.copy()
    num = int(np.count_nonzero(mask))
    colors = np.broadcast_to(np.array(DROPPED, np.uint8), (num, 3))
    draw_points(canvas, mask, np.zeros(num, np.uint16), colors, mark_reach_px(mask, canvas))
    return Image.fromarray(canvas)
