"""Which voxels around the key frame hold something, as far as LiDAR tells, and which of them a camera can see.

What    a voxel is occupied if a point of any frame of the clip lies in it, after the point was moved to where the rig is in the
        key frame. A voxel behind a surface counts as empty: the truth is what was hit, not what is there. Things that move leave
        a trace as long as they went during the clip.
Source  docs/method/mim4d.md#occupancy-probe
"""

from __future__ import annotations

import torch
from torch import Tensor

from model.mim4d.batch import ClipBatch
from model.mim4d.network_config import LiftConfig
from model.mim4d.voxel_grid import VoxelGrid


def occupied_voxels(batch: ClipBatch, grid: VoxelGrid) -> Tensor:
    """Return (voxels) bool, by z, y and x, of a single clip."""
    key_from_frame = torch.linalg.inv(batch.world_from_rig[0, 0].double()) @ batch.world_from_rig[0].double()
    moved = key_from_frame[batch.point_frame]
    points_m = (moved[:, :3, :3] @ batch.points.double()[..., None])[..., 0] + moved[:, :3, 3]
    place = ((points_m - points_m.new_tensor(grid.low_m)) / points_m.new_tensor(grid.voxel_m)).floor().long()
    is_inside = ((place >= 0) & (place < place.new_tensor(grid.shape_xyz))).all(dim=1)
    x, y, z = place[is_inside].unbind(dim=1)
    num_x, num_y, _ = grid.shape_xyz
    is_occupied = torch.zeros(grid.num_voxels, dtype=torch.bool, device=place.device)
    is_occupied[(z * num_y + y) * num_x + x] = True
    return is_occupied


def seen_voxels(batch: ClipBatch, lift: LiftConfig) -> Tensor:
    """Return (voxels) bool: the middle is in a camera's image in the key frame, between the ends of the depth bins.

    Nothing can be said of the others, whose features are the same everywhere.
    """
    cam_from_rig, intrinsics = batch.cam_from_rig[0, 0], batch.intrinsics[0, 0]
    centres_m = lift.grid.centres_m(device=cam_from_rig.device).flatten(0, 2)
    in_cam_m = centres_m @ cam_from_rig[:, :3, :3].transpose(1, 2) + cam_from_rig[:, None, :3, 3]
    depth_m = in_cam_m[..., 2]
    is_between = (depth_m > lift.near_m) & (depth_m < lift.far_m)
    on_plane = in_cam_m @ intrinsics.transpose(1, 2)
    u_px, v_px = (on_plane[..., axis] / torch.where(is_between, depth_m, 1.0) for axis in (0, 1))
    height, width = batch.image_u8.shape[3:5]
    is_in_image = (u_px > 0) & (u_px < width) & (v_px > 0) & (v_px < height)
    return (is_between & is_in_image).any(dim=0)
