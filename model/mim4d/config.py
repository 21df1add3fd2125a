"""One training of MIM4D: the ``train:`` group of a recipe with ``family: mim4d``, stored with every checkpoint.

Source  docs/method/mim4d.md#optimisation, #evaluation, #depth-probe
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from model.data.reading_config import ReadingConfig
from model.mim4d.network_config import Mim4dConfig
from model.train.config import CommonConfig, EvaluationSplits
from model.train.warm_cosine import warm_cosine
from storage_schemas.frozen_config import FrozenConfig


class ProbeConfig(FrozenConfig):
    """Two linear probes, of depth and of occupancy, after the training; its weights do not depend on them.

    They are made unless they are switched off: pre-training is for the backbone, and renderings do not show whether it knows more
    than random weights. They cost a few forward passes of one frame a clip.
    """

    steps: int = Field(300, ge=0, description="optimiser steps of each probe; 0 = no probes")
    learning_rate: float = Field(0.1, gt=0, description="of AdamW at the first step; it falls to 0 as a cosine")
    clips: int | None = Field(
        256,
        ge=1,
        description="clips of the training split that probes learn from, spread evenly by a hash of their keys; null = all",
    )


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


class RenderEvaluationConfig(EvaluationSplits):
    """On what rendered depth and colour are measured."""

    rays_per_camera: int = Field(
        256, ge=1, description="rays of one camera of one frame, at most: to LiDAR points that are held out, then to other pixels"
    )
    num_pictures: int = Field(
        2, ge=0, description="clips whose pictures are kept for the report, spread evenly over the split; 0 = none"
    )
    picture_width_px: int = Field(
        120, ge=8, description="width of a rendered picture, at most: of a wider image every second, third, ... pixel is rendered"
    )
    flight_frames: int = Field(24, ge=0, description="pictures of the fly-through of the first of these clips; 0 = none")


class Mim4dTrainConfig(CommonConfig):
    """One pre-training of MIM4D. Defaults are the published schedule, which has 8 clips a step and 3,517 steps an epoch."""

    family: Literal["mim4d"] = Field("mim4d", description="model family")
    network: Mim4dConfig = Field(Mim4dConfig(), description="options of the network and of its task")
    data: ClipDataConfig = Field(ClipDataConfig(), description="what is trained on")
    evaluation: RenderEvaluationConfig = Field(
        RenderEvaluationConfig(), description="what is measured on, during and after training"
    )
    # not written, so not part of the training's name or of its checkpoints: probes can be changed and made again without it
    probe: ProbeConfig = Field(
        ProbeConfig(), exclude=True, description="linear probes of the frozen network; changing them trains nothing again"
    )
    seed: int = Field(0, ge=0, lt=2**64, description="of the initial weights, and of what is hidden, withheld and rendered")
    epochs: int = Field(12, ge=1, description="passes over the split")
    learning_rate: float = Field(4e-4, gt=0, description="of AdamW")
    backbone_rate: float = Field(
        0.1, gt=0, description="the backbone learns at this share of the rate; 0.5 to 1 without weights to begin from"
    )
    weight_decay: float = Field(0.01, ge=0, description="of AdamW, of all parameters")
    warm_up_epochs: float = Field(500 / 3517, ge=0, description="the rate grows linearly for so long; 500 steps as published")
    warm_up_from: float = Field(1 / 3, gt=0, le=1, description="share of the rate at the first step")
    final_rate: float = Field(1e-3, gt=0, le=1, description="share of the rate that the cosine ends at")
    max_gradient_norm: float | None = Field(35.0, gt=0, description="longer gradients are shortened to it; null = never")
    keep: Literal["last", "best"] = Field(
        "last",
        description="which checkpoint is the result: the last, as published, or the one of the lowest relative error of depth",
    )
    imagenet_weights: str | None = Field(
        None, description="the backbone's classification weights on this machine; null = from scratch"
    )

    def learning_rate_factor(self, epoch: float) -> float:
        """Return a cosine over all epochs, times a linear warm-up. The published cosine falls once an epoch."""
        return warm_cosine(
            epoch,
            epochs=self.epochs,
            final_rate=self.final_rate,
            warm_up_epochs=self.warm_up_epochs,
            warm_up_from=self.warm_up_from,
        )

    @model_validator(mode="after")
    def _can_be_measured(self) -> Self:
        if self.data.held_out_share == 0:
            raise ValueError(
                "data.held_out_share is 0, so there are no LiDAR points to measure rendered depth with; set it to 0.1, say"
            )
        return self
