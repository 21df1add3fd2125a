"""Project radar returns, of the key frame or of sweeps around it, into the key frame's image.

Why    Radar is the second sensor of the network; points keep their full precision and become pixels only in the loader
Reads  frames (poses), radar files
Writes radar_points: u_px, v_px, depth_m, rcs_dbsm, vx_comp_mps, vy_comp_mps, sensor per return; time_lag_s where sweeps around
       the key frame or Doppler are asked for. Returns are in the order of frame, channel, time of the sweep, place in the file
Source docs/method/pipeline.md#radar-projection; the filter and the image border are the devkit's defaults. Neighbouring key
       frames (`neighbors: keyframes`) are the "reprojected" radar of Singh et al.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from pipeline.capability import RADAR
from pipeline.geometry import inverse, project, transform_points
from pipeline.poses import intrinsic_of, world_from_cam, world_from_sensor
from pipeline.stage import StageInput, StageParams, StageResult, StageSpec
from pipeline.wanted_files import Wanted
from storage_schemas.catalog import FRAMES, RADAR_CHANNELS, RADAR_POINTS
from storage_schemas.errors import SourceError
from storage_schemas.layout import UnitData


class Params(StageParams):
    """Which radars, which sweeps, which returns."""

    added_later: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {"past_sweeps": 0, "future_sweeps": 0, "neighbors": "sweeps", "target_motion": "ignore"}
    )

    channels: tuple[str, ...] = Field(default=("RADAR_FRONT",), description="radar channels, one or more of the five of nuScenes")
    invalid_states: tuple[int, ...] = Field(default=(0,), description="cluster validity states to keep")
    dynamic_properties: tuple[int, ...] = Field(default=(0, 1, 2, 3, 4, 5, 6), description="dynamic properties to keep")
    ambiguity_states: tuple[int, ...] = Field(default=(3,), description="Doppler ambiguity states to keep")
    min_depth_m: float = Field(default=1.0, ge=0.0, description="m: returns must lie farther than this along the optical axis")
    border_px: float = Field(default=1.0, ge=0.0, description="px: returns must lie farther than this inside the image")
    past_sweeps: int = Field(default=0, ge=0, le=260, description="sweeps of each radar before its key frame's that are added")
    future_sweeps: int = Field(default=0, ge=0, le=260, description="sweeps after it; not to be had while driving")
    neighbors: Literal["sweeps", "keyframes"] = Field(
        default="sweeps",
        description="sweeps: those sweeps are the next ones in time (13 Hz); keyframes: those of key frames (2 Hz)",
    )
    target_motion: Literal["ignore", "doppler"] = Field(
        default="ignore",
        description="doppler: a return is moved by vx_comp, vy_comp times the time between its sweep and the image. Doppler sees "
        "motion along the line of sight only: what crosses it stays behind",
    )

    @field_validator("channels")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := [name for name in value if name not in RADAR_CHANNELS]:
            raise ValueError(f"unknown radar channel '{unknown[0]}'; expected some of {', '.join(RADAR_CHANNELS)}")
        return value

    @property
    def spans_time(self) -> bool:
        """Say whether the time of a return matters: sweeps around the key frame, or returns moved to the image's time."""
        return self.past_sweeps > 0 or self.future_sweeps > 0 or self.target_motion == "doppler"


def keep_valid(points: dict[str, NDArray[Any]], p: Params) -> dict[str, NDArray[Any]]:
    """Return the radar returns that pass the state filters, in file order."""
    keep = (
        np.isin(points["invalid_state"], p.invalid_states)
        & np.isin(points["dyn_prop"], p.dynamic_properties)
        & np.isin(points["ambig_state"], p.ambiguity_states)
    )
    return {name: values[keep] for name, values in points.items()}


def sweeps_around(sweeps: Sequence[dict[str, Any]], sample_index: int, p: Params) -> list[dict[str, Any]]:
    """Return the sweeps of one radar that go into one key frame's image, in time order.

    Args:
        sweeps: rows of ``frames.sweeps`` of one channel, in time order.
        sample_index: number of the key frame in its scene.
        p: how many before and after, and of which kind.

    Returns:
        The key frame's own sweep and its neighbours; fewer at the ends of an unbroken chain, none if the key frame has no sweep.
    """
    centre = next((sweep for sweep in sweeps if sweep["is_keyframe"] and sweep["sample_index"] == sample_index), None)
    if centre is None:
        return []
    near = [sweep for sweep in sweeps if sweep["chain"] == centre["chain"] and (p.neighbors == "sweeps" or sweep["is_keyframe"])]
    at = next(number for number, sweep in enumerate(near) if sweep is centre)
    return near[max(0, at - p.past_sweeps) : at + p.future_sweeps + 1]


def time_lag_s(sweep: dict[str, Any], keyframe: dict[str, Any]) -> float:
    """Return image time minus sweep time in seconds: positive where the radar measured before the image was taken."""
    return float(keyframe["timestamp_us"] - sweep["timestamp_us"]) * 1e-6


def project_returns(
    points: dict[str, NDArray[Any]], sweep: dict[str, Any], keyframe: dict[str, Any], p: Params
) -> dict[str, NDArray[Any]]:
    """Project returns of one radar file into one image.

    A point goes from the radar at the sweep's time through the world into the camera at the image's time, so the ego vehicle's
    own motion in between is removed. ``target_motion: doppler`` also removes the target's motion along the line of sight:
    the point is first moved in the radar frame by its speed over ground times the time lag.

    Args:
        points: columns of the file.
        sweep: row of ``frames.sweeps`` of the file.
        keyframe: row of ``frames.keyframes`` of the image.
        p: border, least depth, and whether returns are moved.

    Returns:
        The columns u_px, v_px, depth_m, rcs_dbsm, vx_comp_mps, vy_comp_mps, time_lag_s of the returns inside the image.
    """
    in_radar = np.stack([points["x"], points["y"], points["z"]], axis=-1).astype(np.float64)
    lag_s = time_lag_s(sweep, keyframe)
    if p.target_motion == "doppler":
        in_radar[:, :2] += lag_s * np.stack([points["vx_comp"], points["vy_comp"]], axis=-1).astype(np.float64)
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
        "time_lag_s": np.full(int(seen.sum()), lag_s, np.float32),
    }


def kernel(unit: StageInput, p: Params) -> StageResult:
    """Project the returns of the chosen radars into all key frames of one scene and camera.

    Raises:
        SourceError: the scene has no files of a channel, or a file is missing or damaged.
    """
    sweeps_of = {channel: radar_sweeps(unit.sweeps, channel=channel, scene=unit.scene) for channel in p.channels}
    parts: list[dict[str, NDArray[Any]]] = []
    num_points = np.zeros(len(unit.keyframes), np.int32)
    for frame, keyframe in enumerate(unit.keyframes):
        for channel, sweeps in sweeps_of.items():
            for sweep in sweeps_around(sweeps, keyframe["sample_index"], p):
                part = project_returns(_valid_returns(unit, sweep["file"], p), sweep, keyframe, p)
                count = len(part["u_px"])
                part["sensor"] = np.full(count, RADAR_CHANNELS.index(channel), np.uint8)
                part["frame_of_point"] = np.full(count, frame, np.int32)
                num_points[frame] += count
                parts.append(part)
    columns = {
        spec.name: _join([part[spec.name] for part in parts], spec.dtype)
        for spec in RADAR_POINTS.arrays
        if spec.dims == ("point",) and (spec.is_required or p.spans_time)
    }
    data = UnitData(arrays={**columns, "num_points": num_points, "timestamp_us": unit.timestamps_us()})
    mean = float(num_points.mean())
    return StageResult(
        data, {"frames": len(num_points), "points_per_frame": mean}, f"{len(num_points)} frames, {mean:.0f} returns a frame"
    )


def radar_sweeps(sweeps: Sequence[dict[str, Any]], *, channel: str, scene: str) -> list[dict[str, Any]]:
    """Return the rows of ``frames.sweeps`` of one radar, in time order.

    Raises:
        SourceError: the scene has none; a map with fewer radars than asked for would look like one with all of them.
    """
    of_channel = [sweep for sweep in sweeps if sweep["channel"] == channel]
    if not of_channel:
        radars = sorted({sweep["channel"] for sweep in sweeps if sweep["channel"].startswith("RADAR")})
        raise SourceError(
            f"scene {scene} has no files of radar channel '{channel}'; radars there: {', '.join(radars) or 'none'}. "
            "Take it out of stages.project_radar.channels, or add its files to the source (a simulated world: source.radars)"
        )
    return of_channel


def _valid_returns(unit: StageInput, file: str, p: Params) -> dict[str, NDArray[Any]]:
    unit.used_files.add(file)
    states = (p.invalid_states, p.dynamic_properties, p.ambiguity_states)
    return unit.remember(("radar", file, states), lambda: keep_valid(unit.raw.read_radar(file), p))


def _join(parts: list[NDArray[Any]], dtype: str) -> NDArray[Any]:
    return np.concatenate(parts).astype(dtype) if parts else np.zeros(0, dtype)


def _files_of(p: Params, _: Sequence[str]) -> dict[str, Wanted]:
    is_between = p.neighbors == "sweeps" and p.past_sweeps + p.future_sweeps > 0
    return dict.fromkeys(p.channels, "all" if is_between else "keyframes")


STAGE = StageSpec(
    "project_radar",
    version=1,
    reads=(FRAMES,),
    writes=RADAR_POINTS,
    params=Params,
    kernel=kernel,
    needs=RADAR,
    channels_of=lambda p: p.channels,
    files_of=_files_of,
    never_zero=(("points_per_frame", "no radar return lies in an image"),),
)
