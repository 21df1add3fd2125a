"""The annotated objects of one scene and camera, sorted by frame once and then sliced.

Reads  boxes: tables ``boxes`` (one row per object and frame) and ``calibration`` (one row per frame)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.data.objects import Objects
from storage_schemas.layout import Columns
from storage_schemas.store import StoredUnit

_BOX = ("left_px", "top_px", "right_px", "bottom_px")
_SIZE = ("height_m", "width_m", "length_m")
_LOCATION = ("x_m", "y_m", "z_m")


@dataclass(frozen=True)
class BoxesUnit:
    """Objects and projections of the n frames of one scene and camera.

    Attributes:
        every: the objects of all frames, in frame order and within a frame in that of the annotation; invalid values as in
            ``Objects``, score 0.
        first: (n + 1,) int64 first object of each frame.
        projections: (n, 3, 4) float64 projection of the frame that the objects are in, pixels.
        is_annotated: (n,) bool; False = it is not known what objects there are, and the frame has none here.
    """

    every: Objects
    first: NDArray[np.int64]
    projections: NDArray[np.float64]
    is_annotated: NDArray[np.bool_]

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.projections)

    def objects(self, frame: int) -> Objects:
        """Return the objects of one frame; views of the unit's arrays, not to be written to."""
        return self.every[int(self.first[frame]) : int(self.first[frame + 1])]


def open_boxes(unit: StoredUnit) -> BoxesUnit:
    """Return the content of an opened unit of the boxes layout."""
    return boxes_of({name: unit.table(name) for name in ("boxes", "calibration")})


def boxes_of(tables: Mapping[str, Columns]) -> BoxesUnit:
    """Return the tables of a boxes unit as arrays.

    Args:
        tables: ``boxes``, in any order of the frames, and ``calibration``, one row a frame in frame order.
    """
    boxes, calibration = tables["boxes"], tables["calibration"]
    num_frames = len(calibration["frame"])
    frame = np.asarray(boxes["frame"], np.int64)
    order = np.argsort(frame, kind="stable")
    every = Objects(
        category=np.asarray(boxes["category"], np.str_)[order],
        truncation=_column(boxes["truncation"], order),
        occlusion=np.asarray(boxes["occlusion"], np.int64)[order],
        alpha_rad=_column(boxes["alpha_rad"], order),
        box_px=_columns(boxes, _BOX, order),
        size_hwl_m=_columns(boxes, _SIZE, order),
        location_m=_columns(boxes, _LOCATION, order),
        rotation_y_rad=_column(boxes["rotation_y_rad"], order),
        score=np.zeros(len(frame)),
    )
    return BoxesUnit(
        every,
        np.searchsorted(frame[order], np.arange(num_frames + 1)),
        np.asarray(calibration["projection_px"], np.float64).reshape(num_frames, 3, 4),
        np.asarray(calibration["is_annotated"], np.bool_),
    )


def _columns(boxes: Columns, names: Sequence[str], order: NDArray[np.intp]) -> NDArray[np.float64]:
    return np.stack([_column(boxes[name], order) for name in names], axis=1)


def _column(values: Sequence[float], order: NDArray[np.intp]) -> NDArray[np.float64]:
    return np.asarray(values, np.float64)[order]
