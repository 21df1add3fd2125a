"""Where the dense arrays of a batch lie in one piece of memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_ALIGNMENT = 4096
"""Arrays start on a page of their own."""

_TORCH_TYPE = {"uint8": torch.uint8, "uint16": torch.uint16}


@dataclass(frozen=True)
class SlotLayout:
    """Room for images (n, h, w, 3) uint8 and, if asked for, target and mono maps (n, h, w) uint16.

    Attributes:
        num_frames: most frames of a batch.
        height: rows.
        width: columns.
        has_target: a dense target is read.
        has_mono: monocular depth is read.
    """

    num_frames: int
    height: int
    width: int
    has_target: bool
    has_mono: bool

    @property
    def num_bytes(self) -> int:
        """Size of a slot."""
        return self._spans()[1]

    def arrays(self, memory: NDArray[np.uint8], count: int) -> dict[str, NDArray[Any]]:
        """Return views of a slot's arrays for the first ``count`` frames: "image", "target", "mono"."""
        return {
            name: memory[first:stop].view(dtype).reshape(self.num_frames, *shape)[:count]
            for name, (first, stop, dtype, shape) in self._spans()[0].items()
        }

    def tensors(self, memory: Tensor, count: int) -> dict[str, Tensor]:
        """Return the same views as tensors, which keep the slot's memory alive."""
        return {
            name: memory[first:stop].view(_TORCH_TYPE[dtype]).reshape(self.num_frames, *shape)[:count]
            for name, (first, stop, dtype, shape) in self._spans()[0].items()
        }

    def _spans(self) -> tuple[dict[str, tuple[int, int, str, tuple[int, ...]]], int]:
        wanted: list[tuple[str, str, tuple[int, ...]]] = [("image", "uint8", (self.height, self.width, 3))]
        wanted += [("target", "uint16", (self.height, self.width))] if self.has_target else []
        wanted += [("mono", "uint16", (self.height, self.width))] if self.has_mono else []
        spans, first = {}, 0
        for name, dtype, shape in wanted:
            stop = first + self.num_frames * int(np.prod(shape)) * np.dtype(dtype).itemsize
            spans[name] = (first, stop, dtype, shape)
            first = -(-stop // _ALIGNMENT) * _ALIGNMENT
        return spans, first
