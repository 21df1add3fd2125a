"""Words inside pictures."""

from __future__ import annotations

from PIL import ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def fitting(words: str, font: Font, room_px: float) -> str:
    """Return as many of the first letters as fit into a width, with dots behind them if some do not."""
    if font.getlength(words) <= room_px:
        return words
    kept = len(words)
    while kept and font.getlength(f"{words[:kept].rstrip()}...") > room_px:
        kept -= 1
    return f"{words[:kept].rstrip()}..." if kept else ""
