"""Project the annotated boxes of a drive into a camera, in KITTI's terms.

Why    A detector of single images is trained on what the image shows of each object; drives annotate the world
Reads  frames: key frames (calibration, pose at the image's time), boxes in the world frame
Writes boxes: one row per object that the image shows; projection [K | 0] of every frame
Source docs/method/pipeline.md#projected-boxes; the occlusion level is ours, see ``pipeline.kernels.project_boxes``

A box belongs to a key frame; the image is ten milliseconds away, in which objects move little (see ``predict_mono_depth``).
Objects whose centre lies behind the camera are left out, even if the image shows their near end.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from pydantic import Field

from pipeline.geometry import inverse, rigid
from pipeline.kernels.categories import kitti_type
from pipeline.poses import intrinsic_of, world_from_cam
from pipeline.stage import StageInput, StageParams, StageResult, StageSpec
from pipeline.stages.pack_boxes import boxes_result
from storage_schemas.catalog import BOXES, DEPTH_MONO_RAW, FRAMES
from storage_schemas.errors import SourceError
from storage_schemas.layout import rows


class Params(StageParams):
    """Which objects."""

    enabled: bool = Field(default=False, description="false: the recipe wants no boxes of drives")
    min_side_px: float = Field(
        default=2.0, gt=0.0, description="objects whose box in the image is narrower or lower than this are left out, pixels"
    )
    max_distance_m: float = Field(
        default=100.0, gt=0.0, description="objects whose centre is farther than this along the optical axis are left out, m"
    )


def kernel(unit: StageInput, p: Params) -> StageResult:
    """Project the boxes of all key frames of one scene and camera.

    Raises:
        SourceError: the source knows no poses, so that boxes in the world frame have no place in the image.
    """
    of_sample: dict[int, list[dict[str, Any]]] = {}
    for box in rows(unit.units["frames"].tables["boxes"]):
        of_sample.setdefault(box["sample_index"], []).append(box)
    boxes: list[dict[str, Any]] = []
    calibration: list[dict[str, Any]] = []
    for frame, keyframe in enumerate(unit.keyframes):
        boxes += [{"frame": frame, **row} for row in _seen_rows(unit, keyframe, of_sample.get(keyframe["sample_index"], []), p)]
        projection = np.hstack([intrinsic_of(keyframe), np.zeros((3, 1))])
        calibration.append({"frame": frame, "projection_px": projection.reshape(-1).tolist(), "is_annotated": True})
    return boxes_result(boxes, calibration)


def _seen_rows(unit: StageInput, keyframe: dict[str, Any], annotated: list[dict[str, Any]], p: Params) -> list[dict[str, Any]]:
    """Return rows of ``boxes``, without frame, of the objects that one image shows, nearest first."""
    from pipeline.kernels.project_boxes import area, occlusion_levels, see_boxes

    cam_from_world = inverse(world_from_cam(keyframe))
    if not np.isfinite(cam_from_world).all():
        raise SourceError(
            f"scene {unit.scene}, camera {unit.camera}: the source knows no poses, so boxes of the world have no place in the "
            "image. Set stages.project_boxes.enabled to false; a source with labels of its own images needs no projection"
        )
    typed = [box for box in annotated if kitti_type(box["category"]) is not None]
    if not typed:
        return []
    columns = {name: [box[name] for box in typed] for name in typed[0]}
    cam_from_box = cam_from_world @ rigid(columns["center_m"], columns["world_from_box_wxyz"])
    size_lwh = np.array(columns["size_wlh_m"], np.float64)[:, [1, 0, 2]]
    seen = see_boxes(cam_from_box, size_lwh / 2, intrinsic_of(keyframe), height=keyframe["height"], width=keyframe["width"])
    depth = cam_from_box[:, 2, 3]
    sides = seen.box_px[:, 2:] - seen.box_px[:, :2]
    with np.errstate(invalid="ignore"):
        is_kept = (depth > 0) & (depth <= p.max_distance_m) & (sides >= p.min_side_px).all(axis=1) & (area(seen.box_px) > 0)
    kept = np.flatnonzero(is_kept)
    kept = kept[np.argsort(depth[kept], kind="stable")]
    occlusion = occlusion_levels(seen.box_px[kept], depth[kept])
    return [
        {
            "category": kitti_type(columns["category"][number]),
            "source_category": columns["category"][number],
            "instance_token": columns["instance_token"][number],
            "truncation": float(seen.truncation[number]),
            "occlusion": int(level),
            "alpha_rad": float(seen.alpha_rad[number]),
            **dict(zip(("left_px", "top_px", "right_px", "bottom_px"), seen.box_px[number].tolist(), strict=True)),
            **dict(zip(("length_m", "width_m", "height_m"), size_lwh[number].tolist(), strict=True)),
            **dict(zip(("x_m", "y_m", "z_m"), seen.location_m[number].tolist(), strict=True)),
            "rotation_y_rad": float(seen.rotation_y_rad[number]),
        }
        for number, level in zip(kept.tolist(), occlusion.tolist(), strict=True)
    ]


STAGE = StageSpec(
    "project_boxes",
    version=1,
    reads=(FRAMES,),
    writes=BOXES,
    params=Params,
    kernel=kernel,
    is_wanted=lambda p: p.enabled,
    after=(DEPTH_MONO_RAW,),  # a monocular depth model reads boxes of drives from the index, never from this unit
)
