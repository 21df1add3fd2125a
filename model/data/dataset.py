"""What a loader worker does: answer requests for batches. The store is opened in the process that reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from model.data.slot_layout import SlotLayout
from model.data.slots import mapped
from model.data.units import OpenedUnits
from storage_schemas.errors import DepthmillError
from storage_schemas.files import StoreFiles
from storage_schemas.store import Store


@dataclass(frozen=True)
class Request:
    """One batch to read: which frames, and the memory for them.

    Attributes:
        slot: number of the memory.
        rows: numbers of the frames, in the order of the batch.
        epoch: it belongs to, for what is drawn at random.
    """

    slot: int
    rows: tuple[int, ...]
    epoch: int


@dataclass(frozen=True)
class Filled:
    """Answer to a request: in ``rest`` what has no fixed size, or the error that the user is told. All else is in the slot."""

    slot: int
    rows: tuple[int, ...]
    rest: Any = None
    error: DepthmillError | None = None


class Reader(Protocol):
    """Reads frames; lives in one process and keeps what it has opened."""

    def read(self, rows: tuple[int, ...], memory: NDArray[np.uint8], *, epoch: int) -> Any:
        """Fill a slot with frames by their numbers; return what is not of a fixed size, picklable."""
        ...


class Reading(Protocol):
    """Says what is read; picklable."""

    @property
    def layout(self) -> SlotLayout:
        """What a slot holds."""

    def open(self, units: OpenedUnits) -> Reader:
        """Return a reader of this process."""
        ...


class Answers:
    """Answers requests for frames of a manifest.

    Args:
        store_root: path or URL of the store.
        reading: which frames, and what of them.
        image_root: path or URL of the data source, for stores that refer to image files.
    """

    def __init__(self, store_root: str, reading: Reading, *, image_root: str | None) -> None:
        self._store_root, self._reading, self._image_root = store_root, reading, image_root
        self._reader: Reader | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Pickle without anything opened."""
        return {**self.__dict__, "_reader": None}

    def fill(self, request: Request, memory: NDArray[np.uint8]) -> Filled:
        """Read one batch into the memory (num_bytes,) uint8 of its slot."""
        try:
            rest = self._opened().read(request.rows, memory, epoch=request.epoch)
        except DepthmillError as error:  # crosses the process border as a value: the user sees its text, not our traceback
            return Filled(request.slot, request.rows, error=error)
        return Filled(request.slot, request.rows, rest)

    def _opened(self) -> Reader:
        if self._reader is None:
            image_files = None if self._image_root is None else StoreFiles(self._image_root)
            self._reader = self._reading.open(OpenedUnits(Store(self._store_root), image_files))
        return self._reader


class AnswersOfWorker:
    """What a worker process calls: it maps each slot once, when its file descriptor comes with the first request for it."""

    def __init__(self, answers: Answers, num_bytes: int) -> None:
        self._answers, self._num_bytes = answers, num_bytes
        self._mapped: dict[int, NDArray[np.uint8]] = {}

    def __call__(self, request: Request, handles: Sequence[int]) -> Filled:
        """Read one batch."""
        if not self._mapped:
            torch.set_num_threads(1)  # several workers share the cores with the network
        for handle in handles:
            self._mapped[request.slot] = mapped(handle, self._num_bytes)
        return self._answers.fill(request, self._mapped[request.slot])
