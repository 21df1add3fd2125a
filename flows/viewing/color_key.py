"""What the colours of a video's pictures mean, in as many lines as its width needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import ImageDraw, ImageFont

from flows.reports.html.colormap import DROPPED, FAR_M, NEAR_M, depth_colors, error_colors
from flows.reports.html.lettering import Font
from flows.viewing.pictures import ANNOTATED, MOVING, PREDICTED

TEXT_PX = 15
"""Height of letters."""

INK = (230, 230, 230)

_LINE_PX, _GAP_PX, _SQUARE_PX, _MARGIN_PX = 24, 14, 10, 6

Rgb = tuple[int, int, int]


class KeyPart(NamedTuple):
    """A bar of colours, or a small square, with words behind it.

    Attributes:
        words: what it means.
        colors: (n, 3) of a bar, one a pixel; empty = it is a square.
        fill: colour of the square; None = empty.
        outline: colour of its edge; None = none.
    """

    words: str
    colors: NDArray[np.uint8] = np.zeros((0, 3), np.uint8)
    fill: Rgb | None = None
    outline: Rgb | None = None

    @property
    def sign_px(self) -> int:
        """Width of the bar or the square."""
        return len(self.colors) or _SQUARE_PX

    def width(self, font: Font) -> int:
        """Return the width of the part."""
        return self.sign_px + 6 + round(font.getlength(self.words))


@dataclass(frozen=True)
class ColorKey:
    """The key of a video.

    Attributes:
        lines: the parts of each line, below each other.
    """

    lines: tuple[tuple[KeyPart, ...], ...]

    @staticmethod
    def of(names: Sequence[str], width_px: int) -> ColorKey:
        """Return the key of pictures with these names, in lines that fit into a width."""
        font, lines, left = ImageFont.load_default(TEXT_PX), [list[KeyPart]()], _MARGIN_PX
        for part in _parts(names):
            if lines[-1] and left + part.width(font) > width_px - _MARGIN_PX:
                lines.append([])
                left = _MARGIN_PX
            lines[-1].append(part)
            left += part.width(font) + _GAP_PX
        return ColorKey(tuple(map(tuple, lines)))

    @property
    def height(self) -> int:
        """Pixels of all lines."""
        return _LINE_PX * len(self.lines)

    def draw(self, draw: ImageDraw.ImageDraw, font: Font, *, top: int) -> None:
        """Draw the lines, the first one from ``top`` on."""
        for number, parts in enumerate(self.lines):
            left, middle = _MARGIN_PX, top + number * _LINE_PX + 6
            for part in parts:
                for x, color in enumerate(part.colors):
                    draw.line((left + x, middle, left + x, middle + 6), fill=tuple(int(value) for value in color))
                if not len(part.colors):
                    draw.rectangle((left, middle, left + _SQUARE_PX, middle + 6), fill=part.fill, outline=part.outline)
                draw.text((left + part.sign_px + 6, middle - 6), part.words, fill=INK, font=font)
                left += part.width(font) + _GAP_PX


def _parts(names: Sequence[str]) -> list[KeyPart]:
    """Return what explains depth, and errors, removed pixels and boxes where they are shown."""
    depth_m = NEAR_M * (FAR_M / NEAR_M) ** np.linspace(0, 1, 150)
    parts = [KeyPart(f"{NEAR_M:g} to {FAR_M:g} m", depth_colors(depth_m))]
    if any(name.startswith("errors") for name in names):
        parts.append(KeyPart("-10 to 10 m", error_colors(np.linspace(-10, 10, 100))))
    if "removed" in names:
        parts.append(KeyPart("removed", fill=DROPPED))
    if "camera" in names:
        outlines = ((ANNOTATED, "box"), (MOVING, "moving box"), (PREDICTED, "predicted box"))
        parts += [KeyPart(words, outline=color) for color, words in outlines]
    return parts
