from __future__ import annotations

import pytest
import torch

from model.mim4d.grid_lookup import gathered_lookup, grid_lookup, has_native_double_backward
from model.mim4d.voxel_grid import VoxelGrid

ALIGN = pytest.mark.parametrize("align_corners", [False, True])


def made_up(seed: int = 0, reach: float = 0.95) -> tuple[torch.Tensor, torch.Tensor]:
    """A volume of unequal sides for each of two clips, and points; none on an edge between cells, where there is no derivative."""
    generator = torch.Generator().manual_seed(seed)
    volume = torch.randn(2, 2, 2, 3, 4, generator=generator, dtype=torch.double, requires_grad=True)
    unit = (torch.rand(2, 2, 1, 3, generator=generator, dtype=torch.double) * 2 - 1) * reach
    return volume, unit.requires_grad_()


@ALIGN
@pytest.mark.parametrize("lookup", [grid_lookup, gathered_lookup])
def test_lookup_when_differentiated_twice_then_both_derivatives_are_right(lookup, align_corners) -> None:
    volume, unit = made_up()

    def look(volume: torch.Tensor, unit: torch.Tensor) -> torch.Tensor:
        return lookup(volume, unit, align_corners=align_corners)

    assert torch.autograd.gradcheck(look, (volume, unit), fast_mode=True)
    assert torch.autograd.gradgradcheck(look, (volume, unit), fast_mode=True)


@ALIGN
def test_twin_when_points_lie_inside_and_outside_then_equals_the_lookup_with_its_derivatives(align_corners) -> None:
    volume, unit = made_up(1, reach=1.6)
    assert (unit.abs() > 1).any()
    found = {}
    for lookup in (grid_lookup, gathered_lookup):
        values = lookup(volume, unit, align_corners=align_corners)
        (slope,) = torch.autograd.grad(values.square().sum(), unit, create_graph=True)
        found[lookup] = (values, slope, *torch.autograd.grad(slope.square().sum(), volume))
    assert found[grid_lookup][0].shape == (2, 2, 1, 2)
    for fast, plain in zip(found[grid_lookup], found[gathered_lookup], strict=True):
        torch.testing.assert_close(fast, plain, rtol=1e-10, atol=1e-12)


def test_lookup_when_asked_at_voxel_centres_then_returns_the_voxels() -> None:
    grid = VoxelGrid((-4.0, -3.0, -1.0), (4.0, 3.0, 3.0), (2, 3, 4))
    volume = torch.randn(1, 5, *grid.shape_zyx)
    found = grid_lookup(volume, grid.to_unit(grid.centres_m())[None])
    torch.testing.assert_close(found, volume.permute(0, 2, 3, 4, 1), rtol=1e-5, atol=1e-5)


def test_lookup_when_released_alignment_then_the_faces_of_the_box_have_the_outermost_values() -> None:
    volume = torch.arange(4.0).reshape(1, 1, 1, 1, 4).expand(1, 1, 2, 3, 4)
    at_x = torch.tensor([-1.0, 1.0, 0.0, 1 / 3])
    unit = torch.stack([at_x, torch.zeros(4), torch.zeros(4)], dim=-1)[None]
    torch.testing.assert_close(grid_lookup(volume, unit, align_corners=True)[0, :, 0], torch.tensor([0.0, 3.0, 1.5, 2.0]))
    torch.testing.assert_close(grid_lookup(volume, unit)[0, :, 0], torch.tensor([0.0, 3.0, 1.5, 13 / 6]))


def test_lookup_when_torch_cannot_differentiate_twice_then_gathers(monkeypatch) -> None:
    has_native_double_backward.cache_clear()

    def cannot(*_args, **_kwargs):
        raise RuntimeError("derivative for aten::grid_sampler_3d_backward is not implemented")

    monkeypatch.setattr("model.mim4d.grid_lookup.F.grid_sample", cannot)
    volume, unit = made_up(2)
    try:
        assert not has_native_double_backward("cpu")
        torch.testing.assert_close(grid_lookup(volume, unit), gathered_lookup(volume, unit))
    finally:
        has_native_double_backward.cache_clear()


def test_probe_when_gradients_are_off_then_answers_as_with_them() -> None:
    answers = set()
    for context in (torch.enable_grad, torch.no_grad, torch.inference_mode):
        has_native_double_backward.cache_clear()
        with context():
            answers.add(has_native_double_backward("cpu"))
    assert len(answers) == 1
