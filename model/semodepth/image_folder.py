"""A folder of images with radar beside them, as frames for a network.

Reads  image/<name>.jpg, .jpeg or .png
       radar/<name>.npy     (n, 3) numbers: u_px column, v_px row, depth_m metres along the optical axis; or
       radar_png/<name>.png 16-bit grey of the image's size, 1/256 m, 0 = no return. Where both are there, radar/ is read
Writes nothing; a frame without a radar file has no radar
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.data.images import IMAGE_SUFFIXES, files_of, images_by_name, read_image
from model.semodepth.predict import Frame
from storage_schemas.encoding import decode_depth
from storage_schemas.errors import SourceError
from storage_schemas.image_files import opened_image
from storage_schemas.public_files import decode_png, decode_radar
from storage_schemas.regular_files import read_regular

FARTHEST_M = 1e5
"""No radar measures as far."""


@dataclass(frozen=True)
class FrameFiles:
    """The files of one frame; ``radar`` is None for a frame without a radar file."""

    name: str
    image: Path
    radar: Path | None


def find_frames(folder: Path) -> list[FrameFiles]:
    """Return the frames of a folder, sorted by name.

    Raises:
        SourceError: there is no image, two images share a name, or there are radar files but none belongs to an image.
    """
    images = images_by_name(folder / "image", result="depth")
    if not images:
        raise SourceError(
            f"no image found in '{folder / 'image'}'; expected files there that end in {', '.join(IMAGE_SUFFIXES)}. "
            "Give the folder above image/"
        )
    for name in ("radar_png", "radar"):
        if os.path.lexists(folder / name) and not (folder / name).is_dir():
            raise SourceError(
                f"'{folder / name}' is no folder; expected one with a radar file an image. Put it there, or take "
                f"'{name}' away to predict without radar"
            )
    radar = {path.stem: path for path in files_of(folder / "radar_png", (".png",))}
    radar |= {path.stem: path for path in files_of(folder / "radar", (".npy",))}
    if radar and not radar.keys() & images.keys():
        raise SourceError(
            f"none of the {len(radar)} radar files has the name of an image: '{min(radar.values())}' belongs to no image of "
            f"'{folder / 'image'}'. Rename them, or take the folder of radar files away to predict without radar"
        )
    return [FrameFiles(name, images[name], radar.get(name)) for name in sorted(images)]


def read_frames(files: list[FrameFiles], *, max_depth_m: float) -> Iterator[Frame]:
    """Read frames one by one; radar beyond ``max_depth_m`` is set to it.

    Raises:
        SourceError: a file cannot be read, or image and radar do not fit together; names the file.
    """
    for frame in files:
        image_u8 = read_image(frame.image)
        radar_m = None if frame.radar is None else read_radar(frame.radar, height=image_u8.shape[0], width=image_u8.shape[1])
        yield Frame(frame.name, image_u8, None if radar_m is None else np.minimum(radar_m, np.float32(max_depth_m)))


def read_radar(path: Path, *, height: int, width: int) -> NDArray[np.float32]:
    """Return a radar file as (h, w) float32 metres, 0 = no return; SourceError if it does not fit an image of this size."""
    try:
        content = read_regular(path)
    except OSError as error:
        raise SourceError(f"radar '{path}' cannot be read: {error.strerror}. Restore it") from error
    where = f"radar '{path}'"
    if path.suffix == ".npy":
        return radar_map(decode_radar(content, where=where), height=height, width=width, where=where)
    _check_size(content, height=height, width=width, where=where)
    return decode_depth(decode_png(content, height=height, width=width, where=where))


def radar_map(points: NDArray[np.float64], *, height: int, width: int, where: str) -> NDArray[np.float32]:
    """Put radar returns on their pixels, (round(v), round(u)); where several fall on one the nearest is kept.

    Args:
        points: (n, 3) u_px, v_px, depth_m.
        height: rows.
        width: columns.
        where: names the points in errors.

    Returns:
        (height, width) metres, 0 = no return.

    Raises:
        SourceError: a value is not a number, a depth is not positive, or a return lies outside the image.
    """
    columns = "Its columns are u_px (column), v_px (row), depth_m (metres)"
    if not np.isfinite(points).all():
        row = int(np.flatnonzero(~np.isfinite(points).all(axis=1))[0])
        raise SourceError(
            f"{where} holds {points[row].tolist()} in row {row}, expected finite numbers. Leave such returns out. {columns}"
        )
    u_px, v_px, depth_m = points.T
    if np.any(depth_m <= 0):
        row = int(np.flatnonzero(depth_m <= 0)[0])
        raise SourceError(f"{where} has depth {depth_m[row]:g} m in row {row}, expected above 0. {columns}")
    if np.any(depth_m >= FARTHEST_M):
        row = int(np.flatnonzero(depth_m >= FARTHEST_M)[0])
        raise SourceError(
            f"{where} has depth {depth_m[row]:g} m in row {row}, expected metres below {FARTHEST_M:g}: no radar sees farther. "
            f"{columns}"
        )
    outside = (u_px < -0.5) | (u_px > width) | (v_px < -0.5) | (v_px > height)
    if np.any(outside):
        row = int(np.flatnonzero(outside)[0])
        swap = " They would fit with u_px and v_px swapped" if np.all((u_px <= height) & (v_px <= width)) else ""
        raise SourceError(
            f"{where} has {np.count_nonzero(outside)} of {len(points)} returns outside the {width}x{height} image, the first at "
            f"u {u_px[row]:g}, v {v_px[row]:g}. Leave them out, or give the image they were projected into. {columns}.{swap}"
        )
    nearest_m = np.full((height, width), np.inf, np.float32)
    pixel = np.clip(np.rint(v_px), 0, height - 1).astype(int), np.clip(np.rint(u_px), 0, width - 1).astype(int)
    np.minimum.at(nearest_m, pixel, depth_m.astype(np.float32))
    nearest_m[np.isinf(nearest_m)] = 0
    return nearest_m


def _check_size(content: bytes, *, height: int, width: int, where: str) -> None:
    with opened_image(content, what=where, remedy="Copy it again", format_words="a PNG") as image:
        size = image.size
    if size != (width, height):
        raise SourceError(
            f"{where} is {size[0]}x{size[1]}, its image is {width}x{height}. Both must cover the same pixels: "
            "cut or project them alike"
        )
