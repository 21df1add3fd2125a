"""One training of SemoDepth: the ``train:`` group of a recipe, stored with every checkpoint."""

from __future__ import annotations

import json
from types import MappingProxyType
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from model.data.reading_config import ReadingConfig
from model.semodepth.loss import LossWeights
from model.semodepth.network_config import SemoDepthConfig
from model.train.config import CommonConfig, EvaluationSplits
from storage_schemas.frozen_config import FrozenConfig

DenseStore = Literal["depth_clean", "depth_accumulated", "depth_single", "depth_interpolated", "depth_truth"]
"""Stores that can be the dense target."""


class AugmentConfig(FrozenConfig):
    """Random views of a frame; the default changes nothing."""

    flip_probability: float = Field(default=0.0, ge=0.0, le=1.0, description="share of samples mirrored left to right")
    scale_probability: float = Field(default=0.0, ge=0.0, le=1.0, description="share of samples scaled")
    scale_min: float = Field(default=0.8, gt=0.0, description="least a: the image is scaled by 1/a, every depth by a")
    scale_max: float = Field(default=1.25, gt=0.0, description="largest a; beyond 1 the image shrinks and gets a black border")
    crop_px: tuple[int, int] | None = Field(default=None, description="rows and columns of a random crop; null = the whole frame")
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

    added_later = MappingProxyType({**ReadingConfig.added_later, "rows": None})

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


class EvaluationConfig(EvaluationSplits):
    """On what, and against what, a network is measured."""

    target: DenseStore = Field("depth_single", description="store of the truth; the published protocol takes the single sweep")
    without_radar: bool = Field(True, description="measure a second time with the radar taken away")
    num_strips: int = Field(4, ge=0, description="frames kept as pictures: first, median, worst, a night one")


class SemoDepthTrainConfig(CommonConfig):
    """One training of SemoDepth. Defaults are the published ones for nuScenes; the lowest MAE@80 m is kept as best."""

    added_later = MappingProxyType({"only_plug_in": False, "backbone_rate": 1.0})

    family: Literal["semodepth"] = Field("semodepth", description="model family")
    network: SemoDepthConfig = Field(SemoDepthConfig(), description="options of the network")
    loss: LossWeights = Field(LossWeights(), description="weights of the loss")
    data: DataConfig = Field(DataConfig(), description="what is trained on")
    evaluation: EvaluationConfig = Field(EvaluationConfig(), description="what is measured on, during and after training")
    backbone_rate: float = Field(
        1.0, gt=0, description="the image encoder learns at this share of the rate; below 1 to keep what backbone_from brings"
    )
    decay_every_epochs: int = Field(10, ge=1, description="the learning rate falls every so many epochs")
    decay: float = Field(0.1, ge=0, le=1, description="by this share of the initial one")
    decay_floor: float = Field(0.5, ge=0, le=1, description="down to this share")
    only_plug_in: bool = Field(
        False,
        description="train nothing but the branch for monocular depth, which is put on the network of start_from. Where "
        "monocular depth is absent, that network gives what it gave before",
    )
    imagenet_weights: str | None = Field(None, description="torchvision's resnet34-*.pth on this machine; null = from scratch")

    def learning_rate_factor(self, epoch: float) -> float:
        """Return the published schedule max(1 - decay floor(epoch / n), floor)."""
        return max(1.0 - self.decay * int(epoch / self.decay_every_epochs), self.decay_floor)

    @property
    def gives_mono(self) -> bool:
        """Say whether the network takes monocular depth in training and evaluation; distillation alone may read data.mono too."""
        return self.network.plug_in and self.data.mono

    @model_validator(mode="after")
    def _distillation_fits(self) -> Self:
        distill = self.loss.distill
        if distill.is_on and not self.data.mono:
            raise ValueError(
                f"loss.distill.form is {distill.form} and data.mono is false, so there is no teacher's map to learn from; set "
                "data.mono to true, or loss.distill.form to none"
            )
        if distill.reads_uncertainty and not self.network.uncertainty:
            raise ValueError(
                f"loss.distill.form {distill.form} reads the uncertainty head; set network.uncertainty to true, or choose the "
                "form l1 or silog"
            )
        if self.network.uncertainty and not distill.reads_uncertainty:
            raise ValueError(
                f"network.uncertainty is true, and loss.distill.form {distill.form} does not train that head; choose the form "
                "laplace or gauss, or set network.uncertainty to false"
            )
        return self

    @model_validator(mode="after")
    def _confidence_is_of_the_target(self) -> Self:
        if self.loss.dense_weight == "confidence" and self.data.dense_target not in ("depth_clean", "depth_accumulated"):
            raise ValueError(
                f"loss.dense_weight is confidence, which is known of the pixels of depth_accumulated; data.dense_target is "
                f"{self.data.dense_target}. Set data.dense_target to depth_clean or depth_accumulated, or loss.dense_weight to "
                "uniform"
            )
        return self

    @model_validator(mode="after")
    def _branch_alone_fits(self) -> Self:
        if not self.only_plug_in:
            return self
        wanted = {
            "network.plug_in": (self.network.plug_in, True),
            "network.absent_mono": (self.network.absent_mono, "skip"),
            "data.mono": (self.data.mono, True),
            "data.augment.mono_dropout": (self.data.augment.mono_dropout, 0.0),
        }
        wrong = [f"{key} to {json.dumps(needed)}" for key, (actual, needed) in wanted.items() if actual != needed]
        if self.start_from is None:
            wrong.append("start_from to the checkpoint of a network without the branch")
        if wrong:
            raise ValueError(f"only_plug_in trains the branch alone, on a network that is there already: set {', '.join(wrong)}")
        return self
