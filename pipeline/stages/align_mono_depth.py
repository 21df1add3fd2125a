"""Turn a depth model's maps into metres: by radar, by LiDAR, by annotated boxes, or as they are.

Why    Radar knows the distance of a few dozen pixels, the model the shape of all of them
Reads  depth_mono_raw: value and what it means, is_sky; radar_points: u_px, v_px, depth_m; depth_single.depth_m; or boxes
Writes depth_mono.depth_m (frame, y, x) metres at the image's size, 0 = none; a frame without a fit is 0 everywhere
Source docs/method/mono-depth.md#alignment, #scale. A return at (u, v) is at row round(v), column round(u); the reference
       swaps the two here
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from pipeline.mono_depth.inverse_depth_fit import Fit, fit_inverse_depth
from pipeline.mono_depth.metres import LEAST_POINTS, MetresCheck, check_metres
from pipeline.mono_depth.model import MonoDepthError
from pipeline.mono_depth.scale_of_frame import box_ratios, frame_factors, lidar_ratios
from pipeline.poses import intrinsic_of
from pipeline.resample import resize_bilinear, resize_nearest
from pipeline.stage import StageInput, StageParams, StageResult, StageSpec, share_text
from storage_schemas.catalog import BOXES, DEPTH_MONO, DEPTH_MONO_RAW, DEPTH_SINGLE, FRAMES, RADAR_POINTS, VALUE_KINDS
from storage_schemas.encoding import MAX_DEPTH_M, decode_depth, encode_depth
from storage_schemas.layout import StoreLayout, UnitData

RATIO_METHODS = ("lidar", "boxes")
"""Ways that find one factor a frame, and no shift; but of inverse relative depth LiDAR finds both."""


SENSORS = {"depth_single": "LiDAR", "radar_points": "radar"}


class Params(StageParams):
    """How maps become metres."""

    method: Literal["radar", "lidar", "boxes", "as_is"] = Field(
        default="radar",
        description=(
            "radar: fit scale and shift to radar returns; lidar, boxes: one factor a frame, the median over the pixels of one "
            "sweep, or over annotated boxes; of inverse relative depth lidar fits scale and shift to these pixels; as_is: keep "
            "the metres of a metric teacher"
        ),
    )
    fit: Literal["least_squares", "robust"] = Field(
        default="least_squares",
        description="least_squares: the published way; robust: median slope, then Tukey's biweight: wrong returns count nothing",
    )
    min_radar_m: float = Field(default=2.0, gt=0.0, description="returns, pixels and boxes nearer than this are not fitted to, m")
    max_radar_m: float = Field(
        default=80.0, gt=0.0, description="returns, pixels and boxes farther than this are not fitted to, m"
    )
    min_points: int = Field(default=2, ge=2, description="radar pixels that a fit needs")
    near_m: float = Field(default=2.0, gt=0.0, description="aligned depth is clipped to this from below, m")
    far_m: float = Field(default=80.0, gt=0.0, le=MAX_DEPTH_M, description="aligned depth is clipped to this from above, m")
    sky: Literal["far", "none"] = Field(
        default="far",
        description=(
            "what a pixel gets that the teacher calls sky. far: far_m, so that cleaning sees what hangs in front of the sky; "
            "teachers that do not tell sky give about that, too. none: no depth"
        ),
    )

    @model_validator(mode="after")
    def _bounds(self) -> Params:
        for low, high in (("min_radar_m", "max_radar_m"), ("near_m", "far_m")):
            if getattr(self, low) >= getattr(self, high):
                raise ValueError(f"{low} {getattr(self, low)} must be smaller than {high} {getattr(self, high)}")
        return self


@dataclass(frozen=True)
class Aligned:
    """One aligned frame.

    Attributes:
        depth_m: (height, width) float32 metres, 0 = none.
        fit: scale and shift; None = no fit, or none was asked for.
        num_anchors: radar or LiDAR pixels, or boxes, that could be fitted to.
    """

    depth_m: NDArray[np.float32]
    fit: Fit | None
    num_anchors: int


def inverse_of(value: NDArray[np.float32], kind: str) -> NDArray[np.float32]:
    """Return inverse depth up to scale and shift, of any kind of value (grid_y, grid_x); 0 where nothing is predicted."""
    if kind == "inverse_relative":
        return value
    with np.errstate(divide="ignore"):
        return np.where(value > 0, np.float32(1.0) / value, np.float32(0.0)).astype(np.float32)


def radar_pixels(
    u_px: NDArray[np.float64], v_px: NDArray[np.float64], depth_m: NDArray[np.float64], *, shape: tuple[int, int], p: Params
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
    """Return row, column and depth of the radar pixels of one frame that are fitted to; the nearest return of a pixel counts.

    Args:
        u_px: (n,) column coordinates.
        v_px: (n,) row coordinates.
        depth_m: (n,) metres.
        shape: (height, width) of the image.
        p: bounds of the depth.
    """
    row = np.clip(np.rint(v_px).astype(np.intp), 0, shape[0] - 1)
    column = np.clip(np.rint(u_px).astype(np.intp), 0, shape[1] - 1)
    nearest_first = np.argsort(depth_m, kind="stable")
    _, first = np.unique((row * shape[1] + column)[nearest_first], return_index=True)
    kept = nearest_first[first]
    kept = kept[(depth_m[kept] >= p.min_radar_m) & (depth_m[kept] <= p.max_radar_m)]
    return row[kept], column[kept], depth_m[kept]


def align_frame(
    value: NDArray[np.float32],
    kind: str,
    is_sky: NDArray[np.bool_] | None,
    returns: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]],
    *,
    shape: tuple[int, int],
    p: Params,
    factor: tuple[float, int] = (0.0, 0),
) -> Aligned:
    """Align one frame.

    Args:
        value: (grid_y, grid_x) the model's map.
        kind: what it means.
        is_sky: (grid_y, grid_x) sky, None = not predicted.
        returns: u_px, v_px, depth_m of the frame's radar returns, or of what its sweep measured, each (n,).
        shape: (height, width) of the image.
        p: the rules.
        factor: measured over predicted depth, for the methods lidar and boxes, and on how many measurements of the frame it
            rests; 0 = not known.
    """
    raw = resize_bilinear(inverse_of(value, kind), shape)  # planes are linear in inverse depth, so interpolation keeps them flat
    has_sky = np.zeros(shape, bool) if is_sky is None else resize_nearest(is_sky, shape)
    has_none = np.zeros(shape, bool) if kind == "inverse_relative" else resize_nearest(value <= 0, shape) & ~has_sky
    row, column, depth_m = radar_pixels(*returns, shape=shape, p=p)
    seen = ~(has_sky | has_none)[row, column]
    row, column, depth_m = row[seen], column[seen], depth_m[seen]
    fit: Fit | None = None
    if p.method == "as_is":
        per_m = raw
    elif is_scaled(kind, p):
        if factor[0] <= 0:
            return Aligned(np.zeros(shape, np.float32), None, factor[1])
        fit, per_m = Fit(1.0 / factor[0], 0.0), raw / np.float32(factor[0])
    else:
        if len(row) >= (LEAST_POINTS if p.method == "lidar" else p.min_points):
            fit = fit_inverse_depth(raw[row, column].astype(np.float64), depth_m, robust=p.fit == "robust")
        if fit is None:
            return Aligned(np.zeros(shape, np.float32), None, len(row))
        per_m = np.float32(fit.scale) * raw + np.float32(fit.shift)
    depth = (1.0 / np.clip(per_m, 1.0 / p.far_m, 1.0 / p.near_m)).astype(np.float32)
    depth[has_none] = 0.0
    depth[has_sky] = p.far_m if p.sky == "far" else 0.0
    return Aligned(depth, fit, factor[1] if is_scaled(kind, p) else len(row))


def is_scaled(kind: str, p: Params) -> bool:
    """Say whether a map of this kind gets one factor and no shift."""
    return p.method in RATIO_METHODS and kind != "inverse_relative"


def kernel(unit: StageInput, p: Params) -> StageResult:
    """Align all key frames of one scene and camera.

    Raises:
        MonoDepthError: the metres of a model that is not metric are asked for.
    """
    raw = unit.units["depth_mono_raw"].arrays
    shape = unit.image_size()
    kinds = [VALUE_KINDS[number] for number in raw["value_kind"]]
    _refuse_kinds(unit, kinds, p)
    scale = _scale_of(unit, raw, shape, p)
    aligned, taken_per_m = [], []
    for frame, kind in enumerate(kinds):
        returns = _returns(unit, frame, p)
        is_sky = raw["is_sky"][frame] > 0 if "is_sky" in raw else None
        value = raw["value"][frame].astype(np.float32)
        factor = float(scale.factor[frame]), scale.num_ratios[frame]
        aligned.append(align_frame(value, kind, is_sky, returns, shape=shape, p=p, factor=factor))
        if p.method == "as_is":
            taken_per_m.append(_seen_per_m(value, is_sky, shape))
    metres = check_metres(unit, taken_per_m, near_m=p.near_m, far_m=p.far_m) if p.method == "as_is" else None
    return _result(aligned, unit, p, metres, scale if any(is_scaled(kind, p) for kind in kinds) else None)


def _returns(unit: StageInput, frame: int, p: Params) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return u_px, v_px, depth_m of a frame's radar returns, or of the pixels that its sweep measured."""
    if p.method == "lidar" and "depth_single" in unit.units:
        steps = unit.units["depth_single"].arrays["depth_m"][frame]
        row, column = np.nonzero(steps)
        return column.astype(np.float64), row.astype(np.float64), decode_depth(steps[row, column]).astype(np.float64)
    if "radar_points" not in unit.units:
        return np.zeros(0), np.zeros(0), np.zeros(0)
    radar = unit.units["radar_points"].arrays
    here = np.flatnonzero(radar["frame_of_point"] == frame)
    return radar["u_px"][here], radar["v_px"][here], radar["depth_m"][here]


class _Scale(NamedTuple):
    """Factors of the frames: measured over predicted depth, whether it is the frame's own, and of how many measurements."""

    factor: NDArray[np.float64]
    is_own: NDArray[np.bool_]
    num_ratios: list[int]


def _refuse_kinds(unit: StageInput, kinds: list[str], p: Params) -> None:
    refused = {"as_is": ("relative", "inverse_relative"), "boxes": ("inverse_relative",)}
    for kind in kinds:
        if kind in refused.get(p.method, ()):
            is_as_it_is = p.method == "as_is"
            other = "metric teacher" if is_as_it_is else "teacher of depth"
            has_no = "has no metres to take as they are" if is_as_it_is else "no factor alone turns into metres"
            raise MonoDepthError(
                f"scene {unit.scene}, camera {unit.camera}: the teacher gives {kind} depth, which {has_no}. Set "
                f"stages.align_mono_depth.method to radar or lidar, or choose a {other}"
            )


def _scale_of(unit: StageInput, raw: Mapping[str, NDArray[Any]], shape: tuple[int, int], p: Params) -> _Scale:
    """Return the factor of every frame of a unit; no frame has one where there is neither LiDAR nor a box."""
    between_m, ratios = (p.min_radar_m, p.max_radar_m), list[NDArray[np.float64]]()
    if p.method not in RATIO_METHODS:
        return _Scale(np.zeros(len(raw["value"])), np.zeros(len(raw["value"]), np.bool_), [0] * len(raw["value"]))
    for frame, row in enumerate(unit.keyframes):
        if not is_scaled(VALUE_KINDS[raw["value_kind"][frame]], p):
            ratios.append(np.zeros(0))
            continue
        per_m = _seen_per_m(raw["value"][frame].astype(np.float32), raw["is_sky"][frame] > 0 if "is_sky" in raw else None, shape)
        if p.method == "lidar" and "depth_single" in unit.units:
            ratios.append(lidar_ratios(unit.units["depth_single"].arrays["depth_m"][frame], per_m, between_m=between_m))
        elif p.method == "boxes" and "boxes" in unit.units:
            tables = unit.units["boxes"].tables
            ratios.append(box_ratios(tables, frame, per_m, intrinsic_px=intrinsic_of(row), between_m=between_m))
        else:
            ratios.append(np.zeros(0))
    factor, is_own = frame_factors(ratios, least=LEAST_POINTS if p.method == "lidar" else 1)
    return _Scale(factor, is_own, [len(of_frame) for of_frame in ratios])


def _seen_per_m(value: NDArray[np.float32], is_sky: NDArray[np.bool_] | None, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Return inverse depth (height, width) of a map of metres, 0 where nothing is predicted or it is sky; not interpolated."""
    per_m = inverse_of(value, "metric")
    return resize_nearest(per_m if is_sky is None else np.where(is_sky, np.float32(0), per_m), shape)


def _result(aligned: list[Aligned], unit: StageInput, p: Params, metres: MetresCheck | None, scale: _Scale | None) -> StageResult:
    depth = np.stack([encode_depth(frame.depth_m) for frame in aligned])
    num_measured = np.count_nonzero(depth, axis=(1, 2)).astype(np.int32)
    num_skipped = sum(frame.fit is None for frame in aligned) if p.method != "as_is" else 0
    data = UnitData(
        arrays={
            "depth_m": depth,
            "num_measured": num_measured,
            "timestamp_us": unit.timestamps_us(),
            "num_anchors": np.array([frame.num_anchors for frame in aligned], np.int32),
            "fit_scale": np.array([frame.fit.scale if frame.fit else 0.0 for frame in aligned]),
            "fit_shift_per_m": np.array([frame.fit.shift if frame.fit else 0.0 for frame in aligned]),
        }
    )
    message = share_text(num_measured, depth[0].size)
    counts: dict[str, float] = {"frames": len(aligned), "frames_skipped": num_skipped}
    if metres is not None:
        message += ", metres as they are"
        if about := metres.text(p.near_m, p.far_m):
            message += f": {about}"
        counts |= {} if metres.are_metres else {"in_metres": 0}
    elif scale is not None:
        counts["frames_scaled_by_others"] = float(np.count_nonzero(~scale.is_own & (scale.factor > 0)))
        message += _scale_words(scale, p.method)
    elif (wanted := "depth_single" if p.method == "lidar" else "radar_points") not in unit.units:
        message += f", none aligned: the scene has no {SENSORS[wanted]}"
    else:
        message += f", {np.mean([frame.num_anchors for frame in aligned]):.0f} {SENSORS[wanted]} pixels a frame"
        message += f", {num_skipped} skipped without a fit" if num_skipped else ""
    return StageResult(data, counts, message)


def _scale_words(scale: _Scale, method: str) -> str:
    if not scale.is_own.any():
        return ", none scaled: " + ("no frame has enough LiDAR pixels" if method == "lidar" else "no frame has a box")
    own = scale.factor[scale.is_own]
    words = f", times {np.median(own):.3g} ({own.min():.3g} to {own.max():.3g})"
    num_others = int(np.count_nonzero(~scale.is_own))
    return words + (f", {num_others} by the other frames' median" if num_others else "")


def _reads_of(p: Params) -> tuple[StoreLayout, ...]:
    more = {"radar": (RADAR_POINTS,), "lidar": (DEPTH_SINGLE,), "boxes": (BOXES,), "as_is": ()}
    return FRAMES, DEPTH_MONO_RAW, *more[p.method]


STAGE = StageSpec(
    "align_mono_depth",
    version=1,
    reads=(FRAMES, DEPTH_MONO_RAW, RADAR_POINTS, DEPTH_SINGLE, BOXES),
    optional=(RADAR_POINTS, DEPTH_SINGLE, BOXES),
    writes=DEPTH_MONO,
    params=Params,
    kernel=kernel,
    never_zero=(("in_metres", "the teacher's maps are taken as metres, and LiDAR, boxes or clipping say that they are not"),),
    reads_of=_reads_of,
)
