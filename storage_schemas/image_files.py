"""Opening of image files, so that each way of being none ends in one named error: damaged, cut short, or a decompression bomb."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

from storage_schemas.errors import DepthmillError, SourceError

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_IMAGE_PX = 80_000_000
"""Cameras of cars have a tenth; a file of some kilobytes can claim 4 billion and would fill the memory."""

IMAGE_FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "WEBP", "PPM", "GIF", "JPEG2000")
"""Formats that are read, whatever a file's name says. For some others, e.g. EPS, Pillow starts another program on the file."""

_PNG_END = b"IEND\xaeB`\x82"

_UNREADABLE = (OSError, SyntaxError, ValueError, TypeError, EOFError, OverflowError, struct.error, KeyError, IndexError)
"""What Pillow raises for damaged files. Its error for a file that is no image is an OSError."""


@contextmanager
def opened_image(file: bytes | BinaryIO, *, what: str, remedy: str, format_words: str = "") -> Iterator[Image]:
    """Give the image of a file; pixels are decoded by who asks for them within the block.

    Args:
        file: the content, or a stream.
        what: names the image in errors, e.g. ``image 'a.png'``.
        remedy: what to do, without a full stop.
        format_words: what it must be, e.g. ``a PNG``; "" = an image of any format.

    Raises:
        SourceError: it is no image, decoding it within the block fails, or it has too many pixels.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(file) if isinstance(file, bytes) else file, formats=IMAGE_FORMATS) as image:
            refuse_too_many_pixels(image.width, image.height, what=what, remedy=remedy)
            yield image
    except DepthmillError:
        raise
    except Image.DecompressionBombError as error:
        raise SourceError(
            f"{what} has more pixels than any camera, expected at most {MAX_IMAGE_PX:,} ({error}). {remedy}"
        ) from error
    except _UNREADABLE as error:
        reason = (
            f"it is no image of a known format ({', '.join(IMAGE_FORMATS)})"
            if isinstance(error, UnidentifiedImageError)
            else error
        )
        raise SourceError(f"{what} cannot be read{format_words and f' as {format_words}'}: {reason}. {remedy}") from error


def refuse_too_many_pixels(width: int, height: int, *, what: str, remedy: str) -> None:
    """Raise SourceError for the size of no camera's image."""
    if width < 1 or height < 1 or width * height > MAX_IMAGE_PX:
        raise SourceError(
            f"{what} is {width}x{height}, expected 1 to {MAX_IMAGE_PX:,} pixels: no camera gives such an image. {remedy}"
        )


def refuse_deep_pixels(image: Image, *, what: str) -> None:
    """Raise SourceError for 16 or 32 bits a grey value, which a conversion to 8 bits would cut."""
    if image.mode.startswith(("I", "F")):
        raise SourceError(
            f"{what} has 16 or 32 bits a pixel (mode {image.mode}), expected 8 a channel: all but the darkest pixels would be "
            "white. Write it with 8 bits"
        )


def check_pixels(content: bytes, *, what: str, remedy: str) -> None:
    """Decode an image once and throw the pixels away: what passes can be decoded by every reader of a store.

    A JPEG is decoded to grey, which costs half of its colours and finds the same damage: 3 ms at 1600x900.

    Raises:
        SourceError: it is no image, is cut short, or its compressed pixels are damaged so that decoding notices it.
    """
    with opened_image(content, what=what, remedy=remedy) as image:
        if image.format == "JPEG" and image.mode in ("L", "RGB"):
            _check_jpeg(content)
            return
        if image.format == "PNG" and _PNG_END not in content[-4096:]:
            raise ValueError("it has no end-of-image mark")
        image.verify()  # checksums, as PNG has them
    with opened_image(content, what=what, remedy=remedy) as image:
        image.load()


def _check_jpeg(content: bytes) -> None:
    """Raise ValueError for a JPEG that cannot be decoded without a warning; Pillow ignores those."""
    import simplejpeg

    try:
        simplejpeg.decode_jpeg(content, "GRAY")
    except KeyError as error:
        raise ValueError("unknown chroma subsampling") from error
