"""The section "Pictures": chosen frames with image, radar, depth before and after each stage, and errors.

Why    The worst frames say more about a recipe than its mean
Reads  units of the chosen frames
Writes HTML with the pictures inside
"""

from __future__ import annotations

import io
from collections.abc import Sequence

from PIL import Image

from flows.reports.store import charts, colormap
from flows.reports.store.chosen_frames import ChosenFrame, fixed_frames, read_frame, worst_frames
from flows.reports.store.facts import View
from flows.reports.store.markup import jpeg, section, swatch, text
from flows.reports.store.pictures import Panel, frame_panels
from flows.reports.store.pixel_statistics import PixelStatistics
from storage_schemas.store import Store

MAX_PICTURE_BYTES = 4_200_000
"""JPEG bytes of all pictures together; a third more as text, so that the page stays below 6 MB."""

QUALITIES = (80, 70, 60, 45, 30)
"""JPEG qualities; the first that keeps the limit is taken."""


def gallery_section(store: Store, views: Sequence[View], found: PixelStatistics) -> str:
    """Return the section with its legends and a block per chosen frame."""
    fixed = fixed_frames(store, views)
    chosen = fixed + worst_frames(store, views, found.frames, fixed)
    if not chosen:
        return section("pictures", "Pictures", '<p class="note">No unit with frames is in the store.</p>')
    frames = []
    for one in chosen:
        content = read_frame(store, one)
        frames.append((one, content.key, frame_panels(content)))
    encoded = iter(encode_pictures([panel.picture for _, _, panels in frames for panel in panels]))
    blocks = "".join(_block(one, key, panels, [next(encoded) for _ in panels]) for one, key, panels in frames)
    return section("pictures", "Pictures", _intro(found, has_truth=found.truth is not None) + blocks)


def encode_pictures(pictures: Sequence[Image.Image]) -> list[bytes]:
    """Encode pictures as JPEG with the best quality that keeps all of them together below the limit."""
    encoded: list[bytes] = []
    for quality in QUALITIES:
        encoded = [_encode(picture, quality) for picture in pictures]
        if sum(map(len, encoded)) <= MAX_PICTURE_BYTES:
            break
    return encoded


def _encode(picture: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def _intro(found: PixelStatistics, *, has_truth: bool) -> str:
    legends = (
        f"<figure>{charts.depth_legend()}<figcaption>Depth in metres, of points and of radar circles</figcaption></figure>"
        f"<figure><figcaption>{swatch(colormap.DROPPED)}Dropped by cleaning (on the clean map); rare ones are drawn larger"
        "</figcaption></figure>"
    )
    if has_truth:
        legends += (
            f"<figure>{charts.error_legend()}<figcaption>Error against the exact depth in metres; rare gross errors are drawn "
            "larger</figcaption></figure>"
        )
    return (
        "<p>Fixed frames are the same in every report of a recipe; the worst are picked by share of gross errors (where the "
        f'exact depth is known) and by dropped pixels.</p><div class="legends">{legends}</div>'
    )


def _block(one: ChosenFrame, key: str, panels: Sequence[Panel], encoded: Sequence[bytes]) -> str:
    return (
        f'<article class="frame"><h3><code>{text(key)}</code> <span class="tag">frame {one.frame}</span> '
        f'<span class="tag">{text(one.why)}</span></h3>{picture_grid(panels, encoded)}</article>'
    )


def picture_grid(panels: Sequence[Panel], encoded: Sequence[bytes], *, css: str = "") -> str:
    """Return pictures with their captions side by side, as many as fit.

    Args:
        panels: pictures with title and caption.
        encoded: what ``encode_pictures`` made of them.
        css: another class of the grid: some = three beside each other where there is room, many = four.
    """
    figures = "".join(
        f"<figure>{jpeg(content, alt=panel.alt, width=panel.picture.width, height=panel.picture.height)}"
        f"<figcaption><b>{text(panel.title)}</b>{': ' if panel.caption else ''}{text(panel.caption)}</figcaption></figure>"
        for panel, content in zip(panels, encoded, strict=True)
    )
    return f'<div class="{" ".join(filter(None, ("pictures", css)))}">{figures}</div>'
