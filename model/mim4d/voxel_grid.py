"""The box of voxels around the vehicle, and the one convention by which it is filled, warped and looked up.

Why     the public code puts voxels at their lower corners where images are lifted and at the nodes of an ``align_corners`` grid
        where rays are rendered, so that heights differ by up to 1.6 m (docs/method/mim4d.md#pitfalls, 10). Here a voxel is a
        cell, its value stands at its centre, and the faces of the box are -1 and 1.
Source  docs/method/mim4d.md#voxel-grid, #scene-scale
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from model.errors import InputError


@dataclass(frozen=True)
class VoxelGrid:
    """A box in a rig frame, cut into cells; volumes on it are (..., Z, Y, X).

    Attributes:
        low_m: lower corner of the box (x, y, z), metres.
        high_m: upper corner (x, y, z), metres.
        shape_zyx: number of cells along z, y and x.
    """

    low_m: tuple[float, float, float]
    high_m: tuple[float, float, float]
    shape_zyx: tuple[int, int, int]

    def __post_init__(self) -> None:
        if not all(low < high for low, high in zip(self.low_m, self.high_m, strict=True)):
            raise InputError(
                f"voxel grid goes from {self.low_m} to {self.high_m} m, expected every lower bound below its upper bound; "
                "swap them"
            )
        if min(self.shape_zyx) < 1:
            raise InputError(f"voxel grid has {self.shape_zyx} cells (z, y, x), expected one or more along each axis; correct it")

    @property
    def shape_xyz(self) -> tuple[int, int, int]:
        """Return the number of cells along x, y and z."""
        num_z, num_y, num_x = self.shape_zyx
        return num_x, num_y, num_z

    @property
    def num_voxels(self) -> int:
        """Return the number of cells."""
        num_z, num_y, num_x = self.shape_zyx
        return num_z * num_y * num_x

    @property
    def voxel_m(self) -> tuple[float, float, float]:
        """Return the size of a cell along x, y and z, metres."""
        x, y, z = ((high - low) / count for low, high, count in zip(self.low_m, self.high_m, self.shape_xyz, strict=True))
        return x, y, z

    @property
    def sigma(self) -> float:
        """Return the scale of the scene, 1 / m: the farthest face of the box is at distance 1 after multiplication."""
        return 1.0 / max(abs(bound) for bound in (*self.low_m, *self.high_m))

    def centres_m(self, *, device: torch.device | str | None = None) -> Tensor:
        """Return the centres of the cells (Z, Y, X, 3) float32: x, y, z in metres."""
        return self._positions_m(0.5, device)

    def lower_corners_m(self, *, device: torch.device | str | None = None) -> Tensor:
        """Return the lower corners of the cells (Z, Y, X, 3) float32, where the public code lifts to; metres."""
        return self._positions_m(0.0, device)

    def to_unit(self, points_m: Tensor) -> Tensor:
        """Map points (..., 3) in metres to (..., 3), with -1 and 1 at the faces of the box.

        The result, in the order x, y, z, is what ``grid_sample(volume, ..., align_corners=False)`` takes. Points outside the box
        map beyond -1 and 1.
        """
        low = points_m.new_tensor(self.low_m)
        high = points_m.new_tensor(self.high_m)
        return (points_m - low) / (high - low) * 2.0 - 1.0

    def _positions_m(self, within: float, device: torch.device | str | None) -> Tensor:
        x, y, z = (
            low + (torch.arange(count, dtype=torch.float64, device=device) + within) * size
            for low, count, size in zip(self.low_m, self.shape_xyz, self.voxel_m, strict=True)
        )
        at_z, at_y, at_x = torch.meshgrid(z, y, x, indexing="ij")
        return torch.stack((at_x, at_y, at_z), dim=-1).float()
