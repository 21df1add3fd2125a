"""The objects of one image, annotated or detected, as columns.

Frames  the camera frame of the KITTI benchmark: x right, y down, z forward, metres; ``location_m`` is the centre of the box's
        bottom face; a box at rotation 0 has its length along x
Source  docs/method/formats.md#kitti-labels
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Objects:
    """n objects of one image.

    Attributes:
        category: (n,) str, KITTI's type names: Car, Van, Pedestrian, ..., DontCare.
        truncation: (n,) float64 share outside the image, 0 to 1; -1 = not known.
        occlusion: (n,) int64 0 visible, 1 partly, 2 largely hidden, 3 unknown; -1 = not said.
        alpha_rad: (n,) float64 observation angle; -10 = not said.
        box_px: (n, 4) float64 left, top, right, bottom, pixels of the whole image.
        size_hwl_m: (n, 3) float64 height, width, length; -1 = not said.
        location_m: (n, 3) float64 bottom centre; -1000 = not said.
        rotation_y_rad: (n,) float64 turn about the y axis; -10 = not said.
        score: (n,) float64 larger = surer; 0 for annotations.
    """

    category: NDArray[np.str_]
    truncation: NDArray[np.float64]
    occlusion: NDArray[np.int64]
    alpha_rad: NDArray[np.float64]
    box_px: NDArray[np.float64]
    size_hwl_m: NDArray[np.float64]
    location_m: NDArray[np.float64]
    rotation_y_rad: NDArray[np.float64]
    score: NDArray[np.float64]

    def __len__(self) -> int:
        """Return the number of objects."""
        return len(self.category)

    @classmethod
    def none(cls) -> Objects:
        """Return the objects of an image without any."""
        flat = np.zeros(0)
        return cls(np.zeros(0, np.str_), flat, np.zeros(0, np.int64), flat, np.zeros((0, 4)), np.zeros((0, 3)), np.zeros((0, 3)),
                   flat, flat)  # fmt: skip

    def __getitem__(self, which: Any) -> Objects:
        """Return some of the objects: a mask, indices or a slice."""
        return Objects(*(getattr(self, field.name)[which] for field in fields(self)))


def join_objects(parts: list[Objects]) -> Objects:
    """Return the objects of several lists in one."""
    if not parts:
        return Objects.none()
    return Objects(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Objects)))
