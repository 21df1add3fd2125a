"""Are these the bytes that were written? CRC-32C for each chunk, SHA-256 for each whole file.

Every chunk of a Zarr array ends with the CRC-32C of its bytes (Zarr's codec ``crc32c``), which zarr, xarray and TensorStore check
by themselves. Everything else of a unit is small (metadata, tables), and is compared with the SHA-256 in its lineage when it is
read. CRC-32C finds every flipped bit, and every damaged stretch of up to 32 bits; of other damage it misses 1 in 4 billion.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import google_crc32c
import numpy as np

from storage_schemas.errors import StoreError

CRC_BYTES = 4
"""Length of a checksum behind a chunk; it is little-endian."""

CHECKSUMS = "crc32c"
"""What the lineage of a unit says whose chunks have checksums."""

REPAIR = (
    "Run depthmill verify --all --delete-damaged with the recipe: it deletes this unit, and what may have been made of its "
    "damaged bytes. Then run the recipe, which makes them again"
)
"""What to do about a damaged unit, at the end of an error."""


def crc_of(content: bytes | memoryview) -> bytes:
    """Return the checksum that stands behind a chunk."""
    number: int = google_crc32c.value(np.frombuffer(content, np.uint8))  # it takes no memoryview
    return number.to_bytes(CRC_BYTES, "little")


def without_crc(chunk: memoryview, *, what: str) -> memoryview:
    """Check the checksum at the end of a chunk and return the bytes before it.

    Args:
        chunk: bytes as stored.
        what: names the chunk in an error.

    Raises:
        StoreError: the bytes are not those that were written.
    """
    content = chunk[:-CRC_BYTES]
    if crc_of(content) != bytes(chunk[-CRC_BYTES:]):
        raise StoreError(f"{what}: the stored bytes are not those that were written (CRC-32C). {REPAIR}")
    return content


def sha256_of(pieces: Iterable[bytes | memoryview]) -> str:
    """Return the digest of a file that comes in pieces."""
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()
