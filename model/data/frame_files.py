"""Images and depth maps of frames: where they lie is found first, then their bytes are read together, then each is decoded.

Why    From a local disk a few frames are read at a time, so that what is read is still in the cache when it is decoded; from an
       object store everything is asked for at once, because an answer takes longer than the bytes in it
Reads  images and depth units through storage_schemas
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.data.images import decode_image
from model.data.row_band import RowBand
from model.data.samples import Sample, naming_frame
from model.data.units import ImagesUnit, OpenedUnits
from storage_schemas.byte_ranges import ByteRange, RangeReader
from storage_schemas.frame_chunks import FrameChunks

_IMAGE = "image"


@dataclass(frozen=True)
class _Located:
    """One frame whose arrays have been found but not read; None in ``ranges`` = nothing is stored."""

    sample: Sample
    images: ImagesUnit
    maps: dict[str, FrameChunks]
    ranges: dict[str, ByteRange | None]


class FrameBytes:
    """One frame whose bytes are in memory, until the next one is asked for.

    Attributes:
        sample: the frame.
    """

    def __init__(self, units: OpenedUnits, located: _Located, contents: Mapping[ByteRange, memoryview]) -> None:
        self.sample = located.sample
        self._units, self._located = units, located
        self._contents = {name: None if place is None else contents[place] for name, place in located.ranges.items()}

    def decode_image(self, out: NDArray[np.uint8], *, band: RowBand | None = None) -> None:
        """Decode the image, or a band of its rows, into (h, w, 3) uint8 RGB.

        Raises:
            DepthmillError: the image is damaged, of another size, or refers to a file of the source that is missing.
        """
        images, content = self._located.images, self._contents.get(_IMAGE)
        if images.chunks is None or content is None:
            content = memoryview(self._units.referenced_image(self.sample, images))
        else:
            content = images.chunks.checked(content)[: images.num_bytes[self.sample.frame]]
        decode_image(content, out, where=images.file[self.sample.frame], band=band)

    def decode_map(self, name: str, out: NDArray[Any]) -> None:
        """Decode a map into (h, w) of its own dtype, a depth map: uint16 quanta of 1/256 m; StoreError if it is damaged."""
        self._located.maps[name].decode(self._contents[name], out)


class FrameFiles:
    """Finds and reads frames; keeps what it has opened.

    Args:
        units: opened units of this process.
        maps: store of each depth map that is read, by the name that the caller gives it.
        others: further arrays over the pixels, by the name that the caller gives each: its store and the array's name there.
    """

    def __init__(
        self, units: OpenedUnits, maps: Mapping[str, str], others: Mapping[str, tuple[str, str]] = MappingProxyType({})
    ) -> None:
        self._units = units
        self._arrays = {**{name: (store, "depth_m") for name, store in maps.items()}, **others}
        self._files = RangeReader(units.store.files)

    def read(self, samples: Sequence[Sample], *, together: int = 1) -> Iterator[FrameBytes]:
        """Yield frames in the order given.

        Args:
            samples: the frames.
            together: how many are read at a time from a local disk.

        Raises:
            DepthmillError: a unit or file is missing or damaged; names the frame where it can be told.
        """
        step = together if self._units.store.files.is_local else max(len(samples), 1)
        for first in range(0, len(samples), step):
            located = [self._locate(sample) for sample in samples[first : first + step]]
            ranges = [place for frame in located for place in frame.ranges.values() if place is not None]
            contents = dict(zip(ranges, self._files.read(ranges), strict=True))
            for frame in located:
                yield FrameBytes(self._units, frame, contents)

    def _locate(self, sample: Sample) -> _Located:
        with naming_frame(sample):
            images = self._units.images(sample)
            maps = {name: self._units.depth(sample, store, array) for name, (store, array) in self._arrays.items()}
            ranges = {name: chunks.byte_range(sample.frame) for name, chunks in maps.items()}
            if images.chunks is not None:
                ranges[_IMAGE] = images.chunks.byte_range(sample.frame, images.num_bytes[sample.frame])
            return _Located(sample, images, maps, ranges)
