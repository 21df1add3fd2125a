"""What a training or evaluation run of a detector reads: part of its configuration, never where or how fast."""

from __future__ import annotations

from pydantic import Field

from model.data.detection_augment import DetectionAugmentConfig
from model.data.reading_config import ReadingConfig


class DetectionDataConfig(ReadingConfig):
    """Which frames, which of their data, and in what order; images of any size, looked at through one affine view each."""

    mono: bool = Field(default=False, description="deliver a teacher's depth (depth_mono), for distillation")
    batch_size: int = Field(default=16, ge=1, description="frames a batch and rank")
    augment: DetectionAugmentConfig = Field(default=DetectionAugmentConfig(), description="random views (shuffled order only)")
