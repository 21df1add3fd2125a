"""The cameras of an evaluation's frames: what says along which ray a detection lies.

Why    An error of depth and one of the place in the image are told apart by the projection, which objects do not have
Writes, reads  cameras.parquet, see ``storage_schemas.detection_evaluation``; evaluations of former versions lack it
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from storage_schemas.detection_evaluation import CAMERAS_FILE, read_detection_cameras, write_detection_cameras
from storage_schemas.errors import StoreError
from storage_schemas.files import StoreFiles


class FrameCamera(NamedTuple):
    """How one frame was seen.

    Attributes:
        projection: (3, 4) float64 the objects' frame to pixels of the whole image.
        image_px: rows and columns of the whole image.
    """

    projection: NDArray[np.float64]
    image_px: tuple[int, int]


def write_measured_cameras(folder: Path, cameras: Mapping[str, FrameCamera]) -> None:
    """Write the cameras of an evaluation by frame key, or delete a former evaluation's where they are not known.

    Raises:
        StoreError: the folder cannot be written.
    """
    if not cameras:
        StoreFiles(folder).remove(CAMERAS_FILE)
        return
    columns = {
        "frame_key": list(cameras),
        "image_width_px": [camera.image_px[1] for camera in cameras.values()],
        "image_height_px": [camera.image_px[0] for camera in cameras.values()],
        "projection_px": [camera.projection.ravel().tolist() for camera in cameras.values()],
    }
    write_detection_cameras(str(folder), columns)


def has_measured_cameras(folder: Path) -> bool:
    """Say whether an evaluation has its cameras; those of former versions lack them."""
    return (folder / CAMERAS_FILE).is_file()


def read_measured_cameras(folder: Path, keys: Sequence[str]) -> list[FrameCamera]:
    """Return the cameras of frames.

    Args:
        folder: of the evaluation.
        keys: keys of the frames, in the wanted order.

    Raises:
        StoreError: the file is missing or damaged, or of other frames; names it.
    """
    columns = read_detection_cameras(str(folder))
    sizes = zip(columns["image_height_px"], columns["image_width_px"], strict=True)
    cameras = {}
    for key, values, (rows, width) in zip(columns["frame_key"], columns["projection_px"], sizes, strict=True):
        projection = np.array(values, np.float64)
        if projection.shape != (12,) or not np.isfinite(projection).all():
            raise StoreError(
                f"'{folder / CAMERAS_FILE}' has a projection of frame '{key}' that is not 12 finite numbers. Run depthmill "
                "evaluate again"
            )
        cameras[str(key)] = FrameCamera(projection.reshape(3, 4), (int(rows), int(width)))
    if missing := [key for key in keys if key not in cameras]:
        raise StoreError(f"'{folder / CAMERAS_FILE}' has no camera of frame '{missing[0]}'. Run depthmill evaluate again")
    return [cameras[key] for key in keys]
