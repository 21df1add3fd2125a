"""Image files to pixels: a SIMD decoder for JPEG, in the mode whose pixels equal Pillow's bit for bit; Pillow for the rest."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from model.data.row_band import RowBand
from storage_schemas.errors import SourceError, StoreError
from storage_schemas.image_files import IMAGE_FORMATS, check_pixels, opened_image, refuse_deep_pixels
from storage_schemas.regular_files import read_regular

_JPEG = b"\xff\xd8"


def decode_image(content: bytes | memoryview, out: NDArray[np.uint8], *, where: str, band: RowBand | None = None) -> None:
    """Decode an image file, or a band of its rows, into (height, width, 3) uint8 RGB.

    Args:
        content: the whole file.
        out: C-contiguous memory of the size that the image, or the band of it, must have.
        where: name of the image, for the error text.
        band: rows that are wanted; None = all.

    Raises:
        StoreError: not an image, cut short, or of another size.
    """
    band = band or RowBand.whole(len(out))
    expected = (band.image_height, out.shape[1])
    try:
        decode = _decode_jpeg if bytes(content[:2]) == _JPEG else _decode_other
        decoded_px = decode(content, out, band, expected)
    except (ValueError, KeyError, OSError, SyntaxError) as error:
        reason = "unknown chroma subsampling" if isinstance(error, KeyError) else error  # simplejpeg raises KeyError for it
        raise StoreError(
            f"image '{where}' cannot be decoded: {reason}. Copy it again; depthmill verify --delete-damaged deletes "
            "the unit that holds it, and depthmill run makes it anew"
        ) from error
    if decoded_px != expected:
        raise StoreError(
            f"image '{where}' is {decoded_px[1]}x{decoded_px[0]}, the manifest says {expected[1]}x{expected[0]}. "
            "Run the recipe again so that images and manifest agree, or choose the manifest of this image"
        )


def _decode_jpeg(
    content: bytes | memoryview, out: NDArray[np.uint8], band: RowBand, expected: tuple[int, int]
) -> tuple[int, int]:
    height, width = simplejpeg.decode_jpeg_header(content, strict=False)[:2]
    if (height, width) != expected:
        return height, width
    if band.is_whole:
        simplejpeg.decode_jpeg(content, "RGB", buffer=out)
    else:
        out[...] = simplejpeg.decode_jpeg(content, "RGB")[band.rows]
    return height, width


def _decode_other(
    content: bytes | memoryview, out: NDArray[np.uint8], band: RowBand, expected: tuple[int, int]
) -> tuple[int, int]:

    with Image.open(io.BytesIO(content), formats=IMAGE_FORMATS) as image:
        size = (image.height, image.width)
        if size != expected:
            return size
        if image.format == "PNG" and not image.info.get("interlace"):  # rows are stored in order: decoding stops after the last
            image.tile = [tile._replace(extents=(0, 0, image.width, band.stop)) for tile in image.tile]
        out[...] = np.asarray(image.crop((0, band.first, image.width, band.stop)).convert("RGB"))
    return size


def resized(image_u8: NDArray[np.uint8], image_px: tuple[int, int]) -> NDArray[np.uint8]:
    """Return an image (H, W, 3) uint8 RGB in another size (h, w, 3): bilinear; where it shrinks, all that a pixel covers counts.

    Borders stay borders: column u of W columns becomes u * w / W, counted from the left edge of the first one.
    """
    height, width = image_px
    if image_u8.shape[:2] == (height, width):
        return image_u8
    return np.asarray(Image.fromarray(image_u8).resize((width, height), Image.Resampling.BILINEAR))


def images_by_name(folder: Path | None, *, result: str) -> dict[str, Path]:
    """Return the image files of a folder by their names without the ending, sorted; hidden files and others are passed over.

    Args:
        folder: None or missing = no files.
        result: what is predicted of an image, for the error text.

    Raises:
        SourceError: two images share a name.
    """
    named: dict[str, Path] = {}
    for path in files_of(folder, IMAGE_SUFFIXES):
        other = named.setdefault(path.stem, path)
        if other != path:
            raise SourceError(f"'{other}' and '{path}' have one name, so their {result} would have one file. Rename one of them")
    return named


def files_of(folder: Path | None, suffixes: tuple[str, ...]) -> list[Path]:
    """Return the files of a folder that end in one of the suffixes, of either case, sorted; hidden ones are passed over."""
    if folder is None or not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in suffixes and not path.name.startswith("."))


IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")


def read_image(path: Path) -> NDArray[np.uint8]:
    """Return an image as (h, w, 3) uint8 RGB; SourceError if it is none."""
    what, remedy = f"image '{path}'", "Copy it again, or take it out of the folder"
    try:
        content = read_regular(path)
    except OSError as error:
        raise SourceError(f"{what} cannot be read: {error.strerror}. {remedy}") from error
    check_pixels(content, what=what, remedy=remedy)
    with opened_image(content, what=what, remedy=remedy) as image:
        refuse_deep_pixels(image, what=what)
        return np.array(image.convert("RGB"))
