"""Opened units of one process: small tables are read once and kept; of images and depth maps only the place is kept."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.data.boxes_unit import BoxesUnit, open_boxes
from model.data.samples import Sample
from storage_schemas.errors import LayoutError, ManifestError, StoreError
from storage_schemas.files import StoreFiles
from storage_schemas.frame_chunks import FrameChunks
from storage_schemas.store import Store, UnitPath


@dataclass(frozen=True)
class RadarUnit:
    """Radar returns of one scene and camera on the pixels they fall on.

    A return (u, v, depth) lies on row round(v) and column round(u), inside the image (docs/method/semodepth.md#radar-map).

    Attributes:
        first: (frames + 1,) first return of each frame.
        row: (n,) int16.
        column: (n,) int16.
        depth_m: (n,) float32 metres along the optical axis.
    """

    first: NDArray[np.int64]
    row: NDArray[np.int16]
    column: NDArray[np.int16]
    depth_m: NDArray[np.float32]


@dataclass(frozen=True)
class ImagesUnit:
    """Image files of one scene and camera: inside the unit, or named by it.

    Attributes:
        chunks: where the bytes lie; None if the unit refers to files.
        file: per frame the path below the source's root.
        num_bytes: per frame the size of the file.
        sha256: per frame its digest.
    """

    chunks: FrameChunks | None
    file: list[str]
    num_bytes: list[int]
    sha256: list[str]


class OpenedUnits:
    """Units that this process has opened, each once.

    Args:
        store: the manifest's store.
        image_files: files of the data source, for units that refer to images; None if the source is not at hand.
    """

    def __init__(self, store: Store, image_files: StoreFiles | None) -> None:
        self.store, self._image_files = store, image_files
        self._depth: dict[tuple[UnitPath, str], FrameChunks] = {}
        self._images: dict[UnitPath, ImagesUnit] = {}
        self._radar: dict[UnitPath, RadarUnit] = {}
        self._boxes: dict[UnitPath, BoxesUnit] = {}

    def depth(self, sample: Sample, layout: str, array: str = "depth_m") -> FrameChunks:
        """Return where a frame's depth map, or another array over its pixels, lies.

        Raises:
            LayoutError: the maps have another size than the image.
        """
        path = sample.units[layout]
        if (path, array) not in self._depth:
            self._depth[path, array] = FrameChunks(self.store, path, array)
        chunks = self._depth[path, array]
        if chunks.frame_shape != (sample.height, sample.width):
            height, width = chunks.frame_shape
            raise LayoutError(
                f"{layout} is {width}x{height} (unit '{path.key}'), the image is {sample.width}x{sample.height}. "
                "Both must cover the same pixels: run the recipe again so that images and depth are of one source"
            )
        return chunks

    def images(self, sample: Sample) -> ImagesUnit:
        """Return where a frame's image lies."""
        path = sample.units["images"]
        if path not in self._images:
            unit = self.store.open_unit(path)
            files = unit.table("files")
            chunks = FrameChunks(self.store, path, "encoded") if "encoded" in unit.array_names else None
            self._images[path] = ImagesUnit(chunks, files["file"], files["num_bytes"], files["sha256"])
        return self._images[path]

    def referenced_image(self, sample: Sample, unit: ImagesUnit) -> bytes:
        """Read an image file of the source and compare it with the digest that the unit noted.

        Raises:
            ManifestError: the source is not at hand.
            StoreError: the file is missing or has changed.
        """
        path = sample.units["images"]
        if self._image_files is None:
            raise ManifestError(
                f"unit '{path.key}' refers to image files and holds no pixels. "
                "Give the folder of the data set as image_root, or run the recipe with pack_images.mode: bytes"
            )
        return self.source_file(
            unit.file[sample.frame], sha256=unit.sha256[sample.frame], what="image", noted_by=path, stage="pack_images"
        )

    def source_file(self, file: str, *, sha256: str, what: str, noted_by: UnitPath, stage: str) -> bytes:
        """Read a file of the source and compare it with the digest that a unit noted.

        Args:
            file: path below the source's root.
            sha256: its digest.
            what: word for it, for errors.
            noted_by: the unit.
            stage: that made the unit.

        Raises:
            ManifestError: the source is not at hand.
            StoreError: the file is missing or has changed.
        """
        if self._image_files is None:
            raise ManifestError(
                f"unit '{noted_by.key}' refers to files of the source, e.g. {what} '{file}', and the source is not at hand. "
                "Give the folder of the data set as image_root: name the recipe instead of the store"
            )
        try:
            content = self._image_files.get(file)
        except FileNotFoundError as error:
            raise StoreError(
                f"{what} '{file}' is not below image_root '{self._image_files.root}'. Restore it, or correct image_root"
            ) from error
        if hashlib.sha256(content).hexdigest() != sha256:
            raise StoreError(
                f"{what} '{file}' has changed since unit '{noted_by.key}' noted its digest. "
                f"Restore the file, or run {stage} again"
            )
        return content

    def radar(self, sample: Sample) -> RadarUnit:
        """Return the radar returns of a frame's scene."""
        path = sample.units["radar_points"]
        if path not in self._radar:
            unit = self.store.open_unit(path)
            num_points = unit.array("num_points")
            self._radar[path] = RadarUnit(
                np.concatenate([[0], np.cumsum(num_points, dtype=np.int64)]),
                _pixel(unit.array("v_px"), sample.height),
                _pixel(unit.array("u_px"), sample.width),
                unit.array("depth_m").astype(np.float32),
            )
        return self._radar[path]

    def boxes(self, sample: Sample) -> BoxesUnit:
        """Return the annotated objects and the projections of a frame's scene."""
        path = sample.units["boxes"]
        if path not in self._boxes:
            self._boxes[path] = open_boxes(self.store.open_unit(path))
        return self._boxes[path]


def _pixel(coordinate_px: NDArray[Any], size: int) -> NDArray[np.int16]:
    pixel: NDArray[np.int16] = np.clip(np.rint(coordinate_px), 0, size - 1).astype(np.int16)
    return pixel
