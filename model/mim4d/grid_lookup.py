"""Reading a voxel volume at any point, differentiable twice.

The direction of a surface is the derivative of its distance with respect to the point, through this lookup, and the loss depends
on it, so training differentiates the lookup's gradient again. Torch's grid_sample can do that in newer versions only and perhaps
not on every device, so it is tried once per kind of device; elsewhere the readable twin does it.

Source  specs/mim4d.md sections 5.4 and 9.2
"""

from __future__ import annotations

from functools import cache
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor


def grid_lookup(volume: Tensor, unit: Tensor, *, align_corners: bool = False) -> Tensor:
    """Return a volume's values at points, by trilinear interpolation; the outermost value goes on outside.

    Args:
        volume: (b, c, z, y, x).
        unit: points (b, ..., 3), x then y then z, -1 and 1 on the faces of the box.
        align_corners: outermost values stand on the faces of the box; otherwise in the centres of the outermost voxels.

    Returns:
        (b, ..., c).
    """
    if has_native_double_backward(volume.device.type):
        return _sampled(volume, unit, align_corners)
    return gathered_lookup(volume, unit, align_corners=align_corners)


def gathered_lookup(volume: Tensor, unit: Tensor, *, align_corners: bool = False) -> Tensor:
    """Return what ``grid_lookup`` does, from eight gathered corners: the readable twin, several times slower."""
    num, channels = unit.shape[0], volume.shape[1]
    extent = torch.tensor(volume.shape[:1:-1], device=unit.device, dtype=unit.dtype)  # x, y, z, as in the points
    at = (unit + 1) / 2 * (extent - 1) if align_corners else ((unit + 1) * extent - 1) / 2
    at = torch.minimum(at.clamp(min=0), extent - 1).reshape(num, -1, 3)
    low = at.detach().floor()
    high = torch.minimum(low + 1, extent - 1)
    part = at - low
    flat = volume.flatten(2)
    total = flat.new_zeros(num, channels, at.shape[1])
    for corner in product((False, True), repeat=3):
        is_high = torch.tensor(corner, device=unit.device)
        weight = torch.where(is_high, part, 1 - part).prod(dim=-1)
        x, y, z = torch.where(is_high, high, low).long().unbind(-1)
        index = (z * volume.shape[3] + y) * volume.shape[4] + x
        total = total + weight[:, None] * flat.gather(2, index[:, None].expand(-1, channels, -1))
    return total.transpose(1, 2).reshape(*unit.shape[:-1], channels)


@cache
def has_native_double_backward(device_type: str) -> bool:
    """Say whether torch can differentiate grid_sample in three dimensions twice on a kind of device ("cpu", "cuda")."""
    with torch.inference_mode(False), torch.enable_grad():
        volume = torch.ones(1, 1, 2, 2, 2, device=device_type, requires_grad=True)
        unit = torch.zeros(1, 1, 3, device=device_type, requires_grad=True)
        try:
            (slope,) = torch.autograd.grad(_sampled(volume, unit, False).sum(), unit, create_graph=True)
            torch.autograd.grad(slope.sum(), volume)
        except RuntimeError:  # torch says "derivative is not implemented" so
            return False
    return True


def _sampled(volume: Tensor, unit: Tensor, align_corners: bool) -> Tensor:
    """Return ``grid_lookup`` by torch's own kernel."""
    num = unit.shape[0]
    found = F.grid_sample(
        volume, unit.reshape(num, 1, 1, -1, 3), mode="bilinear", padding_mode="border", align_corners=align_corners
    )
    return found[:, :, 0, 0].transpose(1, 2).reshape(*unit.shape[:-1], volume.shape[1])
