"""How the frozen features of a pre-trained network are probed."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class ProbeConfig(BaseModel):
    """Two linear probes, of depth and of occupancy, after the training; its weights do not depend on them.

    They are made unless they are switched off: the backbone is what pre-training is for, whether it knows more than one with
    random weights is not seen in what is rendered, and they cost a few forward passes of one frame a clip.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int = Field(300, ge=0, description="optimiser steps of each probe; 0 = no probes")
    learning_rate: float = Field(0.1, gt=0, description="of AdamW at the first step; it falls to 0 as a cosine")
    clips: int | None = Field(
        256,
        ge=1,
        description="clips of the training split that probes learn from, spread evenly by a hash of their keys; null = all",
    )
