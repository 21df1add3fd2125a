"""A few cameras around a vehicle, each frame's own, for tests of what goes from images to voxels."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from model.mim4d.lift import Cameras

IMAGE_PX = (32, 48)
# axes of a camera (x right, y down, z ahead) as rows, in those of the rig (x ahead, y left, z up)
CAM_FROM_RIG_AXES = torch.tensor([[0.0, -1.0, 0.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0]])


def cam_from_rig(yaw_deg: float, at_m: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Tensor:
    """A camera that stands at ``at_m`` and looks level, turned left by ``yaw_deg``."""
    c, s = math.cos(math.radians(yaw_deg)), math.sin(math.radians(yaw_deg))
    matrix = torch.eye(4)
    matrix[:3, :3] = CAM_FROM_RIG_AXES @ torch.tensor([[c, s, 0.0], [-s, c, 0.0], [0.0, 0.0, 1.0]])
    matrix[:3, 3] = -matrix[:3, :3] @ torch.tensor(at_m)
    return matrix


def intrinsics(focal_px: float = 24.0) -> Tensor:
    height, width = IMAGE_PX
    return torch.tensor([[focal_px, 0.0, width / 2], [0.0, focal_px, height / 2], [0.0, 0.0, 1.0]])


def ring(batch: int = 2, frames: int = 2, cameras: int = 3) -> Cameras:
    """Cameras all around that differ from clip to clip and from frame to frame."""
    poses = [
        cam_from_rig(360.0 * m / cameras + 7.0 * t - 11.0 * b, (0.3 * m - 0.2 * t, 0.1 * b, 0.2 * t))
        for b in range(batch)
        for t in range(frames)
        for m in range(cameras)
    ]
    lenses = [intrinsics(20.0 + b + 2 * t + 3 * m) for b in range(batch) for t in range(frames) for m in range(cameras)]
    shape = (batch, frames, cameras)
    return Cameras(torch.stack(poses).view(*shape, 4, 4), torch.stack(lenses).view(*shape, 3, 3), IMAGE_PX)
