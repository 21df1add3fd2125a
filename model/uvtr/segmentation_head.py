"""Which cells of the ground are covered by vehicles: the cheapest question that a volume can be asked.

Reads   volumes (b, C, Z, Y, X), the height folded into the channels
Writes  logits (b, rows, columns) on cells of half a metre, rows along y
Source  docs/method/uvtr.md#segmentation; the weight of covered cells is that of Lift, Splat, Shoot, arXiv 2008.05711
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.blocks.full_precision import full_precision
from model.mim4d.temporal_decoder import fold_height
from model.mim4d.voxel_grid import VoxelGrid
from model.uvtr.centre_head import HEAT_BIAS, ground_conv
from model.uvtr.network_config import SegmentationHeadConfig
from model.uvtr.segmentation_truth import GroundGrid

COVERED_WEIGHT = 2.13
"""Of a covered cell in the loss, beside 1 of any other: most cells are not covered."""


class SegmentationHead(nn.Module):
    """Convolutions on the volume's ground cells, a look at the finer cells, and one convolution there."""

    def __init__(self, channels: int, config: SegmentationHeadConfig, *, grid: VoxelGrid, ground: GroundGrid) -> None:
        """Make the head with fresh weights.

        Args:
            channels: of the volumes.
            config: its width.
            grid: of the volumes.
            ground: the cells that are answered, within the grid.
        """
        super().__init__()
        self.coarse = nn.Sequential(
            *ground_conv(channels * grid.shape_zyx[0], config.width), *ground_conv(config.width, config.width)
        )
        self.fine = nn.Sequential(*ground_conv(config.width, config.width))
        self.covered = nn.Conv2d(config.width, 1, 1)
        assert self.covered.bias is not None
        nn.init.constant_(self.covered.bias, HEAT_BIAS)
        self._grid, self._ground = grid, ground

    def forward(self, volume: Tensor) -> Tensor:
        """Map volumes (b, C, Z, Y, X) to logits (b, rows, columns) float32."""
        coarse = self.coarse(fold_height(volume))
        at = self._unit(coarse.device).expand(len(coarse), -1, -1, -1)
        with full_precision(volume.device.type):  # places need more digits than bfloat16 has
            finer = F.grid_sample(coarse.float(), at, mode="bilinear", padding_mode="border", align_corners=False)
        features = self.fine(finer)
        with full_precision(volume.device.type):
            logits: Tensor = self.covered(features.float())
        return logits[:, 0]

    def _unit(self, device: torch.device) -> Tensor:
        """Return where the cells of the ground are on the volume's ground (1, rows, columns, 2), -1 and 1 at its faces."""
        x, y = (torch.from_numpy(places).to(device) for places in self._ground.centers_m)
        at = torch.stack(torch.broadcast_tensors(x, y[:, None], x.new_zeros(())), dim=-1)
        return self._grid.to_unit(at)[None, ..., :2].float()


def segmentation_loss(logits: Tensor, is_covered: Tensor) -> Tensor:
    """Return the mean cross-entropy of logits (b, rows, columns) against which cells are covered."""
    weight = logits.new_tensor(COVERED_WEIGHT)
    return F.binary_cross_entropy_with_logits(logits, is_covered.to(logits.dtype), pos_weight=weight)
