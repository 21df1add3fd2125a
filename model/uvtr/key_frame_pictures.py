"""What pictures of a key frame are made of: images of all cameras, boxes, LiDAR points; as arrays of pictures.npz and as records.

Reads  depth_single units, where a manifest has them, for the LiDAR points
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.data.points import measured_pixels
from model.mim4d.clip_points import rig_points
from model.uvtr.detections import Detections
from model.uvtr.objects import FrameObjects
from storage_schemas.manifest import Manifest
from storage_schemas.store import StoredUnit, UnitPath

Float64 = NDArray[np.float64]

LAYOUT = "depth_single"
_STACKED = ("image_u8", "intrinsics", "cam_from_rig", "covered", "said_covered")
_BOXES = tuple(field.name for field in fields(Detections))
_LISTED = ("truth", "found")


@dataclass(frozen=True)
class PictureFrame:
    """One key frame of m cameras.

    Attributes:
        key: ``<scene>/<time of the rig, us>``.
        cameras: their channels.
        image_u8: (m, h, w, 3) RGB, the network's input.
        intrinsics: (m, 3, 3) camera matrices of these images, pixels.
        cam_from_rig: (m, 4, 4) rigid, metres.
        truth: annotated objects of the task's classes in the rig frame; scores are 0.
        found: detections in the rig frame, the highest score first.
        lidar_m: (n, 3) LiDAR points that a camera sees, rig frame; none where the manifest has no depth_single.
        covered: (rows along y, columns along x) ground cells on which a vehicle stands; (0, 0) = not asked.
        said_covered: the same as the network says; (0, 0) = it says nothing of it.
    """

    key: str
    cameras: tuple[str, ...]
    image_u8: NDArray[np.uint8]
    intrinsics: Float64
    cam_from_rig: Float64
    truth: Detections
    found: Detections
    lidar_m: NDArray[np.float32]
    covered: NDArray[np.bool_]
    said_covered: NDArray[np.bool_]


NO_CELLS = np.zeros((0, 0), np.bool_)


def as_boxes(objects: FrameObjects) -> Detections:
    """Return annotated objects as boxes whose score is 0."""
    columns = {name: getattr(objects, name) for name in _BOXES if name != "scores"}
    return Detections(**columns, scores=np.zeros(len(objects)))


class KeyFrameLidar:
    """Reads the LiDAR points of key frames; opens a unit when its first frame is asked for.

    Args:
        manifest: the pinned data.
    """

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest
        self._rows: dict[tuple[str, str], dict[str, Any]] | None = None
        self._opened: dict[UnitPath, StoredUnit] = {}

    def of(self, sample_token: str, cameras: Sequence[str], cam_from_rig: Float64) -> NDArray[np.float32]:
        """Return the points of a key frame that its cameras see; one that two see is there twice.

        Args:
            sample_token: of the key frame.
            cameras: m channels.
            cam_from_rig: (m, 4, 4) rigid, metres.

        Returns:
            (n, 3) metres in the rig frame; none of a camera without ``depth_single``, or whose unit is not in the store any more.

        Raises:
            StoreError: a unit is damaged.
        """
        if self._rows is None:
            self._rows = {(row["sample_token"], row["camera"]): row for row in self._manifest.rows()}
        points = [np.empty((0, 3), np.float32)]
        for camera, transform in zip(cameras, cam_from_rig, strict=True):
            row = self._rows[sample_token, camera]
            path = self._manifest.unit_of(row, LAYOUT)
            if path is None or (path not in self._opened and not self._manifest.store.has(path)):
                continue
            if path not in self._opened:
                self._opened[path] = self._manifest.store.open_unit(path)
            pixels = measured_pixels(self._opened[path].array("depth_m", row["frame"]))
            points.append(rig_points(pixels, row["intrinsic_px"], transform))
        return np.concatenate(points)


def stacked_frames(frames: Sequence[PictureFrame]) -> dict[str, NDArray[Any]]:
    """Return frames of one set of cameras as arrays: those of one size are stacked, others lie one after the other."""
    if not frames:
        return {}
    arrays: dict[str, NDArray[Any]] = {
        "frame_keys": np.array([frame.key for frame in frames], np.str_),
        "cameras": np.array(frames[0].cameras, np.str_),
        **{name: np.stack([getattr(frame, name) for frame in frames]) for name in _STACKED},
        "lidar_m": np.concatenate([frame.lidar_m for frame in frames]),
        "lidar_frame": _numbers([len(frame.lidar_m) for frame in frames]),
    }
    for name in _LISTED:
        listed: list[Detections] = [getattr(frame, name) for frame in frames]
        arrays[f"{name}_frame"] = _numbers([len(boxes) for boxes in listed])
        for column in _BOXES:
            arrays[f"{name}_{column}"] = np.concatenate([getattr(boxes, column) for boxes in listed])
    return arrays


def _numbers(counts: Sequence[int]) -> NDArray[np.int64]:
    return np.repeat(np.arange(len(counts)), counts)


def frames_of(arrays: Mapping[str, NDArray[Any]]) -> list[PictureFrame]:
    """Return the frames of the arrays of pictures.npz.

    Raises:
        ValueError: an array is missing or does not fit the others; names it.
    """
    names = ["frame_keys", "cameras", *_STACKED, "lidar_m", "lidar_frame"]
    names += [f"{name}_{column}" for name in _LISTED for column in ("frame", *_BOXES)]
    if missing := [name for name in names if name not in arrays]:
        raise ValueError(f"array '{missing[0]}' is missing")
    keys = arrays["frame_keys"]
    for name in _STACKED:
        if len(arrays[name]) != len(keys):
            raise ValueError(f"{name} is of {len(arrays[name])} frames, frame_keys of {len(keys)}")
    return [
        PictureFrame(
            key=str(key),
            cameras=tuple(map(str, arrays["cameras"])),
            **{name: arrays[name][number] for name in _STACKED},
            lidar_m=arrays["lidar_m"][arrays["lidar_frame"] == number],
            truth=_boxes_of(arrays, "truth", number),
            found=_boxes_of(arrays, "found", number),
        )
        for number, key in enumerate(keys)
    ]


def _boxes_of(arrays: Mapping[str, NDArray[Any]], name: str, number: int) -> Detections:
    here = arrays[f"{name}_frame"] == number
    return Detections(**{column: arrays[f"{name}_{column}"][here] for column in _BOXES})
