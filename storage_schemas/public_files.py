"""How the public layout codes one frame's files: depth as a 16-bit PNG of metres times 256, radar as a .npy array.

The integers of a depth PNG are our stored ones (0 = no measurement). Radar is (n, 3): u column, v row, depth.
"""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from storage_schemas.errors import SourceError
from storage_schemas.image_files import opened_image

PNG_LEVEL = 1
"""zlib level: 42 ms a 1600x900 map against 168 ms at PIL's own level 6, for 10 % more bytes."""


_IS_16_BIT = ("I;16", "I;16B", "I;16L")


def encode_png(steps: NDArray[np.uint16]) -> bytes:
    """Encode a (height, width) uint16 depth map as a 16-bit PNG, every integer unchanged."""
    stream = io.BytesIO()
    Image.fromarray(steps).save(stream, format="PNG", compress_level=PNG_LEVEL)
    return stream.getvalue()


def decode_png(content: bytes, *, height: int, width: int, where: str) -> NDArray[np.uint16]:
    """Decode a depth PNG to (height, width) uint16, 1/256 m, 0 = no measurement.

    Raises:
        SourceError: not a PNG, not 16-bit grey, or of another size than its image.
    """
    with opened_image(content, what=where, remedy="Copy it again", format_words="a PNG") as image:
        if image.format != "PNG" or image.mode not in _IS_16_BIT:
            raise SourceError(
                f"{where} is {image.format} of mode {image.mode}, expected a 16-bit grey PNG of metres * 256. "
                "Write it again with 16 bits a pixel"
            )
        if (image.height, image.width) != (height, width):
            raise SourceError(
                f"{where} is {image.width}x{image.height}, its image is {width}x{height}. "
                "The lists are joined by line number; check that they are in the same order"
            )
        return np.asarray(image).astype(np.uint16)


def encode_radar(points: NDArray[np.float64]) -> bytes:
    """Encode returns (n, 3), u and v in pixels and depth in metres, as .npy."""
    stream = io.BytesIO()
    np.save(stream, points, allow_pickle=False)
    return stream.getvalue()


def decode_radar(content: bytes, *, where: str) -> NDArray[np.float64]:
    """Decode a .npy of returns to (n, 3) float64: u and v in pixels, depth in metres.

    Raises:
        SourceError: not a .npy of numbers, or not (n, 3).
    """
    try:
        points = np.load(io.BytesIO(content), allow_pickle=False)
    except (ValueError, OSError, EOFError, MemoryError) as error:  # MemoryError: a head that lies about the shape
        raise SourceError(f"{where} cannot be read as .npy: {error}. Copy it again") from error
    if not isinstance(points, np.ndarray) or points.ndim != 2 or points.shape[1] != 3 or points.dtype.kind not in "fiu":
        what = f"{points.dtype} {points.shape}" if isinstance(points, np.ndarray) else type(points).__name__
        raise SourceError(f"{where} holds {what}, expected numbers (n, 3): u column, v row, depth. Export it again")
    return points.astype(np.float64)
