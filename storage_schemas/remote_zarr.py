"""A unit on a remote store as Zarr opens it: every read is tried again when the store fails for a moment."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable
from typing import Any

from zarr.abc.store import ByteRequest, Store
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import FsspecStore, WrapperStore

from storage_schemas.remote import storage_options, without_own_retries
from storage_schemas.retries import RetryPolicy, persist_async


class RemoteZarr(WrapperStore[FsspecStore]):
    """Reads through fsspec and tries again after a failure. Listing is left out, since reading a unit needs none.

    Args:
        store: the store that tries each request once.
        url: of the unit.
        policy: how often and how long.
    """

    def __init__(self, store: FsspecStore, url: str, policy: RetryPolicy) -> None:
        super().__init__(store)
        self._url, self._policy = url, policy

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        """Return a file or a part of it, None if absent; StoreError if the store cannot be reached."""
        return await persist_async(
            lambda: self._store.get(key, prototype, byte_range), doing="read", where=f"{self._url}/{key}", policy=self._policy
        )

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        """Return parts of files, each asked for by itself."""
        return list(await asyncio.gather(*(self.get(key, prototype, part) for key, part in key_ranges)))

    async def exists(self, key: str) -> bool:
        """Say whether a file is there."""
        return await persist_async(
            lambda: self._store.exists(key), doing="look up", where=f"{self._url}/{key}", policy=self._policy
        )

    async def _get_many(
        self, requests: Iterable[tuple[str, BufferPrototype, ByteRequest | None]]
    ) -> AsyncGenerator[tuple[str, Buffer | None], None]:
        # this calls ``get`` above, which tries again; the store inside does not
        async for key_and_content in Store._get_many(self, requests):
            yield key_and_content


def open_remote_zarr(url: str, policy: RetryPolicy) -> Any:
    """Return what ``zarr.open_group`` and xarray open for a unit at a URL."""
    inner = FsspecStore.from_url(url, storage_options=storage_options(url, policy), read_only=True)
    without_own_retries(inner.fs, policy)
    return RemoteZarr(inner, url, policy)
