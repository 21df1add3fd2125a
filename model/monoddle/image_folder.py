"""A folder of images with KITTI's calibration beside them, as frames for a detector.

Reads  image_2/<name>.png, .jpg or .jpeg, or image/ in its place
       calib/<name>.txt    KITTI's calibration, read by key: P2 is the projection of the image
Source docs/method/formats.md#kitti-calibration
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.data.images import IMAGE_SUFFIXES, images_by_name, read_image
from model.monoddle.predict import ImageFrame
from storage_schemas.errors import SourceError
from storage_schemas.kitti_text import check_centre, parse_matrix
from storage_schemas.regular_files import MAX_TEXT_BYTES, read_regular

IMAGE_FOLDERS = ("image_2", "image")
CALIBRATION_FOLDER, CALIBRATION_KEY = "calib", "P2"


@dataclass(frozen=True)
class CalibratedImage:
    """One image that is not read yet, with its projection (3, 4)."""

    name: str
    file: Path
    projection: NDArray[np.float64]


def image_folder(folder: Path) -> Path | None:
    """Return the folder of images in a folder, None if there is none."""
    return next((folder / name for name in IMAGE_FOLDERS if (folder / name).is_dir()), None)


def find_calibrated_images(folder: Path) -> list[CalibratedImage]:
    """Return the images of a folder with their projections, sorted by name; all calibrations are read here.

    Raises:
        SourceError: there is no image, two share a name, or a calibration is missing or broken; names the file and the key.
    """
    images = image_folder(folder)
    named = images_by_name(images, result="objects")
    if not named:
        raise SourceError(
            f"no image found in '{images or folder / IMAGE_FOLDERS[0]}'; expected files there that end in "
            f"{', '.join(IMAGE_SUFFIXES)}. Give the folder above {IMAGE_FOLDERS[0]}/"
        )
    return [CalibratedImage(name, path, _projection(folder, path)) for name, path in named.items()]


def read_calibrated_images(files: list[CalibratedImage]) -> Iterator[ImageFrame]:
    """Read images one by one; SourceError if one cannot be read or its calibration is of another size."""
    for image in files:
        image_u8 = read_image(image.file)
        height, width = image_u8.shape[:2]
        check_centre(image.projection, width=width, height=height, where=f"{CALIBRATION_FOLDER}/{image.file.stem}.txt")
        yield ImageFrame(image.name, image_u8, image.projection)


def _projection(folder: Path, image: Path) -> NDArray[np.float64]:
    path = folder / CALIBRATION_FOLDER / f"{image.stem}.txt"
    try:
        content = read_regular(path, most_bytes=MAX_TEXT_BYTES)
    except FileNotFoundError as error:
        raise SourceError(
            f"image '{image}' has no calibration: '{path}' is missing. Without its {CALIBRATION_KEY} nothing can be placed in "
            "space; copy the file there, or take the image out of the folder"
        ) from error
    except OSError as error:
        raise SourceError(f"calibration '{path}' cannot be read: {error.strerror}. Restore it") from error
    return parse_matrix(content, CALIBRATION_KEY, where=str(path))
