"""Turn a depth model's maps into metres, by the radar returns of the same frames.

Why    Radar knows the distance of a few dozen pixels, the model the shape of all of them
Reads  depth_mono_raw: value and what it means, is_sky; radar_points: u_px, v_px, depth_m
Writes depth_mono.depth_m (frame, y, x) metres at the image's size, 0 = none; a frame without a fit is 0 everywhere
Source docs/method/mono-depth.md#alignment. A return at (u, v) is at row round(v), column round(u); the reference
       swaps the two here
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from pipeline.mono_depth.inverse_depth_fit import Fit, fit_inverse_depth
from pipeline.mono_depth.metres import MetresCheck, check_metres
from pipeline.mono_depth.model import MonoDepthError
from pipeline.resample import resize_bilinear, resize_nearest
from pipeline.stage import StageInput, StageParams, StageResult, StageSpec, share_text
from storage_schemas.catalog import DEPTH_MONO, DEPTH_MONO_RAW, FRAMES, RADAR_POINTS, VALUE_KINDS
from storage_schemas.encoding import MAX_DEPTH_M, encode_depth
from storage_schemas.layout import UnitData


class Params(StageParams):
    """How maps become metres."""

    method: Literal["radar", "as_is"] = Field(
        default="radar", description="radar: fit scale and shift to radar returns; as_is: keep the metres of a metric teacher"
    )
    fit: Literal["least_squares", "robust"] = Field(
        default="least_squares",
        description="least_squares: the published way; robust: median slope, then Tukey's biweight: wrong returns count nothing",
    )
    min_radar_m: float = Field(default=2.0, gt=0.0, description="returns nearer than this are not fitted to, m")
    max_radar_m: float = Field(default=80.0, gt=0.0, description="returns farther than this are not fitted to, m")
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
        num_anchors: radar pixels that could be fitted to.
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
    radar: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]],
    *,
    shape: tuple[int, int],
    p: Params,
) -> Aligned:
    """Align one frame.

    Args:
        value: (grid_y, grid_x) the model's map.
        kind: what it means.
        is_sky: (grid_y, grid_x) sky, None = not predicted.
        radar: u_px, v_px, depth_m of the frame's returns, each (n,).
        shape: (height, width) of the image.
        p: the rules.
    """
    raw = resize_bilinear(inverse_of(value, kind), shape)  # planes are linear in inverse depth, so interpolation keeps them flat
    has_sky = np.zeros(shape, bool) if is_sky is None else resize_nearest(is_sky, shape)
    has_none = np.zeros(shape, bool) if kind == "inverse_relative" else resize_nearest(value <= 0, shape) & ~has_sky
    row, column, depth_m = radar_pixels(*radar, shape=shape, p=p)
    seen = ~(has_sky | has_none)[row, column]
    row, column, depth_m = row[seen], column[seen], depth_m[seen]
    if p.method == "as_is":
        fit: Fit | None = None
        per_m = raw
    else:
        fit = None
        if len(row) >= p.min_points:
            fit = fit_inverse_depth(raw[row, column].astype(np.float64), depth_m, robust=p.fit == "robust")
        if fit is None:
            return Aligned(np.zeros(shape, np.float32), None, len(row))
        per_m = np.float32(fit.scale) * raw + np.float32(fit.shift)
    depth = (1.0 / np.clip(per_m, 1.0 / p.far_m, 1.0 / p.near_m)).astype(np.float32)
    depth[has_none] = 0.0
    depth[has_sky] = p.far_m if p.sky == "far" else 0.0
    return Aligned(depth, fit, len(row))


def kernel(unit: StageInput, p: Params) -> StageResult:
    """Align all key frames of one scene and camera.

    Raises:
        MonoDepthError: the metres of a model that is not metric are asked for.
    """
    raw = unit.units["depth_mono_raw"].arrays
    radar = unit.units["radar_points"].arrays if "radar_points" in unit.units else None
    shape = unit.image_size()
    aligned, taken_per_m = [], []
    for frame, kind in enumerate(VALUE_KINDS[number] for number in raw["value_kind"]):
        if p.method == "as_is" and kind != "metric":
            raise MonoDepthError(
                f"scene {unit.scene}, camera {unit.camera}: the teacher gives {kind} depth, which has no metres to take as they "
                "are. Set stages.align_mono_depth.method to radar, or choose a metric teacher"
            )
        here = np.zeros(0, np.intp) if radar is None else np.flatnonzero(radar["frame_of_point"] == frame)
        empty = np.zeros(0)
        returns = (empty, empty, empty) if radar is None else (radar["u_px"][here], radar["v_px"][here], radar["depth_m"][here])
        is_sky = raw["is_sky"][frame] > 0 if "is_sky" in raw else None
        value = raw["value"][frame].astype(np.float32)
        aligned.append(align_frame(value, kind, is_sky, returns, shape=shape, p=p))
        if p.method == "as_is":
            taken_per_m.append(_seen_per_m(value, is_sky, shape))
    metres = check_metres(unit, taken_per_m, near_m=p.near_m, far_m=p.far_m) if p.method == "as_is" else None
    return _result(aligned, unit, p, metres, has_radar=radar is not None)


def _seen_per_m(value: NDArray[np.float32], is_sky: NDArray[np.bool_] | None, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Return inverse depth (height, width) of a map of metres, 0 where nothing is predicted or it is sky; not interpolated."""
    per_m = inverse_of(value, "metric")
    return resize_nearest(per_m if is_sky is None else np.where(is_sky, np.float32(0), per_m), shape)


def _result(aligned: list[Aligned], unit: StageInput, p: Params, metres: MetresCheck | None, *, has_radar: bool) -> StageResult:
    depth = np.stack([encode_depth(frame.depth_m) for frame in aligned])
    num_measured = np.count_nonzero(depth, axis=(1, 2)).astype(np.int32)
    num_skipped = sum(frame.fit is None for frame in aligned) if p.method == "radar" else 0
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
    elif not has_radar:
        message += ", none aligned: the scene has no radar"
    else:
        message += f", {np.mean([frame.num_anchors for frame in aligned]):.0f} radar pixels a frame"
        message += f", {num_skipped} skipped without a fit" if num_skipped else ""
    return StageResult(data, counts, message)


STAGE = StageSpec(
    "align_mono_depth",
    version=1,
    reads=(FRAMES, DEPTH_MONO_RAW, RADAR_POINTS),
    optional=(RADAR_POINTS,),
    writes=DEPTH_MONO,
    params=Params,
    kernel=kernel,
    never_zero=(("in_metres", "the teacher's maps are taken as metres, and LiDAR, boxes or clipping say that they are not"),),
    reads_of=lambda p: (FRAMES, DEPTH_MONO_RAW) if p.method == "as_is" else (FRAMES, DEPTH_MONO_RAW, RADAR_POINTS),
)
