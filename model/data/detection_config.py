"""What a training or evaluation run of a detector reads: part of its configuration, never where or how fast."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from model.data.detection_augment import DetectionAugmentConfig


class DetectionDataConfig(BaseModel):
    """Which frames, which of their data, and in what order; images of any size, looked at through one affine view each."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    split: Literal["train", "val", "test"] = Field(default="train", description="official split")
    cameras: tuple[str, ...] = Field(default=(), description="camera channels; empty = all of the manifest")
    mono: bool = Field(default=False, description="deliver a teacher's depth (depth_mono), for distillation")
    incomplete: Literal["error", "leave_out"] = Field(
        default="error", description="what to do with frames that lack one of the stores asked for"
    )
    batch_size: int = Field(default=16, ge=1, description="frames a batch and rank")
    order: Literal["shuffled", "manifest"] = Field(
        default="shuffled",
        description=(
            "shuffled: for training, another order every epoch, every rank the same number of full batches; "
            "manifest: for evaluation, every frame exactly once, the last batches may be short"
        ),
    )
    seed: int = Field(default=0, ge=0, description="of order and augmentation")
    piece_frames: int = Field(
        default=1, ge=1, description="consecutive frames that stay together when shuffled, read as one piece; 1 = shuffle frames"
    )
    augment: DetectionAugmentConfig = Field(default=DetectionAugmentConfig(), description="random views (shuffled order only)")
