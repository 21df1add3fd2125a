"""The objects of an evaluation, as they were measured: what two detectors are compared by, scene by scene.

Why    Result files round places to a micrometre, and say nothing of the annotations; a draw of scenes must be measured on
       the very numbers that the table was made of
Writes, reads  ``storage_schemas.detection_evaluation`` in an evaluation's folder
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from model.data.objects import Objects, join_objects
from storage_schemas.detection_evaluation import DETECTION_FILES, read_detection_evaluation, write_detection_evaluation
from storage_schemas.errors import StoreError
from storage_schemas.files import StoreFiles

_PARTS = {
    "box_px": ("left_px", "top_px", "right_px", "bottom_px"),
    "size_hwl_m": ("height_m", "width_m", "length_m"),
    "location_m": ("x_m", "y_m", "z_m"),
}
"""Columns of ``Objects`` that hold several numbers, and the columns of the table that hold one each."""

_PLAIN = ("truncation", "occlusion", "alpha_rad", "rotation_y_rad", "score")


class MeasuredFrame(NamedTuple):
    """One frame of an evaluation.

    Attributes:
        truth: annotated objects.
        found: detections.
    """

    truth: Objects
    found: Objects


class MeasuredObjects(NamedTuple):
    """All frames of an evaluation.

    Attributes:
        frames: by frame key, in the order of the split.
        height_scale: the benchmark's least heights were multiplied by it.
    """

    frames: dict[str, MeasuredFrame]
    height_scale: float


def write_measured_objects(
    folder: Path,
    truth: Mapping[str, Objects],
    found: Mapping[str, Objects],
    frame_keys: Mapping[str, str],
    *,
    height_scale: float,
) -> None:
    """Write the objects of all frames, or delete a former evaluation's where the frames' keys are not known.

    Args:
        folder: of the evaluation.
        truth: annotated objects by the name of a frame's result file.
        found: detections of the same frames.
        frame_keys: keys of the same frames.
        height_scale: the benchmark's least heights were multiplied by it.

    Raises:
        StoreError: the folder cannot be written.
    """
    if not frame_keys:
        for name in DETECTION_FILES:
            StoreFiles(folder).remove(name)
        return
    parts = [
        (key, is_found, kind[name]) for name, key in frame_keys.items() for is_found, kind in ((False, truth), (True, found))
    ]
    every = join_objects([objects for _, _, objects in parts])
    columns: dict[str, list[Any]] = {
        "frame_key": [key for key, _, objects in parts for _ in range(len(objects))],
        "is_found": [is_found for _, is_found, objects in parts for _ in range(len(objects))],
        "category": [str(category) for category in every.category],
        **{name: getattr(every, name).tolist() for name in _PLAIN},
    }
    for name, singles in _PARTS.items():
        columns |= dict(zip(singles, getattr(every, name).T.tolist(), strict=True))
    frames = {
        "frame_key": list(frame_keys.values()),
        "result": list(frame_keys),
        "height_scale": [height_scale] * len(frame_keys),
    }
    write_detection_evaluation(str(folder), frames, columns)


def has_measured_objects(folder: Path) -> bool:
    """Say whether an evaluation has its objects; those of former versions have only tables and result files."""
    return all((folder / name).is_file() for name in DETECTION_FILES)


def read_measured_objects(folder: Path) -> MeasuredObjects:
    """Return what ``write_measured_objects`` wrote.

    Raises:
        StoreError: a file is missing or damaged; names it.
    """
    listed, columns = read_detection_evaluation(str(folder))
    if not (keys := listed["frame_key"]):
        raise StoreError(f"evaluation '{folder}' has no frame. Run depthmill evaluate again")
    values: dict[str, Any] = {name: np.array(columns[name], np.float64) for name in _PLAIN}
    values |= {name: np.array([columns[one] for one in singles], np.float64).T for name, singles in _PARTS.items()}
    values |= {"category": np.array(columns["category"], np.str_), "occlusion": np.array(columns["occlusion"], np.int64)}
    objects = Objects(**values)
    rows = {(key, is_found): list[int]() for key in keys for is_found in (False, True)}
    for row, place in enumerate(zip(columns["frame_key"], columns["is_found"], strict=True)):
        rows[place].append(row)
    frames = {key: MeasuredFrame(_some(objects, rows[key, False]), _some(objects, rows[key, True])) for key in keys}
    return MeasuredObjects(frames, float(listed["height_scale"][0]))


def _some(objects: Objects, rows: Sequence[int]) -> Objects:
    return objects[np.array(rows, np.int64)]
