"""Drop accumulated LiDAR returns that hang in front of the horizon and, if asked for, those that a surface around them hides.

Why    Long windows leave ghost trails and airborne returns near the sky line, where they teach a network too small depths
Reads  depth_accumulated.depth_m (frame, y, x) metres, 0 = no measurement; depth_mono.depth_m, optional; frames (camera
       matrices) with ``occluded``
Writes depth_clean.depth_m, same grid; a pixel is kept bit for bit or set to 0
Source docs/method/pipeline.md#horizon-cleaning (arXiv 2605.11840): dropped = A and (B or C); #occluded
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from pipeline.poses import intrinsic_of
from pipeline.stage import StageInput, StageParams, StageResult, StageSpec, depth_result
from storage_schemas.catalog import DEPTH_ACCUMULATED, DEPTH_CLEAN, DEPTH_MONO, FRAMES
from storage_schemas.encoding import decode_depth
from storage_schemas.layout import StoreLayout


class Occluded(StageParams):
    """Which returns a surface around them hides: those behind the closing of inverse depth."""

    reach_m: float = Field(
        default=0.3, gt=0.0, description="m: gaps of a surface are closed up to twice this width; windows have 3, 5 or 9 pixels"
    )
    behind_m: float = Field(
        default=1.0, ge=0.0, description="m: a hidden return lies behind the closed surface by more than this"
    )
    behind_share: float = Field(default=0.1, ge=0.0, description="and by more than this share of the surface's depth")


class Params(StageParams):
    """The numbers of passes A (candidates), B (monocular depth disagrees) and C (the neighbourhood lies far behind)."""

    added_later: ClassVar[Mapping[str, Any]] = MappingProxyType({"occluded": None})

    upper_fraction: float = Field(default=0.45, ge=0.0, le=1.0, description="A: rows above this share of the image height")
    near_m: float = Field(default=20.0, gt=0.0, description="A: nearer than this, m")
    mono_disagree_m: float = Field(default=30.0, ge=0.0, description="B: monocular depth is farther by more than this, m")
    near_mono_m: float = Field(default=25.0, gt=0.0, description="B: and the return nearer than this, m")
    window_px: int = Field(default=7, ge=1, le=63, description="C: side of the window, odd")
    min_neighbors: int = Field(default=10, ge=1, description="C: valid depths needed in the window, the pixel itself included")
    mad_factor: float = Field(default=3.0, ge=0.0, description="C: median - d exceeds this many median absolute deviations")
    floor_m: float = Field(default=10.0, ge=0.0, description="C: and exceeds this, m")

    occluded: Occluded | None = Field(
        default=None, description="drop returns seen through the gaps of a nearer surface, too: {} for the numbers below"
    )

    @field_validator("window_px")
    @classmethod
    def _odd(cls, value: int) -> int:
        if value % 2 == 0:
            raise ValueError("window_px must be odd, so that the pixel is the window's centre")
        return value


@dataclass(frozen=True)
class CleanResult:
    """A cleaned map and what the passes found.

    Attributes:
        steps: (height, width) uint16, 1/256 m, 0 = no measurement.
        num_candidates: pixels that pass A.
        num_by_mono: A and B.
        num_by_window: A and C.
        num_dropped: A and (B or C).
    """

    steps: NDArray[np.uint16]
    num_candidates: int
    num_by_mono: int
    num_by_window: int
    num_dropped: int


def clean_frame(
    steps: NDArray[np.uint16], mono_m: NDArray[np.float32] | None, p: Params, *, out: NDArray[np.uint16] | None = None
) -> CleanResult:
    """Clean one depth map.

    Args:
        steps: (height, width) uint16, 1/256 m, 0 = no measurement.
        mono_m: (height, width) float32 aligned monocular depth in metres, 0 = absent; None = pass B finds nothing.
        p: the rule.
        out: memory for the result, like steps; None = new memory.
    """
    from pipeline.kernels.horizon import drop_hanging, steps_of

    out = np.empty_like(steps) if out is None else out
    num_rows = min(steps.shape[0], math.ceil(p.upper_fraction * steps.shape[0]))  # rows y < upper_fraction * height
    mono = np.zeros((0, 0), np.float32) if mono_m is None else mono_m
    counts = drop_hanging(
        steps,
        mono,
        out,
        num_rows,
        steps_of(p.near_m),
        p.mono_disagree_m,
        p.near_mono_m,
        p.window_px // 2,
        p.min_neighbors,
        p.mad_factor,
        steps_of(p.floor_m),
    )
    return CleanResult(out, *counts)


def drop_hidden(steps: NDArray[np.uint16], keyframe: dict[str, Any], p: Occluded) -> int:
    """Set the returns behind the closed surface of one depth map to 0, in place; return their number.

    Args:
        steps: (height, width) uint16, 1/256 m, 0 = no measurement.
        keyframe: row of ``frames.keyframes``, for its camera matrix.
        p: the rule.
    """
    from pipeline.kernels.occluded import drop_occluded

    intrinsic = intrinsic_of(keyframe)
    focal_px = math.sqrt(intrinsic[0, 0] * intrinsic[1, 1])
    return drop_occluded(steps, focal_px=focal_px, reach_m=p.reach_m, behind_m=p.behind_m, behind_share=p.behind_share)


def kernel(unit: StageInput, p: Params) -> StageResult:
    """Clean all key frames of one scene and camera."""
    accumulated = unit.units["depth_accumulated"].arrays
    mono = unit.units["depth_mono"].arrays["depth_m"] if "depth_mono" in unit.units else None
    cleaned = np.empty_like(accumulated["depth_m"])
    num_occluded = np.zeros(len(cleaned), np.int32)
    results = [
        clean_frame(steps, None if mono is None else decode_depth(mono[frame]), p, out=cleaned[frame])
        for frame, steps in enumerate(accumulated["depth_m"])
    ]
    num_dropped = np.array([result.num_dropped for result in results], np.int32)
    num_before = max(1, accumulated["num_measured"].sum())
    share = float(num_dropped.sum() / num_before)
    arrays, counts, behind = dict[str, NDArray[np.int32]](), dict[str, float](), ""
    if p.occluded is not None:
        for frame, keyframe in enumerate(unit.keyframes):
            num_occluded[frame] = drop_hidden(cleaned[frame], keyframe, p.occluded)
        arrays["num_occluded"] = num_occluded
        counts["share_occluded"] = float(num_occluded.sum() / num_before)
        behind = f", {100 * counts['share_occluded']:.2f} % behind a surface"
    return depth_result(
        cleaned,
        (accumulated["num_measured"] - num_dropped - num_occluded).astype(np.int32),
        accumulated["timestamp_us"],
        arrays={
            "num_dropped": num_dropped,
            "num_candidates": np.array([result.num_candidates for result in results], np.int32),
            "num_by_mono": np.array([result.num_by_mono for result in results], np.int32),
            "num_by_window": np.array([result.num_by_window for result in results], np.int32),
            **arrays,
        },
        counts={"share_dropped": share, **counts},
        pixels_are=f"measured, {100 * share:.2f} % of returns dropped{behind}",
    )


def _reads_of(p: Params) -> tuple[StoreLayout, ...]:
    return (DEPTH_ACCUMULATED, DEPTH_MONO) if p.occluded is None else (DEPTH_ACCUMULATED, DEPTH_MONO, FRAMES)


STAGE = StageSpec(
    "clean_horizon",
    version=1,
    reads=(DEPTH_ACCUMULATED, DEPTH_MONO, FRAMES),
    reads_of=_reads_of,
    optional=(DEPTH_MONO,),
    writes=DEPTH_CLEAN,
    params=Params,
    kernel=kernel,
)
