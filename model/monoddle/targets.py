"""What MonoDDLE should say of one image, from the objects annotated in it.

Source  docs/method/monoddle.md#learned-objects, #targets, #choices-of-targets
Differs from the public code: objects fill the slots without gaps, and more objects than slots are an error there where the public
        code leaves out whatever stands beyond line 50 of the label file.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from model.data.objects import Objects
from model.data.rectified_camera import project_points
from model.monoddle.affine_view import AffineView
from model.monoddle.gaussian import draw_peak, uncorrected_radius
from model.monoddle.heading import encode_heading, wrap_angle
from model.monoddle.network_config import STRIDE, MonoDdleConfig
from model.monoddle.projected_boxes import projected_boxes
from storage_schemas.frozen_config import FrozenConfig

ALPHA_NOT_SAID = -10.0
"""Observation angle of an object whose heading was not annotated."""

NOT_JUDGED = -1.0
"""What a heat map's target says where the loss does not look; see ``TargetRules.ignored``."""

REGION = "DontCare"


class TargetRules(FrozenConfig):
    """Which annotated objects are learned, and how. Those that are not are background, as published, or ``ignored``."""

    added_later = MappingProxyType(
        {"heat_of": {}, "box_2d": "annotated", "peak_at": "centre_3d", "ignored": "nothing"},
    )

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
    heat_of: dict[str, str] = Field(
        default_factory=dict,
        description=(
            "types that draw peaks into the heat map of a class and teach it nothing else, e.g. {Van: Car, Truck: Car}; the "
            "same rules choose which of them"
        ),
    )
    box_2d: Literal["annotated", "projected"] = Field(
        "annotated", description="the 2D box that is learned: as annotated, or around the projected corners of the 3D box"
    )
    peak_at: Literal["centre_3d", "centre_2d"] = Field(
        "centre_3d", description="where the peak of an object is: at its projected 3D centre, or at the centre of its 2D box"
    )
    ignored: Literal["nothing", "regions", "regions_and_objects"] = Field(
        "nothing",
        description=(
            "cells of the heat maps that the loss does not judge. regions: boxes of DontCare, in every map. regions_and_objects: "
            "boxes of objects of a trained class that are not learned too, in its map"
        ),
    )


class ObjectTargets(NamedTuple):
    """Targets of one image on the grid (h, w) of the head maps; n slots, filled from the first; 0 in empty ones.

    Attributes:
        heatmap: (classes, h, w) float32, 1 at the cell of each object, a Gaussian around it; ``NOT_JUDGED`` = no loss there.
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
    is_learned = np.isin(objects.category, config.train_classes) & ~is_failed
    is_learned[is_learned] = is_inside_grid(objects[is_learned], projection, view=view, config=config, rules=rules)
    kept = objects[is_learned]
    if len(kept) > config.max_objects:
        raise ValueError(
            f"frame '{frame_key}' has {len(kept)} objects to learn and the network has max_objects {config.max_objects}; "
            f"set train.network.max_objects to {len(kept)} or more, or train on fewer classes"
        )
    is_3d = rules.supervise_cropped or not view.is_cropped
    targets = _fill(_seen(kept, projection, view, rules), kept=kept, view=view, config=config, is_3d=is_3d)
    others = objects[np.isin(objects.category, list(rules.heat_of)) & ~is_failed]
    others = others[is_inside_grid(others, projection, view=view, config=config, rules=rules)]
    maps = np.array([config.classes.index(rules.heat_of[str(name)]) for name in others.category], dtype=np.int64)
    _draw_peaks(targets.heatmap, maps, _seen(others, projection, view, rules))
    if rules.ignored != "nothing":
        _ignore(targets.heatmap, objects, is_learned, view=view, config=config, rules=rules)
    return targets


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
    objects: Objects,
    projection: NDArray[np.float64],
    *,
    view: AffineView,
    config: MonoDdleConfig,
    rules: TargetRules | None = None,
) -> NDArray[np.bool_]:
    """Return (n,) whether the cell of each object lies on the grid of the head maps."""
    height, width = config.grid_px
    cell = _seen(objects, projection, view, rules or TargetRules()).cell
    return np.asarray(((cell >= 0) & (cell < (width, height))).all(axis=1))


class _Seen(NamedTuple):
    """Where n objects are seen in a view, in cells.

    Attributes:
        centre_3d: (n, 2) projected 3D centre.
        box: (n, 4) the 2D box that is learned.
        cell: (n, 2) int64 column and row of the peak.
    """

    centre_3d: NDArray[np.float64]
    box: NDArray[np.float64]
    cell: NDArray[np.int64]


def _seen(objects: Objects, projection: NDArray[np.float64], view: AffineView, rules: TargetRules) -> _Seen:
    centre = objects.location_m - np.array([0.0, 0.5, 0.0]) * objects.size_hwl_m[:, :1]
    centre_3d = view.to_input(project_points(projection, centre)) / STRIDE
    box_px = projected_boxes(objects, projection) if rules.box_2d == "projected" else objects.box_px
    box = view.boxes_to_input(box_px) / STRIDE
    at = centre_3d if rules.peak_at == "centre_3d" else (box[:, :2] + box[:, 2:]) / 2
    return _Seen(centre_3d, box, np.trunc(at).astype(np.int64))  # towards 0: up to one cell before the first counts, as published


def _draw_peaks(heatmap: NDArray[np.float32], maps: NDArray[np.int64], seen: _Seen) -> None:
    """Draw the peak of each of n objects into the heat map of its number, in place."""
    size = seen.box[:, 2:] - seen.box[:, :2]
    for number, (column, row), (box_width, box_height) in zip(maps, seen.cell, size, strict=True):
        draw_peak(heatmap[number], int(column), int(row), radius=uncorrected_radius(box_height, box_width))


def _ignore(
    heatmap: NDArray[np.float32],
    objects: Objects,
    is_learned: NDArray[np.bool_],
    *,
    view: AffineView,
    config: MonoDdleConfig,
    rules: TargetRules,
) -> None:
    """Write ``NOT_JUDGED`` into cells whose centre lies in a box that is ignored, in place; what a peak covers stays judged."""
    height, width = config.grid_px
    box = view.boxes_to_input(objects.box_px) / STRIDE
    first, end = (np.clip(np.ceil(edge - 0.5), 0, (width, height)).astype(np.int64) for edge in (box[:, :2], box[:, 2:]))
    for number, name in enumerate(map(str, objects.category)):
        is_object = rules.ignored == "regions_and_objects" and name in config.train_classes and not is_learned[number]
        if name != REGION and not is_object:
            continue
        maps = slice(None) if name == REGION else config.classes.index(name)
        window = heatmap[maps, first[number, 1] : end[number, 1], first[number, 0] : end[number, 0]]
        window[window == 0] = NOT_JUDGED


def _fill(seen: _Seen, *, kept: Objects, view: AffineView, config: MonoDdleConfig, is_3d: bool) -> ObjectTargets:
    height, width = config.grid_px
    centre_3d, box, cell = seen
    class_index = np.array([config.classes.index(name) for name in kept.category], dtype=np.int64)
    heading_bin, heading_rad = encode_heading(wrap_angle(np.pi - kept.alpha_rad) if view.is_flipped else kept.alpha_rad)
    size_2d = box[:, 2:] - box[:, :2]
    heatmap = np.zeros((config.num_classes, height, width), dtype=np.float32)
    _draw_peaks(heatmap, class_index, seen)
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
