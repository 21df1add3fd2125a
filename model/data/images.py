"""Image files to pixels: a SIMD decoder for JPEG, in the mode whose pixels equal Pillow's bit for bit; Pillow for the rest."""

from __future__ import annotations

import io

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from storage_schemas.errors import StoreError

_JPEG = b"\xff\xd8"


def decode_image(content: bytes | memoryview, out: NDArray[np.uint8], *, where: str) -> None:
    """Decode an image file into (height, width, 3) uint8 RGB.

    Args:
        content: the whole file.
        out: C-contiguous memory of the size that the image must have.
        where: name of the image, for the error text.

    Raises:
        StoreError: not an image, cut short, or of another size.
    """
    try:
        if bytes(content[:2]) == _JPEG:
            found = tuple(simplejpeg.decode_jpeg_header(content, strict=False)[:2])
            if found == out.shape[:2]:
                simplejpeg.decode_jpeg(content, "RGB", buffer=out)
        else:
            from PIL import Image

            with Image.open(io.BytesIO(content)) as image:
                found = (image.height, image.width)
                if found == out.shape[:2]:
                    out[...] = np.asarray(image.convert("RGB"))
    except (ValueError, KeyError, OSError, SyntaxError) as error:
        reason = "unknown chroma subsampling" if isinstance(error, KeyError) else error  # simplejpeg's way to say so
        raise StoreError(f"image '{where}' cannot be decoded: {reason}. Copy it again, then run the recipe again") from error
    if found != out.shape[:2]:
        raise StoreError(
            f"image '{where}' is {found[1]}x{found[0]}, the manifest says {out.shape[1]}x{out.shape[0]}. "
            "Run the recipe again so that images and manifest agree, or choose the manifest of this image"
        )
