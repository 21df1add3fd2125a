"""What a training or evaluation run reads: part of its configuration, never where or how fast."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from model.data.reading_config import ReadingConfig

DenseStore = Literal["depth_clean", "depth_accumulated", "depth_single", "depth_interpolated", "depth_truth"]
"""Stores that can be the dense target."""


class AugmentConfig(BaseModel):
    """Random views of a frame; the default changes nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    flip_probability: float = Field(default=0.0, ge=0.0, le=1.0, description="share of samples mirrored left to right")
    scale_probability: float = Field(default=0.0, ge=0.0, le=1.0, description="share of samples scaled")
    scale_min: float = Field(default=0.8, gt=0.0, description="least a: the image is scaled by 1/a, every depth by a")
    scale_max: float = Field(default=1.25, gt=0.0, description="largest a; beyond 1 the image shrinks and gets a black border")
    crop_px: tuple[int, int] | None = Field(default=None, description="rows and columns of a random crop; None = the whole frame")
    mono_dropout: float = Field(
        default=0.5,
        ge=0.0,
        le=1.0,
        description="share of samples whose monocular depth the plug-in branch gets zeros for (shuffled order only)",
    )

    @property
    def changes_view(self) -> bool:
        """Say whether a frame can look other than it is stored."""
        return self.flip_probability > 0 or self.scale_probability > 0 or self.crop_px is not None

    @model_validator(mode="after")
    def _bounds(self) -> Self:
        if self.scale_min > self.scale_max:
            raise ValueError(f"scale_min {self.scale_min} is larger than scale_max {self.scale_max}; swap them")
        if self.crop_px is not None and min(self.crop_px) < 1:
            raise ValueError(f"crop_px must be two positive numbers of pixels, got {self.crop_px}")
        return self


class DataConfig(ReadingConfig):
    """Which frames, which of their data, and in what order.

    A modality that is not asked for is absent from the batch (None), never a map of zeros.
    """

    unnamed_defaults: ClassVar[dict[str, Any]] = {**ReadingConfig.unnamed_defaults, "rows": None}

    rows: tuple[int, int] | None = Field(
        default=None,
        description=(
            "band of rows that is read of every frame, in training, evaluation and prediction: the first and the one after the "
            "last, e.g. [240, 540]; null = all"
        ),
    )
    dense_target: DenseStore | None = Field(default="depth_clean", description="store of the dense target; null = none")
    sparse_target: bool = Field(default=True, description="deliver depth_single as points")
    radar: bool = Field(default=True, description="deliver radar returns as points")
    mono: bool = Field(default=False, description="deliver monocular depth (depth_mono), for the plug-in branch or distillation")
    incomplete: Literal["error", "leave_out"] = Field(
        default="error",
        description="what to do with frames that lack a store asked for, or anything in the map that distillation learns from",
    )
    batch_size: int = Field(default=12, ge=1, description="frames a batch and rank")
    piece_frames: int = Field(
        default=4, ge=1, description="consecutive frames that stay together when shuffled, read as one piece; 1 = shuffle frames"
    )
    augment: AugmentConfig = Field(default=AugmentConfig(), description="random views (shuffled order only)")

    @field_validator("rows")
    @classmethod
    def _band(cls, value: tuple[int, int] | None) -> tuple[int, int] | None:
        if value is not None and not 0 <= value[0] < value[1]:
            raise ValueError("expected [first, stop] with 0 <= first < stop, e.g. [240, 540]")
        return value
