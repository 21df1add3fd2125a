"""Files of a repository whose content Git LFS has not fetched: a few lines of text stand where the data should be."""

from __future__ import annotations

from storage_schemas.errors import SourceError

_POINTER = b"version https://git-lfs.github.com/spec/"


def refuse_lfs_pointer(content: bytes, path: str) -> None:
    """Check that bytes are not a Git LFS pointer; SourceError says how to fetch the file."""
    if content.startswith(_POINTER):
        raise SourceError(
            f"file '{path}' is a Git LFS pointer, not the data itself. Run git lfs pull in its repository, then run the same "
            "command"
        )
