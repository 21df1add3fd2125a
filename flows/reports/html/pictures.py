"""Pictures of frames inside a page: JPEGs side by side with their captions, all together below a limit of size.

Reads  Panel
Writes HTML with the pictures inside, JPEG bytes
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from flows.reports.html.markup import image, text

MAX_PICTURE_BYTES = 4_200_000
"""JPEG bytes of all pictures together; a third more as text, so that the page stays below 6 MB."""

QUALITIES = (80, 70, 60, 45, 30)
"""JPEG qualities; the first that keeps the limit is taken."""

FILE_QUALITY = 88
"""JPEG quality of a picture that is a file of its own."""


@dataclass(frozen=True)
class Panel:
    """One picture of a frame."""

    title: str
    picture: Image.Image
    caption: str
    alt: str


def picture_grids(frames: Sequence[Sequence[Panel]], *, css: str = "") -> list[str]:
    """Return for each frame its pictures with their captions side by side, as many as fit.

    Args:
        frames: pictures of each frame; all get the best JPEG quality that keeps them together below the limit.
        css: another class of the grids: some = three beside each other where there is room, many = four.
    """
    encoded = iter(_encode_all([panel.picture for panels in frames for panel in panels]))
    return [_grid(panels, [next(encoded) for _ in panels], css) for panels in frames]


def jpeg_bytes(picture: Image.Image, quality: int = FILE_QUALITY) -> bytes:
    """Return a picture as JPEG."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def _encode_all(pictures: Sequence[Image.Image]) -> list[bytes]:
    encoded: list[bytes] = []
    for quality in QUALITIES:
        encoded = [jpeg_bytes(picture, quality) for picture in pictures]
        if sum(map(len, encoded)) <= MAX_PICTURE_BYTES:
            break
    return encoded


def _grid(panels: Sequence[Panel], encoded: Sequence[bytes], css: str) -> str:
    figures = "".join(
        f"<figure>{image(content, 'jpeg', alt=panel.alt, width=panel.picture.width, height=panel.picture.height)}"
        f"<figcaption><b>{text(panel.title)}</b>{': ' if panel.caption else ''}{text(panel.caption)}</figcaption></figure>"
        for panel, content in zip(panels, encoded, strict=True)
    )
    return f'<div class="{" ".join(filter(None, ("pictures", css)))}">{figures}</div>'
