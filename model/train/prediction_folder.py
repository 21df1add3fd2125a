"""The folder that a prediction writes: it must be new, and each file in it is written whole or not at all."""

from __future__ import annotations

import uuid
from pathlib import Path

from storage_schemas.errors import StoreError
from storage_schemas.files import explain_write_error


def check_out(out: Path) -> None:
    """Check that a prediction may be written here; StoreError if ``out`` is a file or not empty."""
    try:
        if out.exists() and not out.is_dir():
            raise StoreError(f"'{out}' is a file, expected a folder to write. Choose another --out")
        if out.is_dir() and any(out.iterdir()):
            raise StoreError(
                f"'{out}' is not empty; predict never mixes with what is there. Choose another --out, or delete the folder first"
            )
    except OSError as error:
        raise _explained(error, out) from error


def put_file(path: Path, content: bytes) -> None:
    """Write one file of a prediction whole or not at all; StoreError if it cannot be written."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_bytes(content)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise _explained(error, path) from error


def _explained(error: OSError, path: Path) -> StoreError:
    return explain_write_error(
        error,
        f"'{path}'",
        if_full="What was written before is whole; free some space, then predict again into another --out",
        if_denied="Choose an --out in a folder that you may write to",
        otherwise="Choose another --out",
    )
