"""A depth network that knows nothing but the image row, trained on depth_single.

What it does not offer (predictions, champions) it refuses with sentences of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, NoReturn

import numpy as np
import torch
from lightning_fabric import Fabric
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from model.data.reading_config import ReadingConfig
from model.data.samples import Sample, choose_samples
from model.train.config import CommonConfig, Machine
from model.train.family import Family
from model.train.family_types import Measured, StepLosses
from storage_schemas.encoding import STEPS_PER_M
from storage_schemas.errors import RecipeError
from storage_schemas.manifest import Manifest


class RowNetworkConfig(BaseModel):
    """Options of the network."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    start_m: float = Field(default=10.0, gt=0, description="depth of every row before training, metres")
    height_px: int = Field(default=12, ge=1, description="rows of the images")


class RowEvaluationConfig(BaseModel):
    """On what it is measured."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    split: Literal["train", "val", "test"] = Field(default="val", description="split that is measured on")


class RowTrainConfig(CommonConfig):
    """``train:`` of a recipe with ``family: row_depth``."""

    family: Literal["row_depth"] = Field("row_depth", description="model family")
    network: RowNetworkConfig = Field(RowNetworkConfig(), description="options of the network")
    data: ReadingConfig = Field(ReadingConfig(batch_size=2), description="what is trained on")
    evaluation: RowEvaluationConfig = Field(RowEvaluationConfig(), description="what is measured on")

    def learning_rate_factor(self, epoch: float) -> float:
        """Return a constant schedule."""
        return 1.0


class RowNetwork(nn.Module):
    """One depth for each row."""

    def __init__(self, config: RowNetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.log_depth = nn.Parameter(torch.full((config.height_px,), float(np.log(config.start_m))))

    def forward(self, width: int) -> Tensor:
        """Return (height, width) metres."""
        return self.log_depth.exp()[:, None].expand(-1, width)


class RowLoader:
    """Batches of depth maps (b, h, w) in metres, in the manifest's order."""

    def __init__(self, manifest: Manifest, config: ReadingConfig) -> None:
        self._manifest, self._config = manifest, config
        self._samples = choose_samples(manifest, config, ("depth_single",))
        self._epoch, self._next = 0, 0

    def __len__(self) -> int:
        return len(range(self._next, len(self._samples), self._config.batch_size))

    def __iter__(self) -> Iterator[RowBatch]:
        while self._next < len(self._samples):
            samples = self._samples[self._next : self._next + self._config.batch_size]
            self._next += len(samples)
            yield RowBatch(tuple(sample.frame_key for sample in samples), self._read(samples))
        self._epoch, self._next = self._epoch + 1, 0

    @property
    def epoch(self) -> int:
        """Return the number of the pass through the data."""
        return self._epoch

    def state_dict(self) -> dict[str, Any]:
        """Return where the loader stands, for a checkpoint."""
        return {"epoch": self._epoch, "next": self._next, "num_samples": len(self._samples)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where a checkpoint was written."""
        self._epoch, self._next = state["epoch"], state["next"]

    def __enter__(self) -> RowLoader:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def _read(self, samples: list[Sample]) -> Tensor:
        store = self._manifest.store
        maps = [store.open_unit(sample.units["depth_single"]).array("depth_m")[sample.frame] for sample in samples]
        return torch.from_numpy(np.stack(maps).astype(np.float32)) / STEPS_PER_M


class RowBatch:
    """Depth maps of frames."""

    def __init__(self, frame_keys: tuple[str, ...], depth_m: Tensor) -> None:
        self.frame_keys, self.depth_m = frame_keys, depth_m

    def __len__(self) -> int:
        return len(self.frame_keys)


def mean_error_m(network: nn.Module, depth_m: Tensor) -> Tensor:
    """Return the mean absolute error over measured pixels."""
    predicted_m: Tensor = network(depth_m.shape[2])
    return (predicted_m - depth_m).abs()[depth_m > 0].mean()


class RowFamily(Family[RowTrainConfig]):
    """Depth of image rows."""

    name = "row_depth"
    config = RowTrainConfig
    evaluation_columns = ("split", "mae_m")
    board_columns = ("mae_m",)
    noun = "a row network"
    plural = "row networks"
    evaluation_of = "a row network"
    retrain_refusal = "rows are not worth a champion: train it anew whenever you like, it takes a second"

    def network(self, config: RowTrainConfig) -> RowNetwork:
        """Return the network."""
        return RowNetwork(config.network)

    def optimizer(self, network: nn.Module, config: RowTrainConfig) -> torch.optim.Optimizer:
        """Return plain Adam."""
        return torch.optim.Adam(network.parameters(), lr=config.learning_rate)

    def loader(self, manifest: Manifest, config: RowTrainConfig, fabric: Fabric, machine: Machine) -> RowLoader:
        """Return the loader."""
        return RowLoader(manifest, config.data)

    def losses(self, network: nn.Module, batch: RowBatch, config: RowTrainConfig, fabric: Fabric, *, epoch: float) -> StepLosses:
        """Return the mean absolute error."""
        loss = mean_error_m(network, batch.depth_m.to(fabric.device))
        return StepLosses(loss, {"loss": loss})

    def measure(
        self, network: nn.Module, manifest: Manifest, config: RowTrainConfig, machine: Machine, device: torch.device
    ) -> Measured:
        """Measure the mean absolute error on the split."""
        split = config.evaluation.split
        loader = RowLoader(manifest, config.data.model_copy(update={"split": split, "batch_size": 1}))
        with torch.no_grad():
            errors = [float(mean_error_m(network, batch.depth_m.to(device))) for batch in loader]
        mae_m = float(np.mean(errors))
        rows = [{"split": split, "mae_m": mae_m}]
        return Measured(rows, mae_m, {"score": mae_m}, f"validation MAE {mae_m:.2f} m", num_samples=len(errors))

    def refuse_to_predict(self, checkpoint: str) -> NoReturn:
        """Say why there is nothing to predict."""
        raise RecipeError(
            f"checkpoint '{checkpoint}' knows rows only, and one picture of rows is like another. Look at its table"
        )


FAMILY = RowFamily()
