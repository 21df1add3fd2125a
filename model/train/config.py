"""What the training of every model family has in common, and where and how fast it runs.

Device, number of processes and of loader workers are settings. The number of processes and the kind of device change the last
bits of a result, and with them the path of a training; the number of loader workers changes nothing.
"""

from __future__ import annotations

import hashlib
import json
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from storage_schemas.frozen_config import FrozenConfig
from storage_schemas.regular_files import MAX_WEIGHTS_BYTES, open_regular

if TYPE_CHECKING:
    from model.data.reading_config import ReadingConfig

TRAINING_VERSION = 1
"""Bumped by hand when the same configuration trains to something else; part of a training's name."""

_STARTS = {"start_from": "start_digest", "backbone_from": "backbone_digest"}
"""Keys that hold a path, and what takes their place in a training's name."""

START_KEYS = (*_STARTS, "imagenet_weights")
"""Keys that hold the path of a file which a training begins with; each counts by its bytes."""


class EvaluationSplits(FrozenConfig):
    """On which splits a training is measured; a family's own group of the evaluation adds how."""

    added_later = MappingProxyType({"choose_split": None})

    split: Literal["train", "val", "test"] = Field("val", description="split that is measured on")
    choose_split: Literal["train", "val", "test"] | None = Field(
        None,
        description="split that is measured during training, by which the best checkpoint is chosen; null = split, so that "
        "checkpoint and result come from the same frames",
    )


class CommonConfig(FrozenConfig):
    """The keys of ``train:`` that every family has; a family's own configuration adds its network, loss, data and evaluation."""

    added_later: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {"cpu_threads": 1, "deterministic": False, "learning_rate_of_batch": None}
    )

    if TYPE_CHECKING:  # each family declares these keys itself, with a default and a description

        @property
        def family(self) -> str:
            """Name of the family."""

        @property
        def network(self) -> Any:
            """Options of the network."""

        @property
        def data(self) -> ReadingConfig:
            """What is trained on."""

        @property
        def imagenet_weights(self) -> str | None:
            """File of classification weights that the network begins with."""

    seed: int = Field(0, ge=0, lt=2**64, description="of the initial weights")
    epochs: int = Field(50, ge=1, description="passes over the split")
    max_steps: int | None = Field(None, ge=1, description="stop after so many steps even if epochs are left")
    accumulate: int = Field(1, ge=1, description="batches whose gradients make one step")
    learning_rate: float = Field(1e-4, gt=0, description="of Adam")
    learning_rate_of_batch: int | None = Field(
        None,
        ge=1,
        description="samples a step that learning_rate is meant for; a step of more or fewer, over all processes and batches, "
        "learns so much faster or slower; null = learning_rate as it stands",
    )
    max_gradient_norm: float | None = Field(None, gt=0, description="longer gradients are shortened to it; null = never")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="of training, auto: bfloat16 autocast on a GPU, else float32; measuring and predicting are float32"
    )
    cpu_threads: int = Field(
        1,
        ge=1,
        description="threads that compute on a CPU; the same number gives the same weights to the bit, another one does not",
    )
    deterministic: bool = Field(
        False, description="on a GPU: only operations that give the same bits again; slower, and an error where there is none"
    )
    start_from: str | None = Field(
        None, description="checkpoint of depthmill whose weights are the start (fine-tuning); null = from scratch"
    )
    backbone_from: str | None = Field(
        None,
        description="checkpoint of a pre-training (family mim4d) whose backbone the network begins with; null = another start",
    )
    evaluate_every_epochs: float = Field(1.0, gt=0, description="how often the split is measured")
    checkpoint_every_epochs: float | None = Field(
        None,
        gt=0,
        exclude=True,
        description="how often a checkpoint is kept beside last.pt and best.pt, and after the last step; null = never; this and "
        "the next two keys change no result and no name of a training",
    )
    keep_checkpoints: int = Field(
        5, ge=1, exclude=True, description="so many of these are left, the newest; older ones of this training are deleted"
    )
    evaluate_checkpoints: bool = Field(
        False, exclude=True, description="each of these is measured after the training as the result is, in a table of its own"
    )
    loggers: tuple[Literal["tensorboard", "mlflow", "wandb"], ...] = Field(
        ("tensorboard",), exclude=True, description="what draws the curves; changes no result and no name of a training"
    )

    @abstractmethod
    def learning_rate_factor(self, epoch: float) -> float:
        """Return what the learning rate is multiplied by after a number of epochs."""

    def learning_rate_share(self, num_processes: int) -> float:
        """Return what the learning rate is multiplied by for the samples of a step, the linear rule of large batches.

        Source  arXiv 1706.02677, section 2.1
        """
        if self.learning_rate_of_batch is None:
            return 1.0
        return self.data.batch_size * self.accumulate * num_processes / self.learning_rate_of_batch

    def unnamed(self) -> dict[str, Any]:
        """Return the keys that name no training and are no part of what is dumped, with their values."""
        return {name: getattr(self, name) for name, field in type(self).model_fields.items() if field.exclude}

    @model_validator(mode="after")
    def _keeps_what_it_measures(self) -> Self:
        if self.evaluate_checkpoints and self.checkpoint_every_epochs is None:
            raise ValueError(
                "evaluate_checkpoints is true and checkpoint_every_epochs is null, so no checkpoint is kept that could be "
                "measured; set checkpoint_every_epochs, or evaluate_checkpoints to false"
            )
        return self

    def fingerprint(self, manifest: str, *, package: str | None = None, former: bool = False) -> str:
        """Name a training by what decides its result: this configuration and the manifest's fingerprint.

        A start counts by its bytes, wherever the file lies; OSError if it cannot be read. ``package`` is the package outside
        this repository that brings the family; None for depthmill's own. ``former``: the name that former versions gave, where
        classification weights counted by their path.
        """
        config = self.model_dump(mode="json", exclude=set(_STARTS))
        starts = {digest: getattr(self, key) for key, digest in _STARTS.items()}
        config |= {digest: sha256_of(path) for digest, path in starts.items() if path is not None}
        if not former and config.get("imagenet_weights") is not None:
            config["imagenet_weights"] = f"sha256:{sha256_of(config['imagenet_weights'])}"
        named = {"version": TRAINING_VERSION, "manifest": manifest, "config": config}
        named |= {} if package is None else {"package": package}
        return hashlib.sha256(json.dumps(named, sort_keys=True).encode()).hexdigest()[:16]

    def uses_bfloat16(self, device_type: str) -> bool:
        """Say whether this training's steps compute under bfloat16 on ``cpu`` or ``cuda``; measuring never does."""
        return self.precision == "bfloat16" or (self.precision == "auto" and device_type == "cuda")


def sha256_of(path: str | Path) -> str:
    """Return the digest of a file; OSError if it cannot be read."""
    with open_regular(path, most_bytes=MAX_WEIGHTS_BYTES) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@dataclass(frozen=True)
class Machine:
    """Where and how fast; changes no result on one device.

    Attributes:
        accelerator: auto, cpu or cuda.
        num_devices: processes of each node that train together, each on a device of its own.
        num_workers: processes that read for each of them.
        image_root: root of the data source, for stores that refer to image files.
        num_nodes: machines with so many devices each.
    """

    accelerator: str = "auto"
    num_devices: int = 1
    num_workers: int = 0
    image_root: str | None = None
    num_nodes: int = 1

    @property
    def num_processes(self) -> int:
        """Return the number of processes that train together."""
        return self.num_devices * self.num_nodes
