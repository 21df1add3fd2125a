"""Memory for batches that is used again and again.

Why    Workers hand over batches in shared memory. The system clears new pages one by one: 5 ms a 900x1600 sample
       (benchmarks/loader.py), twice as long as decoding its JPEG. So memory that was touched once is kept, and goes back into
       the pool by itself when the last tensor that looks into it is gone. No batch is copied, and a caller that keeps batches
       only makes the pool grow.
How    Shared memory has no name: workers get a file descriptor. So it is gone with the last process that has it, however that
       ends, and the small ``/dev/shm`` of a container (64 MB in Docker) does not limit it where Linux offers ``memfd_create``.
"""

from __future__ import annotations

import mmap
import os
import tempfile
import weakref
from collections import deque

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.data.free_memory import free_memory_bytes
from storage_schemas.errors import DepthmillError


class SharedMemoryError(DepthmillError):
    """The machine has too little memory for the batches of loader workers."""


class SlotPool:
    """Equal pieces of memory, taken for a batch, lent to its reader, and free again when the batch is gone.

    Args:
        num_bytes: size of a slot.
        is_shared: slots are filled by other processes.
    """

    def __init__(self, num_bytes: int, *, is_shared: bool) -> None:
        self._num_bytes, self._is_shared = num_bytes, is_shared
        self._slots: list[NDArray[np.uint8]] = []
        self._handles: list[int] = []
        self._free: deque[int] = deque()
        self._taken: set[int] = set()
        weakref.finalize(self, _close_all, self._handles)

    def __len__(self) -> int:
        """Return how many slots there are."""
        return len(self._slots)

    def require_room(self, num_slots: int) -> None:
        """Check before anything is read that so many slots fit into memory.

        Raises:
            SharedMemoryError: they do not.
        """
        missing = max(num_slots - len(self._slots), 0)
        free = free_memory_bytes()
        if free is not None and free < missing * self._num_bytes:
            raise SharedMemoryError(
                f"{free / 1e6:.0f} MB of memory are free, the loader needs {missing * self._num_bytes / 1e6:.0f} MB: {num_slots} "
                f"batches of {self._num_bytes / 1e6:.0f} MB are read ahead. Give this machine or container more memory, lower "
                "batch_size, or let fewer processes read (DEPTHMILL_LOADER_WORKERS)"
            )

    def take(self) -> int:
        """Return the number of a slot to fill.

        Raises:
            SharedMemoryError: a new slot does not fit into memory.
        """
        if self._free:
            number = self._free.popleft()
        else:
            number = len(self._slots)
            self._slots.append(self._new_slot())
        self._taken.add(number)
        return number

    def memory(self, number: int) -> NDArray[np.uint8]:
        """Return the memory (num_bytes,) uint8 of a slot, to fill it in this process."""
        return self._slots[number]

    def handle(self, number: int) -> int:
        """Return the file descriptor of a shared slot's memory, for ``mapped`` in a worker."""
        return self._handles[number]

    def lend(self, number: int) -> Tensor:
        """Return a filled slot's memory; the slot is free again when this tensor and all that share its memory are gone."""
        self._taken.remove(number)
        handle = self._slots[number][:]  # a new array object each time; the tensor below keeps it alive
        weakref.finalize(handle, self._free.append, number).atexit = False
        return torch.from_numpy(handle)

    def take_back(self) -> None:
        """Free every slot that was taken and never lent: no worker fills it any more."""
        self._free.extend(sorted(self._taken))
        self._taken.clear()

    def _new_slot(self) -> NDArray[np.uint8]:
        if not self._is_shared:
            return np.empty(self._num_bytes, np.uint8)  # NumPy asks for huge pages, torch does not
        self.require_room(len(self._slots) + 1)
        try:
            self._handles.append(_unnamed_memory(self._num_bytes))
            return mapped(self._handles[-1], self._num_bytes)
        except OSError as error:
            raise SharedMemoryError(
                f"the system refuses {self._num_bytes / 1e6:.0f} MB of memory for a batch, after {len(self._slots)} others: "
                f"{error.strerror}. Raise the limits of this shell or job (ulimit -v, -f and -n show them), or let fewer "
                "processes read (DEPTHMILL_LOADER_WORKERS)"
            ) from error


def mapped(handle: int, num_bytes: int) -> NDArray[np.uint8]:
    """Return shared memory as an array (num_bytes,) uint8; it stays mapped while the array lives, without the descriptor."""
    return np.frombuffer(mmap.mmap(handle, num_bytes), np.uint8)


def _unnamed_memory(num_bytes: int) -> int:
    """Return the descriptor of new memory without a name."""
    if hasattr(os, "memfd_create"):
        handle = os.memfd_create("depthmill-batch", os.MFD_CLOEXEC)
    else:
        with tempfile.TemporaryFile() as file:
            handle = os.dup(file.fileno())
    os.ftruncate(handle, num_bytes)
    return handle


def _close_all(handles: list[int]) -> None:
    for handle in handles:
        os.close(handle)
