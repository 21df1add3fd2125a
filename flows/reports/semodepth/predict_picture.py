"""One predicted frame as a picture: image, radar and depth beside each other, and below them what the colours mean.

Reads  a frame and its depth
Writes JPEG bytes
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from flows.reports.semodepth.strip_pictures import dense_colors, radar_returns
from flows.reports.store.colormap import FAR_M, NEAR_M, TICKS_M, depth_colors, depth_position
from flows.reports.store.pictures import EMPTY_CANVAS, dimmed, draw_radar
from model.semodepth.predict import Predicted

PANEL_WIDTH_PX = 640
"""Width of each of the three pictures; smaller frames are enlarged to it."""

_GAP_PX, _FOOT_PX, _SCALE_PX, _FONT_PX = 8, 54, 360, 15
_INK = (225, 229, 236)
_QUALITY = 88


def strip_jpeg(predicted: Predicted) -> bytes:
    """Return the picture of a frame with its depth (h, w) in metres."""
    frame, depth_m = predicted
    height, width = depth_m.shape
    size = PANEL_WIDTH_PX, max(1, round(PANEL_WIDTH_PX * height / width))
    image = Image.fromarray(frame.image_u8)
    panels = [image.resize(size, Image.Resampling.BILINEAR), Image.fromarray(dimmed(image, size))]
    panels.append(Image.fromarray(dense_colors(depth_m)).resize(size, Image.Resampling.BOX))
    words = "no radar"
    if frame.radar_m is not None:
        returns = radar_returns(frame.radar_m)
        draw_radar(panels[1], returns, size[0] / width, size[1] / height)
        words = f"{len(returns.depth_m)} radar return{'' if len(returns.depth_m) == 1 else 's'}"
    canvas = Image.new("RGB", (3 * size[0] + 2 * _GAP_PX, size[1] + _FOOT_PX), EMPTY_CANVAS)
    for number, panel in enumerate(panels):
        canvas.paste(panel, (number * (size[0] + _GAP_PX), 0))
    _draw_foot(canvas, size, (frame.name, words))
    stream = io.BytesIO()
    canvas.save(stream, "JPEG", quality=_QUALITY)
    return stream.getvalue()


def _draw_foot(canvas: Image.Image, size: tuple[int, int], words: tuple[str, str]) -> None:
    """Write the frame's name below its image, what radar there is below the radar, and the colour scale below the depth."""
    draw, font, top = ImageDraw.Draw(canvas), ImageFont.load_default(_FONT_PX), size[1] + 10
    for number, own in enumerate(words):
        draw.text((number * (size[0] + _GAP_PX) + 6, top), own, fill=_INK, font=font)
    left = 2 * (size[0] + _GAP_PX) + 16
    depths = NEAR_M * (FAR_M / NEAR_M) ** np.linspace(0.0, 1.0, _SCALE_PX)
    scale = Image.fromarray(np.repeat(depth_colors(depths)[None], 12, axis=0))
    canvas.paste(scale, (left, top))
    for metres in TICKS_M:
        x = left + float(depth_position(np.array(float(metres)))) * (_SCALE_PX - 1)
        draw.text((x, top + 15), f"{metres}", fill=_INK, font=font, anchor="ma")
    draw.text((left + _SCALE_PX + 18, top + 15), "m", fill=_INK, font=font, anchor="la")
