"""What MonoDDLE should say of one image, from the objects annotated in it.

Source  docs/method/monoddle.md#learned-objects, #targets
Differs from the public code: objects fill the slots without gaps, and more objects than slots are an error there where the public
        code leaves out whatever stands beyond line 50 of the label file.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from model.data.objects import Objects
from model.data.rectified_camera import project_points
from model.monoddle.affine_view import AffineView
from model.monoddle.gaussian import draw_peak, uncorrected_radius
from model.monoddle.heading import encode_heading, wrap_angle
from model.monoddle.network_config import STRIDE, MonoDdleConfig
from storage_schemas.frozen_config import FrozenConfig

ALPHA_NOT_SAID = -10.0
"""Observation angle of an object whose heading was not annotated."""


class TargetRules(FrozenConfig):
    """Which annotated objects are learned. Those that are not are background, as published, not ignored regions."""

    min_height_px: float = Field(25.0, ge=0, description="least height of the 2D box in the whole image, bottom - top + 1 pixels")
    max_truncation: float = Field(0.5, ge=0, le=1, description="largest share outside the image; not known counts as 0")
    max_occlusion: int = Field(2, ge=0, le=3, description="worst occlusion: 0 visible, 1 partly, 2 largely hidden, 3 unknown")
    min_depth_m: float = Field(2.0, gt=0, description="least depth of the bottom centre, metres")
    max_depth_m: float = Field(65.0, gt=0, description="largest; learning farther ones makes nearer ones worse (MonoDLE)")
    supervise_cropped: bool = Field(
        False,
        description=(
            "depth, 3D centre and size are learned in randomly zoomed views too; published: false, though the depth asked for "
            "there is consistent with the view"
        ),
    )


class ObjectTargets(NamedTuple):
    """Targets of one image on the grid (h, w) of the head maps; n slots, filled from the first; 0 in empty ones.

    Attributes:
        heatmap: (classes, h, w) float32, 1 at the cell of each projected 3D centre, a Gaussian around it.
        cell_index: (n,) int64 row * w + column of that cell.
        offset_2d: (n, 2) float32 cells from the cell's corner to the 2D box's centre, x and y.
        size_2d: (n, 2) float32 width and height of the 2D box, cells.
        offset_3d: (n, 2) float32 cells from the cell's corner to the projected 3D centre.
        depth_m: (n,) float32 depth of the 3D centre, metres, times the view's a.
        size_3d_m: (n, 3) float32 height, width, length, metres, less the mean of the class if the network says differences.
        whole_size_m: (n, 3) float32 height, width, length, metres.
        heading_bin: (n,) int64 sector of the observation angle.
        heading_rad: (n,) float32 rest of it, radians.
        is_object: (n,) bool slot is filled: box and heading are learned ("mask_2d").
        is_3d: (n,) bool depth, 3D centre and size are learned too ("mask_3d").
        class_index: (n,) int64 position in ``config.classes``.
    """

    heatmap: NDArray[np.float32]
    cell_index: NDArray[np.int64]
    offset_2d: NDArray[np.float32]
    size_2d: NDArray[np.float32]
    offset_3d: NDArray[np.float32]
    depth_m: NDArray[np.float32]
    size_3d_m: NDArray[np.float32]
    whole_size_m: NDArray[np.float32]
    heading_bin: NDArray[np.int64]
    heading_rad: NDArray[np.float32]
    is_object: NDArray[np.bool_]
    is_3d: NDArray[np.bool_]
    class_index: NDArray[np.int64]


def encode_objects(
    objects: Objects,
    projection: NDArray[np.float64],
    *,
    view: AffineView,
    config: MonoDdleConfig,
    frame_key: str,
    rules: TargetRules | None = None,
) -> ObjectTargets:
    """Make the targets of one view of one image.

    Args:
        objects: annotated in the whole image, any classes, DontCare too.
        projection: (3, 4) of the whole image.
        view: what the network sees of it.
        config: classes, those trained on, grid, slots and mean sizes.
        frame_key: of the image, for the error text.
        rules: which objects are learned.

    Raises:
        ValueError: more objects to learn than ``config.max_objects``.
    """
    rules = rules or TargetRules()
    is_failed = np.any(list(reasons_not_learned(objects, rules).values()), axis=0)
    kept = objects[np.isin(objects.category, config.train_classes) & ~is_failed]
    kept = kept[is_inside_grid(kept, projection, view=view, config=config)]
    centre_3d, cell = _centre_cells(kept, projection, view)
    if len(kept) > config.max_objects:
        raise ValueError(
            f"frame '{frame_key}' has {len(kept)} objects to learn and the network has max_objects {config.max_objects}; "
            f"set train.network.max_objects to {len(kept)} or more, or train on fewer classes"
        )
    return _fill(kept, centre_3d, cell, view=view, config=config, is_3d=rules.supervise_cropped or not view.is_cropped)


def reasons_not_learned(objects: Objects, rules: TargetRules) -> dict[str, NDArray[np.bool_]]:
    """Return which objects are not learned, whatever their class: (n,) bool by the reason, in words after a number."""
    depth_m = objects.location_m[:, 2]
    return {
        "say no size in space": ~(objects.size_hwl_m > 0).all(axis=1),  # -1 = not said
        "say no observation angle (alpha -10)": objects.alpha_rad == ALPHA_NOT_SAID,
        f"are lower than {rules.min_height_px:g} pixels": ~(
            objects.box_px[:, 3] - objects.box_px[:, 1] + 1 >= rules.min_height_px
        ),
        f"are truncated by more than {rules.max_truncation:g}": ~(objects.truncation <= rules.max_truncation),
        f"are occluded worse than {rules.max_occlusion}": ~(objects.occlusion <= rules.max_occlusion),
        f"are nearer than {rules.min_depth_m:g} m": ~(depth_m >= rules.min_depth_m),
        f"are farther than {rules.max_depth_m:g} m": ~(depth_m <= rules.max_depth_m),
    }


def is_inside_grid(
    objects: Objects, projection: NDArray[np.float64], *, view: AffineView, config: MonoDdleConfig
) -> NDArray[np.bool_]:
    """Return (n,) whether the projected 3D centre of each object lies on the grid of the head maps."""
    height, width = config.grid_px
    _, cell = _centre_cells(objects, projection, view)
    return np.asarray(((cell >= 0) & (cell < (width, height))).all(axis=1))


def _centre_cells(
    objects: Objects, projection: NDArray[np.float64], view: AffineView
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the projected 3D centres, (n, 2) cells, and the cell that each lies in, column and row."""
    centre = objects.location_m - np.array([0.0, 0.5, 0.0]) * objects.size_hwl_m[:, :1]
    centre_3d = view.to_input(project_points(projection, centre)) / STRIDE
    return centre_3d, np.trunc(centre_3d).astype(np.int64)  # towards 0: up to one cell before the first counts, as published


def _fill(
    kept: Objects,
    centre_3d: NDArray[np.float64],
    cell: NDArray[np.int64],
    *,
    view: AffineView,
    config: MonoDdleConfig,
    is_3d: bool,
) -> ObjectTargets:
    height, width = config.grid_px
    box = view.boxes_to_input(kept.box_px) / STRIDE
    class_index = np.array([config.classes.index(name) for name in kept.category], dtype=np.int64)
    heading_bin, heading_rad = encode_heading(wrap_angle(np.pi - kept.alpha_rad) if view.is_flipped else kept.alpha_rad)
    size_2d = box[:, 2:] - box[:, :2]
    heatmap = np.zeros((config.num_classes, height, width), dtype=np.float32)
    for number, (column, row), (box_width, box_height) in zip(class_index, cell, size_2d, strict=True):
        draw_peak(heatmap[number], int(column), int(row), radius=uncorrected_radius(box_height, box_width))
    mean_m = np.array(config.mean_sizes_hwl_m)[class_index]

    def slots(values: NDArray[Any], dtype: Any) -> NDArray[Any]:
        filled = np.zeros((config.max_objects, *values.shape[1:]), dtype=dtype)
        filled[: len(kept)] = values
        return filled

    is_object = np.ones(len(kept), dtype=np.bool_)
    return ObjectTargets(
        heatmap,
        slots(cell[:, 1] * width + cell[:, 0], np.int64),
        slots((box[:, :2] + box[:, 2:]) / 2 - cell, np.float32),
        slots(size_2d, np.float32),
        slots(centre_3d - cell, np.float32),
        slots(kept.location_m[:, 2] * view.scale, np.float32),
        slots(kept.size_hwl_m - mean_m, np.float32),
        slots(kept.size_hwl_m, np.float32),
        slots(heading_bin, np.int64),
        slots(heading_rad, np.float32),
        slots(is_object, np.bool_),
        slots(is_object & is_3d, np.bool_),
        slots(class_index, np.int64),
    )
