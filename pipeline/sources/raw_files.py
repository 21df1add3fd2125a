"""Bytes of raw files below a data root, which every kind of source reads.

Every read is noted with its size and digest, so that the lineage of a unit says which bytes it was made from.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import xxhash

from pipeline.wanted_files import WantedFiles
from storage_schemas.errors import DepthmillError, SourceError
from storage_schemas.files import leaves_root
from storage_schemas.image_files import opened_image, refuse_too_many_pixels
from storage_schemas.regular_files import MAX_FILE_BYTES, open_regular, read_regular
from storage_schemas.remote_path import DataPath, RemotePath, folder_names

LFS_POINTER = b"version https://git-lfs.github.com/spec/"
"""What Git leaves in place of a large file until Git LFS fetches it."""

_PNG_HEAD = b"\x89PNG\r\n\x1a\n"


class RawFiles:
    """Base of the readers of raw files; small and picklable, opened anew in every worker.

    Args:
        root: folder that all files lie in, on a disk or at a URL.
    """

    def __init__(self, root: str | DataPath) -> None:
        self.root: DataPath = Path(root) if isinstance(root, str) else root
        self._root = str(self.root)
        self._seen: dict[str, tuple[int, str]] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Pickle without the notes about files that were read."""
        return {**self.__dict__, "_seen": {}}

    def read_bytes(self, file: str) -> bytes:
        """Return the content of a file.

        Raises:
            SourceError: the file is missing, empty, too large, no regular file, not readable or a Git LFS pointer, or its name
                leads out of the data root.
        """
        refuse_to_leave(file, where=f"data root '{self.root}'")
        path = f"{self._root}/{file}"  # a Path for each of thousands of files would cost as much as hashing them
        is_remote = isinstance(self.root, RemotePath)
        try:
            content = (self.root / file).read_bytes() if is_remote else read_regular(path)
        except FileNotFoundError as error:
            step = "Upload it" if is_remote else "Unpack the archive that holds it"
            raise SourceError(f"file missing: {path}. {step}, then run the same command") from error
        except PermissionError as error:
            raise SourceError(f"cannot read '{path}': permission denied. Ask for read permission on the data set") from error
        except OSError as error:
            raise SourceError(f"cannot read '{path}': {error.strerror}. Check the disk, then run the same command") from error
        if not content:
            raise SourceError(
                f"file '{path}' is empty (0 bytes). {'Upload' if is_remote else 'Copy'} it again, then run the same command"
            )
        if content.startswith(LFS_POINTER):
            raise lfs_pointer(path)
        self._seen[file] = (len(content), xxhash.xxh3_128_hexdigest(content))
        return content

    def files_of(self, scene: str, wanted: Sequence[WantedFiles]) -> Iterable[str]:
        """Return the files of a scene that stages will read, in about that order; a file may be named twice.

        Args:
            scene: scene name.
            wanted: what each stage reads, in running order.
        """
        return ()

    @contextmanager
    def reading_ahead(self, scene: str, wanted: Sequence[WantedFiles]) -> Iterator[None]:
        """Fetch the files of a scene in the background while the block reads them; of a data set on a disk nothing is done.

        Args:
            scene: scene name.
            wanted: what each stage reads, in running order.
        """
        if not isinstance(self.root, RemotePath):
            yield
            return
        keys: list[str] = []
        with suppress(DepthmillError):  # the stage that needs what cannot be found out meets the error itself
            keys = [(self.root / file).key for file in dict.fromkeys(self.files_of(scene, wanted))]
            self.root.data.note_files(keys)
        with self.root.data.reading_ahead(keys):
            yield

    def digest_of(self, files: Iterable[str]) -> dict[str, str]:
        """Return number, total size and a combined xxh3 digest of files that were read before."""
        names = sorted(set(files))
        combined = xxhash.xxh3_128()
        for name in names:
            size, digest = self._seen[name]
            combined.update(f"{name} {size} {digest}\n".encode())
        return {
            "raw_files": str(len(names)),
            "raw_bytes": str(sum(self._seen[name][0] for name in names)),
            "raw_xxh3_128": combined.hexdigest(),
        }


def lfs_pointer(path: str) -> SourceError:
    """Return the error for a file whose content Git LFS has not fetched."""
    return SourceError(
        f"file '{path}' is a Git LFS pointer: its content has not been fetched. Run git lfs pull in the repository of the data "
        "set, then run the same command"
    )


def refuse_to_leave(file: str, *, where: str) -> None:
    """Check that a file named in a table lies below a folder: tables come from elsewhere.

    Raises:
        SourceError: the name is absolute, climbs with '..', or is no name of a file.
    """
    if leaves_root(file):
        raise SourceError(
            f"a table names the file {file!r}, which does not lie below the {where}. The tables are damaged or not to be "
            "trusted; unpack the metadata archive again"
        )


def num_files(folder: DataPath) -> int:
    """Return the number of entries of a folder that are not hidden; 0 if the folder does not exist."""
    return sum(not name.startswith(".") for name in folder_names(folder))


def image_size(path: str | DataPath) -> tuple[int, int]:
    """Return (width, height) of a PNG or JPEG from its head.

    Raises:
        SourceError: the file cannot be read, is a Git LFS pointer, is no image, or has more pixels than any camera gives.
    """
    what, remedy = f"image '{path}'", "Copy it again, then run the same command"
    try:
        if isinstance(path, RemotePath) and (size := _size_in_head(path.read_head(), what=what, remedy=remedy)) is not None:
            return size
        with open_regular(path, most_bytes=MAX_FILE_BYTES) as stream:
            head = stream.read(len(LFS_POINTER))
            if head == LFS_POINTER:
                raise lfs_pointer(str(path))
            if (png := _png_size(head, what=what, remedy=remedy)) is not None:
                return png
            stream.seek(0)
            with opened_image(stream, what=what, remedy=remedy) as image:
                return image.size
    except OSError as error:
        raise SourceError(f"{what} cannot be read: {error}. {remedy}") from error


def _png_size(head: bytes, *, what: str, remedy: str) -> tuple[int, int] | None:
    if head[:8] != _PNG_HEAD or head[12:16] != b"IHDR" or len(head) < 24:
        return None
    width, height = struct.unpack(">II", head[16:24])
    refuse_too_many_pixels(width, height, what=what, remedy=remedy)
    return int(width), int(height)


def _size_in_head(head: bytes, *, what: str, remedy: str) -> tuple[int, int] | None:
    """Return the size of an image if its first bytes say it; whatever else they are, the whole file tells."""
    if (png := _png_size(head, what=what, remedy=remedy)) is not None:
        return png
    with suppress(SourceError), opened_image(io.BytesIO(head), what=what, remedy=remedy) as image:
        return image.size
    return None


def image_size_in(folder: DataPath) -> tuple[int, int] | None:
    """Return (width, height) of the first image of a folder, None without images."""
    for name in folder_names(folder)[:1]:
        with suppress(SourceError):
            return image_size(folder / name)
    return None
