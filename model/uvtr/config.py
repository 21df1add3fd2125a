"""One training of the detector: the ``train:`` group of a recipe with ``family: uvtr``, stored with every checkpoint.

Source  docs/method/uvtr.md#loss, #augmentation, #optimisation, #transfer
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from model.data.reading_config import ReadingConfig
from model.train.config import CommonConfig, EvaluationSplits
from model.train.warm_cosine import warm_cosine
from model.uvtr.bev_augment import BevAugmentConfig
from model.uvtr.network_config import UvtrConfig
from storage_schemas.frozen_config import FrozenConfig

Part = Literal["backbone", "fpn", "depth_head"]


class UvtrLossConfig(FrozenConfig):
    """What is compared with the annotated objects, and how much each part weighs."""

    heat_weight: float = Field(1.0, gt=0, description="of head centres: weight of the heat map")
    class_weight: float = Field(2.0, gt=0, description="of head queries: weight of the classes, in the loss and in the matching")
    box_weight: float = Field(0.25, gt=0, description="weight of a box's ten numbers, in the loss and in the matching")
    velocity_weight: float = Field(
        0.2, ge=0, description="weight of the two numbers of the velocity beside the other eight; published: 1 (0.1 m), 0.2"
    )
    unknown_velocity: Literal["mask", "zero"] = Field(
        "mask", description="mask: an unknown velocity teaches nothing; zero: as released, it is learned as standing still"
    )
    segmentation_weight: float = Field(1.0, gt=0, description="weight of the vehicles on the ground, if they are asked for")
    depth_weight: float = Field(
        0.0,
        ge=0,
        description="weight of the depth of image cells that a LiDAR sweep measured (depth_single). 0: boxes alone teach depth, "
        "as in the public 0.1 m configuration. Cells beyond lift.far_m teach nothing",
    )


class KeyFrameDataConfig(ReadingConfig):
    """Which key frames, which cameras of them, which of their objects, and in what order."""

    cameras: tuple[str, ...] = Field(
        default=(), description="camera channels, in the order of the batch; empty = all that the windows have"
    )
    augment: BevAugmentConfig = Field(
        default=BevAugmentConfig(), description="random moves of the world around the rig (shuffled order only)"
    )
    without_returns: Literal["leave_out", "keep"] = Field(
        default="leave_out", description="annotated objects that neither LiDAR nor radar has met; nuScenes leaves them out"
    )


class NuScenesEvaluationConfig(EvaluationSplits):
    """On what, and how, detections are measured."""

    official: bool = Field(
        True,
        description="true: the figures at the end are those of nuscenes-devkit (extra devkit), false: of our own computation by "
        "its rules, as during training",
    )
    num_pictures: int = Field(4, ge=0, description="key frames kept as pictures, spread evenly over the split")


class UvtrTrainConfig(CommonConfig):
    """One training of the detector. Defaults are the published schedule of the 0.1 m configuration."""

    family: Literal["uvtr"] = Field("uvtr", description="model family")
    network: UvtrConfig = Field(UvtrConfig(), description="options of the network")
    loss: UvtrLossConfig = Field(UvtrLossConfig(), description="comparison with the annotated objects")
    data: KeyFrameDataConfig = Field(KeyFrameDataConfig(), description="what is trained on")
    evaluation: NuScenesEvaluationConfig = Field(
        NuScenesEvaluationConfig(), description="what is measured on, during and after training"
    )
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
    evaluate_every_epochs: float = Field(4.0, gt=0, description="how often the split is measured")
    keep: Literal["last", "best"] = Field(
        "last", description="which checkpoint is the result: the last, as published, or the one of the highest AP"
    )
    take: tuple[Part, ...] = Field(
        ("backbone", "fpn", "depth_head"),
        min_length=1,
        description="parts that backbone_from fills: each whole, or it is an error",
    )
    freeze: tuple[Part, ...] = Field(
        (), description="parts that are not trained; with all three, what is learned on top is a probe of what they know"
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
    def _names_each_part_once(self) -> Self:
        for key, parts in (("take", self.take), ("freeze", self.freeze)):
            if len(set(parts)) < len(parts):
                raise ValueError(f"{key} names a part twice ({', '.join(parts)}); name each once")
        return self
