"""A random turn, scale and mirroring of the world around the rig: one object that moves boxes, velocities and cameras together.

Why     the images stay as they are, so what is moved is the frame in which voxels and boxes are said: every camera is moved the
        same way, and its depth in metres stays true to its image
Source  docs/method/uvtr.md#augmentation
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from model.data.order import draw_generator
from model.uvtr.box_code import wrapped
from storage_schemas.frozen_config import FrozenConfig


class BevAugmentConfig(FrozenConfig):
    """Which worlds may be drawn; the published ones have no mirroring."""

    max_turn_deg: float = Field(22.5, ge=0, le=180, description="largest turn about the vertical axis to either side, degrees")
    max_scale: float = Field(0.05, ge=0, lt=1, description="sizes and distances grow or shrink by up to this share")
    mirror_probability: float = Field(
        0.0, ge=0, le=1, description="probability of swapping left and right, and by itself of swapping front and back"
    )


@dataclass(frozen=True)
class BevAugment:
    """A turn about z, then mirrorings, then a scale, all about the rig's origin; then a shift.

    Attributes:
        turn_rad: counter-clockwise.
        scale: above 0.
        mirrors_x: x becomes -x.
        mirrors_y: y becomes -y.
        shift_m: added at the end, x, y and z.
    """

    turn_rad: float = 0.0
    scale: float = 1.0
    mirrors_x: bool = False
    mirrors_y: bool = False
    shift_m: tuple[float, float, float] = (0.0, 0.0, 0.0)

    @property
    def matrix(self) -> NDArray[np.float64]:
        """Return the map (4, 4) from the rig frame to the moved one."""
        c, s = math.cos(self.turn_rad), math.sin(self.turn_rad)
        x, y = (-self.scale if mirrors else self.scale for mirrors in (self.mirrors_x, self.mirrors_y))
        at_x, at_y, at_z = self.shift_m
        return np.array([[x * c, -x * s, 0, at_x], [y * s, y * c, 0, at_y], [0, 0, self.scale, at_z], [0, 0, 0, 1.0]])

    def boxes(self, boxes: Tensor) -> Tensor:
        """Return boxes (n, 9) moved: centres, sizes and velocities grow, the heading turns and is mirrored; NaN stays NaN."""
        moved = torch.from_numpy(self.matrix).to(boxes)
        matrix, shift = moved[:3, :3], moved[:3, 3]
        yaw = boxes[:, 6] + self.turn_rad
        if self.mirrors_x:
            yaw = math.pi - yaw
        if self.mirrors_y:
            yaw = -yaw
        centre = boxes[:, :3] @ matrix.T + shift
        size, velocity = boxes[:, 3:6] * self.scale, boxes[:, 7:9] @ matrix[:2, :2].T
        return torch.cat((centre, size, wrapped(yaw)[:, None], velocity), dim=1)

    def undone(self, boxes: Tensor) -> Tensor:
        """Return boxes (n, 9) that ``boxes`` has moved as they were."""
        back = torch.from_numpy(np.linalg.inv(self.matrix)).to(boxes)
        yaw = boxes[:, 6]
        if self.mirrors_y:
            yaw = -yaw
        if self.mirrors_x:
            yaw = math.pi - yaw
        centre, velocity = boxes[:, :3] @ back[:3, :3].T + back[:3, 3], boxes[:, 7:9] @ back[:2, :2].T
        return torch.cat((centre, boxes[:, 3:6] / self.scale, wrapped(yaw - self.turn_rad)[:, None], velocity), dim=1)

    def cam_from_rig(self, cam_from_rig: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the maps (..., 4, 4) to the cameras from the moved rig frame: the same pixels, the same depth."""
        moved: NDArray[np.float64] = cam_from_rig @ np.linalg.inv(self.matrix)
        return moved

    def key_from_rig(self, key_from_rig: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return poses (..., 4, 4) of rigs in the key frame's rig, both of them moved; they stay rigid."""
        moved: NDArray[np.float64] = self.matrix @ key_from_rig @ np.linalg.inv(self.matrix)
        return moved


RESTING = BevAugment()
"""Nothing is moved."""

TO_LIDAR = BevAugment(turn_rad=math.pi / 2, shift_m=(0.0, -0.943713, -1.84023))
"""From nuScenes' rig frame to its LiDAR's, x right, y forward, 1.84 m above the road: the frame of released detectors."""


@dataclass(frozen=True)
class Moves:
    """Several moves, one after the other; what they do is what each of them does."""

    moves: tuple[BevAugment, ...]

    def boxes(self, boxes: Tensor) -> Tensor:
        """Return boxes (n, 9) moved."""
        for move in self.moves:
            boxes = move.boxes(boxes)
        return boxes

    def cam_from_rig(self, cam_from_rig: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the maps (..., 4, 4) to the cameras from the moved rig frame."""
        for move in self.moves:
            cam_from_rig = move.cam_from_rig(cam_from_rig)
        return cam_from_rig

    def key_from_rig(self, key_from_rig: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return poses (..., 4, 4) of rigs in the key frame's rig, both of them moved."""
        for move in self.moves:
            key_from_rig = move.key_from_rig(key_from_rig)
        return key_from_rig


def draw_bev_augment(config: BevAugmentConfig, *, seed: int, epoch: int, key: str) -> BevAugment:
    """Draw what a key frame is moved by in an epoch: by these three alone, whichever process reads it."""
    rng = draw_generator(f"{key}/bev", seed=seed, epoch=epoch)
    turn, grown, x, y = rng.random(4)
    return BevAugment(
        turn_rad=math.radians(config.max_turn_deg) * (2 * turn - 1),
        scale=1.0 + config.max_scale * (2 * grown - 1),
        mirrors_x=bool(x < config.mirror_probability),
        mirrors_y=bool(y < config.mirror_probability),
    )
