"""What a detector makes of a batch, and what pictures of one of its frames are made of: arrays, in pictures.npz, and records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from model.data.objects import Objects
from model.data.rectified_camera import unproject_pixels
from model.monoddle.batch import DetectionBatch
from model.monoddle.decode import heat_of
from model.monoddle.frame_error import FrameError
from model.monoddle.heads import UNCERTAINTY_HEAD, depth_m_of
from model.monoddle.lidar_points import LidarPoints

Float64 = NDArray[np.float64]

OBJECT_COLUMNS = ("left_px", "top_px", "right_px", "bottom_px", "height_m", "width_m", "length_m", "x_m", "y_m", "z_m",
                  "rotation_y_rad", "score")  # fmt: skip
"""Columns of ``truth`` and ``found`` in pictures.npz; boxes in pixels of the whole image."""

PER_FRAME = ("truth", "found", "points")
"""What pictures.npz holds in other numbers for each frame, beside ``<name>_frame``, the numbers of the frames."""

_BOX, _SIZE, _PLACE = slice(0, 4), slice(4, 7), slice(7, 10)
_MAPS = ("heat", "depth_m", "teacher_m", "log_scale")
_STACKED = ("image_u8", "image_from_input", "projection", *_MAPS)
_ADDED = ("class_heat", "heat_classes", "reasons", "num_missed", "num_false", "depth_error_m", "error_of")
"""Arrays of one entry a frame that archives of former versions lack."""

_NAMES = ("truth_category", "found_category", *PER_FRAME, *(f"{name}_frame" for name in PER_FRAME))


class Detected(NamedTuple):
    """What a detector found in a batch.

    Attributes:
        batch: what it looked at.
        detections: of each image.
        maps: the raw maps that they were read from.
        channels: heat map of each class that is trained on.
        lidar: reads LiDAR points, if they are wanted.
    """

    batch: DetectionBatch
    detections: list[Objects]
    maps: dict[str, torch.Tensor]
    channels: Mapping[str, int]
    lidar: LidarPoints | None = None


@dataclass(frozen=True)
class BoxList:
    """n boxes of a frame.

    Attributes:
        category: (n,) str.
        box_px: (n, 4) left, top, right, bottom, pixels of the whole image.
        size_hwl_m: (n, 3) height, width, length; -1 = not said.
        location_m: (n, 3) centre of the bottom face in the camera's frame; -1000 = not said.
        rotation_y_rad: (n,) turn about the y axis, 0 = length along x.
        score: (n,) larger = surer, no probability; 0 for annotations.
    """

    category: NDArray[np.str_]
    box_px: Float64
    size_hwl_m: Float64
    location_m: Float64
    rotation_y_rad: Float64
    score: Float64

    def __len__(self) -> int:
        """Return the number of boxes."""
        return len(self.category)

    @property
    def is_in_space(self) -> NDArray[np.bool_]:
        """(n,) whether it says where in space the box is."""
        return np.asarray((self.size_hwl_m > 0).all(axis=1) & (self.location_m > -999).all(axis=1))


@dataclass(frozen=True)
class DetectionFrame:
    """One frame.

    Attributes:
        key: frame key, or the file's name.
        image_u8: (h, w, 3) RGB, the network's input.
        image_from_input: (3, 3) pixels of the input to those of the whole image.
        projection: (3, 4) of the whole image.
        heat: (rows, columns) of the hottest class, 0 to 1.
        depth_m: (rows, columns) what the depth head says everywhere, metres.
        teacher_m: (rows, columns) metres, 0 = nothing; None = no teacher was read.
        log_scale: (rows, columns) of the uncertainty head; None = the network has none.
        truth: annotated boxes, of all categories.
        detections: boxes found, surest first.
        lidar_m: (n, 3) points in the camera's frame; n = 0 where there is no sweep.
        class_heat: (rows, columns) of each class that is trained on, 0 to 1; empty in archives of former versions.
        reasons: why the frame was chosen, see ``model.train.kept_frames``; empty = nothing chose it, or a former version did.
        error: what is wrong about it; None = it was not measured.
        error_of: by which overlap and difficulty, in words.
    """

    key: str
    image_u8: NDArray[np.uint8]
    image_from_input: Float64
    projection: Float64
    heat: NDArray[np.float32]
    depth_m: NDArray[np.float32]
    teacher_m: NDArray[np.float32] | None
    log_scale: NDArray[np.float32] | None
    truth: BoxList
    detections: BoxList
    lidar_m: NDArray[np.float32]
    class_heat: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    reasons: tuple[str, ...] = ()
    error: FrameError | None = None
    error_of: str = ""

    @property
    def input_from_image(self) -> Float64:
        """(3, 3) pixels of the whole image to those of the input."""
        return np.linalg.inv(self.image_from_input)

    def points_of(self, depth_m: NDArray[np.float32]) -> Float64:
        """Return the cells of a map (rows, columns) with a depth as points (n, 3) of the camera's frame."""
        row, column = np.nonzero(depth_m > 0)
        cell_px = np.array([self.image_u8.shape[1] / depth_m.shape[1], self.image_u8.shape[0] / depth_m.shape[0]])
        input_px = (np.stack([column, row], axis=1) + 0.5) * cell_px
        image_px = input_px @ self.image_from_input[:2, :2].T + self.image_from_input[:2, 2]
        return unproject_pixels(self.projection, image_px, depth_m[row, column].astype(np.float64))


def frame_of(key: str, arrays: Mapping[str, NDArray[Any]]) -> DetectionFrame:
    """Return the frame of what ``picture_of`` gave."""
    log_scale = arrays["log_scale"]
    return DetectionFrame(
        key,
        arrays["image_u8"],
        arrays["image_from_input"],
        arrays["projection"],
        arrays["heat"],
        arrays["depth_m"],
        arrays["teacher_m"] if np.any(arrays["teacher_m"] > 0) else None,
        log_scale if np.isfinite(log_scale).all() else None,
        _boxes(arrays["truth"], arrays["truth_category"]),
        _boxes(arrays["found"], arrays["found_category"]),
        arrays["points"],
        dict(zip(map(str, arrays["heat_classes"]), arrays["class_heat"], strict=True)) if "class_heat" in arrays else {},
        tuple(filter(None, str(arrays.get("reasons", "")).split("+"))),
        _error_of(arrays),
        str(arrays.get("error_of", "")),
    )


def _error_of(arrays: Mapping[str, NDArray[Any]]) -> FrameError | None:
    if "num_missed" not in arrays:
        return None
    return FrameError(int(arrays["num_missed"]), int(arrays["num_false"]), float(arrays["depth_error_m"]))


def frames_of(stacked: Mapping[str, NDArray[Any]]) -> list[DetectionFrame]:
    """Return the frames of the arrays of pictures.npz.

    Raises:
        ValueError: an array is missing or does not fit the others; names it.
    """
    missing = [name for name in ("frame_keys", *_STACKED, *_NAMES) if name not in stacked]
    if missing:
        raise ValueError(f"array '{missing[0]}' is missing")
    keys = stacked["frame_keys"]
    for name in (*_STACKED, *_added_in(stacked)):
        if len(stacked[name]) != len(keys):
            raise ValueError(f"{name} is of {len(stacked[name])} frames, frame_keys of {len(keys)}")
    for name in ("truth", "found"):
        if stacked[name].shape != (len(stacked[f"{name}_frame"]), len(OBJECT_COLUMNS)):
            raise ValueError(f"{name} is {stacked[name].shape}, expected {(len(stacked[f'{name}_frame']), len(OBJECT_COLUMNS))}")
    return [frame_of(str(key), _of_frame(stacked, number)) for number, key in enumerate(keys)]


def _of_frame(stacked: Mapping[str, NDArray[Any]], number: int) -> dict[str, NDArray[Any]]:
    arrays = {name: stacked[name][number] for name in (*_STACKED, *_added_in(stacked))}
    for name in PER_FRAME:
        is_own = stacked[f"{name}_frame"] == number
        arrays |= {array_name: stacked[array_name][is_own] for array_name in (name, f"{name}_category") if array_name in stacked}
    return arrays


def _added_in(stacked: Mapping[str, NDArray[Any]]) -> list[str]:
    return [name for name in _ADDED if name in stacked]


def _boxes(rows: NDArray[Any], category: NDArray[Any]) -> BoxList:
    return BoxList(category, rows[:, _BOX], rows[:, _SIZE], rows[:, _PLACE], rows[:, 10], rows[:, 11])


def picture_of(detected: Detected, i: int) -> dict[str, NDArray[Any]]:
    """Return what pictures of one frame are made of.

    image_u8 (h, w, 3) the network's input; image_from_input (3, 3); projection (3, 4) of the whole image; heat (rows, columns)
    the hottest of all classes; class_heat (k, rows, columns) those that are trained on, heat_classes (k,) their names; depth_m
    (rows, columns) what the depth head says everywhere; teacher_m (rows, columns), 0 = none; log_scale
    (rows, columns), NaN without an uncertainty head; truth and found (n, 12), columns ``OBJECT_COLUMNS``, with their names;
    points (n, 3) float32 LiDAR in the camera's frame, none where there is no sweep.
    """
    batch, maps, lidar = detected.batch, detected.maps, detected.lidar
    depth_m = depth_m_of(maps["depth"][i, 0]).cpu().numpy()
    nothing = np.zeros_like(depth_m)
    heat = heat_of(maps["heatmap"][i])
    return {
        "image_u8": batch.image_u8[i].numpy().copy(),
        "image_from_input": batch.views[i].inverse,
        "projection": batch.projections[i],
        "heat": heat.amax(dim=0).cpu().numpy(),
        "class_heat": heat[list(detected.channels.values())].cpu().numpy(),
        "heat_classes": np.array(list(detected.channels), np.str_),
        "depth_m": depth_m,
        "teacher_m": nothing if batch.teacher_m is None else batch.teacher_m[i].numpy(),
        "log_scale": maps[UNCERTAINTY_HEAD][i, 0].cpu().numpy() if UNCERTAINTY_HEAD in maps else nothing + np.nan,
        **object_rows("truth", batch.objects[i][batch.objects[i].category != "DontCare"]),
        **object_rows("found", detected.detections[i]),
        "points": np.zeros((0, 3), np.float32) if lidar is None else lidar.of(batch.frame_keys[i], batch.projections[i]),
    }


def object_rows(name: str, objects: Objects) -> dict[str, NDArray[Any]]:
    """Return objects as pictures.npz holds them: rows of ``OBJECT_COLUMNS``, and their categories."""
    parts = (objects.box_px, objects.size_hwl_m, objects.location_m, objects.rotation_y_rad[:, None], objects.score[:, None])
    return {name: np.concatenate(parts, axis=1), f"{name}_category": objects.category.astype(np.str_)}


def stacked_pictures(keys: list[str], pictures: list[dict[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    """Stack what has one size; objects and points of all frames come one after the other, beside the number of their frame."""
    stacked: dict[str, NDArray[Any]] = {"frame_keys": np.array(keys)}
    for name in pictures[0]:
        parts = [picture[name] for picture in pictures]
        stacked[name] = np.concatenate(parts) if name.startswith(PER_FRAME) else np.stack(parts)
    for name in PER_FRAME:
        counts = [len(picture[name]) for picture in pictures]
        stacked[f"{name}_frame"] = np.repeat(np.arange(len(pictures)), counts)
    return stacked
