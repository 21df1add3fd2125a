"""A frame as one picture: all its panels in two columns, each below its title, with the colours explained on top.

Reads  DetectionFrame
Writes a picture 1280 px wide, so that its words can be read where it is shown at that width; JPEG bytes
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from flows.reports.html.colormap import TICKS_M, depth_colors, depth_position
from flows.reports.html.depth_pictures import EMPTY_CANVAS
from flows.reports.html.lettering import Font, fitting
from flows.reports.html.pictures import Panel, jpeg_bytes
from flows.reports.monoddle.over_image import DETECTED, TRUTH
from flows.reports.monoddle.panels import FROM_ABOVE, FROM_BEHIND, choice_words, detection_panels
from model.monoddle.detection_frames import DetectionFrame

SHEET_WIDTH_PX = 1280

_GAP_PX, _TITLE_PX, _HEAD_PX, _FONT_PX = 8, 22, 58, 14
_BAR_PX = 300, 10
_INK, _SOFT = (225, 229, 236), (150, 160, 178)
_NUM_COLUMNS = 2


def frame_jpeg(frame: DetectionFrame) -> bytes:
    """Return the sheet of a frame as JPEG."""
    return jpeg_bytes(frame_sheet(frame))


def frame_sheet(frame: DetectionFrame) -> Image.Image:
    """Draw the name of a frame, the key of the colours, and its panels, each into the column that is shorter so far."""
    width = (SHEET_WIDTH_PX - _GAP_PX * (_NUM_COLUMNS - 1)) // _NUM_COLUMNS
    bottoms, places = [_HEAD_PX] * _NUM_COLUMNS, list[tuple[int, int, Panel]]()
    for panel in _in_order(detection_panels(frame, width)):
        column = int(np.argmin(bottoms))
        places.append((column * (width + _GAP_PX), bottoms[column], panel))
        bottoms[column] += _TITLE_PX + panel.picture.height + _GAP_PX
    canvas = Image.new("RGB", (SHEET_WIDTH_PX, max(bottoms)), EMPTY_CANVAS)
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(_FONT_PX)
    _draw_head(draw, font, frame)
    for left, top, panel in places:
        canvas.paste(panel.picture, (left, top + _TITLE_PX))
        draw.text((left + 6, top + 2), panel.title, fill=_INK, font=font)
        words_left = left + 6 + draw.textlength(f"{panel.title}   ", font=font)
        draw.text((words_left, top + 2), fitting(panel.caption, font, left + width - words_left), fill=_SOFT, font=font)
    return canvas


def _in_order(panels: Sequence[Panel]) -> list[Panel]:
    """Return the panels with the two high ones third and fourth: both columns end alike if the low ones follow."""
    high = [panel for title in (FROM_ABOVE, FROM_BEHIND) for panel in panels if panel.title == title]
    others = [panel for panel in panels if panel.title not in (FROM_ABOVE, FROM_BEHIND)]
    return [*others[:2], *high, *others[2:]]


def _draw_head(draw: ImageDraw.ImageDraw, font: Font, frame: DetectionFrame) -> None:
    """Write the frame's name with what is wrong about it, and below it what each colour means."""
    bar_left = SHEET_WIDTH_PX - _BAR_PX[0] - 24
    words_px = bar_left - 80
    draw.text((6, 6), fitting(frame.key, font, words_px), fill=_INK, font=font)
    said_left = 6 + min(draw.textlength(frame.key, font=font), words_px) + 16
    draw.text((said_left, 6), fitting(", ".join(choice_words(frame)), font, words_px - said_left), fill=_SOFT, font=font)
    entries = [(f"{len(frame.detections)} found", DETECTED)]
    if len(frame.truth):
        entries.insert(0, (f"{len(frame.truth)} annotated", TRUTH))
    place = 6.0
    for words, color in entries:
        draw.rectangle((place, 34, place + 12, 44), fill=color)
        draw.text((place + 18, 30), words, fill=color, font=font)
        place += 18 + draw.textlength(words, font=font) + 24
    _draw_depth_bar(draw, font, bar_left)


def _draw_depth_bar(draw: ImageDraw.ImageDraw, font: Font, left: int) -> None:
    width, height = _BAR_PX
    depth_m = TICKS_M[0] * (TICKS_M[-1] / TICKS_M[0]) ** np.linspace(0, 1, width)
    for x, color in enumerate(depth_colors(depth_m)):
        draw.line((left + x, 12, left + x, 12 + height), fill=tuple(int(part) for part in color))
    draw.text((left - draw.textlength("depth", font=font) - 12, 9), "depth", fill=_INK, font=font)
    for tick, share in zip(TICKS_M, depth_position(np.array(TICKS_M, np.float64)), strict=True):
        words = f"{tick} m" if tick == TICKS_M[-1] else str(tick)
        draw.text((left + share * width - draw.textlength(words, font=font) / 2, 28), words, fill=_SOFT, font=font)
