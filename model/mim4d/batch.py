"""A batch of clips: intact images of all cameras and frames, where each camera was, and LiDAR points to send rays to.

The network reads its ``ClipViews``: it holds nothing of what is compared with in the loss.

Source  docs/method/mim4d.md#clips, #camera-matrices
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import torch
from torch import Tensor

from model.blocks.resnet import IMAGENET_MEAN, IMAGENET_STD
from model.data.tensors import OfTensors

PointUse = Literal["training", "held_out", "all"]
"""training: points that rays may be trained on; held_out: the others, for measuring; all: both."""


@dataclass(frozen=True)
class ClipBatch(OfTensors):
    """b windows of t frames and m cameras; n LiDAR points. Frame 0 is the newest, the key frame.

    Every frame has its own rig frame, metres: the ego frame at the time of its key LiDAR sweep. Tensors may share memory with the
    loader: do not write into them.

    Attributes:
        window_keys: b keys ``<scene>/<time of the newest frame, us>``.
        image_u8: (b, t, m, h, w, 3) uint8 RGB, what the network sees before masking, and what rendered colours are compared with.
        intrinsics: (b, t, m, 3, 3) float32 pixels, of the images as delivered; the centre of pixel (0, 0) is at (0.5, 0.5).
        cam_from_rig: (b, t, m, 4, 4) float32, rig frame of the frame to each camera at its image's own time.
        world_from_rig: (b, t, 4, 4) float32; the world is the rig frame of frame 0 of the same window, which is so the identity
            there: true positions are kilometres, which float32 does not resolve.
        time_s: (b, t) float32 seconds after frame 0; negative, 0 for frame 0.
        points: (n, 3) float32 metres, in the rig frame of their own frame; by window, then frame, then camera.
        point_window: (n) int64 number of the window within the batch.
        point_frame: (n) int64 frame within the window.
        point_camera: (n) int64 camera that the point was read from; one that two cameras see is there twice.
        is_held_out: (n) bool; no ray to this point may be trained on.
    """

    window_keys: tuple[str, ...]
    image_u8: Tensor
    intrinsics: Tensor
    cam_from_rig: Tensor
    world_from_rig: Tensor
    time_s: Tensor
    points: Tensor
    point_window: Tensor
    point_frame: Tensor
    point_camera: Tensor
    is_held_out: Tensor

    def __len__(self) -> int:
        """Return the number of windows."""
        return len(self.window_keys)

    @property
    def frame_keys(self) -> tuple[str, ...]:
        """The same keys, by the name that the common training loop knows."""
        return self.window_keys

    def points_of(self, frames: Tensor, *, use: PointUse = "training") -> tuple[Tensor, Tensor]:
        """Return the LiDAR points of one frame of each window, filled up to equal numbers.

        Args:
            frames: (b) int64 frame of each window.
            use: which of its points.

        Returns:
            Points (b, p, 3) in the rig frame of that frame, 0 where there is none, and (b, p) bool which are points.
        """
        is_wanted = self.point_frame == frames[self.point_window]
        if use != "all":
            is_wanted &= self.is_held_out == (use == "held_out")
        window = self.point_window[is_wanted]
        counts = torch.bincount(window, minlength=len(self))
        place = torch.arange(len(window), device=window.device) - (counts.cumsum(0) - counts)[window]
        most = int(counts.max())
        points = self.points.new_zeros(len(self), most, 3)
        points[window, place] = self.points[is_wanted]
        return points, torch.arange(most, device=window.device) < counts[:, None]


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


class HasViews(Protocol):
    """A batch with images of clips and where each camera was, as ``ClipBatch`` has them."""

    @property
    def image_u8(self) -> Tensor:
        """Intact images (b, t, m, h, w, 3) uint8 RGB."""

    @property
    def intrinsics(self) -> Tensor:
        """Camera matrices (b, t, m, 3, 3), pixels."""

    @property
    def cam_from_rig(self) -> Tensor:
        """Rig to each camera (b, t, m, 4, 4), metres."""

    @property
    def world_from_rig(self) -> Tensor:
        """Rig of each frame in a frame that does not move (b, t, 4, 4), metres."""

    @property
    def time_s(self) -> Tensor:
        """Seconds after the newest frame (b, t)."""


def views_of(batch: HasViews) -> ClipViews:
    """Return what the network reads of a batch, on its device."""
    mean, deviation = (torch.tensor(numbers, device=batch.image_u8.device) for numbers in (IMAGENET_MEAN, IMAGENET_STD))
    image = ((batch.image_u8.float() / 255.0 - mean) / deviation).movedim(-1, -3)
    return ClipViews(image, batch.intrinsics, batch.cam_from_rig, batch.world_from_rig, batch.time_s)
