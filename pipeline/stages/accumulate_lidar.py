"""Accumulate many LiDAR sweeps around each key frame into its image.

Why    One sweep measures 1 % of the pixels of a 900x1600 image, 160 sweeps measure a third: a dense training target.
Reads  frames (poses, boxes), LiDAR files
Writes depth_accumulated.depth_m (frame, y, x) metres, 0 = no measurement; the nearest return per pixel, or the front surface
Source docs/method/pipeline.md#projection, #sweep-window (as the public SemoDepth accumulation), with moving objects dropped or
       carried on top
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator

from pipeline.capability import LIDAR
from pipeline.free_space_choice import FreeSpace
from pipeline.lidar_choice import LidarChoice, lidar_channels
from pipeline.lidar_windows import LidarSweeps, chosen_sweeps
from pipeline.pose_choice import Poses
from pipeline.stage import StageInput, StageParams, StageResult, StageSpec, depth_result
from pipeline.wanted_files import Wanted
from storage_schemas.catalog import DEPTH_ACCUMULATED, FRAMES
from storage_schemas.errors import SourceError

if TYPE_CHECKING:
    from pipeline.kernels.boxes import SceneBoxes
    from pipeline.kernels.project_frames import ProjectedFrames
    from pipeline.kernels.refined_poses import RefinedSweeps
    from pipeline.kernels.scene_points import ScenePoints


class Params(StageParams):
    """How many sweeps, and what becomes of moving objects."""

    added_later: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {
            "neighbors": "sweeps",
            "movable": (),
            "own_car_m": 0.0,
            "free_space": None,
            "behind_moving": "keep",
            "surface": "nearest",
            "least_front_share": 0.0,
            "poses": None,
            "confidence": False,
        }
    )

    num_sweeps: int = Field(
        default=160, ge=1, le=10_000, description="sweeps in a window: (n-1)//2 before the key sweep, the rest after"
    )
    moving: Literal["keep", "drop", "carry"] = Field(
        default="drop",
        description=(
            "points inside annotated moving boxes: keep them where they were seen, drop them, or carry them along with their box"
        ),
    )
    moving_mps: float = Field(
        default=0.5, ge=0.0, description="m/s: a box moves if its horizontal speed exceeds this or is unknown"
    )
    lidar: LidarChoice = Field(
        default="LIDAR_TOP", description="LiDAR channel, or a list of several: each with its own key sweep and window"
    )
    neighbors: Literal["sweeps", "keyframes"] = Field(
        default="sweeps",
        description="what a window counts: sweeps: every sweep (20 Hz); keyframes: those of key frames (2 Hz), where sweeps/ is "
        "not unpacked",
    )
    movable: tuple[str, ...] = Field(
        default=(),
        description="categories of annotated objects that can move, by name or its beginning, besides those that depthmill knows",
    )
    own_car_m: float = Field(
        default=0.0,
        ge=0.0,
        lt=100.0,
        description="metres: returns nearer to the scanner than this are the own car's and dropped; 0 keeps all, as published",
    )
    free_space: FreeSpace | None = Field(
        default=None, description="drop returns that other sweeps of the LiDAR see through; null keeps them, as published"
    )
    surface: Literal["nearest", "front"] = Field(
        default="nearest",
        description="depth of a pixel with several returns: the nearest one, or the mean inverse depth of the front layer",
    )
    least_front_share: float = Field(
        default=0.0,
        ge=0.0,
        le=1.0,
        description="with surface: front, a pixel whose front layer holds less than this share of its returns stays empty",
    )
    confidence: bool = Field(
        default=False,
        description="with surface: front, also write how many returns a pixel has, how they lie, and how far its depth can be "
        "trusted",
    )
    behind_moving: Literal["keep", "drop"] = Field(
        default="keep",
        description="drop: returns are left out that lie behind the place where the pixel's ray enters a moving box at the "
        "image's time. Those that moving: carry puts there stay",
    )
    poses: Poses | None = Field(
        default=None,
        description="smooth the recorded trajectory where that makes the map of the scene sharper; null takes it as given",
    )
    precision: Literal["float32", "reference"] = Field(
        default="float32",
        description=(
            "float32 in each sensor's own frame (near the exact result, fast), or the public script's rounding bit for bit (slow)"
        ),
    )

    @field_validator("own_car_m", mode="before")
    @classmethod
    def _yes_is_no_distance(cls, value: Any) -> Any:
        if value is True:  # would be taken for 1 m, which leaves a quarter of these returns
            raise ValueError("expected metres, e.g. 2.5")
        return value

    @model_validator(mode="after")
    def _additions_fit(self) -> Params:
        if self.behind_moving == "drop" and self.moving == "keep":
            raise ValueError(
                "behind_moving: drop leaves out what moving boxes hide, and moving: keep keeps the returns on them, which lie "
                "behind the entry too. Set moving to drop or carry, or behind_moving to keep"
            )
        if self.least_front_share > 0 and self.surface == "nearest":
            raise ValueError(
                f"least_front_share: {self.least_front_share} counts returns of the front layer, and surface: nearest has none. "
                "Set surface: front, or least_front_share: 0"
            )
        if self.confidence and self.surface == "nearest":
            raise ValueError(
                "confidence: true tells of the returns of the front layer, and surface: nearest has none. Set surface: front, or "
                "confidence: false"
            )
        added = {
            "own_car_m": self.own_car_m > 0,
            "free_space": self.free_space is not None,
            "surface": self.surface == "front",
            "behind_moving": self.behind_moving == "drop",
            "poses": self.poses is not None,
        }
        if self.precision == "reference" and any(added.values()):
            names = " and no ".join(name for name, is_set in added.items() if is_set)
            raise ValueError(
                f"precision: reference repeats the public script, which has no {names}. Set precision: float32, or "
                "preset: published and leave them out"
            )
        return self


def scene_points(
    unit: StageInput, p: Params, sweeps: Sequence[dict[str, Any]], *, read_before: dict[str, NDArray[np.float32]] | None = None
) -> ScenePoints:
    """Return the scene's points in memory, read once for all cameras of the scene; see ``read_scene_points``."""
    from pipeline.kernels.scene_points import read_scene_points

    def make() -> ScenePoints:
        boxes = _moving_boxes(unit, p) if p.moving != "keep" else None
        of_returns: dict[str, Any] = {"own_car_m": p.own_car_m, "free_space": p.free_space}
        return read_scene_points(unit.raw, sweeps, boxes, moving=p.moving, read_before=read_before, **of_returns)

    filters = (p.moving, p.moving_mps, p.movable, p.own_car_m, p.free_space, p.poses)
    points = unit.remember(("scene_points", p.lidar, p.neighbors, *filters), make)
    unit.used_files.update(points.files)
    return points


def _moving_boxes(unit: StageInput, p: Params) -> SceneBoxes:
    from pipeline.kernels.boxes import SceneBoxes

    return SceneBoxes(unit.units["frames"].tables["boxes"], moving_mps=p.moving_mps, movable=p.movable)


def _refined(unit: StageInput, p: Params, sweeps: Sequence[dict[str, Any]]) -> RefinedSweeps | None:
    """Return the sweeps on smoothed poses, made once for all cameras of the scene; None where poses are taken as given."""
    from pipeline.kernels.refined_poses import refine_sweeps

    if p.poses is None:
        return None
    choice = p.poses
    refined = unit.remember(("poses", p.lidar, p.neighbors, choice), lambda: refine_sweeps(unit.raw, sweeps, choice))
    unit.used_files.update(refined.files)
    return refined


def _placed_keyframes(unit: StageInput, p: Params, lidars: LidarSweeps, refined: RefinedSweeps | None) -> list[dict[str, Any]]:
    """Return the key frames on the trajectory that the sweeps are on."""
    from pipeline.kernels.refined_poses import refine_keyframes

    if p.poses is None or refined is None or not refined.is_applied:
        return unit.keyframes
    return refine_keyframes(unit.keyframes, lidars.sweeps, p.poses)


def accumulate(unit: StageInput, p: Params, lidars: LidarSweeps, windows: list[list[range]]) -> ProjectedFrames:
    """Project every key frame's window."""
    from pipeline.kernels.project_frames import project_frames
    from pipeline.kernels.project_surfaces import SurfaceRule, project_surfaces

    if p.precision == "reference":
        return _accumulate_like_public_script(unit, p, lidars.sweeps, windows)
    height, width = unit.image_size()
    refined = _refined(unit, p, lidars.sweeps)
    keyframes = _placed_keyframes(unit, p, lidars, refined)
    if refined is None:
        points = scene_points(unit, p, lidars.sweeps)
    else:
        points = scene_points(unit, p, refined.sweeps, read_before=refined.points)
    rule = SurfaceRule(p.surface == "front", p.behind_moving == "drop", p.least_front_share, p.confidence)
    if rule.is_nearest_alone:
        return project_frames(points, keyframes, windows, height=height, width=width)
    return project_surfaces(points, keyframes, windows, rule, height=height, width=width)


def _accumulate_like_public_script(
    unit: StageInput, p: Params, sweeps: list[dict[str, Any]], windows: list[list[range]]
) -> ProjectedFrames:
    from pipeline.kernels.accumulate_twin import depth_of_sweeps
    from pipeline.kernels.project_frames import ProjectedFrames
    from pipeline.kernels.scene_points import refuse_cut_sweeps

    if p.moving == "carry":
        raise SourceError(
            "stages.accumulate_lidar: precision 'reference' repeats the public script, which cannot carry moving objects. "
            "Use moving: keep or drop, or precision: float32"
        )
    points = [_static_points(unit, p, sweep) for sweep in sweeps]
    unit.used_files.update(sweep["file"] for sweep in sweeps)
    numbers = [[number for one in window for number in one] for window in windows]
    refuse_cut_sweeps(unit.raw, sweeps)
    maps = [
        depth_of_sweeps([(sweeps[k], points[k]) for k in of_frame], keyframe, precision="reference")
        for keyframe, of_frame in zip(unit.keyframes, numbers, strict=True)
    ]
    return ProjectedFrames(
        np.stack(maps),
        np.array([np.count_nonzero(m) for m in maps], np.int32),
        np.array([sum(len(points[k]) for k in of_frame) for of_frame in numbers], np.int64),
    )


def _static_points(unit: StageInput, p: Params, sweep: dict[str, Any]) -> Any:
    from pipeline.geometry import inverse, transform_points
    from pipeline.poses import world_from_sensor

    points = unit.raw.read_points(sweep["file"])
    if p.moving == "keep":
        return points
    boxes = unit.remember(("boxes", p.moving_mps, p.movable), lambda: _moving_boxes(unit, p))
    is_static = np.ones(len(points), bool)
    for box in boxes.moving_at_sweep(sweep):
        local = transform_points(inverse(box.world_from_box) @ world_from_sensor(sweep), points[:, :3].astype(np.float64))
        is_static &= (np.abs(local) > box.half_size_m).any(axis=1)
    return points[is_static]


def kernel(unit: StageInput, p: Params) -> StageResult:
    """Accumulate all key frames of one scene and camera."""
    lidars = chosen_sweeps(unit.sweeps, p.lidar, scene=unit.scene, only_keyframes=not _reads_between(p))
    windows = lidars.windows(unit.keyframes, p.num_sweeps, scene=unit.scene)
    projected = accumulate(unit, p, lidars, windows)
    refined = _refined(unit, p, lidars.sweeps)
    num_sweeps = np.array([sum(map(len, window)) for window in windows], np.int32)
    missing, remark = lidars.remarks(windows)
    dropped, dropped_words = _dropped_returns(unit, p, lidars.sweeps)
    return depth_result(
        projected.steps,
        projected.num_measured,
        unit.timestamps_us(),
        arrays={"num_sweeps": num_sweeps, "num_points": projected.num_points, **projected.of_pixels},
        counts={
            "points_per_frame": float(projected.num_points.mean()),
            **dropped,
            **missing,
            **({} if refined is None else refined.counts()),
        },
        pixels_are=f"measured{dropped_words}{remark}{'' if refined is None else refined.words()}",
    )


def _dropped_returns(unit: StageInput, p: Params, sweeps: Sequence[dict[str, Any]]) -> tuple[dict[str, float], str]:
    """Return which share of the scene's returns each filter dropped, and words for it; nothing of filters that are off."""
    if p.own_car_m == 0 and p.free_space is None:
        return {}, ""
    found = scene_points(unit, p, sweeps).counts
    dropped = {"own_car": found.own_car, "in_moving_boxes": found.in_boxes, "free_space": found.free_space}
    words = {"own_car": "of the own car", "in_moving_boxes": "in moving boxes", "free_space": "seen through by other sweeps"}
    is_on = {"own_car": p.own_car_m > 0, "in_moving_boxes": p.moving == "drop", "free_space": p.free_space is not None}
    shares = {name: count / max(1, found.read) for name, count in dropped.items() if is_on[name]}
    text = ", ".join(f"{100 * share:.2f} % {words[name]}" for name, share in shares.items())
    return {f"share_{name}": share for name, share in shares.items()}, f"; returns dropped: {text}"


def _files_of(p: Params, _: Sequence[str]) -> dict[str, Wanted]:
    return dict.fromkeys(lidar_channels(p.lidar), "all" if _reads_between(p) else "keyframes")


def _reads_between(p: Params) -> bool:
    """Say whether sweeps between key frames are read: in windows, to vote, or for the trajectory."""
    return p.neighbors == "sweeps" and (p.num_sweeps > 1 or p.free_space is not None or p.poses is not None)


CARRY_VERSION = 2
"""Raised by hand where ``moving: carry`` alone changes its results, so that the units of other recipes stay as they are."""


def _counted(p: Params, _: Mapping[str, str]) -> dict[str, Any]:
    return p.model_dump(mode="json") | ({"carry_version": CARRY_VERSION} if p.moving == "carry" else {})


STAGE = StageSpec(
    "accumulate_lidar",
    version=1,
    reads=(FRAMES,),
    writes=DEPTH_ACCUMULATED,
    params=Params,
    kernel=kernel,
    counted=_counted,
    needs=LIDAR,
    channels_of=lambda p: lidar_channels(p.lidar),
    files_of=_files_of,
    never_zero=(("share_measured", "no pixel is measured"),),
)
