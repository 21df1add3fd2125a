"""A folder of a remote store that is worked on in a local copy: fetched, and kept in the store when something is new.

Why    A training's records grow line by line, which an object store cannot do; and what is on one machine only is lost with it
How    Each file is put whole, so a reader finds the former one or the new one. Files that say something of others go last, in
       the order of ``last``. ``.writer.json`` in the store names the copy that wrote there last. A copy that is named there holds
       what the store has or something newer, so its own files stand; any other copy is made anew from the store
Reads, writes  ``<key>/...`` in the store, the local folder, and a local record of what both hold
"""

from __future__ import annotations

import json
import re
import shutil
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from storage_schemas.errors import StoreError
from storage_schemas.files import StoreFiles, explain_write_error, leaves_root, written_whole
from storage_schemas.remote import is_s3
from storage_schemas.retries import persist

WRITER_FILE = ".writer.json"
AT_ONCE = 4
"""Files, or pieces of one, that are on their way at the same time."""
PIECE_BYTES = 16 << 20

Stamp = tuple[int, int, int]
"""Time of change in nanoseconds, size in bytes, and inode: of two files with one stamp, both have the same bytes."""


@dataclass(frozen=True)
class Snapshot:
    """Files as they were at one moment.

    Attributes:
        paths: where each one's bytes are, by name.
        stamps: of the file in the folder.
    """

    paths: Mapping[str, Path]
    stamps: Mapping[str, Stamp]


class FolderCopy:
    """The local copy of one folder.

    Args:
        files: of the remote root.
        key: the folder in it.
        folder: the local one; need not be there.
        record: local file that remembers what both hold; lies outside the folder.
        last: names that are put after all others, in this order, and fetched so.
        not_fetched_with: names that nobody needs where another file is there, each with the other one's name.
        forgotten: pattern of names that the store forgets too when they are deleted here; all others only ``discard`` deletes.
    """

    def __init__(
        self,
        files: StoreFiles,
        key: str,
        folder: Path,
        *,
        record: Path,
        last: tuple[str, ...] = (),
        not_fetched_with: Mapping[str, str] | None = None,
        forgotten: str | None = None,
    ) -> None:
        self._files, self._key, self.folder, self._record_file, self._last = files, key, folder, record, last
        self._not_fetched_with = dict(not_fetched_with or {})
        self._forgotten = forgotten

    def is_current(self) -> bool:
        """Say whether a ``fetch`` would change nothing."""
        listed, record = self._listed(), self._record()
        if not listed and not record.get("store"):
            return True
        return _is_of(record, self._writer()) and not self._missing(listed)

    def fetch(self) -> None:
        """Bring the local folder to what the store has, unless this copy wrote there last; then only what it lacks.

        Raises:
            StoreError: the store cannot be read, or the local disk not be written.
        """
        listed, record = self._listed(), self._record()
        if not listed and not record.get("store"):
            return  # the store has nothing, and never had: what is here is all there is
        stamps: dict[str, Any] = record.get("local", {})
        writer = self._writer()
        is_mine = _is_of(record, writer)
        if not is_mine:
            before = record.get("store", {})
            for name in sorted(self._local(), key=self._order, reverse=True):  # the mark of completeness goes first
                is_same = listed.get(name) == before.get(name) and stamps.get(name) == list(_stamp(self.folder / name))
                if name not in listed or not is_same:
                    (self.folder / name).unlink(missing_ok=True)
                    stamps.pop(name, None)
            record = {"copy": self._own_name(record), "count": record.get("count", 0), "writer": writer}
        missing = self._missing(listed)
        for group in self._in_order(missing):
            _all_at_once(self._download, group)
        fetched = {name: _stamp(self.folder / name) for name in missing}
        self._remember({**record, "store": listed, "local": {**stamps, **fetched}})

    def has_news(self) -> bool:
        """Say whether there is something here that the store lacks, as far as this copy knows; asks nothing of the store."""
        record = self._record()
        stamps, names = record.get("local", {}), self._local()
        is_new = any(stamps.get(name) != list(_stamp(self.folder / name)) for name in names)
        return "pending" in record or is_new or bool(self._deleted(record, names))

    def keep(self, snapshot: Snapshot | None = None) -> int:
        """Put what is new into the store; return the number of files.

        Args:
            snapshot: what is to be put; None = everything in the folder, which nobody may write into meanwhile.

        Raises:
            StoreError: the store cannot be written. What was put before is whole, and the next call goes on.
        """
        snapshot = snapshot or self._everything()
        record = self._record()
        known = {name: tuple(stamp) for name, stamp in record.get("local", {}).items() if name in record.get("store", {})}
        new = [name for name, stamp in snapshot.stamps.items() if known.get(name) != stamp]
        gone = self._deleted(record, snapshot.stamps)
        if not new and not gone and "pending" not in record:
            return 0
        record = self._begin_to_write(record)
        for group in self._in_order(new):
            _all_at_once(lambda name: self._upload(name, snapshot.paths[name]), group)
        for name in gone:  # after what took its place
            self._files.remove(f"{self._key}/{name}")
        stamps = {**record.get("local", {}), **{name: snapshot.stamps[name] for name in new}}
        stamps = {name: stamp for name, stamp in stamps.items() if name not in gone}
        self._remember({**_done(record), "store": self._listed(), "local": stamps})
        return len(new)

    def discard(self) -> None:
        """Delete in the store what the folder holds no longer; what says something of others first."""
        if not (gone := set(self._listed()) - set(self._local())):
            return
        record = self._begin_to_write(self._record())
        for name in sorted(gone, key=self._order, reverse=True):
            self._files.remove(f"{self._key}/{name}")
        stamps = {name: stamp for name, stamp in record.get("local", {}).items() if name not in gone}
        self._remember({**_done(record), "store": self._listed(), "local": stamps})

    def _deleted(self, record: Mapping[str, Any], names: Collection[str]) -> list[str]:
        """Return what the store has and was here, is no longer among the names of the folder, and is to be forgotten."""
        if self._forgotten is None:
            return []
        known = set(record.get("store", {})) & set(record.get("local", {}))
        return sorted(name for name in known - set(names) if re.fullmatch(self._forgotten, name))

    def _begin_to_write(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """Say in the store that what is written from now on is this copy's; return the record, where that is ``pending``."""
        writer = {"copy": self._own_name(record), "count": int(record.get("count", 0)) + 1}
        begun = {**record, **writer, "pending": writer}
        self._remember(begun)  # first: a copy that was killed in the middle must know that the half is its own
        self._files.put(f"{self._key}/{WRITER_FILE}", json.dumps(writer).encode())
        return begun

    def snapshot(self, aside: Path) -> Snapshot:
        """Hold on to the files as they are now, in a folder of the same disk, while their owner goes on writing.

        Checkpoints are replaced as a whole, so a second name of the same bytes is enough. Records grow in place and are copied.
        """
        names = sorted(self._local(), key=self._order, reverse=True)  # records may be newer than a checkpoint, never older
        paths, stamps = {}, {}
        for name in names:
            source, target = self.folder / name, aside / name
            target.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileNotFoundError):  # it was replaced or deleted in this moment
                stamps[name] = _stamp(source)
                if name.endswith(".pt"):
                    _second_name(source, target)
                    stamps[name] = _stamp(target)
                else:
                    shutil.copyfile(source, target)
                paths[name] = target
        return Snapshot(paths, {name: stamps[name] for name in paths})

    def _everything(self) -> Snapshot:
        names = self._local()
        return Snapshot({name: self.folder / name for name in names}, {name: _stamp(self.folder / name) for name in names})

    def _local(self) -> list[str]:
        """Return the names of all files of the folder but hidden ones: locks, and files that are being written."""
        paths = (path for path in self.folder.rglob("*") if path.is_file() and not path.is_symlink())
        names = (path.relative_to(self.folder).as_posix() for path in paths)
        return sorted(name for name in names if not _is_hidden(name))

    def _listed(self) -> dict[str, str]:
        """Return what the store has by name, each with what tells one version of it from another."""
        url = self._files.path(self._key)
        base = str(self._files.filesystem._strip_protocol(url))
        try:
            found = persist(
                lambda: self._files.filesystem.find(url, detail=True), doing="list", where=url, policy=self._files.policy
            )
        except FileNotFoundError:
            return {}
        names = {path[len(base) :].lstrip("/"): _version(facts) for path, facts in found.items()}
        if bad := next((name for name in names if leaves_root(name)), None):
            raise StoreError(f"'{url}' holds '{bad}', which would be written outside of its folder. Delete it in the store")
        return {name: version for name, version in sorted(names.items()) if name and not _is_hidden(name)}

    def _missing(self, listed: Mapping[str, str]) -> list[str]:
        spared = {name for name, other in self._not_fetched_with.items() if other in listed}
        return [name for name in listed if name not in spared and not (self.folder / name).is_file()]

    def _download(self, name: str) -> None:
        key, target = f"{self._key}/{name}", self.folder / name
        url = self._files.path(key)

        def get() -> None:
            with written_whole(target, is_flushed=False) as stream:
                self._files.filesystem.get_file(url, stream.name)

        try:
            persist(get, doing="read", where=url, policy=self._files.policy)
        except FileNotFoundError as error:
            raise StoreError(f"'{url}' was deleted while it was read. Run the same command again") from error
        except OSError as error:
            raise explain_write_error(
                error, f"'{target}'", if_full="Free some space, or choose another DEPTHMILL_CACHE_DIR",
                if_denied="Choose another DEPTHMILL_CACHE_DIR", otherwise="Check the disk of DEPTHMILL_CACHE_DIR",
            ) from error  # fmt: skip

    def _upload(self, name: str, source: Path) -> None:
        url = self._files.path(f"{self._key}/{name}")
        filesystem = self._files.filesystem
        # a large file goes in pieces, so that one that does not arrive is noticed early
        pieces = {"chunksize": PIECE_BYTES, "max_concurrency": AT_ONCE} if is_s3(filesystem) else {}
        persist(lambda: filesystem.put_file(str(source), url, **pieces), doing="write", where=url, policy=self._files.policy)

    def _order(self, name: str) -> int:
        return self._last.index(name) + 1 if name in self._last else 0

    def _in_order(self, names: Iterable[str]) -> list[list[str]]:
        """Return names in groups, one after the other; those of a group may go at once."""
        groups: list[list[str]] = [[] for _ in range(len(self._last) + 1)]
        for name in names:
            groups[self._order(name)].append(name)
        return [group for group in groups if group]

    def _writer(self) -> dict[str, Any] | None:
        """Return which copy wrote last; None if nobody has, or nobody said so."""
        with suppress(FileNotFoundError, ValueError):
            writer = json.loads(self._files.get(f"{self._key}/{WRITER_FILE}"))
            return writer if isinstance(writer, dict) else None
        return None

    def _record(self) -> dict[str, Any]:
        try:
            record = json.loads(self._record_file.read_bytes())
        except (OSError, ValueError):  # without it the store's files stand
            return {}
        return record if isinstance(record, dict) else {}

    def _own_name(self, record: Mapping[str, Any]) -> str:
        return str(record.get("copy") or uuid.uuid4().hex)

    def _remember(self, record: Mapping[str, Any]) -> None:
        try:
            with written_whole(self._record_file) as stream:
                stream.write(json.dumps(record).encode())
        except OSError as error:
            raise explain_write_error(
                error, f"'{self._record_file}'", if_full="Free some space", if_denied="Choose another DEPTHMILL_CACHE_DIR",
                otherwise="Check the disk of DEPTHMILL_CACHE_DIR",
            ) from error  # fmt: skip


def _is_of(record: Mapping[str, Any], writer: Mapping[str, Any] | None) -> bool:
    """Say whether nobody has written since the copy of this record last wrote or fetched."""
    return writer is not None and writer in (record.get("writer"), record.get("pending"))


def _done(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the record of a copy that has put everything it began to put."""
    return {**{key: value for key, value in record.items() if key != "pending"}, "writer": record["pending"]}


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") for part in name.split("/"))


def _version(facts: Mapping[str, Any]) -> str:
    """Return what tells two versions of a remote file apart: the digest that the server gives, or else when it was written."""
    mark = facts.get("ETag") or facts.get("LastModified") or facts.get("created") or facts.get("mtime")
    return f"{facts.get('size')} {mark}"


def _stamp(path: Path) -> Stamp:
    found = path.stat()
    return found.st_mtime_ns, found.st_size, found.st_ino


def _second_name(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source)
    except FileNotFoundError:
        raise
    except OSError:  # a file system without hard links
        shutil.copy2(source, target)


def _all_at_once(work: Callable[[str], None], names: Sequence[str]) -> None:
    """Do something for every name, some at a time; the first error is raised when all have ended."""
    with ThreadPoolExecutor(min(AT_ONCE, len(names))) as threads:
        for future in [threads.submit(work, name) for name in names]:
            future.result()
