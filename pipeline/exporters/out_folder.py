"""The folder that an export writes: it appears whole or not at all, and never mixes with files of another export."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from storage_schemas.errors import OutTakenError, StoreError
from storage_schemas.files import explain_write_error, folder_written_whole


@contextmanager
def whole_folder(out: Path, *, who: str = "export") -> Iterator[Path]:
    """Yield a folder beside ``out`` to write into, and rename it to ``out`` at the end.

    Args:
        out: the folder.
        who: the command that writes it, for errors.

    Raises:
        StoreError: ``out`` is not empty, the disk is full, or writing is not permitted; nothing is left behind.
    """
    check_out(out, who=who)
    try:
        with folder_written_whole(out.resolve()) as temporary:
            yield temporary
    except OSError as error:
        raise _explain(error, out) from error


def check_out(out: Path, *, who: str = "export") -> None:
    """Check that a command may write here.

    Args:
        out: the folder.
        who: the command, for errors.

    Raises:
        OutTakenError: ``out`` is a file, a link to nothing, or not empty.
    """
    try:
        if out.is_symlink() and not out.exists():
            raise OutTakenError(f"'{out}' is a link to nothing. Choose another --out")
        if out.exists() and not out.is_dir():
            raise OutTakenError(f"'{out}' is a file, expected a folder to write. Choose another --out")
        if out.is_dir() and any(out.iterdir()):
            raise OutTakenError(
                f"'{out}' is not empty; {who} never mixes with what is there. Choose another --out, or delete the folder first"
            )
    except OSError as error:
        raise _explain(error, out) from error


def _explain(error: OSError, out: Path) -> StoreError:
    at_file = f" (at {error.filename})" if error.filename else ""
    return explain_write_error(
        error,
        f"'{out}'",
        if_full="Nothing was left behind; free some space or choose another --out",
        if_denied="Give this user write permission on its parent folder, or choose another --out",
        otherwise=f"Choose another --out, then run the same command again{at_file}",
    )
