"""Which frames of a clip a withheld frame is rebuilt from, and how far in time they are from it.

Why     two samples of a batch may withhold different frames: every sample has as many slots for sources, and a slot that has none
        has no share in the result.
Source  docs/method/mim4d.md#sources-and-queries, #pitfalls (15, 16)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from model.errors import InputError


def remaining_frames(target: int, num_frames: int) -> list[int]:
    """Return the frames of a clip without the target, ascending: the newest first.

    Raises:
        InputError: the clip has no other frame, or the target is not in it.
    """
    if num_frames < 2:
        raise InputError(
            f"a clip of {num_frames} frame has nothing to rebuild a withheld frame from; give clips of 2 frames or more"
        )
    if not 0 <= target < num_frames:
        raise InputError(f"target frame is {target}, expected 0 to {num_frames - 1}: a frame of the clip, 0 is the newest")
    return [frame for frame in range(num_frames) if frame != target]


def short_positions(target: int, num_frames: int, how: Literal["adjacent", "first"]) -> list[int | None]:
    """Return what the short branch reads, as positions in ``remaining_frames``.

    Args:
        target: the withheld frame.
        num_frames: frames of the clip.
        how: ``adjacent``: the frame just after the target in time, then the one just before it; None where the clip has none.
            ``first``: the newest frame that is left.
    """
    if how == "first":
        return [0]
    return [target - 1 if target > 0 else None, target if target < num_frames - 1 else None]


def slots_of(positions: Sequence[Sequence[int | None]], *, device: torch.device) -> tuple[Tensor, Tensor]:
    """Turn positions of sources, for each sample as many, into an index that can be gathered by and shares of a mean.

    Returns:
        Positions (b, q) int64, where an empty slot repeats one that is not, and the share (b, q) float32 of each slot: 1 over the
        number of filled slots, or 0 where it is empty. Every sample has at least one that is filled.
    """
    filled = [[position for position in row if position is not None] for row in positions]
    index = [[some[0] if position is None else position for position in row] for row, some in zip(positions, filled, strict=True)]
    share = [
        [0.0 if position is None else 1.0 / len(some) for position in row] for row, some in zip(positions, filled, strict=True)
    ]
    return torch.tensor(index, device=device), torch.tensor(share, device=device)


def time_features(difference_s: Tensor, *, num_periods: int, shortest_s: float, longest_s: float) -> Tensor:
    """Write signed time differences as sines and cosines of periods in geometric progression.

    The sines keep the sign, and the longest period tells apart all differences shorter than half of it.

    Args:
        difference_s: any shape, floating point, seconds.
        num_periods: how many periods.
        shortest_s: the shortest period, seconds.
        longest_s: the longest, seconds.

    Returns:
        Shape (..., 2 * num_periods): the sines, the shortest period first, then the cosines.
    """
    steps = torch.linspace(0.0, 1.0, num_periods, dtype=difference_s.dtype, device=difference_s.device)
    period_s = shortest_s * (longest_s / shortest_s) ** steps
    phase = 2.0 * math.pi * difference_s[..., None] / period_s
    return torch.cat((phase.sin(), phase.cos()), dim=-1)
