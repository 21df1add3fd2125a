"""Signed distance and colour at points, from the features of a volume: two small decoders and one sharpness.

Source  docs/method/mim4d.md#neus-field, #pitfalls; NeuS (arXiv 2106.10689) for the parameter of the sharpness
Differs from the public code: the volume is looked up by the same convention as everywhere else, unless ``grid_align`` says
        otherwise (pitfall 10). The outermost half voxel has the value of its voxel, where reading zeros outside, which in the
        public code's convention touches no sample, would fade it out.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.errors import InputError
from model.mim4d.grid_lookup import Corners, corners_of, slope_at, values_at, voxel_rows
from model.mim4d.render_config import RenderConfig
from model.mim4d.voxel_grid import VoxelGrid


class FieldValues(NamedTuple):
    """What a field says at points (b, r, s), all in scaled units (metres times ``VoxelGrid.sigma``).

    Attributes:
        sdf: (b, r, s) signed distance, positive outside.
        gradient: (b, r, s, 3) its derivative with respect to the scaled point, not normalised; differentiable if gradients are
            on.
        rgb: (b, r, s, 3), 0 to 1.
    """

    sdf: Tensor
    gradient: Tensor
    rgb: Tensor


class Field(Protocol):
    """What can be rendered: a trained field in one volume, or a formula."""

    def sdf(self, points: Tensor) -> Tensor:
        """Return the signed distance (b, r, s) at scaled points (b, r, s, 3)."""
        ...

    def values(self, points: Tensor, directions: Tensor) -> FieldValues:
        """Return what is at scaled points (b, r, s, 3), seen along directions (b, r, 3) of length 1."""
        ...

    @property
    def inv_s(self) -> Tensor:
        """Scalar: how sharp a surface is, per scaled unit; the density falls off over about 1 / inv_s."""
        ...


class ConditionedMlp(nn.Module):
    """Linear layers of a place, into each of which a projection of a condition is added.

    Args:
        num_condition: numbers of the condition.
        hidden: width.
        num_layers: layers after the first, which takes the place only.
        num_out: results.
        beta: of the softplus between layers; None = ReLU.
    """

    def __init__(self, num_condition: int, *, hidden: int, num_layers: int, num_out: int, beta: float | None) -> None:
        super().__init__()
        self.place = nn.Linear(3, hidden)
        self.condition = nn.Linear(num_condition, hidden * num_layers)  # of all layers at once; they do not depend on each other
        widths = [hidden] * (num_layers - 1) + [num_out]
        self.layers = nn.ModuleList(nn.Linear(hidden, width) for width in widths)
        self._beta = beta

    def forward(self, points: Tensor, condition: Tensor) -> Tensor:
        """Return (..., num_out) of scaled points (..., 3) and a condition (..., num_condition)."""
        added = self.condition(condition).chunk(len(self.layers), dim=-1)
        activations: Tensor = self.place(points)
        for number, layer in enumerate(self.layers):
            activations = layer(activations + added[number])
            if number + 1 < len(self.layers):
                activations = F.relu(activations) if self._beta is None else F.softplus(activations, beta=self._beta)
        return activations


class NeusField(nn.Module):
    """The two decoders; all volumes share them.

    Args:
        num_channels: features of a voxel.
        grid: box of the voxels.
        config: sizes of the decoders.
    """

    def __init__(self, num_channels: int, *, grid: VoxelGrid, config: RenderConfig) -> None:
        super().__init__()
        self._grid = grid
        self._align_corners = config.grid_align == "released"
        self._num_channels = num_channels
        self.sdf_net = ConditionedMlp(
            num_channels, hidden=config.hidden, num_layers=config.sdf_layers, num_out=1 + config.num_geometry, beta=100.0
        )
        self.rgb_net = ConditionedMlp(
            3 + num_channels + 3 + config.num_geometry, hidden=config.hidden, num_layers=config.rgb_layers, num_out=3, beta=None
        )
        self.variance = nn.Parameter(torch.tensor(config.initial_variance))

    @property
    def inv_s(self) -> Tensor:
        """The sharpness, a scalar > 0; its parameter is a tenth of its logarithm, so that small steps are enough."""
        return torch.exp(10.0 * self.variance).clamp(1e-6, 1e6)

    def in_volume(self, volume: Tensor) -> FieldInVolume:
        """Return the field that a volume describes.

        Args:
            volume: (b, c, z, y, x) on the grid; one for each clip of rays.

        Raises:
            InputError: the volume is not of this grid, or has another number of channels.
        """
        expected = (self._num_channels, *self._grid.shape_zyx)
        if volume.ndim != 5 or tuple(volume.shape[1:]) != expected:
            raise InputError(
                f"a volume to render has shape {tuple(volume.shape)}; expected (clips, {', '.join(map(str, expected))})"
            )
        return FieldInVolume(self, volume)

    def corners(self, points: Tensor) -> Corners:
        """Return the voxels around scaled points (b, r, s, 3)."""
        return corners_of(self._grid.to_unit(points / self._grid.sigma), self._grid.shape_zyx, align_corners=self._align_corners)

    def features(self, volume: Tensor, points: Tensor) -> Tensor:
        """Return a volume's features (b, r, s, c) at scaled points (b, r, s, 3); not differentiable by the points."""
        return values_at(voxel_rows(volume), self.corners(points)).view(*points.shape[:-1], volume.shape[1])

    def slope(self, volume: Tensor, corners: Corners, of_features: Tensor) -> Tensor:
        """Return how the products of features and (b, r, s, c) grow with the scaled points (b, r, s, 3)."""
        by_unit = slope_at(voxel_rows(volume), corners, of_features.flatten(0, -2)).view(*of_features.shape[:-1], 3)
        size_m = by_unit.new_tensor(self._grid.high_m) - by_unit.new_tensor(self._grid.low_m)
        return by_unit * (2.0 / (size_m * self._grid.sigma))


class FieldInVolume:
    """A ``Field``: the decoders with one volume for each clip; in float32."""

    def __init__(self, field: NeusField, volume: Tensor) -> None:
        self._field = field
        self._volume = volume.float().contiguous(memory_format=torch.channels_last_3d)  # a voxel is read whole

    @property
    def inv_s(self) -> Tensor:
        """The field's sharpness."""
        return self._field.inv_s

    def sdf(self, points: Tensor) -> Tensor:
        """Return the signed distance (b, r, s) at scaled points (b, r, s, 3); its slope is in ``values`` only."""
        points = points.detach()
        distance: Tensor = self._field.sdf_net(points, self._field.features(self._volume, points))[..., 0]
        return distance

    def values(self, points: Tensor, directions: Tensor) -> FieldValues:
        """Return distance, its gradient through the lookup, and colour; the gradient is there under ``no_grad``, too.

        Raises:
            InputError: under ``torch.inference_mode``, which knows no gradients at all.
        """
        if torch.is_inference_mode_enabled():
            raise InputError(
                "a volume is rendered in torch.inference_mode(), which cannot find the direction of surfaces; use torch.no_grad()"
            )
        is_training = torch.is_grad_enabled()
        corners = self._field.corners(points)
        with torch.enable_grad():
            points = points.detach().requires_grad_()
            features = values_at(voxel_rows(self._volume), corners).view(*points.shape[:-1], self._volume.shape[1])
            if not features.requires_grad:
                features.requires_grad_()
            distance, geometry = self._field.sdf_net(points, features).tensor_split([1], dim=-1)
            # by the place itself, and by what is read there
            direct, read = torch.autograd.grad(distance.sum(), (points, features), create_graph=is_training)
        points = points.detach()
        if not is_training:
            features, distance, geometry = (tensor.detach() for tensor in (features, distance, geometry))
        gradient = direct + self._field.slope(self._volume, corners, read)
        along = directions[..., None, :].expand_as(points)
        colour = self._field.rgb_net(points, torch.cat([along, features, gradient, geometry], dim=-1))
        return FieldValues(sdf=distance[..., 0], gradient=gradient, rgb=torch.sigmoid(colour))
