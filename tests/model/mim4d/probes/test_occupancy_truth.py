from __future__ import annotations

from dataclasses import replace

import torch

from model.mim4d.batch import views_of
from model.mim4d.net import Mim4d
from model.mim4d.probes.occupancy_truth import occupied_voxels, seen_voxels
from model.mim4d.voxel_grid import VoxelGrid
from tests.model.mim4d.made_up_clips import pose, small_clip, small_network

GRID = VoxelGrid((-4.0, -4.0, -1.0), (4.0, 4.0, 1.0), (2, 4, 4))


def one_point(x: float, y: float, z: float, *, frame: int):
    clip = small_clip(0, num_frames=2)
    poses = torch.stack([pose(5.0, 0.0), pose(2.0, 0.0)])[None]  # the older frame is 3 m behind
    return replace(
        clip,
        world_from_rig=poses,
        points=torch.tensor([[x, y, z]]),
        point_window=torch.zeros(1, dtype=torch.int64),
        point_frame=torch.tensor([frame]),
        point_camera=torch.zeros(1, dtype=torch.int64),
        is_held_out=torch.zeros(1, dtype=torch.bool),
    )


def test_voxel_when_a_point_lies_in_it_then_occupied_and_older_points_are_moved_to_the_key_frame():
    found = occupied_voxels(one_point(1.0, -3.0, 0.5, frame=0), GRID).view(2, 4, 4)
    assert found.nonzero().tolist() == [[1, 0, 2]]
    found = occupied_voxels(one_point(1.0, -3.0, 0.5, frame=1), GRID).view(2, 4, 4)
    assert found.nonzero().tolist() == [[1, 0, 1]]
    assert not occupied_voxels(one_point(4.5, 0.0, 0.0, frame=0), GRID).any()
    assert not occupied_voxels(one_point(-4.5, 0.0, 0.0, frame=0), GRID).any()


def test_voxels_when_seen_then_those_that_the_network_fills():
    config = small_network()
    clip = small_clip(0)
    turned = replace(clip, cam_from_rig=clip.cam_from_rig[:, :, :2], intrinsics=clip.intrinsics[:, :, :2])
    turned = replace(turned, image_u8=clip.image_u8[:, :, :2])
    torch.manual_seed(0)
    network = Mim4d(config).eval()
    network.render_conv = torch.nn.Identity()
    with torch.no_grad():
        lifted = network.volumes(views_of(turned))[0, 0]
    is_filled = (lifted != 0).any(dim=0).flatten()
    seen = seen_voxels(turned, config.lift)
    assert torch.equal(seen, is_filled) and 0 < seen.sum() < len(seen)
