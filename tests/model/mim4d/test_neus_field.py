from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from model.errors import InputError
from model.mim4d.neus_field import ConditionedMlp, NeusField
from model.mim4d.render_config import RenderConfig
from model.mim4d.voxel_grid import VoxelGrid

GRID = VoxelGrid((-51.2, -51.2, -5.0), (51.2, 51.2, 3.0), (3, 8, 8))


def make_field(seed: int = 0, channels: int = 6, **options) -> NeusField:
    torch.manual_seed(seed)
    return NeusField(channels, grid=GRID, config=RenderConfig(**options))


def volume_and_points(clips: int = 2, channels: int = 6, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A volume, scaled points (b, 4, 5, 3) inside the box, and directions."""
    generator = torch.Generator().manual_seed(seed)
    volume = torch.randn(clips, channels, *GRID.shape_zyx, generator=generator)
    unit = torch.rand(clips, 4, 5, 3, generator=generator)
    points = (unit * torch.tensor([102.4, 102.4, 8.0]) + torch.tensor(GRID.low_m)) * GRID.sigma
    return volume, points, nn.functional.normalize(torch.randn(clips, 4, 3, generator=generator), dim=-1)


def count(module: nn.Module) -> int:
    return sum(one.numel() for one in module.parameters())


def test_field_when_full_size_then_has_the_published_parameters_to_the_unit() -> None:
    field = NeusField(32, grid=GRID, config=RenderConfig())
    assert count(field.sdf_net) == 4_881
    assert count(field.rgb_net) == 4_451
    assert count(field) == 4_881 + 4_451 + 1


def test_sharpness_when_new_then_is_20_and_the_parameter_is_a_tenth_of_its_logarithm() -> None:
    field = make_field()
    assert field.inv_s.item() == pytest.approx(math.exp(3.0)) == pytest.approx(20.1, abs=0.02)
    with torch.no_grad():
        field.variance.fill_(0.7)
    assert field.inv_s.item() == pytest.approx(math.exp(7.0), rel=1e-5)
    with torch.no_grad():
        field.variance.fill_(9.0)
    assert field.inv_s.item() == pytest.approx(1e6)
    with torch.no_grad():
        field.variance.fill_(-9.0)
    assert field.inv_s.item() == pytest.approx(1e-6)


def test_decoder_when_its_layers_are_written_out_then_is_the_formula() -> None:
    torch.manual_seed(1)
    net = ConditionedMlp(5, hidden=4, num_layers=3, num_out=2, beta=100.0)
    points, condition = torch.randn(7, 3), torch.randn(7, 5)
    h = points @ net.place.weight.T + net.place.bias
    for number, layer in enumerate(net.layers):
        rows = slice(4 * number, 4 * number + 4)
        added = condition @ net.condition.weight[rows].T + net.condition.bias[rows]
        h = (h + added) @ layer.weight.T + layer.bias
        if number < 2:
            h = torch.logaddexp(100 * h, torch.zeros(())) / 100
    torch.testing.assert_close(net(points, condition), h, rtol=1e-4, atol=1e-5)


def test_decoder_when_relu_is_asked_for_then_negative_values_are_cut() -> None:
    net = ConditionedMlp(1, hidden=1, num_layers=2, num_out=1, beta=None)
    with torch.no_grad():
        for one in net.parameters():
            one.fill_(0.0)
        net.place.weight[0, 0] = 1.0
        for layer in net.layers:
            layer.weight.fill_(1.0)
    points = torch.tensor([[-2.0, 9.0, 9.0], [3.0, 9.0, 9.0]])
    assert net(points, torch.zeros(2, 1))[:, 0].tolist() == [0.0, 3.0]


def test_gradient_when_compared_with_finite_differences_then_is_the_same() -> None:
    field = make_field().double()
    volume, points, directions = (one.double() for one in volume_and_points())
    inside = field.in_volume(volume)
    inside._volume = volume  # float64, so that differences mean something
    gradient = inside.values(points, directions).gradient
    step = 1e-7
    for axis in range(3):
        moved = torch.zeros(3, dtype=torch.double)
        moved[axis] = step
        difference = (inside.sdf(points + moved) - inside.sdf(points - moved)) / (2 * step)
        torch.testing.assert_close(gradient[..., axis], difference, rtol=1e-3, atol=1e-6)


def test_values_when_a_loss_depends_on_the_gradient_then_it_reaches_the_volume_and_every_parameter_of_the_distance() -> None:
    field = make_field()
    volume, points, directions = volume_and_points()
    volume.requires_grad_()
    (field.in_volume(volume).values(points, directions).gradient.norm(dim=-1) - 1).square().mean().backward()
    assert volume.grad is not None and volume.grad.abs().sum() > 0
    without = [name for name, one in field.sdf_net.named_parameters() if one.grad is None or not one.grad.abs().sum() > 0]
    assert without == ["layers.5.bias"]  # adds a constant to the distance


def test_values_when_gradients_are_off_then_are_the_same_and_hold_no_graph() -> None:
    field = make_field()
    volume, points, directions = volume_and_points()
    with_graph = field.in_volume(volume).values(points, directions)
    with torch.no_grad():
        without = field.in_volume(volume).values(points, directions)
    for one, other in zip(with_graph, without, strict=True):
        torch.testing.assert_close(one.detach(), other)
        assert one.requires_grad and not other.requires_grad
    torch.testing.assert_close(field.in_volume(volume).sdf(points), with_graph.sdf)


def test_values_when_in_inference_mode_then_error_says_what_to_use() -> None:
    field = make_field()
    volume, points, directions = volume_and_points()
    with torch.inference_mode(), pytest.raises(InputError, match=r"inference_mode\(\).*use torch\.no_grad\(\)"):
        field.in_volume(volume).values(points, directions)


def test_values_when_a_clip_stands_alone_then_are_those_of_the_batch() -> None:
    field = make_field()
    volume, points, directions = volume_and_points()
    together = field.in_volume(volume).values(points, directions)
    for clip in range(2):
        alone = field.in_volume(volume[clip : clip + 1]).values(points[clip : clip + 1], directions[clip : clip + 1])
        for one, other in zip(alone, together, strict=True):
            torch.testing.assert_close(one[0], other[clip], rtol=1e-5, atol=1e-6)


def test_values_when_colours_are_read_then_depend_on_where_they_are_seen_from() -> None:
    field = make_field()
    volume, points, directions = volume_and_points()
    one, other = (field.in_volume(volume).values(points, way) for way in (directions, -directions))
    assert torch.equal(one.sdf, other.sdf) and not torch.equal(one.rgb, other.rgb)
    assert one.rgb.min() > 0 and one.rgb.max() < 1


def test_colour_when_put_together_by_hand_then_reads_direction_features_gradient_and_geometry_in_this_order() -> None:
    field = make_field()
    volume, points, directions = volume_and_points()
    found = field.in_volume(volume).values(points, directions)
    features = field.features(volume, points)
    geometry = field.sdf_net(points, features)[..., 1:]
    condition = torch.cat([directions[:, :, None].expand(-1, -1, 5, -1), features, found.gradient, geometry], dim=-1)
    assert condition.shape[-1] == 3 + 6 + 3 + 16
    torch.testing.assert_close(found.rgb, torch.sigmoid(field.rgb_net(points, condition)))


def test_features_when_asked_at_voxel_centres_then_are_the_voxels_unless_released() -> None:
    volume = torch.randn(1, 6, *GRID.shape_zyx)
    centres = GRID.centres_m().reshape(1, -1, 1, 3) * GRID.sigma
    voxels = volume.flatten(2).transpose(1, 2)[:, :, None]
    torch.testing.assert_close(make_field().features(volume, centres), voxels, rtol=1e-4, atol=1e-4)
    released = make_field(grid_align="released")
    assert not torch.allclose(released.features(volume, centres), voxels, atol=0.1)
    corner = torch.tensor([[[GRID.low_m]]]) * GRID.sigma
    torch.testing.assert_close(released.features(volume, corner)[0, 0, 0], volume[0, :, 0, 0, 0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", [(2, 5, 3, 8, 8), (2, 6, 3, 8, 9), (6, 3, 8, 8)])
def test_in_volume_when_the_volume_does_not_fit_then_error_names_both_shapes(shape) -> None:
    with pytest.raises(InputError, match=r"a volume to render has shape \(.*\); expected \(clips, 6, 3, 8, 8\)"):
        make_field().in_volume(torch.zeros(shape))
