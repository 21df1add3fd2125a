"""What every family's ``train.data`` has: which samples of the manifest are read, and in what order."""

from __future__ import annotations

from types import MappingProxyType
from typing import Literal

from pydantic import Field

from storage_schemas.frozen_config import FrozenConfig


class ReadingConfig(FrozenConfig):
    """Which samples, and in what order: part of a training's configuration, never where or how fast.

    A sample is what a batch is counted in: a frame, or a window of a clip loader.
    """

    added_later = MappingProxyType({"share": 1.0})

    split: Literal["train", "val", "test"] = Field(default="train", description="split of the manifest")
    cameras: tuple[str, ...] = Field(default=(), description="camera channels; empty = all of the manifest")
    incomplete: Literal["error", "leave_out"] = Field(
        default="error", description="what to do with frames that lack one of the stores asked for"
    )
    share: float = Field(
        default=1.0,
        gt=0.0,
        le=1.0,
        description=(
            "share of the samples that is trained on, at least one (shuffled order only). It is chosen by the seed and the "
            "samples' keys, so a smaller share lies within a larger one"
        ),
    )
    batch_size: int = Field(default=1, ge=1, description="samples a batch and rank")
    order: Literal["shuffled", "manifest"] = Field(
        default="shuffled",
        description=(
            "shuffled: for training, another order every epoch, every rank the same number of full batches. "
            "manifest: for evaluation, every sample exactly once, the last batches may be short"
        ),
    )
    seed: int = Field(default=0, ge=0, description="of the order, of the share and of augmentation")
    piece_frames: int = Field(
        default=1,
        ge=1,
        description="consecutive samples that stay together when shuffled, read as one piece; 1 = shuffle samples",
    )
