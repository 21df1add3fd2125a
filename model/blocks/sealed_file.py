"""A seal on files that torch wrote: the digest of all their bytes, inside the file, checked before anything of it is used.

Why    torch checks no checksum when it reads, so a flipped bit in the weights is loaded as another weight.
How    Such a file is a zip archive. The seal is the archive's comment, the last bytes of the file, which torch and every zip
       program ignore: a sealed file is read by ``torch.load`` as before, and the seal goes wherever the file goes.
       A file without a seal ends with an empty comment; files of former versions and of other programs do. Of these the CRC-32 of
       each record is checked, which covers all tensors but not the table of contents.
       A file that ends neither with a whole seal nor with an empty comment is damaged, so a flip in the seal itself is found too.
"""

from __future__ import annotations

import hashlib
import os
import struct
import zipfile
from typing import Any, BinaryIO

import torch

_MARK = b"depthmill-sha256:"
_SEAL_BYTES = len(_MARK) + 64
_LENGTH = struct.pack("<H", _SEAL_BYTES)
_NO_LENGTH = b"\0\0"
_ZIP_BEGIN, _ZIP_END = b"PK\x03\x04", b"PK\x05\x06"
_ZIP_END_BYTES = 22
_PIECE_BYTES = 1 << 20


class DamagedFileError(ValueError):
    """The bytes of a file are not those that were written; the text says how that is known."""


def save_sealed(content: Any, stream: BinaryIO) -> None:
    """Write what ``torch.save`` writes, and its seal; OSError or RuntimeError if the disk is full.

    Args:
        content: of the file.
        stream: a new file, opened for writing.
    """
    hashed = _Hashed(stream)
    torch.save(content, hashed)  # type: ignore[arg-type]  # it asks for write and flush only
    stream.seek(-len(_NO_LENGTH), os.SEEK_END)  # the length of the archive's comment, which torch leaves empty
    stream.write(_LENGTH + _MARK + hashed.digest.hexdigest().encode())


class _Hashed:
    """A stream that remembers the digest of what was written to it; torch writes from the beginning to the end."""

    def __init__(self, stream: BinaryIO) -> None:
        self.digest = hashlib.sha256()
        self._stream = stream

    def write(self, data: Any) -> int:
        """Write bytes."""
        self.digest.update(data)
        return self._stream.write(data)

    def flush(self) -> None:
        """Hand what was written to the system."""
        self._stream.flush()


def check_seal(stream: BinaryIO) -> bool:
    """Check the bytes of a file as far as it allows; the stream is at its beginning afterwards.

    Args:
        stream: the file, opened for reading.

    Returns:
        Whether it has a seal. Without one, the records of an archive were checked; of a file that is no archive nothing can be.

    Raises:
        DamagedFileError: a byte is not what was written.
    """
    size = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    is_zip = stream.read(len(_ZIP_BEGIN)) == _ZIP_BEGIN
    tail = _read_at(stream, max(size - _SEAL_BYTES - _ZIP_END_BYTES, 0))
    seal, end = tail[-_SEAL_BYTES:], tail[-_SEAL_BYTES - _ZIP_END_BYTES : -_SEAL_BYTES]
    if seal.startswith(_MARK):
        if not end.startswith(_ZIP_END) or not end.endswith(_LENGTH) or _digest_of(stream, size) != seal[len(_MARK) :]:
            raise DamagedFileError("its content does not have the digest that was written with it")
        stream.seek(0)
        return True
    if is_zip and not (tail[-_ZIP_END_BYTES:].startswith(_ZIP_END) and tail.endswith(_NO_LENGTH)):
        raise DamagedFileError("it does not end as it was written: bytes are missing or changed")
    if is_zip:
        _check_records(stream)
    stream.seek(0)
    return False


def _digest_of(stream: BinaryIO, size: int) -> bytes:
    """Return the digest of a sealed file as torch wrote it, with an empty comment."""
    digest, left = hashlib.sha256(), size - _SEAL_BYTES - len(_NO_LENGTH)
    stream.seek(0)
    while left > 0 and (piece := stream.read(min(left, _PIECE_BYTES))):
        digest.update(piece)
        left -= len(piece)
    digest.update(_NO_LENGTH)
    return digest.hexdigest().encode()


def _read_at(stream: BinaryIO, start: int) -> bytes:
    stream.seek(start)
    return stream.read()


def _check_records(stream: BinaryIO) -> None:
    stream.seek(0)
    try:
        with zipfile.ZipFile(stream) as archive:
            damaged = archive.testzip()
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError, OSError, EOFError) as error:
        raise DamagedFileError(f"it is no whole archive: {error}") from error
    if damaged is not None:
        raise DamagedFileError(f"its record '{damaged}' does not have the checksum that was written with it")
