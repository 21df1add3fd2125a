"""Weights as safetensors: named tensors and one JSON record, sealed with the digest of all bytes of the file.

Why    A checkpoint of torch is a zip of pickles that holds optimiser and loader too. What is passed on should be small,
       readable by any program that knows safetensors, and unable to hold code.
How    The record is the entry ``depthmill`` of the file's metadata, and the seal its last key. The seal is written as zeros first
       and then replaced by the digest of the bytes, so it covers the header as well. The format itself has no checksum.
       A file of another program has no record. Its tensors are read as they are.
Source https://github.com/huggingface/safetensors (the format: eight bytes of length, a JSON header, the tensors)
"""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from model.blocks.sealed_file import DamagedFileError
from storage_schemas.install_command import install_command

RECORD_KEY = "depthmill"
_MARK = b"depthmill-sha256:"
_NO_DIGEST = b"0" * 64
_LENGTH_BYTES = 8
_LONGEST_HEADER = 100_000_000
"""The format allows no longer one."""


class NoSafetensorsError(ImportError):
    """The package that reads and writes the format is not installed."""


def is_safetensors(begin: bytes) -> bool:
    """Say whether a file begins as safetensors: with the length of a JSON header, and its brace.

    Args:
        begin: the first nine bytes at least.
    """
    return begin[_LENGTH_BYTES : _LENGTH_BYTES + 1] == b"{" and int.from_bytes(begin[:_LENGTH_BYTES], "little") <= _LONGEST_HEADER


def sealed_safetensors(tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> bytes:
    """Return the content of a file.

    Args:
        tensors: by name, on any device.
        record: JSON values.

    Raises:
        NoSafetensorsError: the package is not installed.
    """
    own = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}  # the format shares no memory
    metadata = {RECORD_KEY: json.dumps({**record, "seal": (_MARK + _NO_DIGEST).decode()})}
    content = bytes(_safetensors().save(own, metadata))
    place = content.index(_MARK + _NO_DIGEST) + len(_MARK)
    digest = hashlib.sha256(content).hexdigest().encode()
    return content[:place] + digest + content[place + len(digest) :]


def read_safetensors(content: bytes) -> tuple[dict[str, Tensor], dict[str, Any] | None]:
    """Return the tensors of a file, and the record of one that depthmill wrote; its digest is checked first.

    Raises:
        DamagedFileError: a byte is not what was written, or it is no such file.
        NoSafetensorsError: the package is not installed.
    """
    header = _header_of(content)
    place = header.find(_MARK)
    if place >= 0:
        place += len(_MARK)
        digest, end = header[place : place + len(_NO_DIGEST)], place + len(_NO_DIGEST)
        if hashlib.sha256(content[:place] + _NO_DIGEST + content[end:]).hexdigest().encode() != digest:
            raise DamagedFileError("its content does not have the digest that was written with it")
    try:
        metadata = json.loads(header[_LENGTH_BYTES:]).get("__metadata__", {})
        record = json.loads(metadata[RECORD_KEY]) if RECORD_KEY in metadata else None
        tensors: dict[str, Tensor] = _safetensors().load(content)
    except NoSafetensorsError:
        raise
    except Exception as error:  # the library raises errors of its own and of torch for a damaged file
        raise DamagedFileError(f"it is no whole file of safetensors: {str(error).strip() or type(error).__name__}") from error
    if record is not None and place < 0:
        raise DamagedFileError("the digest that was written with it is missing or changed")
    if record is not None:
        record.pop("seal", None)
    return tensors, record


def _header_of(content: bytes) -> bytes:
    length = int.from_bytes(content[:_LENGTH_BYTES], "little")
    return content[: min(_LENGTH_BYTES + length, len(content))]


def _safetensors() -> Any:
    try:
        return importlib.import_module("safetensors.torch")
    except ImportError as error:
        raise NoSafetensorsError(
            f"files of safetensors need the package safetensors, which is not installed here. Run: {install_command('share')}"
        ) from error
