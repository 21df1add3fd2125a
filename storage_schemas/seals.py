"""Records beside a store that carry their own digest: JSON of trainings and champions, tables of evaluations and rounds.

Why    A flipped bit in a number is still a number. It would decide which training is better, and nobody would notice
How    A record ends with the SHA-256 of the rest of it: JSON as its last key, Parquet as bytes between the data and the footer,
       which every reader of Parquet passes over. Files of other kinds, such as CSV, have theirs in a sealed file beside them. A
       record of a former version has none, and is read as before
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

SEAL_KEY = "record_sha256"
_TABLE_MARK = b"depthmill-sha256:"
_DIGEST_CHARS = 64
_FOOTER_END_BYTES = 8
"""A Parquet file ends with the length of its footer, four bytes, and PAR1."""


class BrokenSealError(ValueError):
    """A record is not what was written."""


def sealed_json(record: Mapping[str, Any]) -> bytes:
    """Return a JSON object with its digest as the last key."""
    as_read = json.loads(json.dumps(record))
    return json.dumps({**as_read, SEAL_KEY: _digest_of(as_read)}, indent=1).encode()


def read_sealed_json(content: bytes, *, needs_seal: bool = False) -> dict[str, Any]:
    """Return a JSON object without its digest.

    Args:
        content: of the file.
        needs_seal: refuse one without a digest, as former versions wrote it: what is cached can be made again.

    Raises:
        BrokenSealError: it has a digest that is not that of its content, or none where it needs one.
        ValueError: it is no JSON object.
    """
    try:
        record = json.loads(content)
    except RecursionError as error:
        raise ValueError("its groups are too deep") from error
    if not isinstance(record, dict):
        raise ValueError(f"it is a {type(record).__name__}, expected a JSON object")
    seal = record.pop(SEAL_KEY, None)
    if seal is None and needs_seal:
        raise BrokenSealError("it has no digest of its content")
    if seal is not None and seal != _digest_of(record):
        raise BrokenSealError(f"its content is not what was written. If you changed it by hand, take its key {SEAL_KEY} out")
    return record


def sealed_table(content: bytes) -> bytes:
    """Return a Parquet file with its digest before the footer."""
    footer = int.from_bytes(content[-_FOOTER_END_BYTES:-4], "little") + _FOOTER_END_BYTES
    return content[:-footer] + _TABLE_MARK + hashlib.sha256(content).hexdigest().encode() + content[-footer:]


def check_table(content: bytes) -> None:
    """Check a Parquet file against its digest, if it has one; BrokenSealError if it is not what was written."""
    data, mark, rest = content.rpartition(_TABLE_MARK)
    if mark and hashlib.sha256(data + rest[_DIGEST_CHARS:]).hexdigest().encode() != rest[:_DIGEST_CHARS]:
        raise BrokenSealError("its content is not what was written")


def sealed_digests(contents: Mapping[str, bytes]) -> bytes:
    """Return the file that stands beside others and holds their digests, by name."""
    return sealed_json({name: hashlib.sha256(content).hexdigest() for name, content in contents.items()})


def check_digest(digests: bytes | None, name: str, content: bytes) -> None:
    """Check a file against the digests beside it; one that they do not name has none, as without them.

    Raises:
        BrokenSealError: the content is not what was written, or the digests are damaged.
    """
    if digests is None:
        return
    try:
        expected = read_sealed_json(digests).get(name)
    except ValueError as error:
        raise BrokenSealError(f"the digests beside it are damaged: {error}") from error
    if expected is not None and expected != hashlib.sha256(content).hexdigest():
        raise BrokenSealError("its content is not what was written")


def _digest_of(record: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()
