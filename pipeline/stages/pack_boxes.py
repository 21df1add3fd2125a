"""Bring a data set's own object labels and projections into the store, number for number.

Why    Training never parses text: this stage finds a wrong label and names its file and line
Reads  frames (file names), labels and calibration of each image; KITTI object: label_2/<number>.txt and calib/<number>.txt
Writes boxes: one row per line of the label files, DontCare too; the projection P2 of every frame, float64
Source docs/method/formats.md#kitti-labels, #kitti-calibration
"""

from __future__ import annotations

from typing import Any

from pipeline.capability import provided
from pipeline.stage import NoParams, ObjectReader, StageInput, StageResult, StageSpec
from storage_schemas.catalog import BOXES, FRAMES
from storage_schemas.kitti_text import NOT_SAID_PLACE_M
from storage_schemas.layout import UnitData, columns_from_rows


class Params(NoParams):
    """Nothing to choose: labels and calibration are taken as they are."""


def kernel(unit: StageInput, p: Params) -> StageResult:
    """Pack labels and projections of all key frames of one scene and camera; errors as the source's ``read_objects``."""
    assert isinstance(unit.raw, ObjectReader)  # the plan has this stage only for sources that provide boxes
    boxes: list[dict[str, Any]] = []
    calibration: list[dict[str, Any]] = []
    for frame, keyframe in enumerate(unit.keyframes):
        objects, projection, files = unit.raw.read_objects(keyframe["file"])
        unit.used_files.update(files)
        boxes += [{"frame": frame, **row} for row in objects or ()]
        is_annotated = objects is not None
        calibration.append({"frame": frame, "projection_px": projection.reshape(-1).tolist(), "is_annotated": is_annotated})
    return boxes_result(boxes, calibration)


def boxes_result(boxes: list[dict[str, Any]], calibration: list[dict[str, Any]]) -> StageResult:
    """Return rows of both tables as the content of a boxes unit."""
    tables = {
        "boxes": columns_from_rows(BOXES.table("boxes"), boxes),
        "calibration": columns_from_rows(BOXES.table("calibration"), calibration),
    }
    num_regions = sum(row["category"] == "DontCare" for row in boxes)
    num_unknown = sum(not row["is_annotated"] for row in calibration)
    counts = {"frames": float(len(calibration)), "boxes": float(len(boxes) - num_regions)}
    message = f"{len(calibration)} frame{'s' if len(calibration) != 1 else ''}, {len(boxes) - num_regions} objects"
    num_flat = sum(row["category"] != "DontCare" and (row["height_m"] <= 0 or row["z_m"] == NOT_SAID_PLACE_M) for row in boxes)
    message += f", {num_flat} of them in the image only" if num_flat else ""
    message += f", {num_regions} DontCare" if num_regions else ""
    message += f", {num_unknown} frames without labels" if num_unknown else ""
    return StageResult(UnitData(tables=tables), counts, message)


STAGE = StageSpec("pack_boxes", version=1, reads=(FRAMES,), writes=BOXES, params=Params, kernel=kernel, needs=provided(BOXES))
