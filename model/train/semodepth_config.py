"""One training of SemoDepth: the ``train:`` group of a recipe, stored with every checkpoint."""

from __future__ import annotations

import json
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from model.data.config import DataConfig, DenseStore
from model.semodepth.config import SemoDepthConfig
from model.semodepth.distill import DistillConfig
from model.semodepth.loss import LossWeights
from model.train.config import CommonConfig


class EvaluationConfig(BaseModel):
    """On what, and against what, a network is measured."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    split: Literal["train", "val", "test"] = Field("val", description="split that is measured on")
    target: DenseStore = Field("depth_single", description="store of the truth; the published protocol takes the single sweep")
    without_radar: bool = Field(True, description="measure a second time with the radar taken away")
    num_strips: int = Field(4, ge=0, description="frames kept as pictures: first, median, worst, a night one")


class SemoDepthTrainConfig(CommonConfig):
    """One training of SemoDepth. Defaults are the published ones for nuScenes; the lowest MAE@80 m is kept as best."""

    family: Literal["semodepth"] = Field("semodepth", description="model family")
    network: SemoDepthConfig = Field(SemoDepthConfig(), description="options of the network")
    loss: LossWeights = Field(LossWeights(), description="weights of the loss")
    data: DataConfig = Field(DataConfig(), description="what is trained on")
    evaluation: EvaluationConfig = Field(EvaluationConfig(), description="what is measured on, during and after training")
    decay_every_epochs: int = Field(10, ge=1, description="the learning rate falls every so many epochs")
    decay: float = Field(0.1, ge=0, le=1, description="by this share of the initial one")
    decay_floor: float = Field(0.5, ge=0, le=1, description="down to this share")
    only_plug_in: bool = Field(
        False,
        description="train nothing but the branch for monocular depth, which is put on the network without it in start_from; "
        "where monocular depth is absent, that network gives what it gave before",
    )
    imagenet_weights: str | None = Field(None, description="torchvision's resnet34-*.pth on this machine; null = from scratch")

    def learning_rate_factor(self, epoch: float) -> float:
        """Return the published schedule max(1 - decay floor(epoch / n), floor)."""
        return max(1.0 - self.decay * int(epoch / self.decay_every_epochs), self.decay_floor)

    @property
    def gives_mono(self) -> bool:
        """Say whether the network is given monocular depth, in training and evaluation; data.mono alone may be distillation's."""
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
    def _branch_alone_fits(self) -> Self:
        if not self.only_plug_in:
            return self
        wanted = {
            "network.plug_in": (self.network.plug_in, True),
            "network.absent_mono": (self.network.absent_mono, "skip"),
            "data.mono": (self.data.mono, True),
            "data.augment.mono_dropout": (self.data.augment.mono_dropout, 0.0),
        }
        wrong = [f"{key} to {json.dumps(value)}" for key, (found, value) in wanted.items() if found != value]
        if self.start_from is None:
            wrong.append("start_from to the checkpoint of a network without the branch")
        if wrong:
            raise ValueError(f"only_plug_in trains the branch alone, on a network that is there already: set {', '.join(wrong)}")
        return self

    @model_serializer(mode="wrap")
    def _leave_out_what_is_off(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Write keys that came later only where they say something: trainings keep the name that they had before."""
        found: dict[str, Any] = handler(self)
        if self.loss.distill == DistillConfig():
            found.get("loss", {}).pop("distill", None)
        if not self.network.uncertainty:
            found.get("network", {}).pop("uncertainty", None)
        if self.network.absent_mono == "zeros":
            found.get("network", {}).pop("absent_mono", None)
        if not self.only_plug_in:
            found.pop("only_plug_in", None)
        return found
