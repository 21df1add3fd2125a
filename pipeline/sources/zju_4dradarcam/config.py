"""``source:`` of a recipe for a ZJU-4DRadarCam set."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from pipeline.sources.zju_4dradarcam.lists import Split

Row = tuple[float, float, float]


class ZjuConfig(BaseModel):
    """``source:`` of a recipe for a ZJU-4DRadarCam set, on a disk or at a URL."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    kind: Literal["zju_4dradarcam"]
    root: str = Field(description="folder or URL that holds image/, radar_png/, gt/, gt_interp/, train.txt, val.txt and test.txt")
    splits: tuple[Split, ...] = Field(
        default=("train", "val", "test"), min_length=1, description="lists to read; each frame may be in one of them only"
    )
    frames_per_scene: int = Field(
        default=50, ge=1, le=1000, description="a scene is a run of at most so many consecutive names of one list"
    )
    intrinsic_px: tuple[Row, Row, Row] | None = Field(
        default=None, description="rows of the 3x3 camera matrix of the whole image; null = not known, stored as NaN"
    )

    @field_validator("splits")
    @classmethod
    def _each_once(cls, value: tuple[Split, ...]) -> tuple[Split, ...]:
        if len(set(value)) != len(value):
            raise ValueError("each list once, please")
        return value

    @field_validator("intrinsic_px")
    @classmethod
    def _pinhole(cls, value: tuple[Row, Row, Row] | None) -> tuple[Row, Row, Row] | None:
        if value is None:
            return None
        is_finite = all(math.isfinite(number) for row in value for number in row)
        if not is_finite or value[2] != (0.0, 0.0, 1.0) or value[1][0] != 0.0 or value[0][0] <= 0 or value[1][1] <= 0:
            raise ValueError("expected [[fx, skew, cx], [0, fy, cy], [0, 0, 1]] in pixels with fx and fy above 0")
        return value
