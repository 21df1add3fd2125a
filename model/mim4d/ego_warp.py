"""Bring the volume of one frame to where the vehicle stands in another.

What    for every voxel of the target, the place in the source's rig frame that is the same point of a still world, and the
        source's value there. What moved by itself is not followed: the attention that comes after has to.
Source  docs/method/mim4d.md#ego-warp, #pitfalls (1)
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from model.errors import InputError
from model.mim4d.voxel_grid import VoxelGrid


def source_from_target(world_from_source: Tensor, world_from_target: Tensor) -> Tensor:
    """Return the rigid transforms (..., 4, 4) from the target's rig frame to the source's, metres.

    World coordinates are kilometres: translations are subtracted before they are turned, so that float32 loses a tenth of a
    millimetre and no more.

    Args:
        world_from_source: (..., 4, 4), a rotation and a translation in metres.
        world_from_target: the same; the leading sizes broadcast.
    """
    source_from_world = world_from_source[..., :3, :3].mT
    rotation = source_from_world @ world_from_target[..., :3, :3]
    shift_m = source_from_world @ (world_from_target[..., :3, 3:] - world_from_source[..., :3, 3:])
    bottom = rotation.new_tensor([0.0, 0.0, 0.0, 1.0]).expand(*rotation.shape[:-2], 1, 4)
    return torch.cat((torch.cat((rotation, shift_m), dim=-1), bottom), dim=-2)


def warp_volume(
    volume: Tensor,
    source_from_target: Tensor,
    *,
    grid: VoxelGrid,
    convention: Literal["metric", "released_index_bug"] = "metric",
) -> tuple[Tensor, Tensor]:
    """Sample volumes of source frames at the voxel centres of target frames, trilinearly.

    Args:
        volume: (n, C, Z, Y, X) in the source's rig frame.
        source_from_target: (n, 4, 4) rigid, metres.
        grid: where the voxels of source and target are, each in its own rig frame.
        convention: ``metric``; or ``released_index_bug``, the public code's: the matrix in metres moves voxel indices, so that a
            translation is wrong by the size of a voxel and a rotation is about the first voxel instead of the vehicle.

    Returns:
        The warped volumes, same shape and dtype, and which of their voxels have a place in the source's box, bool (n, Z, Y, X).
        Where there is none the volume is 0; within half a voxel of the box's faces it fades to 0.

    Raises:
        InputError: the volumes are not on the grid, or there is not one transform for each.
    """
    if volume.ndim != 5 or tuple(volume.shape[2:]) != tuple(grid.shape_zyx):
        raise InputError(
            f"volume to warp has shape {tuple(volume.shape)}, expected (n, C, {', '.join(map(str, grid.shape_zyx))}); "
            "give it with the voxel grid it was built on"
        )
    if tuple(source_from_target.shape) != (volume.shape[0], 4, 4):
        raise InputError(
            f"source_from_target has shape {tuple(source_from_target.shape)}, expected ({volume.shape[0]}, 4, 4); "
            "give one transform for each volume"
        )
    # coordinates need more digits than the features do under autocast
    dtype = torch.promote_types(volume.dtype, torch.float32)
    transform = source_from_target.to(volume.device, dtype)
    at_unit = _moved_unit(transform, grid) if convention == "metric" else _moved_unit_of_indices(transform, grid)
    is_inside = (at_unit.abs() <= 1.0).all(dim=-1)
    warped = F.grid_sample(volume.to(dtype), at_unit, mode="bilinear", padding_mode="zeros", align_corners=False)
    return warped.to(volume.dtype), is_inside


def _moved_unit(transform: Tensor, grid: VoxelGrid) -> Tensor:
    """Return where the target's voxel centres are in the source's box (n, Z, Y, X, 3), -1 and 1 at its faces."""
    return grid.to_unit(_moved(transform, grid.centres_m(device=transform.device).to(transform.dtype)))


def _moved_unit_of_indices(transform: Tensor, grid: VoxelGrid) -> Tensor:
    """Return the same by the public code's error. Which end of the grid is called -1 cancels out: an index stays an index."""
    along = (torch.arange(count, device=transform.device, dtype=transform.dtype) for count in grid.shape_zyx)
    at_z, at_y, at_x = torch.meshgrid(*along, indexing="ij")
    moved = _moved(transform, torch.stack((at_x, at_y, at_z), dim=-1))
    return (2.0 * moved + 1.0) / transform.new_tensor(grid.shape_xyz) - 1.0


def _moved(transform: Tensor, points: Tensor) -> Tensor:
    """Apply transforms (n, 4, 4) to points (Z, Y, X, 3): (n, Z, Y, X, 3)."""
    turned = torch.einsum("nij,zyxj->nzyxi", transform[:, :3, :3], points)
    return turned + transform[:, None, None, None, :3, 3]
