"""What passes between a family and those who use it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from model.blocks.over_processes import Processes
from model.data.ordered_loader import Placement
from model.train.config import CommonConfig, Machine
from storage_schemas.manifest import Manifest

if TYPE_CHECKING:
    from lightning_fabric import Fabric

C = TypeVar("C", bound=CommonConfig)


class StepLosses(NamedTuple):
    """What one batch gave.

    Attributes:
        loss: scalar that is differentiated.
        values: scalars that are written down, by the names of ``Family.loss_columns``.
    """

    loss: Tensor
    values: Mapping[str, Tensor]


class StepSize(NamedTuple):
    """Memory of a training step of a family's default network under bfloat16, counted by benchmarks/training_sizes.py.

    Attributes:
        frame_gb: GB that each frame of the batch keeps for the backward pass, whatever its size.
        megapixel_gb: GB that it keeps for each megapixel of its image; 0 if every image is brought to the network's own size.
        state_gb: GB of weights, gradients and the optimiser's moments.
    """

    frame_gb: float
    megapixel_gb: float
    state_gb: float

    def frame_at(self, image_px: tuple[int, int]) -> float:
        """Return the GB that a frame with an image of so many rows and columns keeps."""
        return self.frame_gb + self.megapixel_gb * image_px[0] * image_px[1] / 1e6


@dataclass(frozen=True)
class Measured:
    """What an evaluation during training found.

    Attributes:
        rows: for evaluations.csv, with the columns of ``Family.evaluation_columns``; the first is the one that tells most.
        score: smaller is better; what the best checkpoint is chosen by. NaN: the network's answers are not numbers, so that it is
            never the best one; infinity: there is nothing to measure.
        best: what is noted of it beside the step, by name.
        text: the same for the console, e.g. "validation MAE@80 m 1400 mm".
        num_samples: how many samples were measured.
    """

    rows: list[dict[str, Any]]
    score: float
    best: dict[str, float] = field(default_factory=dict)
    text: str = ""
    num_samples: int = 0


class BatchLoader(Protocol):
    """What the loop needs of a loader; ``model.data.ordered_loader.OrderedLoader`` is one."""

    def __len__(self) -> int:
        """Return how many batches of this epoch are left for this rank."""

    def __iter__(self) -> Iterator[Any]:
        """Yield the rest of the epoch."""

    @property
    def epoch(self) -> int:
        """The epoch of the next batch."""

    def state_dict(self) -> dict[str, Any]:
        """Return how far the run has read."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state that ``state_dict`` returned."""

    def __enter__(self) -> Any:
        """Return the loader."""

    def __exit__(self, *_: object) -> None:
        """End the workers."""


def placement(machine: Machine, fabric: Fabric | None = None) -> Placement:
    """Return where the loader of this process runs; without ``fabric`` there is no other process."""
    if fabric is None:
        return Placement(num_workers=machine.num_workers, image_root=machine.image_root)
    return Placement(
        rank=fabric.global_rank,
        num_ranks=fabric.world_size,
        num_workers=machine.num_workers,
        pin_memory=fabric.device.type == "cuda",
        image_root=machine.image_root,
    )


def processes_of(fabric: Fabric) -> Processes | None:
    """Return what a loss needs of the processes that train together; None for a single one."""
    if fabric.world_size == 1:
        return None

    def mean(values: Tensor) -> Tensor:
        reduced = fabric.all_reduce(values, reduce_op="mean")
        assert isinstance(reduced, Tensor)
        return reduced

    return Processes(fabric.world_size, mean)


@dataclass(frozen=True)
class OpenedNetwork(Generic[C]):
    """A network in memory, ready to be measured or to predict.

    Attributes:
        network: in evaluation mode, on the CPU.
        name: of the checkpoint.
        config: how it was trained, or how a public one is to be used.
    """

    network: nn.Module
    name: str
    config: C


@dataclass(frozen=True)
class ReferenceOptions:
    """What the command line says of a checkpoint of public code, which says little of itself.

    Attributes:
        train: ``train:`` of the recipe that it will be used on; None where it is used on a store or a folder.
        where: name of that recipe, for errors.
        max_depth_m: far end of the depth space, of a depth network.
        plug_in: it must have the branch for monocular depth, of a depth network; if false, its keys say whether it has it.
    """

    train: Mapping[str, Any] | None
    where: str
    max_depth_m: float
    plug_in: bool


@dataclass(frozen=True)
class ResultsOptions:
    """What the caller says of predictions of another program.

    Attributes:
        train: ``train:`` of the recipe that they are measured with; None where they are measured on a store.
        where: name of that recipe, for errors.
    """

    train: Mapping[str, Any] | None
    where: str


@dataclass(frozen=True)
class CompareOptions:
    """What the caller says of a comparison of two evaluations.

    Attributes:
        metric: of depth: name of the metric.
        cap_m: of depth: largest target depth that counts.
        radar: of depth: on or off.
        given: the two folders as the caller named them, each a training or an evaluation.
    """

    metric: str
    cap_m: float
    radar: str
    given: tuple[str, str]


@dataclass(frozen=True)
class AnalyseOptions:
    """What the caller says of the analysis of an evaluation.

    Attributes:
        out: folder for tables and plots; None = one inside the evaluation.
        draw: makes the plots of the family's analysis, a file's content by its name; None = none are written.
    """

    out: Path | None
    draw: Callable[[Any], Mapping[str, bytes]] | None


@dataclass(frozen=True)
class ImageInputs:
    """What a network may be given of one image; a family takes what it knows, and asks for what it needs.

    Attributes:
        image_u8: (h, w, 3) RGB.
        radar_m: (h, w) metres along the optical axis, 0 = no return; None = no radar.
        mono_m: (h, w) monocular depth in metres, 0 = none; None = no map.
        projection: (3, 4) camera frame to pixels of the image; None = not known.
    """

    image_u8: NDArray[np.uint8]
    radar_m: NDArray[np.float32] | None = None
    mono_m: NDArray[np.float32] | None = None
    projection: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class Answer:
    """What a command says.

    Attributes:
        data: as JSON values.
        text: for people.
    """

    data: Any
    text: str

    def __repr__(self) -> str:
        """Return what a person reads: a table in a notebook is a table."""
        return self.text


class Handed(NamedTuple):
    """A backbone that a pre-training hands over.

    Attributes:
        weights: of the backbone alone.
        network_text: which network it is, e.g. "resnet34 (base_channels 64)".
        optional: beginnings of weights that the network which takes it may lack.
        advice: how to make both networks equal.
    """

    weights: dict[str, Tensor]
    network_text: str
    optional: tuple[str, ...]
    advice: str


class ExtraPart(NamedTuple):
    """Something that is done after a training's evaluation, e.g. probing.

    Attributes:
        is_due: says whether it is still to be done, from the configuration and the training's folder.
        run: does it.
        results: returns what it found as JSON values, empty if it was not done.
    """

    is_due: Callable[[Any, Path], bool]
    run: Callable[[Any, Manifest, Path, Machine], None]
    results: Callable[[Path], dict[str, Any]]


Draw = Callable[[Any], bytes]
"""Makes a JPEG of a frame of a prediction or an evaluation; what a frame holds is the family's and its report's."""


@dataclass(frozen=True)
class PictureChoice:
    """Of which frames pictures are wanted.

    Attributes:
        frames: names of frames: their keys, or the source's own names.
        worst: how many of the largest error; None = as the network's configuration says.
        spread: how many spread evenly over the split; None = as the network's configuration says.
    """

    frames: tuple[str, ...] = ()
    worst: int | None = None
    spread: int | None = None


@dataclass(frozen=True)
class ChoosingDraw:
    """A ``Draw`` that says as well of which frames pictures are wanted.

    Attributes:
        jpeg: makes the JPEG.
        choice: the frames.
    """

    jpeg: Draw
    choice: PictureChoice

    def __call__(self, frame: Any) -> bytes:
        """Return the JPEG of a frame."""
        return self.jpeg(frame)


def choice_of(draw: Draw | None) -> PictureChoice:
    """Return of which frames pictures are wanted; a plain function leaves it to the network's configuration."""
    return draw.choice if isinstance(draw, ChoosingDraw) else PictureChoice()
