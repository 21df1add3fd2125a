"""Images of a clip, brought to the network's size."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def resized(image_u8: NDArray[np.uint8], image_px: tuple[int, int]) -> NDArray[np.uint8]:
    """Return an image (H, W, 3) uint8 RGB in another size (h, w, 3): bilinear; where it shrinks, all that a pixel covers counts.

    Borders stay borders: column u of W columns becomes u * w / W, counted from the left edge of the first one.
    """
    height, width = image_px
    if image_u8.shape[:2] == (height, width):
        return image_u8
    return np.asarray(Image.fromarray(image_u8).resize((width, height), Image.Resampling.BILINEAR))
