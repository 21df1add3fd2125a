"""Height as channels: a volume seen from above, and back.

Why     the temporal decoder attends over the ground plane only; the few height slabs become channels of each ground cell.
Source  docs/method/mim4d.md#height-fold
"""

from __future__ import annotations

from torch import Tensor

from model.errors import InputError


def fold_height(volume: Tensor) -> Tensor:
    """Map (..., C, Z, Y, X) to (..., C * Z, Y, X); channel ``c * Z + z`` is channel c of slab z. A view, where it can be."""
    return volume.flatten(-4, -3)


def unfold_height(folded: Tensor, *, num_heights: int) -> Tensor:
    """Map (..., C * Z, Y, X) to (..., C, Z, Y, X) with Z = ``num_heights``: the inverse of ``fold_height``.

    Raises:
        InputError: the number of channels is not a multiple of the number of slabs.
    """
    channels = folded.shape[-3]
    if channels % num_heights:
        raise InputError(
            f"map of {channels} channels cannot be cut into {num_heights} height slabs; expected a multiple of {num_heights}"
        )
    volume: Tensor = folded.unflatten(-3, (channels // num_heights, num_heights))
    return volume
