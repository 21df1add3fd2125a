"""Reading a voxel volume at any point, and which way what is read grows there.

The direction of a surface is the derivative of its distance with respect to the point, through this reading, and the loss depends
on it. Between voxel centres a volume is linear in its values, and so is its slope: both are sums of the same eight rows. So
nothing is differentiated twice here; torch's own derivative holds, for each of its operations, every channel of all eight corners
of a point.

Source  docs/method/mim4d.md#neus-field, #grid-lookup
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from model.mim4d.weighted_rows import row_products, weighted_rows


class Corners(NamedTuple):
    """The eight voxels around each of p points; no gradient goes through them to the points.

    Attributes:
        rows: (p, 8) int64 in the rows of ``voxel_rows``.
        weights: (p, 8), 1 in all.
        sides: (p, 3, 2) by x, y and z: the parts of the lower and of the upper voxel, of which weights are products.
        per_unit: (p, 3) voxels in half a box, by which the upper part grows with the point; 0 where the volume is flat.
    """

    rows: Tensor
    weights: Tensor
    sides: Tensor
    per_unit: Tensor


def voxel_rows(volume: Tensor) -> Tensor:
    """Return a volume (b, c, z, y, x) as rows (b z y x, c); no copy if its channels lie last in memory."""
    return volume.movedim(1, -1).reshape(-1, volume.shape[1])


@torch.no_grad()
def corners_of(unit: Tensor, shape_zyx: Sequence[int], *, align_corners: bool = False) -> Corners:
    """Find points among the voxels; the outermost value goes on outside, and is flat there.

    Args:
        unit: points (b, ..., 3), x then y then z, -1 and 1 on the faces of the box.
        shape_zyx: voxels along z, y and x.
        align_corners: outermost values stand on the faces of the box; otherwise in the centres of the outermost voxels.
    """
    num_z, num_y, num_x = shape_zyx
    extent = unit.new_tensor([num_x, num_y, num_z])
    per_unit = (extent - 1) / 2 if align_corners else extent / 2
    at = unit.flatten(0, -2) * per_unit + (extent - 1) / 2
    low = at.nan_to_num().floor().clamp(min=0).minimum((extent - 2).clamp(min=0))  # what is read at NaN is NaN, at some voxel
    part = (at - low).clamp(0, 1)
    low_x, low_y, low_z = low.long().unbind(-1)
    clip = torch.arange(unit.shape[0], device=unit.device).repeat_interleave(len(at) // max(1, unit.shape[0]))
    first = ((clip * num_z + low_z) * num_y + low_y) * num_x + low_x
    strides = (num_y * num_x * (num_z > 1), num_x * (num_y > 1), int(num_x > 1))  # a single voxel is on both sides
    beyond = [z + y + x for z in (0, strides[0]) for y in (0, strides[1]) for x in (0, strides[2])]
    sides = torch.stack([1 - part, part], dim=-1)
    return Corners(
        rows=first[:, None] + torch.tensor(beyond, device=unit.device),
        weights=_corner_products(*sides.unbind(1)),
        sides=sides,
        per_unit=per_unit * ((at > 0) & (at < extent - 1)),
    )


def values_at(rows: Tensor, corners: Corners) -> Tensor:
    """Return what is at points (p, c), of the rows of a volume; differentiable by the volume."""
    return weighted_rows(rows, corners.rows, corners.weights)


def slope_at(rows: Tensor, corners: Corners, of_values: Tensor) -> Tensor:
    """Return how the products of ``values_at`` and (p, c) grow with the points (p, 3): x, y, z in halves of the box.

    Differentiable by the volume and by ``of_values``.
    """
    products = row_products(rows, corners.rows, of_values)
    with torch.no_grad():
        ways = torch.stack([-corners.per_unit, corners.per_unit], dim=-1)
        x, y, z = corners.sides.unbind(1)
        slopes = _corner_products(ways[:, 0], y, z), _corner_products(x, ways[:, 1], z), _corner_products(x, y, ways[:, 2])
    return torch.stack([(products * slope).sum(dim=1) for slope in slopes], dim=-1)


def _corner_products(of_x: Tensor, of_y: Tensor, of_z: Tensor) -> Tensor:
    """Return (p, 8) products of (p, 2) for x, y and z; x changes fastest."""
    return ((of_z[:, :, None] * of_y[:, None])[..., None] * of_x[:, None, None]).flatten(1)
