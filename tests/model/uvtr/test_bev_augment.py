from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from model.uvtr.batch import boxes_of
from model.uvtr.bev_augment import RESTING, TO_LIDAR, BevAugment, BevAugmentConfig, Moves, draw_bev_augment
from model.uvtr.data import moved_objects
from tests.model.uvtr.made_up_key_frames import corners_of, painted_objects, rig_cameras

MOVES = [
    BevAugment(turn_rad=0.3, scale=1.05),
    BevAugment(turn_rad=-0.39, scale=0.95, mirrors_y=True),
    BevAugment(turn_rad=0.1, scale=1.02, mirrors_x=True, mirrors_y=True),
    TO_LIDAR,
]


def pixels(objects, cam_from_rig, lenses):
    seen = np.einsum("cij,nkj->cnki", cam_from_rig[:, :3, :3], corners_of(objects)) + cam_from_rig[:, None, None, :3, 3]
    image = np.einsum("cij,cnkj->cnki", lenses, seen)
    return image[..., :2] / image[..., 2:], seen[..., 2]


@pytest.mark.parametrize("augment", MOVES)
def test_world_when_moved_then_boxes_fall_on_the_same_pixels_at_the_same_depth(augment):
    objects = painted_objects(3)
    cameras, lenses = (matrices.double().numpy() for matrices in rig_cameras((96, 160)))
    before, depth = pixels(objects, cameras, lenses)
    after, moved_depth = pixels(moved_objects(objects, augment), augment.cam_from_rig(cameras), lenses)
    is_ahead = depth > 0.5  # corners of a mirrored box come in another order
    for camera in range(len(cameras)):
        for box in range(len(objects)):
            if is_ahead[camera, box].all():
                ways = np.linalg.norm(before[camera, box][:, None] - after[camera, box][None], axis=-1)
                assert ways.min(axis=1).max() < 1e-3 and ways.min(axis=0).max() < 1e-3
                assert np.allclose(np.sort(depth[camera, box]), np.sort(moved_depth[camera, box]), atol=1e-4)


def test_velocity_and_size_when_moved_then_they_turn_and_grow_and_an_unknown_one_stays_so():
    boxes = torch.tensor([[10.0, 0, 1, 2, 4, 1.5, 0, 3, 0], [0, 5, 1, 2, 4, 1.5, 1, math.nan, math.nan]])
    moved = BevAugment(turn_rad=math.pi / 2, scale=1.1).boxes(boxes)
    expected = torch.tensor([0.0, 11.0, 1.1, 2.2, 4.4, 1.65, math.pi / 2, 0.0, 3.3])
    assert torch.allclose(moved[0], expected, atol=1e-5)
    assert moved[1, 7:].isnan().all() and torch.equal(RESTING.boxes(boxes)[0], boxes[0])


@pytest.mark.parametrize("augment", MOVES)
def test_poses_when_moved_then_they_stay_rigid_and_fit_the_moved_world(augment):
    pose = np.eye(4)
    pose[:3, :3] = [[math.cos(0.4), -math.sin(0.4), 0], [math.sin(0.4), math.cos(0.4), 0], [0, 0, 1]]
    pose[:3, 3] = [-5.0, 1.0, 0.2]
    moved = augment.key_from_rig(pose)
    assert np.allclose(moved[:3, :3] @ moved[:3, :3].T, np.eye(3)) and np.linalg.det(moved[:3, :3]) == pytest.approx(1)
    point = np.array([7.0, -3.0, 1.0, 1.0])
    assert np.allclose(moved @ (augment.matrix @ point), augment.matrix @ (pose @ point))


@pytest.mark.parametrize("augment", MOVES)
def test_boxes_when_moved_and_undone_then_as_they_were(augment):
    boxes = boxes_of(painted_objects(1)).double()
    boxes[:, 7:] = torch.tensor([3.0, -2.0])
    assert torch.allclose(augment.undone(augment.boxes(boxes)), boxes, atol=1e-9)
    assert torch.equal(Moves((augment, augment)).boxes(boxes), augment.boxes(augment.boxes(boxes)))


def test_frame_of_released_detectors_when_entered_then_ahead_is_y_and_right_is_x():
    moved = TO_LIDAR.boxes(torch.tensor([[10.0, -3.0, 0.0, 2, 4, 1.5, 0.0, 5.0, 0.0]], dtype=torch.float64))[0]
    assert moved[:3].tolist() == pytest.approx([3.0, 10 - 0.943713, -1.84023])
    assert float(moved[6]) == pytest.approx(math.pi / 2) and moved[7:].tolist() == pytest.approx([0.0, 5.0])


def test_draw_when_repeated_then_the_same_and_within_bounds():
    config = BevAugmentConfig(mirror_probability=0.5)
    drawn = [draw_bev_augment(config, seed=1, epoch=2, key=f"scene/{number}") for number in range(200)]
    assert drawn[5] == draw_bev_augment(config, seed=1, epoch=2, key="scene/5")
    assert drawn[5] != draw_bev_augment(config, seed=1, epoch=3, key="scene/5")
    assert max(abs(one.turn_rad) for one in drawn) <= math.radians(22.5) and all(0.95 <= one.scale <= 1.05 for one in drawn)
    assert 60 < sum(one.mirrors_x for one in drawn) < 140 and {one.mirrors_x == one.mirrors_y for one in drawn} == {True, False}
    assert boxes_of(painted_objects(0)).dtype == torch.float32
