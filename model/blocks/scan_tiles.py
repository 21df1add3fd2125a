"""How the Triton scan cuts its work, for each kind of GPU: one small table, filled by a search on the card.

``python benchmarks/gpu_check.py`` searches; ``--keep`` writes the best of each architecture between the two marks below. A GPU
that is not in the table, and Triton's interpreter on a CPU, take ``DEFAULT``, whose reasons are counts of the compiled code.
"""

from __future__ import annotations

from functools import cache
from types import MappingProxyType
from typing import NamedTuple

import torch


class Tile(NamedTuple):
    """How one program of the scan's kernels is cut.

    Attributes:
        chunk: sequential steps of phases 1 and 3; phase 2 takes length / chunk.
        block_d: channels of a program, a power of two.
        num_warps: warps of a program; with one, sums over channels and over states are shuffles inside it.
    """

    chunk: int
    block_d: int
    num_warps: int


DEFAULT = Tile(chunk=32, block_d=32, num_warps=1)
"""chunk: about sqrt(length) / 2 is best for lengths of 1e3 to 6e3. block_d: one 128-byte line of a row; with 16 states and one
warp, a thread holds 4 x 4 of them."""

BY_CAPABILITY = MappingProxyType[tuple[int, int], Tile](
    {
        # <tiles>
        # </tiles>
    }
)
"""Of each compute capability, (major, minor), that was measured."""


def tile_of(device: torch.device) -> Tile:
    """Return how the scan is cut on a device."""
    return _tile_of_gpu(device) if device.type == "cuda" else DEFAULT


@cache
def _tile_of_gpu(device: torch.device) -> Tile:
    return BY_CAPABILITY.get(torch.cuda.get_device_capability(device), DEFAULT)
