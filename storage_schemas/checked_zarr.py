"""A unit as Zarr opens it, where every whole file is compared with the digest in the unit's lineage before Zarr sees it.

Chunks of units with checksums are left to Zarr's own codec. A unit of an older depthmill has none: its arrays are checked by the
digest of their file when they are read whole. A single frame of such a unit is not checked.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable
from typing import Any

from zarr.abc.store import ByteRequest, Store
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import WrapperStore

METADATA = "zarr.json"


class CheckedZarr(WrapperStore[Any]):
    """Reads through another store and checks what is read whole.

    Args:
        store: where the unit lies.
        check: called with the name of a file in the unit and its content; raises StoreError if it is not what was written.
        look: called with the name of a file before it is read; raises StoreError if reading it would never end.
        has_checksums: every chunk has its own checksum, so only metadata is checked here.
    """

    def __init__(
        self, store: Store, check: Callable[[str, bytes], None], look: Callable[[str], None], *, has_checksums: bool
    ) -> None:
        super().__init__(store)
        self._check, self._look, self._has_checksums = check, look, has_checksums

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        """Return a file or a part of it, None if absent; StoreError if a whole file is not what was written."""
        self._look(key)
        content: Buffer | None = await self._store.get(key, prototype, byte_range)
        is_checked = key.rsplit("/", 1)[-1] == METADATA or not self._has_checksums
        if content is not None and byte_range is None and is_checked:
            self._check(key, content.to_bytes())
        return content

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        """Return parts of files, each asked for by itself."""
        return list(await asyncio.gather(*(self.get(key, prototype, part) for key, part in key_ranges)))

    async def _get_many(
        self, requests: Iterable[tuple[str, BufferPrototype, ByteRequest | None]]
    ) -> AsyncGenerator[tuple[str, Buffer | None], None]:
        # this calls ``get`` above; the store inside would not check
        async for key_and_content in Store._get_many(self, requests):
            yield key_and_content
