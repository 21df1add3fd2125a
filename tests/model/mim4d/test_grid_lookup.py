from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from model.mim4d.grid_lookup import corners_of, slope_at, values_at, voxel_rows
from model.mim4d.voxel_grid import VoxelGrid

ALIGN = pytest.mark.parametrize("align_corners", [False, True])


def made_up(seed: int = 0, reach: float = 0.95) -> tuple[Tensor, Tensor, Tensor]:
    """A volume of unequal sides for each of two clips, points, none on an edge between cells, and what values count (p, c)."""
    generator = torch.Generator().manual_seed(seed)
    volume = torch.randn(2, 2, 2, 3, 4, generator=generator, dtype=torch.double, requires_grad=True)
    unit = (torch.rand(2, 2, 3, 3, generator=generator, dtype=torch.double) * 2 - 1) * reach
    of_values = torch.randn(12, 2, generator=generator, dtype=torch.double, requires_grad=True)
    return volume, unit, of_values


def sampled(volume: Tensor, unit: Tensor, align_corners: bool) -> Tensor:
    """Torch's own trilinear lookup (p, c)."""
    places = unit.reshape(len(unit), 1, 1, -1, 3)
    found = F.grid_sample(volume, places, mode="bilinear", padding_mode="border", align_corners=align_corners)
    return found[:, :, 0, 0].transpose(1, 2).flatten(0, 1)


def look(volume: Tensor, unit: Tensor, *, align_corners: bool = False) -> Tensor:
    return values_at(voxel_rows(volume), corners_of(unit, volume.shape[2:], align_corners=align_corners))


@ALIGN
@pytest.mark.parametrize("reach", [0.95, 1.6])
def test_values_and_slopes_when_points_lie_inside_and_outside_then_torchs_own_with_their_derivatives(
    reach, align_corners
) -> None:
    volume, unit, of_values = made_up(1, reach)
    assert bool((unit.abs() > 1).any()) is (reach > 1)
    rows, corners = voxel_rows(volume), corners_of(unit, volume.shape[2:], align_corners=align_corners)
    values, slope = values_at(rows, corners), slope_at(rows, corners, of_values)
    place = unit.clone().requires_grad_()
    expected = sampled(volume, place, align_corners)
    (by_place,) = torch.autograd.grad((expected * of_values).sum(), place, create_graph=True)
    found_by_twin = (expected, by_place.flatten(0, 2))
    torch.testing.assert_close((values, slope), found_by_twin, rtol=1e-10, atol=1e-12)
    for one, other in zip((values, slope), found_by_twin, strict=True):
        weights = torch.randn(one.shape, dtype=torch.double)
        leaves = (volume,) if one is values else (volume, of_values)
        ours = torch.autograd.grad((one * weights).sum(), leaves, retain_graph=True)
        theirs = torch.autograd.grad((other * weights).sum(), leaves, retain_graph=True)
        assert all(gradient.abs().max() > 0 for gradient in theirs)
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("shape", [(1, 3, 4), (2, 1, 4), (2, 3, 1), (1, 1, 1)])
def test_values_when_the_volume_is_one_voxel_thick_then_flat_across_it(shape) -> None:
    torch.manual_seed(0)
    volume, unit = torch.randn(2, 3, *shape, dtype=torch.double), torch.rand(2, 5, 3, dtype=torch.double) * 2.4 - 1.2
    torch.testing.assert_close(look(volume, unit), sampled(volume, unit, False))
    slope = slope_at(voxel_rows(volume), corners_of(unit, shape), torch.ones(10, 3, dtype=torch.double))
    for axis, count in enumerate(reversed(shape)):
        assert bool((slope[:, axis] == 0).all()) is (count == 1)


def test_values_when_a_point_is_no_number_then_neither_is_what_is_there_and_infinity_is_outside() -> None:
    volume = torch.arange(4.0).reshape(1, 1, 1, 1, 4)
    unit = torch.zeros(1, 3, 3)
    unit[0, :, 0] = torch.tensor([torch.nan, torch.inf, -torch.inf])
    found = look(volume, unit)[:, 0]
    assert found[0].isnan() and found[1:].tolist() == [3.0, 0.0]


def test_values_when_asked_at_voxel_centres_then_returns_the_voxels() -> None:
    grid = VoxelGrid((-4.0, -3.0, -1.0), (4.0, 3.0, 3.0), (2, 3, 4))
    volume = torch.randn(1, 5, *grid.shape_zyx)
    torch.testing.assert_close(look(volume, grid.to_unit(grid.centres_m())[None]), voxel_rows(volume), rtol=1e-5, atol=1e-5)


def test_values_when_released_alignment_then_the_faces_of_the_box_have_the_outermost_values() -> None:
    volume = torch.arange(4.0).reshape(1, 1, 1, 1, 4).expand(1, 1, 2, 3, 4)
    at_x = torch.tensor([-1.0, 1.0, 0.0, 1 / 3])
    unit = torch.stack([at_x, torch.zeros(4), torch.zeros(4)], dim=-1)[None]
    torch.testing.assert_close(look(volume, unit, align_corners=True)[:, 0], torch.tensor([0.0, 3.0, 1.5, 2.0]))
    torch.testing.assert_close(look(volume, unit)[:, 0], torch.tensor([0.0, 3.0, 1.5, 13 / 6]))


def test_voxel_rows_when_channels_lie_last_then_no_copy() -> None:
    volume = torch.randn(2, 3, 2, 3, 4).contiguous(memory_format=torch.channels_last_3d)
    assert voxel_rows(volume).data_ptr() == volume.data_ptr()
    assert torch.equal(voxel_rows(volume)[2 * 3 * 4 + 5], volume[1, :, 0, 1, 1])
