"""What a training or evaluation run of MIM4D reads: part of its configuration, never where or how fast."""

from __future__ import annotations

from pydantic import Field

from model.data.reading_config import ReadingConfig


class ClipDataConfig(ReadingConfig):
    """Which windows, which cameras of them, and in what order; the size of the images and of the clips is the network's."""

    cameras: tuple[str, ...] = Field(
        default=(), description="camera channels, in the order of the batch; empty = all that the windows have"
    )
    held_out_share: float = Field(
        default=0.1,
        ge=0.0,
        lt=1.0,
        description="share of the LiDAR points that no ray is trained on, kept to measure rendered depth with",
    )
