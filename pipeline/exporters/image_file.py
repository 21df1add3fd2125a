"""The image file of one frame, from the store or, where it refers to files, from the source."""

from __future__ import annotations

import hashlib

from pipeline.stage import RawReader
from storage_schemas.errors import ManifestError, SourceError
from storage_schemas.frames import holds_images, packed_image
from storage_schemas.layout import Columns
from storage_schemas.store import StoredUnit


def image_file(unit: StoredUnit, files: Columns, frame: int, raw: RawReader | None) -> bytes:
    """Return the bytes of an image file.

    Args:
        unit: of the images layout.
        files: its table ``files``.
        frame: the frame.
        raw: reader of image files; None if the source is not at hand.

    Raises:
        ManifestError: the unit refers to files, and there is no reader.
        SourceError: a file that it refers to is missing or has changed.
    """
    if holds_images(unit):
        return packed_image(unit, frame)
    if raw is None:
        raise ManifestError(
            f"unit '{unit.path.key}' refers to image files and holds no pixels. Export with the recipe instead of the store"
        )
    content = raw.read_bytes(files["file"][frame])
    if hashlib.sha256(content).hexdigest() != files["sha256"][frame]:
        raise SourceError(
            f"image '{files['file'][frame]}' has changed since unit '{unit.path.key}' noted its digest. "
            "Restore the file, or run pack_images again"
        )
    return content
