"""The section "Fly-through": one clip's volume, seen by a camera that moves through it; colour beside depth.

Reads  VolumeViews, of evaluation/rendered_views.npz
Writes HTML with the animation inside
"""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from flows.reports.html.markup import image, section, text
from flows.reports.mim4d.files import RenderFiles, VolumeViews
from flows.reports.mim4d.pictures import colours_of, depths_of

WIDTH_PX = 400
"""Colour, and depth beside it, are about so wide: two fill a column of text."""

FRAME_MS = 120
"""A picture of the animation stays so long."""

MAX_BYTES = 2_200_000
"""A third more as text in the page, so below 3 MB."""

_GAP_PX = 6
_NUM_COLOURS = (128, 64, 32)
"""Colours of the palette that all pictures share; the first that keeps the limit is taken, then they are made smaller."""


def flight_section(training: RenderFiles) -> str | None:
    """Return the section, None without a fly-through."""
    if training.flight is None or not training.clips or not len(training.flight.depth_m):
        return None
    content, (width, height) = flight_gif(training.flight)
    clip = training.clips[0]
    alt = f"Fly-through of clip {clip.key}: colour at the left, depth at the right, {len(training.flight.depth_m)} pictures"
    intro = (
        f"<p>The key frame's own volume of clip <code>{text(clip.key)}</code>, rendered by the camera that looks ahead: along "
        "the way by which the vehicle came, then in a loop ahead and to both sides, where no camera has been. If the vehicle "
        "stood still, or the network is of single frames, there is only the loop. Colours are those of the pictures.</p>"
    )
    animation = image(content, "gif", alt=alt, width=width, height=height)
    figure = f"<figure>{animation}<figcaption><b>Colour and depth</b></figcaption></figure>"
    return section("flight", "Fly-through", f'{intro}<div class="pictures">{figure}</div>')


def flight_gif(views: VolumeViews, *, max_bytes: int = MAX_BYTES) -> tuple[bytes, tuple[int, int]]:
    """Return a GIF that repeats for ever, and its width and height in pixels.

    Args:
        views: at least one picture.
        max_bytes: colours, then pixels are given up to stay below it; at one pixel a ray it is as large as it is.
    """
    factor = max(1, round(WIDTH_PX / views.depth_m.shape[2]))
    for size in range(factor, 0, -1):
        frames = [_frame(views, place, size) for place in range(len(views.depth_m))]
        for num_colours in _NUM_COLOURS:
            content = _encoded(frames, num_colours)
            if len(content) <= max_bytes:
                return content, frames[0].size
    return content, frames[0].size


def _frame(views: VolumeViews, place: int, factor: int) -> Image.Image:
    """Draw one moment: colour left, depth right."""
    left, right = (
        Image.fromarray(colours.repeat(factor, axis=0).repeat(factor, axis=1))
        for colours in (colours_of(views, place), depths_of(views, place))
    )
    canvas = Image.new("RGB", (left.width + _GAP_PX + right.width, left.height), "white")
    canvas.paste(left, (0, 0))
    canvas.paste(right, (left.width + _GAP_PX, 0))
    return canvas


def _encoded(frames: Sequence[Image.Image], num_colours: int) -> bytes:
    """Encode with one palette for all pictures, so that nothing flickers that does not change."""
    palette = Image.fromarray(np.concatenate([np.asarray(frame) for frame in frames])).quantize(num_colours)
    drawn = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    stream = io.BytesIO()
    drawn[0].save(stream, "GIF", save_all=True, append_images=drawn[1:], duration=FRAME_MS, loop=0, optimize=False)
    return stream.getvalue()
