"""Objects in images that no manifest knows, each looked at as in evaluation.

Reads  images with their projections, from anywhere; frames of a manifest are ``model.monoddle.evaluation.detect``'s
Writes nothing; yields ``Detected``
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from model.data.objects import Objects
from model.monoddle.affine_view import resting_view, warp_image
from model.monoddle.batch import DetectionBatch
from model.monoddle.detection_frames import Detected
from model.monoddle.evaluation import Inference, detect_in
from model.monoddle.net import MonoDdle


@dataclass(frozen=True)
class ImageFrame:
    """What a detector is given of one frame.

    Attributes:
        name: of the frame.
        image_u8: (h, w, 3) RGB, the whole image.
        projection: (3, 4) float64 of the whole image, camera frame to pixels.
    """

    name: str
    image_u8: NDArray[np.uint8]
    projection: NDArray[np.float64]


def detect_images(network: MonoDdle, frames: Iterable[ImageFrame], inference: Inference) -> Iterator[Detected]:
    """Yield the detections of each image, in their order; one image at a time, since their sizes differ.

    Args:
        network: in evaluation mode, on the device.
        frames: of any sizes; taken one by one.
        inference: how it computes.
    """
    for frame in frames:
        yield detect_in(network, _batch_of(frame, network.config.input_px), inference)


def _batch_of(frame: ImageFrame, input_px: tuple[int, int]) -> DetectionBatch:
    """Return a batch of one image, nothing annotated in it."""
    height, width = frame.image_u8.shape[:2]
    view = resting_view((height, width), input_px)
    return DetectionBatch(
        (frame.name,),
        (frame.name,),
        torch.from_numpy(warp_image(frame.image_u8, view))[None],
        [view],
        frame.projection[None],
        [Objects.none()],
        np.zeros(1, np.bool_),
    )
