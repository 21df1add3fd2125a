"""Where the dense arrays of a batch lie in one piece of memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_ALIGNMENT = 4096
"""Arrays start on a page of their own."""

_TORCH_TYPE = {"uint8": torch.uint8, "uint16": torch.uint16, "float32": torch.float32}


class SlotArray(NamedTuple):
    """One array of a slot: its name, the dtype of its numbers, and the shape that it has for one frame."""

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class SlotLayout:
    """Room for the arrays of a batch.

    Attributes:
        num_frames: most frames of a batch.
        fields: the arrays; "image" (h, w, 3) uint8 comes first.
    """

    num_frames: int
    fields: tuple[SlotArray, ...]

    @property
    def height(self) -> int:
        """Rows of an image."""
        return self.fields[0].shape[0]

    @property
    def width(self) -> int:
        """Columns of an image."""
        return self.fields[0].shape[1]

    @property
    def num_bytes(self) -> int:
        """Size of a slot."""
        return self._spans()[1]

    def arrays(self, memory: NDArray[np.uint8], count: int) -> dict[str, NDArray[Any]]:
        """Return views of a slot's arrays for the first ``count`` frames, by name."""
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
        spans, first = {}, 0
        for name, dtype, shape in self.fields:
            stop = first + self.num_frames * int(np.prod(shape)) * np.dtype(dtype).itemsize
            spans[name] = (first, stop, dtype, shape)
            first = -(-stop // _ALIGNMENT) * _ALIGNMENT
        return spans, first


def frame_slots(
    num_frames: int, height: int, width: int, *, maps: Sequence[str] = (), byte_maps: Sequence[str] = ()
) -> SlotLayout:
    """Return room for images (n, h, w, 3) uint8, maps (n, h, w) uint16 and maps (n, h, w) uint8 of the same size."""
    fields = [SlotArray("image", "uint8", (height, width, 3))]
    fields += [SlotArray(name, "uint16", (height, width)) for name in maps]
    fields += [SlotArray(name, "uint8", (height, width)) for name in byte_maps]
    return SlotLayout(num_frames, tuple(fields))
