"""Project the key frame's radar returns into its image.

Why    Radar is the second sensor of the network; points keep their full precision and become pixels only in the loader
Reads  frames (poses), key-frame radar files
Writes radar_points: u_px, v_px, depth_m, rcs_dbsm, vx_comp_mps, vy_comp_mps, sensor per return, in file order
Source specs/pipeline.md section 4; the filter and the image border are the devkit's defaults
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from pipeline.geometry import inverse, project, transform_points
from pipeline.poses import intrinsic_of, world_from_cam, world_from_sensor
from pipeline.stage import StageInput, StageParams, StageResult, StageSpec
from storage_schemas.catalog import FRAMES, RADAR_CHANNELS, RADAR_POINTS
from storage_schemas.layout import UnitData


class Params(StageParams):
    """Which radars, which returns."""

    channels: tuple[str, ...] = Field(default=("RADAR_FRONT",), description="radar channels, one or more of the five of nuScenes")
    invalid_states: tuple[int, ...] = Field(default=(0,), description="cluster validity states to keep")
    dynamic_properties: tuple[int, ...] = Field(default=(0, 1, 2, 3, 4, 5, 6), description="dynamic properties to keep")
    ambiguity_states: tuple[int, ...] = Field(default=(3,), description="Doppler ambiguity states to keep")
    min_depth_m: float = Field(default=1.0, ge=0.0, description="m: returns must lie farther than this along the optical axis")
    border_px: float = Field(default=1.0, ge=0.0, description="px: returns must lie farther than this inside the image")

    @field_validator("channels")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := [name for name in value if name not in RADAR_CHANNELS]:
            raise ValueError(f"unknown radar channel '{unknown[0]}'; expected some of {', '.join(RADAR_CHANNELS)}")
        return value


def keep_valid(points: dict[str, NDArray[Any]], p: Params) -> dict[str, NDArray[Any]]:
    """Return the radar returns that pass the state filters, in file order."""
    keep = (
        np.isin(points["invalid_state"], p.invalid_states)
        & np.isin(points["dyn_prop"], p.dynamic_properties)
        & np.isin(points["ambig_state"], p.ambiguity_states)
    )
    return {name: values[keep] for name, values in points.items()}


def project_returns(
    points: dict[str, NDArray[Any]], sweep: dict[str, Any], keyframe: dict[str, Any], p: Params
) -> dict[str, NDArray[Any]]:
    """Project returns of one radar file into one image.

    Args:
        points: columns of the file.
        sweep: row of ``frames.sweeps`` of the file.
        keyframe: row of ``frames.keyframes`` of the image.
        p: border and least depth.

    Returns:
        The columns u_px, v_px, depth_m, rcs_dbsm, vx_comp_mps, vy_comp_mps of the returns inside the image.
    """
    in_radar = np.stack([points["x"], points["y"], points["z"]], axis=-1).astype(np.float64)
    in_cam = transform_points(inverse(world_from_cam(keyframe)) @ world_from_sensor(sweep), in_radar)
    u, v, depth = project(in_cam, intrinsic_of(keyframe))
    border = p.border_px
    with np.errstate(invalid="ignore"):
        seen = (
            (depth > p.min_depth_m)
            & (u > border)
            & (u < keyframe["width"] - border)
            & (v > border)
            & (v < keyframe["height"] - border)
        )
    return {
        "u_px": u[seen],
        "v_px": v[seen],
        "depth_m": depth[seen],
        "rcs_dbsm": points["rcs"][seen].astype(np.float32),
        "vx_comp_mps": points["vx_comp"][seen].astype(np.float32),
        "vy_comp_mps": points["vy_comp"][seen].astype(np.float32),
    }


def kernel(unit: StageInput, p: Params) -> StageResult:
    """Project the key-frame returns of the chosen radars into all key frames of one scene and camera."""
    of_key: dict[tuple[int, str], dict[str, Any]] = {
        (sweep["sample_index"], sweep["channel"]): sweep
        for sweep in unit.sweeps
        if sweep["is_keyframe"] and sweep["channel"] in p.channels
    }
    parts: list[dict[str, NDArray[Any]]] = []
    num_points = np.zeros(len(unit.keyframes), np.int32)
    for frame, keyframe in enumerate(unit.keyframes):
        for channel in p.channels:
            sweep = of_key.get((keyframe["sample_index"], channel))
            if sweep is None:
                continue
            unit.used_files.add(sweep["file"])
            part = project_returns(keep_valid(unit.raw.read_radar(sweep["file"]), p), sweep, keyframe, p)
            count = len(part["u_px"])
            part["sensor"] = np.full(count, RADAR_CHANNELS.index(channel), np.uint8)
            part["frame_of_point"] = np.full(count, frame, np.int32)
            num_points[frame] += count
            parts.append(part)
    columns = {
        spec.name: _join([part[spec.name] for part in parts], spec.dtype)
        for spec in RADAR_POINTS.arrays
        if spec.dims == ("point",)
    }
    data = UnitData(arrays={**columns, "num_points": num_points, "timestamp_us": unit.timestamps_us()})
    mean = float(num_points.mean())
    return StageResult(
        data, {"frames": len(num_points), "points_per_frame": mean}, f"{len(num_points)} frames, {mean:.0f} returns a frame"
    )


def _join(parts: list[NDArray[Any]], dtype: str) -> NDArray[Any]:
    return np.concatenate(parts).astype(dtype) if parts else np.zeros(0, dtype)


STAGE = StageSpec("project_radar", version=1, reads=(FRAMES,), writes=RADAR_POINTS, params=Params, kernel=kernel, needs="radar")
