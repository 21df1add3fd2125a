"""Whether maps that are taken for metres are metres: held against LiDAR or annotated boxes of the same frames, and by clipping.

Why    Maps that are relative, inverse or in millimetres have the right form, and a network would learn them without a word
Reads  key-frame LiDAR sweeps, or else annotated boxes, of a few frames of a unit; they decide no value of it
Source docs/method/mono-depth.md#metres
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.geometry import inverse, rigid
from pipeline.kernels.boxes import PlacedBox
from pipeline.mono_depth.plane import box_depth, labelled_boxes, world_boxes
from pipeline.poses import intrinsic_of
from pipeline.stage import ObjectReader, StageInput
from storage_schemas.catalog import BOXES
from storage_schemas.errors import DepthmillError
from storage_schemas.layout import columns_from_rows

Float64 = NDArray[np.float64]

Measure = Callable[[StageInput, int], tuple[Float64, Float64, Float64]]
"""Returns column, row and depth, (n,) each, of what a frame's LiDAR or boxes say."""

MOST_FRAMES = 3
"""Frames of a unit that are held against measurements, spread over it: enough for a factor, and soon read."""

FAR_M = 60.0
"""Measurements beyond it are left out: teachers err there by more than a few per cent."""

LEAST_POINTS, LEAST_BOXES = 50, 3

LEAST_RATIO, LARGEST_RATIO = 0.5, 2.0
"""Metric teachers are within some tens of per cent; centimetres, feet, relative and inverse depth are not."""

LARGEST_NEAR_SHARE, LARGEST_FAR_SHARE = 0.5, 0.95
"""Shares of the predicted pixels that are clipped; a street has sky, but half of no image is nearer than 2 m."""


@dataclass(frozen=True)
class MetresCheck:
    """What speaks for or against metres.

    Attributes:
        near_share: share of the predicted pixels that are clipped from below.
        far_share: share that is clipped from above.
        ratio: median of predicted over measured depth; NaN = nothing at hand to measure with.
        measured_by: LiDAR, boxes, or "".
    """

    near_share: float
    far_share: float
    ratio: float
    measured_by: str

    @property
    def are_metres(self) -> bool:
        """Say whether nothing speaks against it."""
        is_clipped = self.near_share > LARGEST_NEAR_SHARE or self.far_share > LARGEST_FAR_SHARE
        return not is_clipped and not (self.ratio < LEAST_RATIO or self.ratio > LARGEST_RATIO)

    def text(self, near_m: float, far_m: float) -> str:
        """Say it in one clause; empty where maps are metres and nothing is clipped."""
        texts = [
            f"{100 * share:.1f} % clipped to {bound_m:g} m"
            for share, bound_m in ((self.near_share, near_m), (self.far_share, far_m))
            if share >= 0.0005
        ]
        if self.measured_by:
            texts.append(f"{self.ratio:.3g} of the depth that {self.measured_by} say{'s' if self.measured_by == 'LiDAR' else ''}")
        if not self.are_metres:
            texts.append(
                "WARNING: these are no metres. Relative, inverse or other units? Convert the maps to metres, set "
                "stages.predict_mono_depth.maps_scale to focal_300 if DA3METRIC wrote them as they come out, or fit them to radar"
            )
        return ", ".join(texts)


def check_metres(unit: StageInput, per_m: list[NDArray[np.float32]], *, near_m: float, far_m: float) -> MetresCheck:
    """Look at maps that are taken for metres.

    Args:
        unit: their scene and camera.
        per_m: inverse of what they say, (height, width) of each frame; 0 or less = nothing predicted.
        near_m: they are clipped to this from below.
        far_m: they are clipped to this from above.
    """
    num_predicted = sum(int(np.count_nonzero(frame > 0)) for frame in per_m)
    num_near = sum(int(np.count_nonzero(frame > 1 / near_m)) for frame in per_m)
    num_far = sum(int(np.count_nonzero((frame > 0) & (frame < 1 / far_m))) for frame in per_m)
    ratio, measured_by = float("nan"), ""
    for name, measure, least in (("LiDAR", _lidar, LEAST_POINTS), ("boxes", _boxes, LEAST_BOXES)):
        ratios = np.concatenate([_ratios(unit, frame, per_m[frame], measure) for frame in _chosen(len(per_m))] or [np.zeros(0)])
        if len(ratios) >= least:
            ratio, measured_by = float(np.median(ratios)), name
            break
    return MetresCheck(num_near / max(num_predicted, 1), num_far / max(num_predicted, 1), ratio, measured_by)


def _chosen(num_frames: int) -> list[int]:
    return sorted({round(place) for place in np.linspace(0, num_frames - 1, min(MOST_FRAMES, num_frames))})


def _ratios(unit: StageInput, frame: int, per_m: NDArray[np.float32], measure: Measure) -> Float64:
    """Return predicted over measured depth, (n,), where both are known; nothing where the measurement cannot be read."""
    try:
        u_px, v_px, depth_m = measure(unit, frame)
    except DepthmillError:  # what cannot be read is reported by the stage that needs it
        return np.zeros(0)
    height, width = per_m.shape
    is_inside = (depth_m > 0) & (depth_m < FAR_M) & (u_px >= 0) & (u_px < width) & (v_px >= 0) & (v_px < height)
    said = per_m[v_px[is_inside].astype(int), u_px[is_inside].astype(int)].astype(np.float64)
    return np.asarray(1.0 / said[said > 0] / depth_m[is_inside][said > 0])


def _projected(row: dict[str, object], points_cam: Float64) -> tuple[Float64, Float64, Float64]:
    points = points_cam[points_cam[:, 2] > 1.0]
    pixels = points @ intrinsic_of(row).T
    return pixels[:, 0] / pixels[:, 2], pixels[:, 1] / pixels[:, 2], points[:, 2]


def _lidar(unit: StageInput, frame: int) -> tuple[Float64, Float64, Float64]:
    """Return column, row and depth of the LiDAR returns of a key frame's own sweep."""
    row = unit.keyframes[frame]
    sweeps = unit.sweeps if "sweeps" in unit.units["frames"].tables else []
    sweep = next((s for s in sweeps if s["is_keyframe"] and s["sample_index"] == row["sample_index"]), None)
    if sweep is None:
        return np.zeros(0), np.zeros(0), np.zeros(0)
    ego_from_cam = rigid(row["ego_from_cam_translation_m"], row["ego_from_cam_rotation_wxyz"])
    ego_from_sensor = rigid(sweep["ego_from_sensor_translation_m"], sweep["ego_from_sensor_rotation_wxyz"])
    cam_from_sensor = inverse(ego_from_cam) @ ego_from_sensor
    if np.isfinite([*row["world_from_ego_translation_m"], *sweep["world_from_ego_translation_m"]]).all():
        world_from_image = rigid(row["world_from_ego_translation_m"], row["world_from_ego_rotation_wxyz"])
        world_from_sweep = rigid(sweep["world_from_ego_translation_m"], sweep["world_from_ego_rotation_wxyz"])
        cam_from_sensor = inverse(world_from_image @ ego_from_cam) @ world_from_sweep @ ego_from_sensor
    points = unit.raw.read_points(sweep["file"])[:, :3].astype(np.float64)
    return _projected(row, points @ cam_from_sensor[:3, :3].T + cam_from_sensor[:3, 3])


def _boxes(unit: StageInput, frame: int) -> tuple[Float64, Float64, Float64]:
    """Return column, row and depth of the place where the ray to the centre of each annotated box enters it."""
    row, tables = unit.keyframes[frame], unit.units["frames"].tables
    if not isinstance(unit.raw, ObjectReader) and not tables.get("boxes", {}).get("sample_index"):
        return np.zeros(0), np.zeros(0), np.zeros(0)
    ego_from_cam = rigid(row["ego_from_cam_translation_m"], row["ego_from_cam_rotation_wxyz"])
    if isinstance(unit.raw, ObjectReader):
        placed, world_from_ego = _boxes_of_image(unit.raw, row["file"], ego_from_cam), np.eye(4)
    else:
        placed = world_boxes(tables, row["sample_index"])
        world_from_ego = rigid(row["world_from_ego_translation_m"], row["world_from_ego_rotation_wxyz"])
    centres, depths = [np.zeros((0, 3))], [np.zeros(0)]
    for box in placed:
        box_from_cam = inverse(box.world_from_box) @ world_from_ego @ ego_from_cam
        centre = inverse(box_from_cam)[:3, 3]
        if centre[2] > 1.0:
            centres.append(centre[None])
            depths.append(box_depth(centre[None] / centre[2], box_from_cam, box))
    u_px, v_px, _ = _projected(row, np.concatenate(centres))
    depth_m = np.concatenate(depths)
    return u_px, v_px, np.where(np.isfinite(depth_m), depth_m, 0.0)


def _boxes_of_image(raw: ObjectReader, image_file: str, ego_from_cam: Float64) -> tuple[PlacedBox, ...]:
    objects, projection, _ = raw.read_objects(image_file)
    boxes = columns_from_rows(BOXES.table("boxes"), [{"frame": 0, **one} for one in objects or ()])
    return labelled_boxes({"boxes": boxes, "calibration": {"projection_px": [projection.reshape(-1).tolist()]}}, 0, ego_from_cam)
