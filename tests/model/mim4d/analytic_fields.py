"""Surfaces whose signed distance is a formula, in place of a trained field; in the scaled units of the renderer."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from model.mim4d.neus_field import FieldValues


@dataclass(frozen=True)
class AnalyticField:
    """One surface with the colour of its place; subclasses give the distance."""

    inv_s: Tensor
    sigma: float

    def distance_m(self, points_m: Tensor) -> Tensor:
        raise NotImplementedError

    def sdf(self, points: Tensor) -> Tensor:
        return self.distance_m(points / self.sigma) * self.sigma

    def values(self, points: Tensor, directions: Tensor) -> FieldValues:
        with torch.enable_grad():
            points = points.detach().requires_grad_()
            sdf = self.sdf(points)
            (gradient,) = torch.autograd.grad(sdf.sum(), points)
        return FieldValues(sdf.detach(), gradient, rgb=checker(points.detach() / self.sigma))


@dataclass(frozen=True)
class Plane(AnalyticField):
    """What lies behind a plane normal . x = offset is solid."""

    normal: tuple[float, float, float]
    offset_m: float

    def distance_m(self, points_m: Tensor) -> Tensor:
        return points_m @ points_m.new_tensor(self.normal) - self.offset_m


@dataclass(frozen=True)
class Sphere(AnalyticField):
    centre_m: tuple[float, float, float]
    radius_m: float

    def distance_m(self, points_m: Tensor) -> Tensor:
        return (points_m - points_m.new_tensor(self.centre_m)).norm(dim=-1) - self.radius_m


def checker(points_m: Tensor) -> Tensor:
    """Return a smooth colour (..., 3) of each place."""
    return 0.5 + 0.45 * torch.sin(points_m * points_m.new_tensor([0.9, 0.7, 0.5]))
