"""Everything that decides what MonoDDLE computes; stored with every checkpoint.

Source  specs/monoddle.md sections 1.5, 2 and 10.3
"""

from __future__ import annotations

import math
import re
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from model.blocks.dense_teacher_loss import DistillForm
from model.data.reading_config import ReadingConfig
from model.monoddle.augment import DetectionAugmentConfig
from model.monoddle.targets import TargetRules
from model.train.config import CommonConfig

STRIDE = 4
"""Input pixels per cell of the head maps, along each axis."""

COARSEST_STRIDE = 32
"""Input pixels per cell of a backbone's last level; an input must be whole cells of it."""

NUM_HEADING_BINS = 12
"""Sectors of the observation angle; each has a score and a residual."""

MEAN_SIZE_HWL_M = {
    "Pedestrian": (1.7626, 0.6607, 0.8442),
    "Car": (1.5256, 1.6286, 3.5259),
    "Cyclist": (1.7370, 0.5971, 1.7628),
}
"""Mean height, width and length of KITTI's training objects, metres; specification section 1.5."""

DLA34_WIDTHS = (16, 32, 64, 128, 256, 512)
OWN_BACKBONES = ("dla34", "resnet50", "convnext_tiny")
TIMM_PREFIX = "timm:"


class MonoDdleConfig(BaseModel):
    """Options of the network. The defaults are for new training; ``reference`` gives those of the public code."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    classes: tuple[str, ...] = Field(
        ("Pedestrian", "Car", "Cyclist"), min_length=1, description="types with a heat map, in its order; the public code's order"
    )
    train_classes: tuple[str, ...] = Field(
        ("Car",), min_length=1, description="of these, the ones that are trained on; the others are background, as published"
    )
    backbone: str = Field(
        "dla34", description="dla34, resnet50, convnext_tiny, or timm:<name> of a network of the package timm, if it is installed"
    )
    dla_widths: tuple[int, int, int, int, int, int] = Field(
        DLA34_WIDTHS,
        description="channels of dla34's six levels, at strides 1 to 32; 8 8 16 16 24 32 fits a laptop",
    )
    head_width: int = Field(256, ge=1, description="hidden channels of each head")
    input_px: tuple[int, int] = Field((384, 1280), description="height and width that the image is brought to, pixels")
    max_objects: int = Field(50, ge=1, description="most objects of an image, in training and in the result")
    uncertainty: bool = Field(
        False, description="has the head that says, per pixel, how far the teacher is to be believed; costs nothing at inference"
    )
    compat: bool = Field(
        False, description="computes, as the public dla34 does, two projections that nothing reads; they get no gradient"
    )
    prior_depth_m: float | None = Field(
        20.0, gt=0, description="depth the untrained network says everywhere, metres; null is the public start, which means 1 m"
    )
    mean_shape: bool = Field(False, description="the size head says the difference to its class's mean size, not the size itself")

    @staticmethod
    def reference(*, uncertainty: bool = False) -> MonoDdleConfig:
        """Return the options with which the network is the public code's, for 3 classes and DLA-34."""
        return MonoDdleConfig(uncertainty=uncertainty, compat=True, prior_depth_m=None)

    @property
    def num_classes(self) -> int:
        """Return the number of heat maps."""
        return len(self.classes)

    @property
    def stride(self) -> int:
        """Return the input pixels per cell of the head maps."""
        return STRIDE

    @property
    def grid_px(self) -> tuple[int, int]:
        """Return height and width of the head maps, cells."""
        return self.input_px[0] // STRIDE, self.input_px[1] // STRIDE

    @property
    def mean_sizes_hwl_m(self) -> tuple[tuple[float, float, float], ...]:
        """Return what is added to the size head's output, per class in the order of ``classes``: zeros without ``mean_shape``."""
        if not self.mean_shape:
            return tuple((0.0, 0.0, 0.0) for _ in self.classes)
        return tuple(MEAN_SIZE_HWL_M[name] for name in self.classes)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        self._check_classes()
        self._check_backbone()
        self._check_sizes()
        return self

    def _check_classes(self) -> None:
        for key, names in (("classes", self.classes), ("train_classes", self.train_classes)):
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(f"{key} names {', '.join(twice)} more than once; name each class once")
        unknown = [name for name in self.train_classes if name not in self.classes]
        if unknown:
            raise ValueError(
                f"train_classes has '{unknown[0]}', which is not one of classes ({', '.join(self.classes)}); "
                "correct it, or add it to classes"
            )
        without_mean = [name for name in self.classes if name not in MEAN_SIZE_HWL_M]
        if self.mean_shape and without_mean:
            raise ValueError(
                f"mean_shape is true, but no mean size of '{without_mean[0]}' is known, only of {', '.join(MEAN_SIZE_HWL_M)}; "
                "set mean_shape to false"
            )

    def _check_backbone(self) -> None:
        if self.backbone not in OWN_BACKBONES and not re.fullmatch(rf"{TIMM_PREFIX}[\w.\-]+", self.backbone):
            raise ValueError(f"backbone is '{self.backbone}', expected {', '.join(OWN_BACKBONES)} or {TIMM_PREFIX}<name>")
        if min(self.dla_widths) < 1:
            raise ValueError(f"dla_widths is {self.dla_widths}, expected six positive numbers of channels")
        if self.backbone != "dla34":
            for key, is_set in (("dla_widths", self.dla_widths != DLA34_WIDTHS), ("compat", self.compat)):
                if is_set:
                    raise ValueError(f"{key} belongs to backbone dla34, but backbone is {self.backbone}; leave {key} out")

    def _check_sizes(self) -> None:
        if any(side < COARSEST_STRIDE or side % COARSEST_STRIDE for side in self.input_px):
            raise ValueError(
                f"input_px is {self.input_px[0]} x {self.input_px[1]} (height x width), expected multiples of {COARSEST_STRIDE}"
            )
        height, width = self.grid_px
        if self.max_objects > height * width:
            raise ValueError(
                f"max_objects is {self.max_objects}, more than the {height} x {width} cells of the head maps; lower it, "
                "or raise input_px"
            )


class DetectionDataConfig(ReadingConfig):
    """Which frames, which of their data, and in what order; images of any size, looked at through one affine view each."""

    mono: bool = Field(default=False, description="deliver a teacher's depth (depth_mono), for distillation")
    batch_size: int = Field(default=16, ge=1, description="frames a batch and rank")
    augment: DetectionAugmentConfig = Field(default=DetectionAugmentConfig(), description="random views (shuffled order only)")


class DistillConfig(BaseModel):
    """The dense term that ties the depth head to a teacher's map at every pixel of the grid."""

    model_config = ConfigDict(frozen=True, extra="forbid")

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

    @property
    def is_on(self) -> bool:
        """Say whether there is such a term at all."""
        return self.form != "none"

    @property
    def needs_uncertainty(self) -> bool:
        """Say whether the term reads the uncertainty head."""
        return self.form in ("laplace", "gauss")


class DetectionEvaluationConfig(BaseModel):
    """On what, and how, detections are measured."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    split: Literal["train", "val", "test"] = Field("val", description="split that is measured on")
    score_threshold: float = Field(0.2, ge=0, lt=1, description="centres whose heat is lower are dropped")
    height_scale: float = Field(
        1.0,
        gt=0,
        description="the benchmark's least box heights (40, 25, 25 pixels) are multiplied by it; for images smaller than KITTI's",
    )
    category: str = Field("Car", description="class whose AP is told during training")
    metric: Literal["3d", "bev", "2d"] = Field("3d", description="metric whose AP is told during training")
    overlap: Literal["strict", "loose"] = Field("strict", description="overlap table of that metric")
    num_pictures: int = Field(4, ge=0, description="frames kept as pictures")


class MonoDdleTrainConfig(CommonConfig):
    """One training of MonoDDLE. Defaults are the published schedule for KITTI with 16 images a step."""

    family: Literal["monoddle"] = Field("monoddle", description="model family")
    network: MonoDdleConfig = Field(MonoDdleConfig(), description="options of the network")
    distill: DistillConfig = Field(DistillConfig(), description="dense depth distillation from a teacher")
    targets: TargetRules = Field(TargetRules(), description="which annotated objects are learned")
    data: DetectionDataConfig = Field(DetectionDataConfig(), description="what is trained on")
    evaluation: DetectionEvaluationConfig = Field(
        DetectionEvaluationConfig(), description="what is measured on, during and after training"
    )
    epochs: int = Field(140, ge=1, description="passes over the split")
    learning_rate: float = Field(1.25e-3, gt=0, description="of Adam")
    weight_decay: float = Field(1e-5, ge=0, description="L2 added to the gradient of everything but biases")
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
        if self.evaluation.category not in self.network.train_classes:
            raise ValueError(
                f"evaluation.category is '{self.evaluation.category}', which is not trained on (network.train_classes: "
                f"{', '.join(self.network.train_classes)}); choose one of these"
            )
        if self.distill.is_on and not self.data.mono:
            raise ValueError(
                f"distill.form is {self.distill.form} and data.mono is false, so there is no teacher's map to learn from; set "
                "data.mono to true, or distill.form to none"
            )
        return self
