"""Convolutions on a lifted volume: what stands beside a voxel tells what a voxel is part of.

Source  docs/method/uvtr.md#network
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.mim4d.ego_warp import source_from_target, warp_volume
from model.mim4d.voxel_grid import VoxelGrid
from model.uvtr.network_config import VoxelConvConfig


class VoxelConvs(nn.Sequential):
    """So many 3x3x3 convolutions with a bias, each followed by a norm and ReLU; (n, C, Z, Y, X) to the same shape."""

    def __init__(self, channels: int, config: VoxelConvConfig) -> None:
        """Make them with fresh weights, by torch's own start.

        Args:
            channels: of the volume.
            config: how many, and which norm.
        """
        layers = []
        for _ in range(config.num_convs):
            gn = config.norm3d == "gn"
            norm = nn.GroupNorm(config.norm_groups, channels) if gn else nn.BatchNorm3d(channels)
            layers.append(nn.Sequential(nn.Conv3d(channels, channels, 3, padding=1), norm, nn.ReLU(inplace=True)))
        super().__init__(*layers)


class PastVolumes(nn.Module):
    """Bring the volumes of the frames before to where the vehicle stands now, and mix all of them voxel by voxel.

    Each past volume comes with its age in seconds, so that how far something has moved can become a velocity. The newest volume
    passes unchanged at the start of a training: what the past adds is learned.
    """

    def __init__(self, channels: int, *, num_frames: int, grid: VoxelGrid) -> None:
        """Make it for so many frames, the newest included, on a grid."""
        super().__init__()
        self.grid = grid
        self.mix = nn.Conv3d(num_frames * channels + num_frames - 1, channels, 1, bias=False)
        with torch.no_grad():
            self.mix.weight[:, :channels] += torch.eye(channels)[:, :, None, None, None]

    def forward(self, volumes: Tensor, world_from_rig: Tensor, time_s: Tensor) -> Tensor:
        """Map volumes (b, T, C, Z, Y, X), the newest first, to (b, C, Z, Y, X) in the rig frame of the newest.

        Args:
            volumes: each in its own rig frame.
            world_from_rig: (b, T, 4, 4) rigid, metres.
            time_s: (b, T) seconds after the newest.
        """
        batch, frames = volumes.shape[:2]
        moves = source_from_target(world_from_rig[:, 1:], world_from_rig[:, :1])
        warped, _ = warp_volume(volumes[:, 1:].flatten(0, 1), moves.flatten(0, 1), grid=self.grid)
        ages = time_s[:, 1:, None, None, None].expand(batch, frames - 1, *volumes.shape[3:])
        together = torch.cat((volumes[:, 0], warped.view(batch, -1, *volumes.shape[3:]), ages.to(volumes.dtype)), dim=1)
        mixed: Tensor = F.relu(self.mix(together))
        return mixed
