"""Resize maps of numbers: the grid of a depth model and the grid of the image, corner to corner.

Source bilinear with half-pixel centres and clamped borders (``align_corners=False``); when shrinking, every pixel under a cell
counts, so that thin objects do not vanish in some frames. Pillow does it in float32
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def resize_bilinear(values: NDArray[Any], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Resize a map (y, x) to ``shape`` = (rows, columns)."""
    from PIL import Image

    if values.shape == shape:
        return values.astype(np.float32)
    image = Image.fromarray(np.ascontiguousarray(values, dtype=np.float32))
    return np.asarray(image.resize((shape[1], shape[0]), Image.Resampling.BILINEAR))  # Pillow takes columns before rows


def resize_nearest(values: NDArray[Any], shape: tuple[int, int]) -> NDArray[Any]:
    """Resize a map (y, x) to ``shape`` = (rows, columns): each pixel takes the one below its centre, whatever its type."""
    row, column = (
        np.minimum(((np.arange(size) + 0.5) * old / size).astype(np.intp), old - 1)
        for size, old in zip(shape, values.shape, strict=True)
    )
    return np.asarray(values[row[:, None], column[None, :]])


def short_side_grid(height: int, width: int, short_side_px: int) -> tuple[int, int]:
    """Return (rows, columns) of an image scaled so that its shorter side has ``short_side_px`` pixels, never enlarged."""
    scale = min(1.0, short_side_px / min(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))
