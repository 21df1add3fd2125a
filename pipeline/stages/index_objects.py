"""Write the annotated objects of one scene in the frame of the rig, key frame by key frame.

Why    A detector of all cameras learns objects around the car, not what one image shows of them; its metric asks for attributes,
       velocities and counts of returns, which boxes of single images do not have
Reads  frames: boxes in the world, poses at the key LiDAR sweeps; the source's attributes, visibility and counts of returns
Writes objects: objects in the frame of the rig, and the rig at every key frame
Source docs/method/formats.md#objects

The rig frame is the ego frame at the time of the key LiDAR sweep, as ``index_windows`` has it. Every category is kept, also the
bicycle racks that the metric needs. A key frame without an object has its rig all the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
from pydantic import Field

from pipeline import capability
from pipeline.clip_rigs import Row, world_from_rig_at
from pipeline.geometry import Float64, rigid
from pipeline.kernels.objects import in_rig, track_velocities
from pipeline.lidar_choice import LidarChoice, lidar_channels
from pipeline.stage import ObjectFactsReader, StageInput, StageParams, StageResult, StageSpec
from storage_schemas.catalog import FRAMES, OBJECTS
from storage_schemas.errors import SourceError
from storage_schemas.layout import Columns, UnitData, columns_from_rows, rows


class Params(StageParams):
    """Which objects."""

    enabled: bool = Field(default=False, description="false: the recipe wants no objects of the whole rig")
    lidar: LidarChoice = Field(
        default="LIDAR_TOP", description="LiDAR channel, or a list by preference: each scene takes the first that it has"
    )


def kernel(unit: StageInput, p: Params) -> StageResult:
    """Bring the boxes of one scene into the frame of the rig.

    Raises:
        SourceError: a key frame that has boxes has no pose.
    """
    assert isinstance(unit.raw, ObjectFactsReader)  # the plan has this stage only for scenes that offer these facts
    rigs = _rigs(unit, p)
    annotated, samples = rows(unit.units["frames"].tables["boxes"]), {row["sample_index"] for row, _ in rigs}
    boxes = [box for box in annotated if box["sample_index"] in samples]
    facts = {row["annotation_token"]: row for row in rows(unit.raw.object_facts(unit.scene))}
    objects = _objects(unit, columns_from_rows(FRAMES.table("boxes"), boxes), rigs, facts) if boxes else []
    num_left_out = len(annotated) - len(boxes)
    tables = {
        "objects": columns_from_rows(OBJECTS.table("objects"), objects),
        "rigs": columns_from_rows(OBJECTS.table("rigs"), [{**row, "world_from_rig": _flat(pose)} for row, pose in rigs]),
    }
    num_unknown = sum(bool(np.isnan(row["vx_mps"])) for row in objects)
    num_unseen = sum(row["num_lidar_points"] + row["num_radar_points"] == 0 for row in objects)
    message = f"{len(rigs)} key frames, {len(objects)} objects"
    message += f", {num_unknown} of unknown velocity" if num_unknown else ""
    message += f", {num_unseen} without a return" if num_unseen else ""
    unreadable = Counter(name for box in boxes for name in facts[box["annotation_token"]]["unreadable"].split(",") if name)
    message += "".join(
        f", {count} with {'an' if name[0] == 'a' else 'a'} {name} that cannot be read"
        for name, count in sorted(unreadable.items())
    )
    num_several = sum("," in row["attribute"] for row in objects)
    message += f", {num_several} with several attributes" if num_several else ""
    message += f"; {num_left_out} left out at key frames without an image" if num_left_out else ""
    counts = {"frames": float(len(rigs)), "objects": float(len(objects)), "without_return": float(num_unseen)}
    return StageResult(UnitData(tables=tables), counts, message)


def _rigs(unit: StageInput, p: Params) -> list[tuple[Row, Float64]]:
    """Return a row of ``rigs`` and the pose (4, 4) of every key frame that has an image, in time order."""
    there = {sweep["channel"] for sweep in unit.sweeps}
    channel = next((name for name in lidar_channels(p.lidar) if name in there), None)
    images: dict[int, Row] = {}
    for row in rows(unit.units["frames"].tables["keyframes"]):
        images.setdefault(row["sample_index"], row)
    at = {**images, **{row["sample_index"]: row for row in unit.sweeps if row["channel"] == channel and row["is_keyframe"]}}
    return [
        (
            {"sample_index": sample, "sample_token": images[sample]["sample_token"], "timestamp_us": at[sample]["timestamp_us"]},
            world_from_rig_at(at[sample]),
        )
        for sample in sorted(images)
    ]


def _objects(
    unit: StageInput, boxes: Columns, rigs: list[tuple[Row, Float64]], facts: Mapping[str, Mapping[str, Any]]
) -> list[Row]:
    pose_of = {row["sample_index"]: pose for row, pose in rigs}
    world_from_rig = np.array([pose_of[sample] for sample in boxes["sample_index"]])
    is_known = np.isfinite(world_from_rig).all(axis=(1, 2))
    if not is_known.all():
        raise SourceError(
            f"scene {unit.scene}: key frame {boxes['sample_index'][int(np.argmin(is_known))]} has boxes and no pose, so they "
            "have no place in the frame of the rig. Correct ego_pose.json, leave the scene out with 'scenes:', or set "
            "stages.index_objects.enabled to false"
        )
    numbers: dict[str, int] = {}
    tracks = np.array([numbers.setdefault(token, len(numbers)) for token in boxes["instance_token"]], np.int64)
    times_us = np.asarray(boxes["sample_timestamp_us"], np.int64)
    velocities = track_velocities(np.array(boxes["center_m"], np.float64), times_us, tracks)
    centers, yaws, flat = in_rig(world_from_rig, rigid(boxes["center_m"], boxes["world_from_box_wxyz"]), velocities)
    return [
        {
            "sample_index": int(boxes["sample_index"][number]),
            "annotation_token": token,
            "instance_token": boxes["instance_token"][number],
            "category": boxes["category"][number],
            **{name: value for name, value in facts[token].items() if name != "unreadable"},
            **dict(zip(("x_m", "y_m", "z_m"), centers[number].tolist(), strict=True)),
            **dict(zip(("width_m", "length_m", "height_m"), boxes["size_wlh_m"][number], strict=True)),
            "yaw_rad": float(yaws[number]),
            **dict(zip(("vx_mps", "vy_mps"), flat[number].tolist(), strict=True)),
        }
        for number, token in enumerate(boxes["annotation_token"])
    ]


def _flat(pose: Float64) -> list[float]:
    flat: list[float] = pose.reshape(-1).tolist()
    return flat


STAGE = StageSpec(
    "index_objects",
    version=1,
    reads=(FRAMES,),
    writes=OBJECTS,
    params=Params,
    kernel=kernel,
    needs=capability.OBJECTS,
    is_wanted=lambda p: p.enabled,
)
