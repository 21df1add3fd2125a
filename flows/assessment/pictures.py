"""One frame of an assessment as a picture: the camera's image, and for each recipe its depth and its errors.

Reads  FrameErrors of one frame and store, the image's file
Writes a picture with a legend below
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from flows.reports.html.colormap import error_colors
from flows.reports.html.depth_pictures import MAX_WIDTH_PX, dimmed, draw_points, point_reach_px, points_on
from pipeline.assessment.assess import FrameErrors
from pipeline.kernels.depth_errors import ErrorReadings
from pipeline.stage import RawReader
from storage_schemas.encoding import STEPS_PER_M, decode_depth
from storage_schemas.errors import DepthmillError
from storage_schemas.image_files import opened_image

LEGEND_M = (-10.0, -3.0, -1.0, -0.3, 0.0, 0.3, 1.0, 3.0, 10.0)
"""Errors whose colours the legend shows, metres."""

SKY_ERROR_M = -100.0
"""Error that a return in front of the sky is drawn with."""

LINE_PX = 18
"""Height of a line of text."""


def draw_frame(maps: Sequence[FrameErrors], raw: RawReader) -> Image.Image:
    """Draw the maps of one frame below each other: depth on the left, errors on the right; the image on top.

    Below them is what the first map lacks of each other one.

    Args:
        maps: of several recipes, of the same frame and store.
        raw: reads the image.
    """
    height, width = maps[0].steps.shape
    scale = MAX_WIDTH_PX / width if width > MAX_WIDTH_PX else -(-MAX_WIDTH_PX // width)
    size = (round(width * scale), round(height * scale))
    drawn = size if scale < 1 else (width, height)  # a small map is drawn as it is, and each of its pixels becomes a square
    image = _image(maps[0], raw)
    rows = [
        (
            f"{maps[0].frame.scene} {maps[0].frame.camera} {maps[0].timestamp_us}",
            image,
            "reference",
            _reference(maps[0], image, drawn),
        )
    ]
    base = dimmed(image, drawn)
    for errors in maps:
        counts = errors.groups.get(("all", "all"), ErrorReadings()).plain
        words = (
            f"errors, {errors.contender}: {100 * counts.near_share:.2f} % too near, {100 * counts.far_share:.2f} % too far, "
            f"{100 * counts.bad_share:.2f} % bad"
        )
        depth = points_on(base, decode_depth(errors.steps))
        rows.append((f"{errors.layout}, {errors.contender}: {100 * counts.coverage:.1f} %", depth, words, _errors(errors, base)))
    for other in maps[1:]:
        removed = replace(other, steps=np.where(maps[0].steps > 0, np.uint16(0), other.steps))
        words = f"removed: pixels of {other.contender} that {maps[0].contender} has not"
        rows.append((words, points_on(base, decode_depth(removed.steps)), "their errors, where known", _errors(removed, base)))
    sheet = Image.new("RGB", (2 * size[0], len(rows) * (size[1] + LINE_PX) + 2 * LINE_PX), (16, 18, 22))
    draw = ImageDraw.Draw(sheet)
    for number, (left_words, left, right_words, right) in enumerate(rows):
        top = number * (size[1] + LINE_PX)
        for column, (words, picture) in enumerate(((left_words, left), (right_words, right))):
            draw.text((column * size[0] + 4, top + 3), words, fill=(230, 230, 230))
            if picture is not None:
                how = Image.Resampling.BILINEAR if picture is image else Image.Resampling.NEAREST
                sheet.paste(picture.resize(size, how), (column * size[0], top + LINE_PX))
    _draw_legend(draw, top=len(rows) * (size[1] + LINE_PX), left=size[0])
    return sheet


def _image(errors: FrameErrors, raw: RawReader) -> Image.Image | None:
    """Return the camera's image; None where it cannot be read, because an assessment needs none."""
    try:
        with opened_image(raw.read_bytes(errors.file), what=f"image '{errors.file}'", remedy="Fetch it again") as image:
            return image.convert("RGB")
    except DepthmillError:
        return None


def _reference(errors: FrameErrors, image: Image.Image | None, size: tuple[int, int]) -> Image.Image:
    return points_on(dimmed(image, size), decode_depth(errors.reference))


def _errors(errors: FrameErrors, base: NDArray[np.uint8]) -> Image.Image:
    """Draw signed errors where they are known; the largest is seen."""
    canvas = (base * 0.6).astype(np.uint8)
    mask = (errors.steps > 0) & ((errors.reference > 0) | (errors.against == "truth"))
    steps, reference = errors.steps[mask].astype(np.float32), errors.reference[mask].astype(np.float32)
    error_m = np.where(reference > 0, (steps - reference) / STEPS_PER_M, np.float32(SKY_ERROR_M))
    priority = np.minimum(np.abs(error_m) * STEPS_PER_M, 65535).astype(np.uint16)
    draw_points(canvas, mask, priority, error_colors(error_m), point_reach_px(mask, canvas))
    return Image.fromarray(canvas)


def _draw_legend(draw: ImageDraw.ImageDraw, *, top: int, left: int) -> None:
    """Draw the colours of errors with their metres."""
    colors = error_colors(np.array(LEGEND_M, np.float32))
    draw.text((left + 4, top + 4), "too near", fill=(230, 230, 230))
    for number, (error_m, color) in enumerate(zip(LEGEND_M, colors, strict=True)):
        x = left + 70 + number * 62
        draw.rectangle((x, top + 4, x + 16, top + 4 + 12), fill=tuple(int(part) for part in color))
        draw.text((x + 20, top + 4), f"{error_m:+g} m", fill=(230, 230, 230))
    draw.text((left + 70 + len(LEGEND_M) * 62, top + 4), "too far", fill=(230, 230, 230))
