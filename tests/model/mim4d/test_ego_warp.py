from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from model.errors import InputError
from model.mim4d.ego_warp import source_from_target, warp_volume
from model.mim4d.voxel_grid import VoxelGrid

GRID = VoxelGrid((-4.0, -6.4, -2.0), (8.0, 6.4, 2.0), (4, 8, 10))
PUBLISHED = VoxelGrid((-51.2, -51.2, -5.0), (51.2, 51.2, 3.0), (5, 128, 128))


def pose(x: float = 0.0, y: float = 0.0, z: float = 0.0, *, yaw_deg: float = 0.0, pitch_deg: float = 0.0) -> Tensor:
    yaw, pitch = math.radians(yaw_deg), math.radians(pitch_deg)
    about_z = torch.tensor([[math.cos(yaw), -math.sin(yaw), 0.0], [math.sin(yaw), math.cos(yaw), 0.0], [0.0, 0.0, 1.0]])
    about_y = torch.tensor([[math.cos(pitch), 0.0, math.sin(pitch)], [0.0, 1.0, 0.0], [-math.sin(pitch), 0.0, math.cos(pitch)]])
    matrix = torch.eye(4)
    matrix[:3, :3] = about_z @ about_y
    matrix[:3, 3] = torch.tensor([x, y, z])
    return matrix


def seen_from(world_from_rig: Tensor, grid: VoxelGrid) -> Tensor:
    """Volume (1, 3, Z, Y, X) of the world coordinates of voxel centres: trilinear sampling of it is exact."""
    points = grid.centres_m() @ world_from_rig[:3, :3].T + world_from_rig[:3, 3]
    return points.permute(3, 0, 1, 2)[None]


def has_eight_corners(at_unit: Tensor, grid: VoxelGrid) -> Tensor:
    """Where trilinear sampling meets no padding."""
    return (at_unit.abs() <= 1.0 - 1.0 / torch.tensor(grid.shape_xyz)).all(dim=-1)


def where_it_looked(transform: Tensor, convention: str, cell_zyx: tuple[int, int, int]) -> Tensor:
    volume = PUBLISHED.centres_m().permute(3, 0, 1, 2)[None]
    looked, _ = warp_volume(volume, transform[None], grid=PUBLISHED, convention=convention)  # type: ignore[arg-type]
    return looked[0, :, *cell_zyx]


def test_warp_when_the_vehicle_did_not_move_then_it_is_the_identity() -> None:
    volume = torch.randn(2, 3, *GRID.shape_zyx, generator=torch.Generator().manual_seed(0))
    still = source_from_target(pose(700, -300, yaw_deg=33), pose(700, -300, yaw_deg=33)).expand(2, 4, 4)
    warped, is_inside = warp_volume(volume, still, grid=GRID)
    assert (warped - volume).abs().max() < 1.4e-5
    # the outermost centres are half a voxel inside the faces
    assert is_inside.all()


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("voxels", [1, -2])
def test_warp_when_translated_by_whole_voxels_then_it_is_a_roll_inside_and_zero_outside(axis: int, voxels: int) -> None:
    volume = torch.randn(1, 2, *GRID.shape_zyx, generator=torch.Generator().manual_seed(1))
    transform = torch.eye(4)
    transform[axis, 3] = voxels * GRID.voxel_m[axis]
    warped, is_inside = warp_volume(volume, transform[None], grid=GRID)
    dim = 4 - axis
    expected = volume.roll(-voxels, dims=dim)
    count = volume.shape[dim]
    outside = torch.arange(count - voxels, count) if voxels > 0 else torch.arange(-voxels)
    expected.index_fill_(dim, outside, 0.0)
    assert (warped - expected).abs().max() < 1.4e-5
    expected_inside = torch.ones_like(is_inside).index_fill_(dim - 1, outside, False)
    assert torch.equal(is_inside, expected_inside)


@pytest.mark.parametrize(
    ("source", "target"),
    [
        (pose(), pose(1.3, 0.2, yaw_deg=5)),
        (pose(2.0, -1.0, 0.3, yaw_deg=170, pitch_deg=3), pose(1.0, -0.5, yaw_deg=160, pitch_deg=-2)),
        (pose(1203.4, 802.1, 12.0, yaw_deg=-75), pose(1202.9, 803.3, 12.1, yaw_deg=-82, pitch_deg=2)),
    ],
)
def test_warp_when_the_world_is_still_then_every_voxel_shows_its_own_point_of_the_world(source: Tensor, target: Tensor) -> None:
    transform = source_from_target(source, target)
    warped, is_inside = warp_volume(seen_from(source, GRID), transform[None], grid=GRID)
    points = GRID.centres_m() @ transform[:3, :3].T + transform[:3, 3]
    is_exact = has_eight_corners(GRID.to_unit(points), GRID)
    difference = (warped - seen_from(target, GRID))[0][:, is_exact]
    assert is_exact.float().mean() > 0.2
    # float32 of a kilometre is 0.06 mm
    assert difference.abs().max() < 1e-3
    assert is_inside[0][is_exact].all() and not is_inside.all()


def test_warp_when_there_and_back_then_a_smooth_field_is_kept() -> None:
    grid = VoxelGrid((-8.0, -8.0, -2.0), (8.0, 8.0, 2.0), (16, 64, 64))
    x, y, z = grid.centres_m().unbind(-1)
    volume = (torch.sin(0.5 * x) * torch.cos(0.4 * y) + 0.3 * torch.sin(0.8 * z))[None, None]
    forth, back = source_from_target(pose(), pose(0.9, yaw_deg=4)), source_from_target(pose(0.9, yaw_deg=4), pose())
    once, _ = warp_volume(volume, forth[None], grid=grid)
    twice, is_inside = warp_volume(once, back[None], grid=grid)
    inner = (..., slice(2, -2), slice(12, -12), slice(12, -12))
    assert is_inside[inner].all()
    # linear interpolation of a wave of number k is off by (k * voxel)^2 / 8 at most; two axes, there and back
    assert (twice - volume)[inner].abs().max() < 2 * (0.5**2 + 0.4**2) * 0.25**2 / 8
    assert (once - volume)[inner].abs().max() > 0.2


def test_source_from_target_when_composed_then_it_is_inverse_of_source_times_target() -> None:
    source, target = pose(1203.4, 802.1, 12.0, yaw_deg=-75), pose(1202.9, 803.3, 12.1, yaw_deg=-82, pitch_deg=2)
    exact = torch.linalg.inv(source.double()) @ target.double()
    assert (source_from_target(source, target).double() - exact).abs().max() < 2e-4
    assert torch.equal(source_from_target(source, target)[3], torch.tensor([0.0, 0.0, 0.0, 1.0]))


@pytest.mark.parametrize(("yaw_deg", "error_m"), [(0.0, 0.17), (1.0, 1.4), (3.0, 3.9), (5.0, 6.5)])
def test_released_warp_when_the_vehicle_drove_then_it_misses_by_what_the_specification_measured(
    yaw_deg: float, error_m: float
) -> None:
    transform = source_from_target(pose(), pose(0.83, yaw_deg=yaw_deg))
    vehicle = (3, 64, 64)
    true = where_it_looked(transform, "metric", vehicle)
    released = where_it_looked(transform, "released_index_bug", vehicle)
    exact = transform[:3, :3] @ PUBLISHED.centres_m()[vehicle] + transform[:3, 3]
    assert (true - exact).norm() < 1e-4
    assert (released - true)[:2].norm() == pytest.approx(error_m, rel=0.1)


def test_released_warp_when_the_vehicle_did_not_move_then_it_is_the_identity() -> None:
    volume = torch.randn(1, 3, *GRID.shape_zyx, generator=torch.Generator().manual_seed(0))
    warped, is_inside = warp_volume(volume, torch.eye(4)[None], grid=GRID, convention="released_index_bug")
    assert (warped - volume).abs().max() < 1.4e-5 and is_inside.all()


def test_released_warp_when_translated_by_one_then_it_moves_one_voxel_whatever_its_size() -> None:
    volume = torch.randn(1, 3, *GRID.shape_zyx, generator=torch.Generator().manual_seed(0))
    transform = torch.eye(4)
    transform[1, 3] = 1.0
    warped, _ = warp_volume(volume, transform[None], grid=GRID, convention="released_index_bug")
    assert (warped[..., :-1, :] - volume[..., 1:, :]).abs().max() < 1.4e-5


def test_warp_when_batched_then_every_volume_has_its_own_transform() -> None:
    volume = torch.randn(3, 2, *GRID.shape_zyx, generator=torch.Generator().manual_seed(2))
    transforms = torch.stack([source_from_target(pose(), pose(shift, yaw_deg=10 * shift)) for shift in (0.0, 0.4, -1.2)])
    together, inside_together = warp_volume(volume, transforms, grid=GRID)
    for index in range(3):
        alone, inside = warp_volume(volume[index : index + 1], transforms[index : index + 1], grid=GRID)
        assert torch.allclose(alone[0], together[index], atol=1e-5) and torch.equal(inside[0], inside_together[index])


def test_warp_when_volumes_are_bfloat16_then_places_are_not_rounded() -> None:
    volume = torch.randn(1, 2, *GRID.shape_zyx, generator=torch.Generator().manual_seed(3)).bfloat16()
    transform = source_from_target(pose(), pose(0.37, yaw_deg=3))[None]
    warped, _ = warp_volume(volume, transform, grid=GRID)
    exact, _ = warp_volume(volume.float(), transform, grid=GRID)
    assert warped.dtype == torch.bfloat16
    assert torch.equal(warped, exact.bfloat16())


def test_warp_when_shapes_do_not_fit_then_it_says_which() -> None:
    with pytest.raises(
        InputError, match=r"volume to warp has shape \(1, 2, 4, 8, 9\), expected \(n, C, 4, 8, 10\); give it with the"
    ):
        warp_volume(torch.zeros(1, 2, 4, 8, 9), torch.eye(4)[None], grid=GRID)
    with pytest.raises(
        InputError, match=r"source_from_target has shape \(1, 4, 4\), expected \(2, 4, 4\); give one transform for each"
    ):
        warp_volume(torch.zeros(2, 2, 4, 8, 10), torch.eye(4)[None], grid=GRID)
