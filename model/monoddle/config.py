"""One training of MonoDDLE: the ``train:`` group of a recipe with ``family: monoddle``, stored with every checkpoint.

Source  docs/method/monoddle.md#random-views, #detector-loss, #distillation, #training
"""

from __future__ import annotations

import math
from types import MappingProxyType
from typing import Literal, Self

from pydantic import Field, model_validator

from model.blocks.dense_teacher_loss import DistillForm
from model.data.reading_config import ReadingConfig
from model.monoddle.augment import DetectionAugmentConfig
from model.monoddle.network_config import MonoDdleConfig
from model.monoddle.targets import REGION, TargetRules
from model.train.config import CommonConfig, EvaluationSplits
from storage_schemas.catalog import OBJECT_TYPES
from storage_schemas.frozen_config import FrozenConfig

PUBLISHED_MOMENTUM = 0.9


class DetectionDataConfig(ReadingConfig):
    """Which frames, which of their data, and in what order; images of any size, looked at through one affine view each."""

    mono: bool = Field(default=False, description="deliver a teacher's depth (depth_mono), for distillation")
    batch_size: int = Field(default=16, ge=1, description="frames a batch and rank")
    augment: DetectionAugmentConfig = Field(default=DetectionAugmentConfig(), description="random views (shuffled order only)")


class DistillConfig(FrozenConfig):
    """The dense term that ties the depth head to a teacher's map at every pixel of the grid."""

    added_later = MappingProxyType({"far_m": 80.0})

    form: DistillForm = Field(
        "none",
        description=(
            "none: no distillation; l1, silog: plain; laplace: exp(-s) |error| + s with the uncertainty head's s; gauss: the "
            "released code's ½ exp(-s) error² + ½ s"
        ),
    )
    weight: float = Field(0.5, ge=0, description="lambda of the term")
    foreground: float = Field(5.0, ge=1, description="weight of a pixel at an object's centre, against 1 of the background")
    warm_up_epochs: float = Field(0.0, ge=0, description="the weight grows from 0 over so many epochs; published: 0")
    max_residual_m: float | None = Field(
        None, gt=0, description="gauss: error from which it grows straight, m; null = never, as published"
    )
    far_m: float = Field(
        80.0,
        gt=0,
        description="the teacher's depth from here on is sky or clipped and teaches nothing, m; stages.align_mono_depth.far_m",
    )

    @property
    def is_on(self) -> bool:
        """Say whether there is such a term at all."""
        return self.form != "none"

    @property
    def needs_uncertainty(self) -> bool:
        """Say whether the term reads the uncertainty head."""
        return self.form in ("laplace", "gauss")


class DetectionEvaluationConfig(EvaluationSplits):
    """On what, and how, detections are measured."""

    added_later = MappingProxyType({"num_worst": 0, "frames": ()})

    score_threshold: float = Field(0.2, ge=0, lt=1, description="centres whose heat is lower are dropped")
    height_scale: float = Field(
        1.0,
        gt=0,
        description="the benchmark's least box heights (40, 25, 25 pixels) are multiplied by it; for images smaller than KITTI's",
    )
    category: str = Field("Car", description="class whose AP is told during training")
    metric: Literal["3d", "bev", "2d"] = Field("3d", description="metric whose AP is told during training")
    overlap: Literal["strict", "loose"] = Field("strict", description="overlap table of that metric")
    num_pictures: int = Field(4, ge=0, description="frames kept as pictures, spread evenly over the split")
    num_worst: int = Field(
        0,
        ge=0,
        description="frames kept as pictures besides: those with the most missed and false objects at moderate difficulty",
    )
    frames: tuple[str, ...] = Field(
        (), description="frames kept as pictures besides: keys, or the source's own names, of the split that is measured on"
    )


class MonoDdleTrainConfig(CommonConfig):
    """One training of MonoDDLE. Defaults are the published schedule for KITTI with 16 images a step."""

    added_later = MappingProxyType(
        {"optimizer": "adam", "momentum": PUBLISHED_MOMENTUM, "frozen_backbone": False, "frozen_statistics": True}
    )

    family: Literal["monoddle"] = Field("monoddle", description="model family")
    network: MonoDdleConfig = Field(MonoDdleConfig(), description="options of the network")
    distill: DistillConfig = Field(DistillConfig(), description="dense depth distillation from a teacher")
    targets: TargetRules = Field(TargetRules(), description="which annotated objects are learned")
    data: DetectionDataConfig = Field(DetectionDataConfig(), description="what is trained on")
    evaluation: DetectionEvaluationConfig = Field(
        DetectionEvaluationConfig(), description="what is measured on, during and after training"
    )
    epochs: int = Field(140, ge=1, description="passes over the split")
    optimizer: Literal["adam", "adamw", "sgd"] = Field(
        "adam",
        description="adam, sgd: weight_decay is added to the gradient, as published; adamw: it shrinks the weights themselves",
    )
    momentum: float = Field(PUBLISHED_MOMENTUM, ge=0, lt=1, description="of sgd")
    learning_rate: float = Field(1.25e-3, gt=0, description="of the optimizer")
    weight_decay: float = Field(1e-5, ge=0, description="of everything but biases")
    frozen_backbone: bool = Field(False, description="the backbone keeps the weights that it begins with")
    frozen_statistics: bool = Field(
        True,
        description="a frozen backbone's batch norms go by the running statistics that it begins with; false, as released: by "
        "those of each batch, and the running ones move",
    )
    warm_up_epochs: int = Field(5, ge=0, description="whole epochs of cosine warm-up")
    warm_up_from: float = Field(1e-5, gt=0, description="learning rate of the first epoch")
    decay_epochs: tuple[int, ...] = Field((90, 120), description="epochs at which the learning rate falls")
    decay: float = Field(0.1, gt=0, le=1, description="to this share of what it was")
    schedule: Literal["fixed", "compat"] = Field(
        "fixed",
        description="fixed: it falls at decay_epochs; compat: warm_up_epochs later, as the released code does (95 and 125)",
    )
    evaluate_every_epochs: float = Field(10.0, gt=0, description="how often the split is measured")
    keep: Literal["last", "best"] = Field(
        "last", description="which checkpoint is the result: the last, as published, or the one of the highest AP"
    )
    imagenet_weights: str | None = Field(
        None, description="the backbone's classification weights on this machine; null = from scratch"
    )

    def learning_rate_factor(self, epoch: float) -> float:
        """Return the published schedule, constant within an epoch: cosine warm-up, then steps.

        The warm-up goes from ``warm_up_from`` at epoch 0 to the full rate at epoch ``warm_up_epochs``.
        """
        number = int(epoch)
        if number < self.warm_up_epochs:
            start = self.warm_up_from / self.learning_rate
            share = (1.0 - math.cos(math.pi * number / self.warm_up_epochs)) / 2.0
            return start + (1.0 - start) * share
        later = self.warm_up_epochs if self.schedule == "compat" else 0
        return float(self.decay ** sum(number >= at + later for at in self.decay_epochs))

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.distill.needs_uncertainty and not self.network.uncertainty:
            raise ValueError(
                f"distill.form {self.distill.form} reads the uncertainty head; set network.uncertainty to true, or choose the "
                "form l1 or silog"
            )
        if self.optimizer != "sgd" and self.momentum != PUBLISHED_MOMENTUM:
            raise ValueError(
                f"momentum is {self.momentum:g}, which belongs to optimizer sgd, and optimizer is {self.optimizer}; leave "
                "momentum out, or set optimizer to sgd"
            )
        if not self.frozen_backbone and not self.frozen_statistics:
            raise ValueError(
                "frozen_statistics is false, which belongs to a frozen backbone, and frozen_backbone is false; leave "
                "frozen_statistics out, or set frozen_backbone to true"
            )
        if self.evaluation.category not in self.network.train_classes:
            raise ValueError(
                f"evaluation.category is '{self.evaluation.category}', which is not trained on (network.train_classes: "
                f"{', '.join(self.network.train_classes)}); choose one of these"
            )
        for name, drawn_as in self.targets.heat_of.items():
            _check_heat_of(name, drawn_as, self.network)
        if self.distill.is_on and not self.data.mono:
            raise ValueError(
                f"distill.form is {self.distill.form} and data.mono is false, so there is no teacher's map to learn from; set "
                "data.mono to true, or distill.form to none"
            )
        return self


def _check_heat_of(name: str, drawn_as: str, network: MonoDdleConfig) -> None:
    types = [one for one in OBJECT_TYPES if one != REGION]
    if name not in types:
        raise ValueError(f"targets.heat_of has '{name}', which no object is of; expected of {', '.join(types)}")
    if name in network.train_classes:
        raise ValueError(f"targets.heat_of has '{name}', which is learned itself (network.train_classes); take it out of one")
    if drawn_as not in network.classes:
        raise ValueError(
            f"targets.heat_of draws {name} as '{drawn_as}', which has no heat map (network.classes: "
            f"{', '.join(network.classes)}); choose one of these"
        )
