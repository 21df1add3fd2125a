"""Memory for batches that is used again and again.

Why    Workers hand over batches in shared memory. The system clears new pages one by one: 5 ms a 900x1600 sample
       (benchmarks/loader.py), twice as long as decoding its JPEG. So memory that was touched once is kept, and goes back into
       the pool by itself when the last tensor that looks into it is gone. No batch is copied, and a caller that keeps batches
       only makes the pool grow.
"""

from __future__ import annotations

import shutil
import weakref
from collections import deque
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from storage_schemas.errors import DepthmillError

_SHARED_MEMORY = Path("/dev/shm")


class SharedMemoryError(DepthmillError):
    """The machine has too little shared memory for the batches of loader workers."""


class SlotPool:
    """Equal pieces of memory, taken for a batch, lent to its reader, and free again when the batch is gone.

    Args:
        num_bytes: size of a slot.
        is_shared: slots are filled by other processes.
    """

    def __init__(self, num_bytes: int, *, is_shared: bool) -> None:
        self._num_bytes, self._is_shared = num_bytes, is_shared
        self._slots: list[Tensor] = []
        self._free: deque[int] = deque()
        self._taken: set[int] = set()

    def __len__(self) -> int:
        """Return how many slots there are."""
        return len(self._slots)

    def take(self) -> tuple[int, Tensor]:
        """Return number and memory (num_bytes,) uint8 of a slot to fill.

        Raises:
            SharedMemoryError: a new slot does not fit into shared memory.
        """
        if self._free:
            number = self._free.popleft()
        else:
            number = len(self._slots)
            self._slots.append(self._new_slot())
        self._taken.add(number)
        return number, self._slots[number]

    def lend(self, number: int) -> Tensor:
        """Return a filled slot's memory; the slot is free again when this tensor and all that share its memory are gone."""
        self._taken.remove(number)
        handle = self._slots[number].numpy()  # a new array object each time; the tensor below keeps it alive
        weakref.finalize(handle, self._free.append, number).atexit = False
        return torch.from_numpy(handle)

    def take_back(self) -> None:
        """Free every slot that was taken and never lent: no worker fills it any more."""
        self._free.extend(sorted(self._taken))
        self._taken.clear()

    def _new_slot(self) -> Tensor:
        if not self._is_shared:
            return torch.from_numpy(np.empty(self._num_bytes, np.uint8))  # NumPy asks for huge pages, torch does not
        if _SHARED_MEMORY.is_dir() and (free := shutil.disk_usage(_SHARED_MEMORY).free) < self._num_bytes:
            raise SharedMemoryError(
                f"shared memory {_SHARED_MEMORY} has {free / 1e6:.0f} MB free, one more batch needs {self._num_bytes / 1e6:.0f} "
                f"MB ({len(self._slots)} are in use). Give it more (docker run --shm-size=8g), lower batch_size or the number of "
                "workers, or do not keep batches"
            )
        shared: Tensor = torch.empty(self._num_bytes, dtype=torch.uint8).share_memory_()
        return shared
