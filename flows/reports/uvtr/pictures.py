"""The section "Key frames", and a key frame as one picture: boxes in all cameras, from above with LiDAR, and covered ground.

Reads  PictureFrame, from memory or from evaluation/pictures.npz
Writes HTML with the pictures inside; JPEG bytes
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from flows.reports.html.depth_pictures import EMPTY_CANVAS
from flows.reports.html.markup import plural, section, swatch, text
from flows.reports.html.pictures import Panel, jpeg_bytes, picture_grids
from flows.reports.uvtr.bird_view import COVERED_KEY, bird_view, ground_view, reach_of
from flows.reports.uvtr.box_lines import Float64, corners, seen_lines
from flows.reports.uvtr.files import BoxFiles
from model.uvtr.classes import CLASSES
from model.uvtr.detections import Detections
from model.uvtr.key_frame_pictures import PictureFrame

Rgb = tuple[int, int, int]

TRUTH: Rgb = (64, 224, 255)
"""Colour of what is annotated."""

DETECTED: Rgb = (255, 150, 30)
"""Colour of what was found; told apart from ``TRUTH`` by brightness too."""

SHOWN_SCORE = 0.2
"""Detections of a lower score are not drawn: a detector says hundreds of a key frame, most of them hardly meant."""

_ORDER = ("CAM_FRONT_LEFT", "CAM_FRONT", "CAM_FRONT_RIGHT", "CAM_BACK_LEFT", "CAM_BACK", "CAM_BACK_RIGHT")
_CAMERA_PX, _GAP_PX, _FOOT_PX, _FONT_PX = 400, 6, 30, 13
_COLUMNS = 3
_INK, _SHADOW = (225, 229, 236), (10, 10, 12)


def pictures_section(training: BoxFiles) -> str | None:
    """Return the section, None where no key frame was kept."""
    if not training.frames:
        return None
    grids = picture_grids([[_whole_panel(frame)] for frame in training.frames])
    blocks = "".join(
        f'<article class="frame"><h3><code>{text(frame.key)}</code> '
        f'<span class="tag">{plural(len(frame.truth), "object")}</span> '
        f'<span class="tag">{len(shown(frame.found)):,} found</span></h3>{grid}</article>'
        for frame, grid in zip(training.frames, grids, strict=True)
    )
    keys = "".join(f"<figcaption>{swatch(color)}{words}</figcaption>" for color, words in COVERED_KEY)
    ground = f"<figure>{keys}</figure>" if training.frames[0].covered.size else ""
    intro = (
        "<p>Key frames spread evenly over the split, at the network's input. From above, forward is up, rings are 10 m apart, "
        "and higher LiDAR points are brighter; the line ahead of a box is its way in one second.</p>"
        f'<div class="legends"><figure><figcaption>{swatch(TRUTH)}annotated</figcaption>'
        f"<figcaption>{swatch(DETECTED)}found, with "
        f"a score of {SHOWN_SCORE:g} or more</figcaption></figure>{ground}</div>"
    )
    return section("frames", "Key frames", intro + blocks)


def _whole_panel(frame: PictureFrame) -> Panel:
    words = f"{plural(len(frame.truth), 'object')} annotated, {len(shown(frame.found)):,} found"
    where = f"Key frame {frame.key}: boxes in {plural(len(frame.cameras), 'camera')}, and from above. {words}"
    return Panel("All cameras, and from above", key_frame_picture(frame), words, where)


def frame_jpeg(frame: PictureFrame) -> bytes:
    """Return the picture of a key frame with its name and the key of the colours below."""
    return jpeg_bytes(key_frame_picture(frame))


def shown(found: Detections) -> Detections:
    """Return the detections that are drawn."""
    return found.where(found.scores >= SHOWN_SCORE)


def key_frame_picture(frame: PictureFrame) -> Image.Image:
    """Draw all cameras three beside each other, the view from above right of them, and covered ground where it is said."""
    order = [frame.cameras.index(name) for name in _ORDER if name in frame.cameras]
    order += [place for place in range(len(frame.cameras)) if place not in order]
    height, width = frame.image_u8.shape[1:3]
    size = _CAMERA_PX, max(1, round(_CAMERA_PX * height / width))
    rows = -(-len(order) // _COLUMNS)
    columns = min(len(order), _COLUMNS)
    side = max(rows * (size[1] + _GAP_PX) - _GAP_PX, _CAMERA_PX)
    squares = _squares(frame, side)
    left = columns * (size[0] + _GAP_PX)
    canvas = Image.new("RGB", (left + len(squares) * (side + _GAP_PX) - _GAP_PX, side + _FOOT_PX), EMPTY_CANVAS)
    for number, place in enumerate(order):
        row, column = divmod(number, _COLUMNS)
        canvas.paste(camera_picture(frame, place, size), (column * (size[0] + _GAP_PX), row * (size[1] + _GAP_PX)))
    for number, square in enumerate(squares):
        canvas.paste(square, (left + number * (side + _GAP_PX), 0))
    _draw_foot(canvas, frame, side)
    return canvas


def _squares(frame: PictureFrame, side: int) -> list[Image.Image]:
    found = shown(frame.found)
    boxes = ((frame.truth, TRUTH), (found, DETECTED))
    squares = [bird_view(frame.lidar_m, boxes, reach_m=reach_of([frame.truth, found]), size_px=side)]
    if frame.said_covered.size:
        squares.append(ground_view(frame.covered, frame.said_covered, size_px=side))
    return squares


def camera_picture(frame: PictureFrame, place: int, size: tuple[int, int]) -> Image.Image:
    """Draw the boxes that one camera sees, annotated ones first, with crosses on their front faces and their names."""
    height, width = frame.image_u8.shape[1:3]
    picture = Image.fromarray(frame.image_u8[place]).resize(size, Image.Resampling.BILINEAR)
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(_FONT_PX)
    lens = np.diag([size[0] / width, size[1] / height, 1.0]) @ frame.intrinsics[place]
    for boxes, color in ((frame.truth, TRUTH), (shown(frame.found), DETECTED)):
        corner_m = corners(boxes)
        for k in np.argsort(-np.linalg.norm(boxes.centers_m[:, :2], axis=1)):
            lines = seen_lines(corner_m[k], frame.cam_from_rig[place], lens)
            if not _is_in_picture(lines, size):
                continue
            for line in np.clip(lines, -9999, 9999):
                draw.line([tuple(end) for end in line.tolist()], fill=color, width=1)
            if color == DETECTED:
                x, y = lines.reshape(-1, 2).min(axis=0)
                label = f"{CLASSES[boxes.labels[k]]} {boxes.scores[k]:.2f}"
                draw.text(
                    (max(x, 0), max(y - _FONT_PX - 2, 0)), label, fill=color, font=font, stroke_width=1, stroke_fill=_SHADOW
                )
    draw.text((4, 2), frame.cameras[place], fill=_INK, font=font, stroke_width=2, stroke_fill=_SHADOW)
    return picture


def _is_in_picture(lines: Float64, size: tuple[int, int]) -> bool:
    if not len(lines):
        return False
    low, high = lines.reshape(-1, 2).min(axis=0), lines.reshape(-1, 2).max(axis=0)
    return bool((high > 0).all() and (low < size).all())


def _draw_foot(canvas: Image.Image, frame: PictureFrame, top: int) -> None:
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(_FONT_PX + 2)
    draw.text((6, top + 6), frame.key, fill=_INK, font=font)
    place = 6.0 + draw.textlength(frame.key, font=font) + 30
    entries = [(f"{len(frame.truth)} annotated", TRUTH), (f"{len(shown(frame.found))} found", DETECTED)]
    if frame.said_covered.size:
        entries += [(words, color) for color, words in COVERED_KEY]
    for entry, color in entries:
        draw.text((place, top + 6), entry, fill=color, font=font)
        place += draw.textlength(entry, font=font) + 20
