from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from model.mim4d.probes.depth_points import DepthPoints, depth_points, features_at
from tests.model.mim4d.made_up_clips import small_clip, small_network


def test_points_when_of_the_key_frame_then_where_their_camera_sees_them():
    clip, config = small_clip(0), small_network()
    for held_out in (False, True):
        found = depth_points(clip, config, held_out=held_out)
        assert len(found.depth_m) > 10 and (found.camera == 0).all()
        assert found.depth_m.min() >= 1.0 and found.depth_m.max() < 32.0
        assert (found.uv_px >= 0).all() and (found.uv_px < torch.tensor([64.0, 32.0])).all()
        # back through the camera: the same points of the clip, of this frame and this use
        in_cam = torch.cat([found.uv_px, torch.ones(len(found.uv_px), 1)], dim=1) @ torch.linalg.inv(clip.intrinsics[0, 0, 0]).T
        in_cam = torch.cat([in_cam * found.depth_m[:, None], torch.ones(len(in_cam), 1)], dim=1)
        in_rig = (in_cam @ torch.linalg.inv(clip.cam_from_rig[0, 0, 0]).T)[:, :3]
        own = clip.points[(clip.point_frame == 0) & (clip.is_held_out == held_out)]
        assert float(torch.cdist(in_rig, own, compute_mode="donot_use_mm_for_euclid_dist").min(dim=1).values.max()) < 1e-3


def test_points_when_read_from_another_camera_then_seen_by_that_one():
    clip = small_clip(0)
    found = depth_points(replace(clip, point_camera=torch.ones_like(clip.point_camera)), small_network(), held_out=False)
    assert (found.camera == 1).all() and len(found.camera) > 10


def test_features_when_the_map_holds_the_places_then_those_of_the_points():
    stride, height, width = 8, 4, 8
    v, u = torch.meshgrid((torch.arange(height) + 0.5) * stride, (torch.arange(width) + 0.5) * stride, indexing="ij")
    level = torch.stack([torch.stack([u, v, torch.full_like(u, float(camera))]) for camera in range(2)])
    points = DepthPoints(torch.tensor([1, 0, 1]), torch.tensor([[10.0, 9.0], [33.25, 20.0], [0.0, 31.9]]), torch.ones(3))
    found = features_at(level, points, image_px=(32, 64))
    assert found.tolist() == [pytest.approx([10.0, 9.0, 1.0]), pytest.approx([33.25, 20.0, 0.0]), pytest.approx([4.0, 28.0, 1.0])]
