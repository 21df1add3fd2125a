"""Project radar returns, of the key frame or of sweeps around it, into the key frame's image.

Why    Radar is the second sensor of the network; points keep their full precision and become pixels only in the loader
Reads  frames (poses), radar files
Writes radar_points: u_px, v_px, depth_m, rcs_dbsm, vx_comp_mps, vy_comp_mps, sensor per return; time_lag_s where sweeps around
       the key frame or Doppler are asked for. Returns are in the order of frame, channel, time of the sweep, place in the file
Source docs/method/pipeline.md#radar-projection, #radar-velocity; the filter and the image border are the devkit's defaults
       Neighbouring key frames (`neighbors: keyframes`) are the "reprojected" radar of Singh et al.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from pipeline.capability import RADAR
from pipeline.geometry import inverse, project, transform_points
from pipeline.poses import intrinsic_of, world_from_cam, world_from_sensor, world_from_sensors
from pipeline.stage import StageInput, StageParams, StageResult, StageSpec
from pipeline.wanted_files import Wanted
from storage_schemas.catalog import FRAMES, RADAR_CHANNELS, RADAR_POINTS
from storage_schemas.errors import SourceError
from storage_schemas.layout import UnitData

STATES = ("invalid_state", "dyn_prop", "ambig_state")
"""Fields of the states that returns are filtered by."""

RELATIVE = (("vrel_x", "vrel_y", "vrel_z"), ("vx", "vy", "vz"))
"""Fields of a velocity relative to the radar, by which a file may give it; the third may be absent, and is then 0."""

MAX_NEIGHBOUR_US = 1_500_000
"""Two sweeps farther apart in time say nothing of the velocity at one of them."""

LEAST_TOLD_MPS, RADIAL_SHARE, MOSTLY = 0.5, 0.1, 0.9
"""A file's velocities are along the line of sight if, of those above the first, the third's share is across by less than the
second's share."""


class RadarFile(NamedTuple):
    """What a unit takes from one radar file.

    Attributes:
        returns: columns x, y, z, rcs, vx_comp, vy_comp of the returns that pass the filters.
        num_read: returns in the file.
        num_filtered: returns that the filters drop.
        num_unplaced: returns that pass and have no finite coordinates.
        num_at_origin: returns at 0, 0, 0, where no radar measures: bytes that were lost.
        lacking: of the states, "velocity" and "rcs", what the file does not give.
        is_computed: velocities over ground come from relative ones and the poses.
    """

    returns: dict[str, NDArray[Any]]
    num_read: int
    num_filtered: int
    num_unplaced: int
    num_at_origin: int
    lacking: tuple[str, ...]
    is_computed: bool


class Params(StageParams):
    """Which radars, which sweeps, which returns."""

    added_later: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {"past_sweeps": 0, "future_sweeps": 0, "neighbors": "sweeps", "target_motion": "ignore"}
    )

    channels: tuple[str, ...] = Field(default=("RADAR_FRONT",), description="radar channels, as the source names them")
    invalid_states: tuple[int, ...] = Field(
        default=(0,), description="cluster validity states to keep; files without the field of a state are not filtered by it"
    )
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
    def _distinct(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if doubled := [name for name in value if value.count(name) > 1]:
            raise ValueError(f"names '{doubled[0]}' twice; its returns would count twice")
        return value

    @property
    def spans_time(self) -> bool:
        """Say whether the time of a return matters: sweeps around the key frame, or returns moved to the image's time."""
        return self.past_sweeps > 0 or self.future_sweeps > 0 or self.target_motion == "doppler"


def sensor_names(channels: Sequence[str]) -> tuple[str, ...]:
    """Return the names of ``radar_points.sensor`` by number: the five of nuScenes, then the others in the recipe's order."""
    return (*RADAR_CHANNELS, *(name for name in channels if name not in RADAR_CHANNELS))


def keep_valid(points: dict[str, NDArray[Any]], p: Params) -> dict[str, NDArray[Any]]:
    """Return the radar returns that pass the state filters, in file order; a state that the file lacks filters nothing."""
    states = {"invalid_state": p.invalid_states, "dyn_prop": p.dynamic_properties, "ambig_state": p.ambiguity_states}
    keep = np.ones(len(points["x"]), bool)
    for name, chosen in states.items():
        if name in points:
            keep &= np.isin(points[name], chosen)
    return {name: values[keep] for name, values in points.items()}


def own_velocities(sweeps: Sequence[dict[str, Any]]) -> NDArray[np.float64]:
    """Return the velocity of one radar over ground at each of its sweeps, (n, 3) m/s in the radar's frame.

    It is the way between the radar's places at the sweep before and the one after, over the time between them; at the ends of a
    chain one of the two is the sweep itself. NaN where no neighbour is near enough in time.

    Args:
        sweeps: rows of ``frames.sweeps`` of one channel, in time order.
    """
    poses = world_from_sensors(sweeps)
    times_us = np.array([sweep["timestamp_us"] for sweep in sweeps], np.int64)
    chain = np.array([sweep["chain"] for sweep in sweeps])
    is_near = (chain[1:] == chain[:-1]) & (np.diff(times_us) <= MAX_NEIGHBOUR_US)
    number = np.arange(len(sweeps))
    before, after = number.copy(), number.copy()
    before[1:] -= is_near
    after[:-1] += is_near
    seconds = (times_us[after] - times_us[before]) * 1e-6
    with np.errstate(divide="ignore", invalid="ignore"):
        in_world = (poses[after, :3, 3] - poses[before, :3, 3]) / seconds[:, None]
    return np.asarray(np.einsum("nji,nj->ni", poses[:, :3, :3], np.where(seconds[:, None] > 0, in_world, np.nan)))


def over_ground(
    xyz_m: NDArray[np.float64], relative_mps: NDArray[np.float64], own_mps: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return velocities over ground (n, 3) from those relative to the radar; all in the radar's frame, m/s.

    A Doppler radar measures along the line of sight only, so only the part of its own velocity along it is added. Where the
    file's velocities are not along the line of sight, they are whole vectors, and the whole own velocity is added.

    Args:
        xyz_m: (n, 3) places of the returns.
        relative_mps: (n, 3).
        own_mps: (3,) velocity of the radar over ground.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        sight = xyz_m / np.linalg.norm(xyz_m, axis=1, keepdims=True)
    along = (relative_mps * sight).sum(axis=1, keepdims=True)
    speed = np.linalg.norm(relative_mps, axis=1)
    across = np.linalg.norm(relative_mps - along * sight, axis=1)
    is_told = speed > LEAST_TOLD_MPS
    is_radial = across[is_told] <= RADIAL_SHARE * speed[is_told]
    if is_told.any() and is_radial.mean() < MOSTLY:
        return np.asarray(relative_mps + own_mps)
    return np.asarray(relative_mps + (sight @ own_mps)[:, None] * sight)


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
    the point is first moved in the radar frame by its speed over ground times the time lag; one of unknown speed is not moved.

    Args:
        points: columns x, y, z, rcs, vx_comp, vy_comp.
        sweep: row of ``frames.sweeps`` of the file.
        keyframe: row of ``frames.keyframes`` of the image.
        p: border, least depth, and whether returns are moved.

    Returns:
        The columns u_px, v_px, depth_m, rcs_dbsm, vx_comp_mps, vy_comp_mps, time_lag_s of the returns inside the image.
    """
    in_radar = np.stack([points["x"], points["y"], points["z"]], axis=-1).astype(np.float64)
    lag_s = time_lag_s(sweep, keyframe)
    if p.target_motion == "doppler":
        velocity = np.stack([points["vx_comp"], points["vy_comp"]], axis=-1).astype(np.float64)
        in_radar[:, :2] += lag_s * np.where(np.isfinite(velocity), velocity, 0.0)
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
        SourceError: the scene has no files of a channel, or a file is missing or damaged, or lacks the velocities that
            ``target_motion: doppler`` needs.
    """
    names = sensor_names(p.channels)
    used: dict[str, RadarFile] = {}
    sweeps_of = {channel: radar_sweeps(unit.sweeps, channel=channel, scene=unit.scene) for channel in p.channels}
    parts: list[dict[str, NDArray[Any]]] = []
    num_points = np.zeros(len(unit.keyframes), np.int32)
    for frame, keyframe in enumerate(unit.keyframes):
        for channel, sweeps in sweeps_of.items():
            for sweep in sweeps_around(sweeps, keyframe["sample_index"], p):
                file = used[sweep["file"]] = _read(unit, sweep, sweeps, p)
                part = project_returns(file.returns, sweep, keyframe, p)
                count = len(part["u_px"])
                part["sensor"] = np.full(count, names.index(channel), np.uint8)
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
    counts = {"frames": len(num_points), "points_per_frame": mean}
    if num_at_origin := sum(file.num_at_origin for file in used.values()):
        counts["returns_at_origin"] = num_at_origin
    if not num_points.any():
        read, filtered = (sum(getattr(file, name) for file in used.values()) for name in ("num_read", "num_filtered"))
        counts |= {"returns": 0, "returns_read": read, "returns_filtered": filtered}
    return StageResult(
        data,
        counts,
        "; ".join([f"{len(num_points)} frames, {mean:.0f} returns a frame", *_remarks(tuple(used.values()), counts)]),
        {} if names == RADAR_CHANNELS else {"radar_sensors": ", ".join(f"{k} {name}" for k, name in enumerate(names))},
    )


def _remarks(files: Sequence[RadarFile], counts: Mapping[str, float]) -> list[str]:
    """Say, once for a unit, what its radar files lack and what was left out because of it."""
    remarks = []
    if counts.get("returns_read"):
        remarks.append(f"{counts['returns_filtered']:,} of {counts['returns_read']:,} returns dropped by their states")
    if lacking := sorted({name for file in files for name in file.lacking if name in STATES}):
        remarks.append(f"no filter by {', '.join(lacking)}, which files lack")
    if any(file.is_computed for file in files):
        remarks.append("velocities over ground computed from the poses")
    if unplaced := sum(file.num_unplaced for file in files):
        remarks.append(f"{unplaced:,} returns without coordinates (NaN) left out")
    if unknown := sorted({name for file in files for name in file.lacking if name not in STATES}):
        remarks.append(f"unknown for some or all returns: {', '.join(unknown)}")
    return remarks


def radar_sweeps(sweeps: Sequence[dict[str, Any]], *, channel: str, scene: str) -> list[dict[str, Any]]:
    """Return the rows of ``frames.sweeps`` of one radar, in time order.

    Raises:
        SourceError: the scene has none; a map with fewer radars than asked for would look like one with all of them.
    """
    of_channel = [sweep for sweep in sweeps if sweep["channel"] == channel]
    if not of_channel:
        radars = sorted({sweep["channel"] for sweep in sweeps if not sweep["channel"].upper().startswith("LIDAR")})
        raise SourceError(
            f"scene {scene} has no files of radar channel '{channel}'; radars there: {', '.join(radars) or 'none'}. "
            "Take it out of stages.project_radar.channels, or add its files to the source (a simulated world: source.radars)"
        )
    return of_channel


def _read(unit: StageInput, sweep: dict[str, Any], sweeps: Sequence[dict[str, Any]], p: Params) -> RadarFile:
    """Return what a unit takes from a radar file, read once for all cameras of a scene."""
    file = sweep["file"]
    unit.used_files.add(file)

    def make() -> RadarFile:
        points = unit.raw.read_radar(file)
        kept = keep_valid(points, p)
        own = (
            unit.remember(("own_velocities", sweep["channel"]), lambda: own_velocities(sweeps)) if _lacks_velocity(kept) else None
        )
        return _taken(points, kept, None if own is None else own[next(k for k, other in enumerate(sweeps) if other is sweep)])

    states = (p.invalid_states, p.dynamic_properties, p.ambiguity_states)
    taken = unit.remember(("radar", file, sweep["timestamp_us"], states), make)
    if p.target_motion == "doppler" and "velocity" in taken.lacking:
        raise SourceError(
            f"radar file '{file}' has no velocities (vx_comp and vy_comp, or vrel_x and vrel_y with a neighbouring sweep), which "
            "stages.project_radar.target_motion: doppler needs. Set it to ignore in the recipe"
        )
    return taken


def _lacks_velocity(points: Mapping[str, NDArray[Any]]) -> bool:
    return not ("vx_comp" in points and "vy_comp" in points)


def _taken(points: dict[str, NDArray[Any]], kept: dict[str, NDArray[Any]], own_mps: NDArray[np.float64] | None) -> RadarFile:
    """Return the returns of a file with all columns that the store has; what the file does not say is NaN.

    Args:
        points: all returns of the file.
        kept: those that pass the filters.
        own_mps: (3,) velocity of the radar over ground; None where the file has compensated velocities.
    """
    lacking = [name for name in STATES if name not in points]
    count = len(kept["x"])
    returns = {name: kept[name] for name in ("x", "y", "z")}
    unknown = np.full(count, np.nan, np.float32)
    returns["rcs"] = kept.get("rcs", unknown)
    is_computed = False
    if own_mps is None:
        returns |= {name: kept[name] for name in ("vx_comp", "vy_comp")}
    else:
        relative = next((names for names in RELATIVE if names[0] in kept and names[1] in kept), None)
        is_computed = relative is not None and bool(np.isfinite(own_mps).all())
        velocity = np.full((count, 3), np.nan)
        if relative is not None and is_computed:
            parts = [kept.get(name, np.zeros(count)) for name in relative]
            xyz = np.stack([kept[name] for name in "xyz"], axis=-1).astype(np.float64)
            velocity = over_ground(xyz, np.stack(parts, axis=-1).astype(np.float64), own_mps)
        returns |= {"vx_comp": velocity[:, 0], "vy_comp": velocity[:, 1]}
        lacking += [] if is_computed else ["velocity"]
    lacking += [] if "rcs" in kept else ["rcs"]
    is_unplaced = ~(np.isfinite(kept["x"]) & np.isfinite(kept["y"]) & np.isfinite(kept["z"]))
    num_at_origin = int(((points["x"] == 0) & (points["y"] == 0) & (points["z"] == 0)).sum())
    num_filtered = len(points["x"]) - count
    num_unplaced = int(is_unplaced.sum())
    return RadarFile(returns, len(points["x"]), num_filtered, num_unplaced, num_at_origin, tuple(lacking), is_computed)


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
