"""Raw files of the KITTI object benchmark, and the index of one scene made from its list and its calibration."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.geometry import Float64, rotation_matrix
from pipeline.sources.kitti_object.lists import CALIBRATIONS, LABELS, SWEEPS, KittiScene
from pipeline.sources.point_checks import refuse_absurd
from pipeline.sources.raw_files import RawFiles, image_size
from pipeline.stage import ImageObjects
from pipeline.wanted_files import WantedFiles
from storage_schemas.catalog import FRAMES
from storage_schemas.errors import SourceError
from storage_schemas.kitti_text import check_centre, parse_labels, parse_matrix
from storage_schemas.layout import Columns, columns_from_rows
from storage_schemas.remote_path import DataPath, file_size

CAMERA = "CAM_2"
"""The left colour camera, which images, P2 and 2D boxes of the benchmark are of; by its number, since the rig has four."""

CAMERA_HEIGHT_M = 1.65
"""Height of the cameras above the road (the data set's own drawing of the rig)."""

EGO_FROM_CAM_WXYZ = [0.5, -0.5, 0.5, -0.5]
"""A camera that looks straight ahead and level, in a frame x forward, y left, z up."""

SWEEP_CHANNEL = "LIDAR_TOP"
"""Channel of the scanner on the roof, as recipes call it elsewhere."""

_UNKNOWN_VECTOR, _UNKNOWN_ROTATION = [math.nan] * 3, [math.nan] * 4
_POINT_COLUMNS = 4
_NO_TYPES: Mapping[str, str] = MappingProxyType({})
LEAST_REFLECTANCE = -1.5
"""The benchmark's is 0 to 1, and some converters write -1 for unknown. A coordinate in its place is soon below."""

SHORT_SHARE = 0.25
"""Turns of the benchmark's LiDAR have 76,000 to 129,000 points; below this share of the median, a file was not copied whole."""

_LARGEST_SKEW = 1e-3  # of a rotation; the benchmark's own are exact to 1e-6


def beside(image_file: str, folder: str, suffix: str) -> str:
    """Return the file of the same frame in another folder: ``training/image_2/7.png`` -> ``training/calib/7.txt``."""
    image = PurePosixPath(image_file)
    return f"{image.parent.parent}/{folder}/{image.stem}{suffix}"


def calibration_file(image_file: str) -> str:
    """Return the calibration of a frame's image."""
    return beside(image_file, CALIBRATIONS, ".txt")


def label_file(image_file: str) -> str | None:
    """Return the labels of a frame's image; None for the testing images, whose labels the benchmark does not publish."""
    return None if image_file.startswith("testing/") else beside(image_file, LABELS, ".txt")


def sweep_file(image_file: str) -> str:
    """Return the LiDAR points of a frame."""
    return beside(image_file, SWEEPS, ".bin")


class KittiObjectFiles(RawFiles):
    """Reader of raw files; small and picklable, opened anew in every worker.

    Args:
        root: folder that holds training/ and testing/.
        scenes: scenes that the plan read from the lists, by name; workers do not read the lists again.
        types: what the recipe makes of types in label files.
    """

    def __init__(self, root: str | DataPath, scenes: Mapping[str, KittiScene], types: Mapping[str, str] = _NO_TYPES) -> None:
        super().__init__(root)
        self._scenes, self._types = dict(scenes), dict(types)

    def read_bytes(self, file: str) -> bytes:
        """Return the content of a file; a label file may be empty, which means an image without objects.

        Raises:
            SourceError: the file is missing, empty (not a label file), not readable or not below the root.
        """
        if f"/{LABELS}/" in file and (path := self.root / file).is_file() and file_size(path) == 0:
            return b""
        return super().read_bytes(file)

    def files_of(self, scene: str, wanted: Sequence[WantedFiles]) -> Iterable[str]:
        """Return the files of each frame: calibration, labels, image and sweep."""
        listed = self._scenes[scene]
        for file, has_sweep in zip(listed.files, listed.has_sweep, strict=True):
            yield from filter(None, (calibration_file(file), label_file(file), file, sweep_file(file) if has_sweep else None))

    def read_objects(self, image_file: str) -> ImageObjects:
        """Return the labels of an image and P2, which projects their frame; errors as ``parse_labels``, ``parse_matrix``."""
        projection, labels = self._matrix(image_file, "P2"), label_file(image_file)
        if labels is None:
            return ImageObjects(None, projection, (calibration_file(image_file),))
        content = self.read_bytes(labels)
        used = (calibration_file(image_file), labels) if content else (calibration_file(image_file),)
        return ImageObjects(parse_labels(content, where=labels, types=self._types), projection, used)

    def read_points(self, file: str) -> NDArray[np.float32]:
        """Return a sweep as (n, 4) float32: x, y, z in metres in the frame of the scanner, and reflectance.

        Raises:
            SourceError: the file is missing, its size is not a whole number of points, or no sensor gives such points.
        """
        content = self.read_bytes(file)
        if len(content) % (4 * _POINT_COLUMNS):
            raise SourceError(
                f"point file '{self.root / file}' has {len(content)} bytes, expected a multiple of {4 * _POINT_COLUMNS} "
                f"({_POINT_COLUMNS} float32 a point). It is cut short or of another format; copy it again"
            )
        points = np.frombuffer(content, dtype="<f4").reshape(-1, _POINT_COLUMNS)
        refuse_absurd([points[:, axis] for axis in range(3)], str(self.root / file), values=points.reshape(-1))
        if len(points) and points[:, 3].min() < LEAST_REFLECTANCE:
            raise SourceError(
                f"point file '{self.root / file}': column 3, the reflectance, goes down to {points[:, 3].min():.4g}, expected 0 "
                f"to 1. The file probably has another number of columns than {_POINT_COLUMNS} (x, y, z, reflectance), so "
                "that every point would be wrong; convert it, or move velodyne/ away to go without LiDAR"
            )
        return points

    def read_radar(self, file: str) -> dict[str, NDArray[Any]]:
        """Raise SourceError: the benchmark has no radar."""
        raise SourceError(f"'{file}': the KITTI object benchmark has no radar")

    def scene_tables(self, scene: str) -> dict[str, Columns]:
        """Return the FRAMES tables of one scene: no boxes (pack_boxes brings them), world poses NaN, since they are unknown.

        The benchmark has no time stamps: ``timestamp_us`` is the number of the frame, see ``KittiScene``. The rig is taken as
        level, ``CAMERA_HEIGHT_M`` above the road, which is the origin of ego. Sweeps are those of velodyne/, one a frame or none.

        Raises:
            SourceError: an image has another size than when the plan was made, or its calibration is missing or broken.
        """
        listed = self._scenes[scene]
        self._check_sizes(listed)
        projections = [self._matrix(file, "P2") for file in listed.files]
        for file, projection in zip(listed.files, projections, strict=True):
            check_centre(projection, width=listed.width, height=listed.height, where=calibration_file(file))
        times_us = listed.timestamps_us
        keyframes = [
            {
                "camera": CAMERA,
                "sample_token": frame,
                "sample_data_token": frame,
                "sample_index": number,
                "timestamp_us": times_us[number],
                "file": file,
                "height": listed.height,
                "width": listed.width,
                "intrinsic_px": projection[:, :3].reshape(-1).tolist(),
                "ego_from_cam_translation_m": [0.0, 0.0, CAMERA_HEIGHT_M],
                "ego_from_cam_rotation_wxyz": EGO_FROM_CAM_WXYZ,
                "world_from_ego_translation_m": _UNKNOWN_VECTOR,
                "world_from_ego_rotation_wxyz": _UNKNOWN_ROTATION,
            }
            for number, (frame, file, projection) in enumerate(zip(listed.frames, listed.files, projections, strict=True))
        ]
        sweeps = [
            self._sweep(number, times_us[number], file, projection)
            for number, (file, projection) in enumerate(zip(listed.files, projections, strict=True))
            if listed.has_sweep[number]
        ]
        self._refuse_cut_sweeps([sweep["file"] for sweep in sweeps])
        about = {
            "scene": scene,
            "split": listed.split,
            "description": f"KITTI object, {listed.folder}, {len(keyframes)} frames of {listed.width}x{listed.height}",
            "is_night": False,
            "num_keyframes": len(keyframes),
        }
        rows: dict[str, list[dict[str, Any]]] = {"keyframes": keyframes, "sweeps": sweeps, "boxes": [], "scene": [about]}
        return {spec.name: columns_from_rows(spec, rows[spec.name]) for spec in FRAMES.tables}

    def _refuse_cut_sweeps(self, files: Sequence[str]) -> None:
        """Raise SourceError for a sweep much shorter than those of most other frames: cut at a whole point, no reader notices."""
        if not isinstance(self.root, Path):  # what an object store holds was uploaded whole
            return
        sizes = {file: (self.root / file).stat().st_size for file in files if (self.root / file).is_file()}
        usual = float(np.median([*sizes.values()])) if len(sizes) > 2 else 0.0
        for file, size in sizes.items():
            if size < SHORT_SHARE * usual:
                raise SourceError(
                    f"point file '{self.root / file}' has {size:,} bytes, half of the other sweeps have {usual:,.0f} or more. It "
                    "is cut short; copy it again, or take its frame out of the list"
                )

    def _check_sizes(self, listed: KittiScene) -> None:
        for file in listed.files:
            size = image_size(self.root / file)
            if size != (listed.width, listed.height):
                raise SourceError(
                    f"image '{self.root / file}' is {size[0]}x{size[1]}, it was {listed.width}x{listed.height} when the plan was "
                    "made. Run the same command again"
                )

    def _matrix(self, image_file: str, key: str) -> Float64:
        file = calibration_file(image_file)
        return parse_matrix(self.read_bytes(file), key, where=file)

    def _rotation(self, image_file: str, key: str) -> Float64:
        """Return R0_rect or Tr_velo_to_cam; SourceError if it does not turn without bending."""
        matrix = self._matrix(image_file, key)
        turn = matrix[:, :3]
        if np.abs(turn @ turn.T - np.eye(3)).max() > _LARGEST_SKEW or np.linalg.det(turn) < 0:
            raise SourceError(
                f"'{calibration_file(image_file)}' key {key}: its first three columns are no rotation, so LiDAR points would be "
                "bent. Copy the file of the data set again, or move velodyne/ away to go without LiDAR"
            )
        return matrix

    def _sweep(self, number: int, time_us: int, image_file: str, projection: Float64) -> dict[str, Any]:
        """Return the row of a frame's own sweep: P2 (R0_rect Tr_velo_to_cam x) = K (x in the camera's frame)."""
        from scipy.spatial.transform import Rotation

        label_from_sensor = self._rotation(image_file, "R0_rect") @ self._rotation(image_file, "Tr_velo_to_cam")
        cam_from_sensor = label_from_sensor + np.pad(cam_from_label_m(projection)[:, None], ((0, 0), (3, 0)))
        ego_from_cam = rotation_matrix(EGO_FROM_CAM_WXYZ)
        x, y, z, w = Rotation.from_matrix(ego_from_cam @ cam_from_sensor[:, :3]).as_quat()
        return {
            "channel": SWEEP_CHANNEL,
            "sample_index": number,
            "is_keyframe": True,
            "chain": number,
            "timestamp_us": time_us,
            "file": sweep_file(image_file),
            "ego_from_sensor_translation_m": (ego_from_cam @ cam_from_sensor[:, 3] + [0.0, 0.0, CAMERA_HEIGHT_M]).tolist(),
            "ego_from_sensor_rotation_wxyz": [float(w), float(x), float(y), float(z)],
            "world_from_ego_translation_m": _UNKNOWN_VECTOR,
            "world_from_ego_rotation_wxyz": _UNKNOWN_ROTATION,
        }


def cam_from_label_m(projection_px: Float64) -> Float64:
    """Return where the origin of the labels' frame lies in the frame of the camera, (3,) metres.

    Labels and LiDAR are in the rectified frame of camera 0; P2 = K [I | t] holds camera 2, some six centimetres beside it.
    """
    return np.linalg.solve(projection_px[:, :3], projection_px[:, 3])
