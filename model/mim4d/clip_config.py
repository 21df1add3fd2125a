"""What a training or evaluation run of MIM4D reads: part of its configuration, never where or how fast."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class ClipDataConfig(BaseModel):
    """Which windows, which cameras of them, and in what order; the size of the images and of the clips is the network's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    split: Literal["train", "val", "test"] = Field(default="train", description="official split")
    cameras: tuple[str, ...] = Field(
        default=(), description="camera channels, in the order of the batch; empty = all that the windows have"
    )
    incomplete: Literal["error", "leave_out"] = Field(
        default="error", description="what to do with frames that lack one of the stores asked for"
    )
    held_out_share: float = Field(
        default=0.1,
        ge=0.0,
        lt=1.0,
        description="share of the LiDAR points that no ray is trained on, kept to measure rendered depth with",
    )
    batch_size: int = Field(default=1, ge=1, description="windows a batch and rank")
    order: Literal["shuffled", "manifest"] = Field(
        default="shuffled",
        description=(
            "shuffled: for training, another order every epoch, every rank the same number of full batches; "
            "manifest: for evaluation, every window exactly once, the last batches may be short"
        ),
    )
    seed: int = Field(default=0, ge=0, description="of the order")
    piece_frames: int = Field(
        default=1,
        ge=1,
        description="consecutive windows that stay together when shuffled, read as one piece; 1 = shuffle windows",
    )
