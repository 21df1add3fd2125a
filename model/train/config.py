"""Everything that decides what a training computes: the ``train:`` group of a recipe, stored with every checkpoint.

Device, number of processes and of loader workers are settings; on one device they change no result.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from model.data.config import DataConfig, DenseStore
from model.semodepth.config import SemoDepthConfig
from model.semodepth.loss import LossWeights
from storage_schemas.errors import RecipeError

TRAINING_VERSION = 1
"""Bumped by hand when the same configuration trains to something else; part of a training's name."""


class EvaluationConfig(BaseModel):
    """On what, and against what, a network is measured."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    split: Literal["train", "val", "test"] = Field("val", description="split that is measured on")
    target: DenseStore = Field("depth_single", description="store of the truth; the published protocol takes the single sweep")
    without_radar: bool = Field(True, description="measure a second time with the radar taken away")
    num_strips: int = Field(4, ge=0, description="frames kept as pictures: first, median, worst, a night one")


class TrainConfig(BaseModel):
    """One training. Defaults are the published ones for nuScenes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    family: Literal["semodepth"] = Field("semodepth", description="model family")
    network: SemoDepthConfig = Field(SemoDepthConfig(), description="options of the network")
    loss: LossWeights = Field(LossWeights(), description="weights of the loss")
    data: DataConfig = Field(DataConfig(), description="what is trained on")
    evaluation: EvaluationConfig = Field(EvaluationConfig(), description="what is measured on, during and after training")
    seed: int = Field(0, ge=0, description="of the initial weights")
    epochs: int = Field(50, ge=1, description="passes over the split")
    max_steps: int | None = Field(None, ge=1, description="stop after so many steps even if epochs are left")
    accumulate: int = Field(1, ge=1, description="batches whose gradients make one step")
    learning_rate: float = Field(1e-4, gt=0, description="of Adam")
    decay_every_epochs: int = Field(10, ge=1, description="the learning rate falls every so many epochs")
    decay: float = Field(0.1, ge=0, le=1, description="by this share of the initial one")
    decay_floor: float = Field(0.5, ge=0, le=1, description="down to this share")
    max_gradient_norm: float | None = Field(None, gt=0, description="longer gradients are shortened to it; null = never")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="auto: bfloat16 autocast on a GPU, else float32"
    )
    imagenet_weights: str | None = Field(None, description="torchvision's resnet34-*.pth on this machine; null = from scratch")
    start_from: str | None = Field(
        None, description="checkpoint of depthmill whose weights are the start (fine-tuning); null = from scratch"
    )
    evaluate_every_epochs: float = Field(
        1.0, gt=0, description="how often the split is measured; the lowest MAE@80 m is kept as best"
    )

    def learning_rate_factor(self, epoch: float) -> float:
        """Return the published schedule max(1 - decay floor(epoch / n), floor)."""
        return max(1.0 - self.decay * int(epoch / self.decay_every_epochs), self.decay_floor)

    def fingerprint(self, manifest: str) -> str:
        """Name a training by what decides its result: this configuration and the manifest's fingerprint.

        A start counts by its bytes, wherever the file lies; OSError if it cannot be read.
        """
        config = self.model_dump(mode="json")
        start = config.pop("start_from")  # without one the name stays what it was before this key existed
        if start is not None:
            with open(start, "rb") as stream:
                config["start_digest"] = hashlib.file_digest(stream, "sha256").hexdigest()
        named = {"version": TRAINING_VERSION, "manifest": manifest, "config": config}
        return hashlib.sha256(json.dumps(named, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Machine:
    """Where and how fast; changes no result on one device.

    Attributes:
        accelerator: auto, cpu or cuda.
        num_devices: processes that train together, each on a device of its own.
        num_workers: processes that read for each of them.
        image_root: root of the data source, for stores that refer to image files.
    """

    accelerator: str = "auto"
    num_devices: int = 1
    num_workers: int = 0
    image_root: str | None = None


def parse_train_config(data: dict[str, Any], *, where: str) -> TrainConfig:
    """Check the ``train:`` group of a recipe; RecipeError lists every mistake, one a line."""
    try:
        config = TrainConfig.model_validate(data)
    except ValidationError as error:
        raise RecipeError("\n".join(f"recipe '{where}': {_explain(dict(one))}" for one in error.errors())) from error
    if config.data.mono and not config.network.plug_in:
        raise RecipeError(
            f"recipe '{where}': train.data.mono is true, and the network has no branch for monocular depth. Set "
            "train.network.plug_in to true, or train.data.mono to false"
        )
    if config.imagenet_weights is not None and not Path(config.imagenet_weights).is_file():
        raise RecipeError(
            f"recipe '{where}': train.imagenet_weights is '{config.imagenet_weights}', and there is no such file. "
            f"Give the path of "
            "torchvision's resnet34-*.pth, or leave the key out to train from scratch"
        )
    if config.start_from is not None and not Path(config.start_from).is_file():
        raise RecipeError(
            f"recipe '{where}': train.start_from is '{config.start_from}', and there is no such file. Give the path of a "
            "checkpoint, e.g. <runs>/trainings/<name>/best.pt, or leave the key out to train from scratch"
        )
    if config.start_from is not None and config.imagenet_weights is not None:
        raise RecipeError(
            f"recipe '{where}': train.start_from and train.imagenet_weights both say where the weights begin. "
            "Leave one of the two out"
        )
    if config.imagenet_weights is not None and config.network.base_channels != 64:
        raise RecipeError(
            f"recipe '{where}': train.imagenet_weights fit base_channels 64, train.network.base_channels is "
            f"{config.network.base_channels}. Leave one of the two out"
        )
    return config


def _explain(error: dict[str, Any]) -> str:
    location = [str(part) for part in error["loc"]]
    key = ".".join(["train", *location])
    if error["type"] == "extra_forbidden":
        model: Any = TrainConfig
        for part in location[:-1]:
            model = model.model_fields[part].annotation
        known = list(model.model_fields)
        near = difflib.get_close_matches(location[-1], known, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"expected one of: {', '.join(known)}"
        return f"unknown key '{key}'; {hint}"
    return f"{key} is {error.get('input')!r}: {error['msg'].removeprefix('Value error, ')}"
