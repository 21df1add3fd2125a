"""What the network reads of clips: images, and where their cameras were. Nothing here says what anything should look like.

Source  docs/method/mim4d.md#clips, #camera-matrices
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from model.blocks.resnet import IMAGENET_MEAN, IMAGENET_STD
from model.mim4d.batch import ClipBatch


class ClipViews(NamedTuple):
    """b clips of T frames, the newest first, of M cameras each.

    A named tuple and no dataclass: it goes through the wrappers of a training on several devices.

    Attributes:
        image: (b, T, M, 3, h, w) float32, by ImageNet's mean and deviation; intact.
        intrinsics: (b, T, M, 3, 3) of these images, pixels; the middle of the first pixel is at 0.5.
        cam_from_rig: (b, T, M, 4, 4) rig frame of frame t to each camera at its own time, metres.
        world_from_rig: (b, T, 4, 4) rigid, metres; the world may be any frame that does not move during the clip.
        time_s: (b, T) seconds of the rig frames, from the newest one.
    """

    image: Tensor
    intrinsics: Tensor
    cam_from_rig: Tensor
    world_from_rig: Tensor
    time_s: Tensor


def views_of(batch: ClipBatch) -> ClipViews:
    """Return what the network reads of a batch, on its device."""
    mean, deviation = (torch.tensor(numbers, device=batch.image_u8.device) for numbers in (IMAGENET_MEAN, IMAGENET_STD))
    image = ((batch.image_u8.float() / 255.0 - mean) / deviation).movedim(-1, -3)
    return ClipViews(image, batch.intrinsics, batch.cam_from_rig, batch.world_from_rig, batch.time_s)
