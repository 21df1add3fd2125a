"""A batch for the detector: images of all cameras at key frames, where each camera was, and the objects to be found.

Source  docs/method/uvtr.md#data
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.data.tensors import OfTensors
from model.uvtr.objects import FrameObjects


class BoxTargets(NamedTuple):
    """The n objects of a batch that are learned, in the rig frames as they were moved for the network.

    Attributes:
        boxes: (n, 9) float32 gravity centre, width, length, height, yaw, velocity; metres, rad, m/s; velocity NaN = not known.
        class_index: (n,) int64 number among the network's classes.
        frame: (n,) int64 which key frame of the batch.
    """

    boxes: Tensor
    class_index: Tensor
    frame: Tensor

    def of(self, frame: int) -> tuple[Tensor, Tensor]:
        """Return boxes and classes of one key frame of the batch."""
        here = self.frame == frame
        return self.boxes[here], self.class_index[here]


@dataclass(frozen=True)
class KeyFrameBatch(OfTensors):
    """b key frames, each with t - 1 key frames before it, of m cameras. Frame 0 is the newest, which is the one of the objects.

    Tensors may share memory with the loader: do not write into them. Rig frames are as they were moved for the network
    (``bev_augment``); in evaluation nothing is moved.

    Attributes:
        frame_keys: b keys ``<scene>/<time of the rig, us>``.
        sample_tokens: b names of the key frames in their source.
        image_u8: (b, t, m, h, w, 3) uint8 RGB as the network sees them.
        intrinsics: (b, t, m, 3, 3) float32 pixels, of the images as delivered.
        cam_from_rig: (b, t, m, 4, 4) float32, metres.
        world_from_rig: (b, t, 4, 4) float32 pose of each frame's rig in the rig of frame 0 of the same key frame.
        time_s: (b, t) float32 seconds after frame 0; negative, 0 for frame 0.
        targets: what is to be found; empty for a network that is only measured.
        objects: b lists of everything annotated at frame 0, not moved.
        key_poses: (b, 4, 4) float64 true pose of the rig of frame 0 in the world, not moved, metres.
        is_covered: (b, rows, columns) bool, the cells of the ground that vehicles cover, moved as boxes are; None = not wanted.
        nearest_m: (b, m, y, x) float32 how near the nearest pixel is that LiDAR measured in each cell of the finest level of
            frame 0, metres, 0 = none was measured; None = not wanted.
    """

    frame_keys: tuple[str, ...]
    sample_tokens: tuple[str, ...]
    image_u8: Tensor
    intrinsics: Tensor
    cam_from_rig: Tensor
    world_from_rig: Tensor
    time_s: Tensor
    targets: BoxTargets
    objects: list[FrameObjects]
    key_poses: NDArray[np.float64]
    is_covered: Tensor | None = None
    nearest_m: Tensor | None = None

    def __len__(self) -> int:
        """Return the number of key frames."""
        return len(self.frame_keys)


def boxes_of(objects: FrameObjects) -> Tensor:
    """Return objects as boxes (n, 9) float32."""
    columns = (objects.centers_m, objects.sizes_wlh_m, objects.yaws_rad[:, None], objects.velocities_mps)
    return torch.from_numpy(np.concatenate(columns, axis=1).astype(np.float32))
