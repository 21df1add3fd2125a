"""What a loader worker does: answer requests for batches. The store is opened in the process that reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from model.data.frame_reader import FrameReader, Wanted
from model.data.points import PointArrays
from model.data.samples import Sample
from model.data.slot_layout import SlotLayout
from model.data.units import OpenedUnits
from storage_schemas.errors import DepthmillError
from storage_schemas.files import StoreFiles
from storage_schemas.store import Store


@dataclass(frozen=True)
class Request:
    """One batch to read: which frames, and the memory for them.

    Attributes:
        slot: number of the memory.
        memory: (num_bytes,) uint8.
        rows: numbers of the frames, in the order of the batch.
    """

    slot: int
    memory: Tensor
    rows: tuple[int, ...]


@dataclass(frozen=True)
class Filled:
    """Answer to a request: points, or what the user has to know. Everything else is in the slot."""

    slot: int
    rows: tuple[int, ...]
    radar: PointArrays | None = None
    sparse: PointArrays | None = None
    error: DepthmillError | None = None


class FrameDataset(Dataset[Filled]):
    """Frames of a manifest by number.

    Args:
        store_root: path or URL of the store.
        samples: the frames.
        layout: what a slot holds.
        wanted: what is read.
        image_root: path or URL of the data source, for stores that refer to image files.
    """

    def __init__(
        self, store_root: str, samples: Sequence[Sample], *, layout: SlotLayout, wanted: Wanted, image_root: str | None
    ) -> None:
        self._store_root, self._samples, self._image_root = store_root, samples, image_root
        self._layout, self._wanted = layout, wanted
        self._reader: FrameReader | None = None
        self._mapped: dict[int, NDArray[np.uint8]] = {}

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self._samples)

    def __getstate__(self) -> dict[str, Any]:
        """Pickle without anything opened."""
        return {**self.__dict__, "_reader": None, "_mapped": {}}

    def __getitems__(self, request: Request) -> Filled:
        """Read one batch; a DataLoader calls this with what its batch sampler gives."""
        memory = self._mapped.setdefault(request.slot, request.memory.numpy())  # kept, so that its pages stay mapped
        try:
            radar, sparse = self._opened().read([self._samples[row] for row in request.rows], memory)
        except DepthmillError as error:  # crosses the process border as a value: the user sees its text, not our traceback
            return Filled(request.slot, request.rows, error=error)
        return Filled(request.slot, request.rows, radar, sparse)

    def _opened(self) -> FrameReader:
        if self._reader is None:
            image_files = None if self._image_root is None else StoreFiles(self._image_root)
            self._reader = FrameReader(OpenedUnits(Store(self._store_root), image_files), self._layout, self._wanted)
        return self._reader
