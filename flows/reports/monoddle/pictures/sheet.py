"""One frame of a detector as one picture: what was found in the image, in space and from above, the heat and the depth.

Reads  DetectionFrame
Writes JPEG bytes
"""

from __future__ import annotations

import io

from PIL import Image, ImageDraw, ImageFont

from flows.reports.monoddle.pictures.panels import FOUND, TRUTH, detection_panels
from flows.reports.store.pictures import EMPTY_CANVAS
from model.monoddle.detection_frames import DetectionFrame

_COLUMNS = (("Boxes in the image", "Boxes in space", "Centre heat"), ("From above", "Depth everywhere"))
"""Titles of the panels, below each other in two columns."""

_GAP_PX, _FOOT_PX, _FONT_PX, _QUALITY = 8, 30, 15, 88
_INK = (225, 229, 236)


def sheet_jpeg(frame: DetectionFrame) -> bytes:
    """Return the picture of a frame: its panels in two columns, its name and the key of the colours with counts below."""
    panels = {panel.title: panel.picture for panel in detection_panels(frame)}
    columns = [[panels[title] for title in titles] for titles in _COLUMNS]
    width = panels["From above"].width
    height = max(sum(one.height + _GAP_PX for one in column) for column in columns)
    canvas = Image.new("RGB", (len(columns) * (width + _GAP_PX) - _GAP_PX, height + _FOOT_PX), EMPTY_CANVAS)
    for number, column in enumerate(columns):
        top = 0
        for one in column:
            canvas.paste(one, (number * (width + _GAP_PX), top))
            top += one.height + _GAP_PX
    _draw_foot(canvas, frame, height, width + _GAP_PX)
    stream = io.BytesIO()
    canvas.save(stream, "JPEG", quality=_QUALITY)
    return stream.getvalue()


def _draw_foot(canvas: Image.Image, frame: DetectionFrame, top: int, left: int) -> None:
    """Write the frame's name below the first column, and how many boxes have which colour below the second."""
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(_FONT_PX)
    draw.text((6, top), frame.key, fill=_INK, font=font)
    words = [(f"{len(frame.found)} found", FOUND)]
    if len(frame.truth):
        words.insert(0, (f"{len(frame.truth)} annotated", TRUTH))
    place = left + 6.0
    for said, color in words:
        draw.text((place, top), said, fill=color, font=font)
        place += draw.textlength(said, font=font) + 20
