"""The section "Frames", and a frame as one picture: boxes in the image and in space, dense maps, a view from above.

Reads  DetectionFrame, from memory or from evaluation/pictures.npz
Writes HTML with the pictures inside, each 720 px wide; JPEG bytes
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from flows.reports.html import charts
from flows.reports.html.colormap import turbo
from flows.reports.html.depth_pictures import EMPTY_CANVAS, MAX_WIDTH_PX, dense_picture, dimmed, median_words
from flows.reports.html.markup import plural, section, swatch, text
from flows.reports.html.pictures import Panel, jpeg_bytes, picture_grids
from flows.reports.monoddle.bird_view import bird_view
from flows.reports.monoddle.box_lines import EDGES, FRONT, corners, seen_lines
from flows.reports.monoddle.files import DetectionFiles
from model.monoddle.detection_frames import BoxList, DetectionFrame, Float64

Size = tuple[int, int]
Rgb = tuple[int, int, int]

TRUTH: Rgb = (64, 224, 255)
"""Colour of what is annotated."""

DETECTED: Rgb = (255, 150, 30)
"""Colour of what was found; told apart from ``TRUTH`` by brightness too."""

_HOT = np.array([255.0, 196.0, 48.0])
_SHADOW: Rgb = (10, 10, 12)
_LINE_PX, _FONT_PX = 2, 13

_COLUMNS = (("Boxes in the image", "Boxes in space", "Centre heat"), ("From above", "Depth everywhere"))
"""Titles of the panels, below each other in two columns."""

_GAP_PX, _FOOT_PX, _FOOT_FONT_PX = 8, 30, 15
_INK = (225, 229, 236)


def pictures_section(training: DetectionFiles) -> str | None:
    """Return the section, None where no frame was kept."""
    if not training.frames:
        return None
    grids = picture_grids([detection_panels(frame) for frame in training.frames])
    blocks = "".join(
        f'<article class="frame"><h3><code>{text(frame.key)}</code> '
        f'<span class="tag">{plural(len(frame.truth), "object")}</span> '
        f'<span class="tag">{len(frame.detections):,} found</span></h3>{grid}</article>'
        for frame, grid in zip(training.frames, grids, strict=True)
    )
    legends = (
        f"<figure><figcaption>{swatch(TRUTH)}annotated, of every category</figcaption><figcaption>{swatch(DETECTED)}found, with "
        "its score, which ranks and is no probability</figcaption></figure>"
        f"<figure>{charts.depth_legend()}<figcaption>Depth in metres, of teacher and network</figcaption></figure>"
    )
    intro = (
        "<p>Frames spread evenly over the split, at the network's input. From above, the camera looks up from the middle of the "
        f'lower edge; rings are 10 m apart, and higher points are brighter.</p><div class="legends">{legends}</div>'
    )
    return section("frames", "Frames", intro + blocks)


def detection_panels(frame: DetectionFrame) -> list[Panel]:
    """Draw boxes in the image and in space, the view from above, heat and depth; teacher and uncertainty if there are any."""
    height, width = frame.image_u8.shape[:2]
    size = MAX_WIDTH_PX, max(1, round(MAX_WIDTH_PX * height / width))
    panels = [
        _panel(frame, "Boxes in the image", boxes_in_image(frame, size), _count_words(frame)),
        _panel(frame, "Boxes in space", boxes_in_space(frame, size), "crosses mark front faces"),
        _panel(frame, "Centre heat", heat_picture(frame, size), f"hottest cell {frame.heat.max():.2f}"),
    ]
    caption = median_words(frame.depth_m)
    if frame.teacher_m is not None:
        difference = np.abs(frame.depth_m - frame.teacher_m)[frame.teacher_m > 0]
        caption += f", {difference.mean():.1f} m from the teacher in the mean"
    panels.append(_panel(frame, "Depth everywhere", dense_picture(frame.depth_m, size), caption))
    if frame.teacher_m is not None:
        is_there = frame.teacher_m > 0
        panels.append(_panel(frame, "Teacher", dense_picture(frame.teacher_m, size), median_words(frame.teacher_m[is_there])))
    if frame.log_scale is not None:
        panels.append(_uncertainty_panel(frame, frame.log_scale, size))
    return [*panels, _bird_panel(frame)]  # last, because only this panel has another shape


def frame_jpeg(frame: DetectionFrame) -> bytes:
    """Return the picture of a frame: its panels in two columns, its name and the key of the colours with counts below."""
    panels = {panel.title: panel.picture for panel in detection_panels(frame)}
    columns = [[panels[title] for title in titles] for titles in _COLUMNS]
    width = panels["From above"].width
    height = max(sum(picture.height + _GAP_PX for picture in column) for column in columns)
    canvas = Image.new("RGB", (len(columns) * (width + _GAP_PX) - _GAP_PX, height + _FOOT_PX), EMPTY_CANVAS)
    for number, column in enumerate(columns):
        top = 0
        for picture in column:
            canvas.paste(picture, (number * (width + _GAP_PX), top))
            top += picture.height + _GAP_PX
    _draw_foot(canvas, frame, height, width + _GAP_PX)
    return jpeg_bytes(canvas)


def boxes_in_image(frame: DetectionFrame, size: Size) -> Image.Image:
    """Draw the boxes of the image, annotated ones first."""
    picture, panel_from_image = _panel_input(frame, size)
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(_FONT_PX)
    for boxes, color in ((frame.truth, TRUTH), (frame.detections, DETECTED)):
        ends = _moved(panel_from_image, boxes.box_px.reshape(-1, 2, 2))
        for k, (first, last) in enumerate(ends):
            (left, right), (top, bottom) = np.sort([first, last], axis=0).T.tolist()
            draw.rectangle((left, top, right, bottom), outline=color, width=_LINE_PX)
            label, below = (f"{boxes.category[k]} {boxes.score[k]:.2f}", bottom + 1)
            if color == TRUTH:
                label, below = str(boxes.category[k]), top - _FONT_PX - 4
            draw.text((left + 2, below), label, fill=color, font=font, stroke_width=2, stroke_fill=_SHADOW)
    return picture


def boxes_in_space(frame: DetectionFrame, size: Size) -> Image.Image:
    """Draw the edges of the boxes in space through the frame's projection, with crosses on their front faces."""
    picture, panel_from_image = _panel_input(frame, size)
    draw = ImageDraw.Draw(picture)
    for boxes, color in ((frame.truth, TRUTH), (frame.detections, DETECTED)):
        for corner_m in _far_first(boxes):
            for pairs, width in ((EDGES, _LINE_PX), (FRONT, 1)):
                for line in _moved(panel_from_image, seen_lines(corner_m, pairs, frame.projection)):
                    draw.line([tuple(end) for end in np.clip(line, -9999, 9999).tolist()], fill=color, width=width)
    return picture


def heat_picture(frame: DetectionFrame, size: Size) -> Image.Image:
    """Draw the heat of the hottest class over the dimmed image; by its square root, so that weak centres are seen."""
    heat = np.asarray(Image.fromarray(frame.heat.astype(np.float32)).resize(size, Image.Resampling.BILINEAR))
    share = np.sqrt(np.clip(heat, 0.0, 1.0))[..., None]
    base = dimmed(Image.fromarray(frame.image_u8), size)
    return Image.fromarray(np.round(base * (1.0 - share) + _HOT * share).astype(np.uint8))


def _uncertainty_panel(frame: DetectionFrame, log_scale: NDArray[np.float32], size: Size) -> Panel:
    low, high = np.percentile(log_scale, (2, 98))
    share = (log_scale - low) / max(high - low, 1e-6)
    picture = Image.fromarray(turbo(0.06 + 0.86 * np.clip(share, 0.0, 1.0))).resize(size, Image.Resampling.BOX)
    caption = f"log scale {low:.2f} (blue, believed) to {high:.2f} (red, doubted)"
    return _panel(frame, "Uncertainty of the teacher", picture, caption)


def _bird_panel(frame: DetectionFrame) -> Panel:
    points, points_note = frame.lidar_m.astype(np.float64), "LiDAR points"
    if not len(points) and frame.teacher_m is not None:
        points, points_note = frame.points_of(frame.teacher_m), "points of the teacher's map, for want of LiDAR"
    picture = bird_view(
        points, ((frame.truth, TRUTH), (frame.detections, DETECTED)), projection=frame.projection, image_px=_image_px(frame)
    )
    return _panel(frame, "From above", picture, points_note if len(points) else "no LiDAR and no teacher, so no points")


def _image_px(frame: DetectionFrame) -> tuple[float, float]:
    """Return the first and the last column of the whole image that the network sees."""
    return tuple(_moved(frame.image_from_input, np.array([[0.0, 0.0], [frame.image_u8.shape[1], 0.0]]))[:, 0].tolist())


def _panel_input(frame: DetectionFrame, size: Size) -> tuple[Image.Image, Float64]:
    """Return the network's input at a panel's size, and the map (3, 3) from pixels of the whole image to the panel's."""
    picture = Image.fromarray(frame.image_u8).resize(size, Image.Resampling.BILINEAR)
    height, width = frame.image_u8.shape[:2]
    return picture, np.diag([size[0] / width, size[1] / height, 1.0]) @ frame.input_from_image


def _far_first(boxes: BoxList) -> list[Float64]:
    """Return the corners of the boxes that say where they are, the farthest first."""
    kept = np.flatnonzero(boxes.is_in_space)
    order = kept[np.argsort(-boxes.location_m[kept, 2])]
    return [corners(boxes.size_hwl_m[k], boxes.location_m[k], float(boxes.rotation_y_rad[k])) for k in order]


def _moved(matrix: Float64, points_px: Float64) -> Float64:
    return np.asarray(points_px @ matrix[:2, :2].T + matrix[:2, 2])


def _panel(frame: DetectionFrame, title: str, picture: Image.Image, caption: str) -> Panel:
    return Panel(title, picture, caption, f"{title}, frame {frame.key}. {caption}".strip())


def _count_words(frame: DetectionFrame) -> str:
    return f"{plural(len(frame.truth), 'object')} annotated, {len(frame.detections):,} found"


def _draw_foot(canvas: Image.Image, frame: DetectionFrame, top: int, left: int) -> None:
    """Write the frame's name below the first column, and how many boxes have which colour below the second."""
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(_FOOT_FONT_PX)
    draw.text((6, top), frame.key, fill=_INK, font=font)
    entries = [(f"{len(frame.detections)} found", DETECTED)]
    if len(frame.truth):
        entries.insert(0, (f"{len(frame.truth)} annotated", TRUTH))
    place = left + 6.0
    for entry, color in entries:
        draw.text((place, top), entry, fill=color, font=font)
        place += draw.textlength(entry, font=font) + 20
