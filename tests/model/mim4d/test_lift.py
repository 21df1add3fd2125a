from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from model.errors import InputError
from model.mim4d.depth_head import DepthBins
from model.mim4d.lift import Cameras, RenderConv, lift_by_sampling, lift_by_splatting
from model.mim4d.voxel_grid import VoxelGrid
from tests.model.mim4d.made_up_rig import IMAGE_PX, cam_from_rig, intrinsics, ring

GRID = VoxelGrid((-8.0, -6.0, -2.0), (8.0, 6.0, 2.0), (3, 6, 8))
BINS = DepthBins(0.5, 8.5, 8)
STRIDES = (8, 32)
CHANNELS = 5


def made_up_maps(cameras: Cameras, strides=STRIDES, channels=CHANNELS, num_bins=BINS.num_bins):
    torch.manual_seed(0)
    cells = [tuple(-(-side // stride) for side in cameras.image_px) for stride in strides]
    features = [torch.randn(*cameras.views, channels, *size) for size in cells]
    depth = [torch.randn(*cameras.views, num_bins, *size).softmax(3) for size in cells]
    return features, depth


def one_camera(*, frames: int = 1, yaw_deg: float = 0.0) -> Cameras:
    pose = cam_from_rig(yaw_deg).expand(1, frames, 1, 4, 4)
    return Cameras(pose, intrinsics().expand(1, frames, 1, 3, 3), IMAGE_PX)


def all_at_once(features, depth, cameras, *, align, grid=GRID, bins=BINS, strides=STRIDES):
    """The naive form: every camera, voxel and level as a row, by torch's own samplers."""
    points = (grid.centres_m() if align == "consistent" else grid.lower_corners_m()).view(-1, 3)
    batch, frames, num = cameras.views
    views = batch * frames * num
    matrices = (cameras.intrinsics @ cameras.cam_from_rig[..., :3, :]).view(views, 3, 4)
    projected = points @ matrices[:, :, :3].transpose(1, 2) + matrices[:, None, :, 3]
    d = projected[..., 2]
    u, v = projected[..., 0] / d, projected[..., 1] / d
    height, width = cameras.image_px
    seen = (d > bins.near_m) & (d < bins.far_m) & (u > 0) & (u < width) & (v > 0) & (v < height)
    levels = []
    for feature, chance, stride in zip(features, depth, strides, strict=True):
        h, w = feature.shape[-2:]
        reach = (width, height) if align == "released" else (w * stride, h * stride)
        spot = torch.stack([u / reach[0], v / reach[1], (d - bins.near_m) / (bins.far_m - bins.near_m)], -1) * 2 - 1
        spot = spot.nan_to_num(0.0).clamp(-3, 3)
        how = {"align_corners": align == "released", "padding_mode": "border"}
        image = F.grid_sample(feature.flatten(0, 2), spot[:, None, :, :2], **how)[:, :, 0]
        likely = F.grid_sample(chance.flatten(0, 2)[:, None], spot[:, None, None], **how)[:, :, 0, 0]
        levels.append(image * likely * seen[:, None])
    rows = torch.stack(levels, -1).sum(-1)  # (views, channels, voxels, levels) is what must not be made for real
    return rows.view(batch, frames, num, -1, *grid.shape_zyx).sum(2), seen


@pytest.mark.parametrize("align", ["consistent", "released"])
def test_sampling_when_compared_with_all_rows_at_once_then_values_and_gradients_agree(align):
    cameras = ring()
    features, depth = made_up_maps(cameras)
    leaves = [tensor.requires_grad_() for tensor in (*features, *depth)]
    volume = lift_by_sampling(features, depth, cameras, grid=GRID, bins=BINS, strides=STRIDES, align=align)
    expected, seen = all_at_once(features, depth, cameras, align=align)
    assert volume.shape == (2, 2, CHANNELS, *GRID.shape_zyx) and volume.dtype == torch.float32
    assert 0.2 < seen.float().mean() < 0.5
    torch.testing.assert_close(volume, expected, rtol=1e-4, atol=1e-5)
    weights = torch.randn(volume.shape)
    for found, wanted in zip(*(torch.autograd.grad((weights * one).sum(), leaves) for one in (volume, expected)), strict=True):
        assert wanted.abs().max() > 0
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_voxel_when_one_camera_sees_it_with_all_depth_in_its_bin_then_gets_exactly_the_feature():
    grid = VoxelGrid((0.0, -4.0, -0.5), (8.0, 4.0, 0.5), (1, 8, 8))
    bins = DepthBins(0.0, 8.0, 8)  # as long as a voxel: bin k is the voxels from k to k + 1 m ahead
    cameras = one_camera()
    feature = torch.randn(1, 1, 1, 4, 1, 1).expand(1, 1, 1, 4, 4, 6)
    depth = torch.zeros(1, 1, 1, 8, 4, 6)
    depth[:, :, :, 5] = 1.0
    volume = lift_by_sampling([feature], [depth], cameras, grid=grid, bins=bins, strides=[8])
    centres = grid.centres_m()[0]
    seen = centres[..., 1].abs() < centres[..., 0]  # 45 degrees to either side
    at_5 = volume[0, 0, :, 0, :, 5]
    torch.testing.assert_close(at_5, (feature[0, 0, 0, :, 0, :1] * seen[:, 5]), rtol=1e-6, atol=1e-6)
    assert volume[0, 0, :, 0, :, [0, 1, 2, 3, 4, 6, 7]].abs().max() == 0


def test_cells_when_each_holds_its_own_pixel_then_a_voxel_reads_where_its_middle_is_seen():
    cameras = one_camera()
    column = (torch.arange(6.0) + 0.5) * 8  # middle of each cell, pixels
    feature = column.expand(1, 1, 1, 1, 4, 6)
    depth = torch.ones(1, 1, 1, 1, 4, 6)
    bins = DepthBins(0.5, 8.5, 1)
    grid = VoxelGrid((2.0, -1.0, -0.5), (8.0, 1.0, 0.5), (1, 4, 6))
    volume = lift_by_sampling([feature], [depth], cameras, grid=grid, bins=bins, strides=[8])
    centres = grid.centres_m()
    u = 24.0 - 24.0 * centres[..., 1] / centres[..., 0]
    torch.testing.assert_close(volume[0, 0, 0], u, rtol=1e-5, atol=1e-4)


def test_voxels_when_behind_beside_or_too_far_then_zero():
    cameras = one_camera()
    features, depth = made_up_maps(cameras)
    volume = lift_by_sampling(features, depth, cameras, grid=GRID, bins=DepthBins(0.5, 4.5, 8), strides=STRIDES)
    x, y, z = GRID.centres_m().unbind(-1)
    seen = (x > 0.5) & (x < 4.5) & (y.abs() < x) & (z.abs() < x * 16 / 24)
    assert 0 < seen.sum() < seen.numel() / 4
    assert torch.equal(volume[0, 0].abs().sum(0) > 0, seen)


def test_frames_when_each_has_its_own_matrices_then_each_is_as_if_alone():
    cameras = ring()
    features, depth = made_up_maps(cameras)
    together = lift_by_sampling(features, depth, cameras, grid=GRID, bins=BINS, strides=STRIDES)
    splat = lift_by_splatting(features[0], depth[0], cameras, grid=GRID, bins=BINS, stride=8)
    for b in range(2):
        for t in range(2):
            part = (slice(b, b + 1), slice(t, t + 1))
            alone = Cameras(cameras.cam_from_rig[part], cameras.intrinsics[part], IMAGE_PX)
            ours = [one[part] for one in features], [one[part] for one in depth]
            torch.testing.assert_close(together[part], lift_by_sampling(*ours, alone, grid=GRID, bins=BINS, strides=STRIDES))
            torch.testing.assert_close(
                splat[part], lift_by_splatting(ours[0][0], ours[1][0], alone, grid=GRID, bins=BINS, stride=8)
            )


class LargestTensor(TorchDispatchMode):
    """Notes the most elements that any result has."""

    def __init__(self) -> None:
        super().__init__()
        self.num = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        self.num = max(self.num, *(one.untyped_storage().size() // 4 for one in tree_leaves(result) if torch.is_tensor(one)), 0)
        return result


def kept_for_backward(compute) -> int:
    storages: dict[int, int] = {}
    alive = []

    def keep(tensor):
        alive.append(tensor)
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes() // 4
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        compute()
    return sum(storages.values())


def test_memory_when_many_cameras_and_levels_then_no_row_for_each_of_them():
    cameras, grid, channels, strides = ring(1, 2, 6), VoxelGrid(GRID.low_m, GRID.high_m, (4, 24, 24)), 32, (8, 16, 32, 64)
    features, depth = made_up_maps(cameras, strides, channels)
    leaves = [tensor.requires_grad_() for tensor in (*features, *depth)]
    volume = 2 * channels * grid.num_voxels

    def lift():
        return lift_by_sampling(features, depth, cameras, grid=grid, bins=BINS, strides=strides)

    naive = kept_for_backward(lambda: all_at_once(features, depth, cameras, align="consistent", grid=grid, strides=strides))
    assert naive > 24 * volume
    assert kept_for_backward(lift) < 0.75 * volume  # the maps, and which voxels are seen
    with LargestTensor() as mode:
        torch.autograd.grad(lift().sum(), leaves)
    assert mode.num <= volume


def test_splat_when_written_out_then_the_same():
    cameras = ring(1, 1, 2)
    features, depth = made_up_maps(cameras)
    for align, within in (("consistent", 0.5), ("released", 0.0)):
        expected = torch.zeros(CHANNELS, *GRID.shape_zyx)
        for m in range(2):
            rig_from_cam = torch.linalg.inv(cameras.cam_from_rig[0, 0, m].double())
            lens = cameras.intrinsics[0, 0, m].double()
            for k in range(BINS.num_bins):
                d = BINS.near_m + (k + within) * BINS.bin_m
                for row in range(4):
                    for column in range(6):
                        u, v = (column + within) * 8, (row + within) * 8
                        ray = torch.tensor(
                            [(u - lens[0, 2]) / lens[0, 0], (v - lens[1, 2]) / lens[1, 1], 1.0], dtype=torch.float64
                        )
                        point = rig_from_cam[:3, :3] @ ray * d + rig_from_cam[:3, 3]
                        spot = [(float(p) - low) / size for p, low, size in zip(point, GRID.low_m, GRID.voxel_m, strict=True)]
                        x, y, z = (math.floor(one) if align == "consistent" else math.trunc(one) for one in spot)
                        if 0 <= x < 8 and 0 <= y < 6 and 0 <= z < 3:
                            expected[:, z, y, x] += features[0][0, 0, m, :, row, column] * depth[0][0, 0, m, k, row, column]
        volume = lift_by_splatting(features[0], depth[0], cameras, grid=GRID, bins=BINS, stride=8, align=align)
        torch.testing.assert_close(volume[0, 0], expected, rtol=1e-5, atol=1e-5)


def test_splat_when_all_rays_end_in_the_grid_then_no_mass_is_lost():
    cameras = ring()
    features, depth = made_up_maps(cameras)
    grid = VoxelGrid((-40.0, -40.0, -40.0), (40.0, 40.0, 40.0), (4, 5, 6))
    volume = lift_by_splatting(features[0], depth[0], cameras, grid=grid, bins=BINS, stride=8)
    torch.testing.assert_close(volume.sum((3, 4, 5)), features[0].sum((2, 4, 5)), rtol=1e-5, atol=1e-5)


def test_splat_when_a_point_is_just_below_the_grid_then_lost_unless_released():
    grid = VoxelGrid((0.0, 0.25, -8.0), (8.0, 8.25, 8.0), (1, 8, 8))  # the ray straight ahead is 0.25 m below the first row
    cameras = Cameras(one_camera().cam_from_rig, intrinsics().expand(1, 1, 1, 3, 3), IMAGE_PX)
    feature, depth = torch.zeros(1, 1, 1, 1, 4, 6), torch.ones(1, 1, 1, 1, 4, 6)
    feature[..., 3] = 1.0  # the column from 24 to 32 pixels, middle 28: to the right, y < 0 by depth / 6
    bins = DepthBins(2.5, 3.5, 1)
    assert lift_by_splatting(feature, depth, cameras, grid=grid, bins=bins, stride=8).sum() == 0
    assert lift_by_splatting(feature, depth, cameras, grid=grid, bins=bins, stride=8, align="released").sum() == 4


def test_splat_when_differentiated_then_gradients_agree_with_finite_differences():
    cameras = ring(1, 1, 2)
    features, depth = made_up_maps(cameras, (16,), 2)
    weights = torch.randn(1, 1, 2, *GRID.shape_zyx)

    def loss(feature, chance):
        return (lift_by_splatting(feature, chance, cameras, grid=GRID, bins=BINS, stride=16) * weights).sum()

    feature, chance = features[0].requires_grad_(), depth[0].requires_grad_()
    gradients = torch.autograd.grad(loss(feature, chance), (feature, chance))
    for place, gradient in enumerate(gradients):
        step = torch.randn(gradient.shape)
        ends = [loss(*[x + sign * step if n == place else x for n, x in enumerate((feature, chance))]) for sign in (1, -1)]
        assert (gradient * step).sum().item() == pytest.approx((ends[0] - ends[1]).item() / 2, rel=1e-3)  # linear in each


def test_lift_when_nothing_is_in_view_then_zeros():
    cameras = one_camera(yaw_deg=180.0)
    features, depth = made_up_maps(cameras)
    grid = VoxelGrid((1.0, -1.0, -1.0), (3.0, 1.0, 1.0), (2, 2, 2))
    assert lift_by_sampling(features, depth, cameras, grid=grid, bins=BINS, strides=STRIDES).abs().max() == 0
    assert lift_by_splatting(features[0], depth[0], cameras, grid=grid, bins=BINS, stride=8).abs().max() == 0


def test_lift_when_autocast_is_on_then_pixels_keep_their_precision():
    cameras = ring()
    features, depth = made_up_maps(cameras)
    half = [feature.bfloat16() for feature in features]

    def both(maps):
        sampled = lift_by_sampling(maps, depth, cameras, grid=GRID, bins=BINS, strides=STRIDES)
        return sampled, lift_by_splatting(maps[0], depth[0], cameras, grid=GRID, bins=BINS, stride=8)

    plain = both(features), both(half)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = both(features), both(half)
    for expected, found in zip(plain, mixed, strict=True):
        assert [one.dtype for one in found] == [torch.float32] * 2
        assert all(torch.equal(*pair) for pair in zip(expected, found, strict=True))


def test_lift_when_maps_do_not_fit_then_named():
    cameras = ring()
    features, depth = made_up_maps(cameras)
    with pytest.raises(InputError, match="2 feature maps, 1 depth maps and 2 strides were given, expected one of each per level"):
        lift_by_sampling(features, depth[:1], cameras, grid=GRID, bins=BINS, strides=STRIDES)
    with pytest.raises(InputError, match=r"the feature map at stride 16 is \(2, 2, 3, 5, 4, 6\), expected \(2, 2, 3, 5, 2, 3\)"):
        lift_by_sampling(features[:1], depth[:1], cameras, grid=GRID, bins=BINS, strides=[16])
    with pytest.raises(InputError, match=r"the depth map at stride 8 is .*, expected \(2, 2, 3, 9, 4, 6\)"):
        lift_by_splatting(features[0], depth[0], cameras, grid=GRID, bins=DepthBins(0, 9, 9), stride=8)
    with pytest.raises(
        InputError, match=r"cam_from_rig is \(2, 2, 3, 4, 4\) and intrinsics \(2, 3, 3\), expected \(b, t, m, 4, 4\)"
    ):
        Cameras(cameras.cam_from_rig, cameras.intrinsics[0, :, 0], IMAGE_PX)


@pytest.mark.parametrize(("norm", "leaks"), [("gn", False), ("bn", True)])
def test_render_conv_when_another_frame_changes_then_only_a_batch_norm_shows_it(norm, leaks):
    torch.manual_seed(0)
    conv = RenderConv(3, 8, norm=norm, num_groups=4)
    volumes = torch.randn(1, 2, 3, 2, 4, 5)
    other = volumes.clone()
    other[:, 1] *= 3
    first = conv(volumes)
    assert first.shape == (1, 2, 8, 2, 4, 5) and first.is_contiguous() and first.min() == 0
    assert torch.equal(first[:, 0], conv(other)[:, 0]) is not leaks
    with pytest.raises(InputError, match="8 volume channels do not fall into 3 groups of one norm"):
        RenderConv(3, 8, num_groups=3)


def test_grid_when_asked_then_centres_faces_and_scale():
    grid = VoxelGrid((-51.2, -51.2, -5.0), (51.2, 51.2, 3.0), (5, 128, 128))
    assert grid.voxel_m == pytest.approx((0.8, 0.8, 1.6))
    assert grid.sigma == pytest.approx(1 / 51.2)
    centres = grid.centres_m()
    assert centres.shape == (5, 128, 128, 3)
    torch.testing.assert_close(centres[1, 2, 3], torch.tensor([-51.2 + 3.5 * 0.8, -51.2 + 2.5 * 0.8, -5 + 1.5 * 1.6]))
    torch.testing.assert_close(grid.lower_corners_m()[:, 0, 0, 2], torch.tensor([-5.0, -3.4, -1.8, -0.2, 1.4]))
    torch.testing.assert_close(grid.to_unit(torch.tensor([[-51.2, 51.2, -1.0]])), torch.tensor([[-1.0, 1.0, 0.0]]))


def test_grid_when_a_volume_is_looked_up_at_its_centres_then_itself():
    volume = torch.randn(1, 4, *GRID.shape_zyx)
    spots = GRID.to_unit(GRID.centres_m())[None]
    torch.testing.assert_close(F.grid_sample(volume, spots, align_corners=False), volume, rtol=1e-4, atol=1e-5)


def test_grid_when_its_box_is_turned_over_or_empty_then_named():
    with pytest.raises(InputError, match="expected every lower bound below its upper bound; swap them"):
        VoxelGrid((0.0, 2.0, 0.0), (1.0, 1.0, 1.0), (1, 1, 1))
    with pytest.raises(InputError, match=r"voxel grid has \(1, 0, 1\) cells \(z, y, x\), expected one or more along each axis"):
        VoxelGrid((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (1, 0, 1))
