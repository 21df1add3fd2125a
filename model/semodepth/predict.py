"""Depth of frames, one after another: batches of frames of one size go through the network, metres come out in the same order.

Reads  frames, from anywhere, or those of a pinned manifest through ``FrameLoader``
Writes nothing; yields ``Predicted``
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from model.blocks.full_precision import full_precision
from model.data.ordered_loader import HERE, Placement
from model.devices import network_device
from model.semodepth.config import DataConfig
from model.semodepth.data import FrameLoader
from model.semodepth.dense import dense_batch
from model.semodepth.network_config import SemoDepthConfig
from storage_schemas.awaited import counted
from storage_schemas.errors import DepthmillError
from storage_schemas.manifest import Manifest


class PredictionError(DepthmillError):
    """A network predicts something that is no depth."""


class DepthNetwork(Protocol):
    """What is needed of a network; ``SemoDepth`` is one."""

    @property
    def config(self) -> SemoDepthConfig:
        """Its options, of which the far end of its depth space and ``plug_in`` are needed."""

    def predict(
        self, image_u8: NDArray[np.uint8], radar_m: NDArray[np.float32], mono_m: NDArray[np.float32] | None = None
    ) -> Tensor:
        """Return (b, h, w) metres of (b, h, w, 3) RGB, (b, h, w) radar and mono in metres, 0 = nothing."""


@dataclass(frozen=True)
class Frame:
    """What a network is given of one frame.

    Attributes:
        name: of the frame, as its source writes it; "/" may separate its parts.
        image_u8: (h, w, 3) RGB.
        radar_m: (h, w) metres, 0 = no return; None = no radar, which the network sees as no return.
        mono_m: (h, w) monocular depth in metres; None = none, of which a plug-in branch is told by zeros, as in training.
    """

    name: str
    image_u8: NDArray[np.uint8]
    radar_m: NDArray[np.float32] | None
    mono_m: NDArray[np.float32] | None = None


class Predicted(NamedTuple):
    """A frame and its depth, (h, w) float32 metres, finite."""

    frame: Frame
    depth_m: NDArray[np.float32]


def predict_frames(network: DepthNetwork, frames: Iterable[Frame], *, batch_size: int = 1) -> Iterator[Predicted]:
    """Predict frames in their order.

    Args:
        network: on its device. It computes in float32 everywhere, as in evaluation.
        frames: taken one batch ahead of what is yielded, no more.
        batch_size: frames at once, at most: consecutive frames of one size that all have mono, or all have none.

    Raises:
        PredictionError: a prediction is not finite, or of another size than its image.
        ValueError: batch_size is below 1.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}, expected 1 or more")
    for batch in _batches(frames, batch_size):
        yield from _predict_batch(network, batch)


def manifest_frames(
    manifest: Manifest,
    *,
    split: str,
    max_depth_m: float,
    row_band: tuple[int, int] | None = None,
    with_mono: bool = False,
    placement: Placement = HERE,
) -> Iterator[Frame]:
    """Yield every frame of a split in manifest order; its name is the frame key.

    Args:
        manifest: the pinned data.
        split: train, val or test.
        max_depth_m: radar and monocular depth beyond it are set to it.
        row_band: rows that are read, as ``data.rows``; None = all.
        with_mono: read monocular depth.
        placement: where the loader runs, and how.

    Raises:
        ManifestError: the split is empty or lacks a store.
        StoreError: a unit is missing or damaged; names the frame.
    """
    config = DataConfig.model_validate(
        {
            "split": split,
            "rows": row_band,
            "dense_target": None,
            "sparse_target": False,
            "mono": with_mono,
            "batch_size": 1,
            "order": "manifest",
        }
    )
    with FrameLoader(manifest, config, placement=placement) as loader:
        for batch in counted(loader, "frames are predicted"):
            dense = dense_batch(batch, max_depth_m=max_depth_m)
            assert dense.radar_m is not None
            mono_m = None if dense.mono_m is None else dense.mono_m[0].numpy()
            # a copy, because the batch's memory goes back to the loader
            yield Frame(dense.frame_keys[0], dense.image_u8[0].numpy().copy(), dense.radar_m[0].numpy(), mono_m)


def place_network(network: Any, accelerator: str) -> None:
    """Move a network to the device of ``auto``, ``cpu`` or ``cuda``; what is no torch module stays where it is.

    Raises:
        DeviceError: cuda was asked for, and torch sees no GPU.
    """
    if isinstance(network, nn.Module):
        network.to(network_device(accelerator))


def _batches(frames: Iterable[Frame], batch_size: int) -> Iterator[list[Frame]]:
    batch: list[Frame] = []
    for frame in frames:
        if batch and (len(batch) == batch_size or not _fits(frame, batch[0])):
            yield batch
            batch = []
        batch.append(frame)
    if batch:
        yield batch


def _fits(frame: Frame, other: Frame) -> bool:
    return frame.image_u8.shape == other.image_u8.shape and (frame.mono_m is None) == (other.mono_m is None)


def _predict_batch(network: DepthNetwork, batch: list[Frame]) -> Iterator[Predicted]:
    image_u8 = np.stack([frame.image_u8 for frame in batch])
    nothing = np.zeros(batch[0].image_u8.shape[:2], np.float32)
    radar_m = np.stack([nothing if frame.radar_m is None else frame.radar_m for frame in batch])
    mono_m = None
    # drop-out trains the plug-in branch with zeros for absent depth; a skipped branch would be a case that it never saw
    if network.config.plug_in or batch[0].mono_m is not None:
        mono_m = np.stack([nothing if frame.mono_m is None else frame.mono_m for frame in batch])
    with full_precision(_device_type(network)):
        predicted_m = network.predict(image_u8, radar_m, mono_m)
    depth_m = predicted_m.float().cpu().numpy()
    if depth_m.shape != image_u8.shape[:3]:
        raise PredictionError(
            f"the network predicts {depth_m.shape} for images {image_u8.shape[:3]}; a prediction covers its image's pixels"
        )
    for frame, of_frame in zip(batch, depth_m, strict=True):
        if not np.isfinite(of_frame).all():
            raise PredictionError(
                f"frame '{frame.name}': the network predicts depth that is not a number. Its weights are damaged or its training "
                "diverged; choose another checkpoint"
            )
        yield Predicted(frame, of_frame)


def _device_type(network: Any) -> str:
    parameter = next(network.parameters(), None) if isinstance(network, nn.Module) else None
    return "cpu" if parameter is None else parameter.device.type
