"""Which units of a store are committed, for many at once: asked one by one on a disk, listed on an object store.

Why    A plan asks for thousands of units. At 20 ms a request, one after the other takes minutes; one listing names 1000 files
What counts
       A commit mark that is empty or cut is none, as ``Store.has`` says. A listing gives sizes and times and no content:
       - a mark of 0 bytes is none
       - a mark that a whole manifest names, and that was written before that manifest, is whole: whoever built the manifest had
         found it whole or had written it, and an object never changes without a new time. Times are of the server's clock
       - every other mark is read, many at once. Those are the units that were made since the last manifest
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from storage_schemas.catalog import MANIFEST
from storage_schemas.errors import StoreAccessError, StoreError
from storage_schemas.lineage import LINEAGE_FILE, LineageRecord
from storage_schemas.many_requests import MOST_AT_ONCE, all_at_once
from storage_schemas.remote_listing import facts_of_prefix, time_of
from storage_schemas.store import Store, UnitPath, is_whole_mark

MOST_MANIFESTS = 4
"""The newest manifests name what the next plan asks for; older ones would be read for nothing."""

LISTED_FROM = 256
"""Fewer units are asked for: a listing names all files of all units of a store, perhaps of a hundred recipes."""


@dataclass(frozen=True)
class Mark:
    """A commit mark as a server lists it.

    Attributes:
        num_bytes: its size.
        written: when it was written by the server's clock, seconds since 1970; None if that is not known.
    """

    num_bytes: int
    written: float | None


@dataclass(frozen=True)
class UnitListing:
    """The units of some layouts of a remote store.

    Attributes:
        marks: units with a commit mark, also an empty one.
        newest: every unit's folder, committed or not -> when its youngest file was written; None if that is not known.
    """

    marks: Mapping[UnitPath, Mark] = field(default_factory=dict)
    newest: Mapping[UnitPath, float | None] = field(default_factory=dict)


def list_units(store: Store, layouts: Iterable[str]) -> UnitListing:
    """List layouts of a remote store, all at once, in one request per 1000 files."""
    names = sorted(set(layouts))
    marks: dict[UnitPath, Mark] = {}
    newest: dict[UnitPath, float | None] = {}
    for found in all_at_once(lambda name: facts_of_prefix(store.files, f"{name}/"), names):
        for key, facts in found.items():
            parts = key.split("/")
            if len(parts) < 5:
                continue
            path, written = UnitPath(*parts[:4]), time_of(facts)
            before = newest.setdefault(path, written)
            newest[path] = None if before is None or written is None else max(before, written)
            if parts[4:] == [LINEAGE_FILE]:
                marks[path] = Mark(int(facts.get("size") or 0), written)
    return UnitListing(marks, newest)


def committed_units(store: Store, paths: Iterable[UnitPath]) -> tuple[set[UnitPath], UnitListing | None]:
    """Return those of some units that are committed, and the listing that it was found by.

    The listing is None for a store on a disk, and for a few units, which are asked for one by one, many at once.

    Raises:
        StoreAccessError: the store cannot be reached, or refuses.
    """
    wanted = list(paths)
    if store.files.is_local:
        return {path for path in wanted if store.has(path)}, None
    if len(wanted) < LISTED_FROM:
        return {path for path, is_there in zip(wanted, all_at_once(store.has, wanted), strict=True) if is_there}, None
    listing = list_units(store, {path.layout for path in wanted} | {MANIFEST.name})
    marked = [path for path in wanted if path in listing.marks and listing.marks[path].num_bytes]
    trusted = _named_since(store, listing, marked)
    doubtful = [path for path in marked if path not in trusted]
    is_whole = all_at_once(store.has, doubtful)
    return trusted.union(path for path, whole in zip(doubtful, is_whole, strict=True) if whole), listing


def marked_units(store: Store, layouts: Iterable[str]) -> set[UnitPath]:
    """Return the units of some layouts that have a commit mark, also one that cannot be read."""
    if store.files.is_local:
        return {path for name in layouts for path in store.marked(name)}
    return set(list_units(store, layouts).marks)


def read_committed(store: Store, paths: Iterable[UnitPath]) -> dict[UnitPath, LineageRecord | StoreError]:
    """Read the lineages of those of some units that are committed, many at once on a remote store.

    Returns:
        Unit -> its lineage, or why it cannot be read: damaged, or of a newer depthmill. A unit whose mark is missing or was cut
        is not in it.

    Raises:
        StoreAccessError: the store cannot be reached, or refuses.
    """

    def read(path: UnitPath) -> LineageRecord | StoreError | None:
        try:
            content = store.files.get(f"{path.key}/{LINEAGE_FILE}")
            return store.parsed_lineage(path, content) if is_whole_mark(content) else None
        except FileNotFoundError:
            return None
        except StoreAccessError:
            raise
        except StoreError as error:
            return error

    wanted = list(paths)
    records = all_at_once(read, wanted, most=1 if store.files.is_local else MOST_AT_ONCE)
    return {path: record for path, record in zip(wanted, records, strict=True) if record is not None}


def _named_since(store: Store, listing: UnitListing, wanted: Iterable[UnitPath]) -> set[UnitPath]:
    """Return those units that a manifest names which was written after their marks."""
    open_ones = {path for path in wanted if path.layout != MANIFEST.name and listing.marks[path].written is not None}
    manifests = [(mark.written, path) for path, mark in listing.marks.items() if path.layout == MANIFEST.name and mark.num_bytes]
    dated = sorted(((written, path) for written, path in manifests if written is not None), reverse=True)
    trusted: set[UnitPath] = set()
    for written, manifest in dated[:MOST_MANIFESTS]:
        if not open_ones:
            break
        record = read_committed(store, [manifest]).get(manifest)
        if not isinstance(record, LineageRecord):
            continue
        for key, fingerprint in record.identity.inputs.items():
            if key.count("/") != 2:
                continue
            layout, scene, camera = key.split("/")
            path = UnitPath(layout, scene, camera, fingerprint)
            before = listing.marks[path].written if path in open_ones else None
            if before is not None and before < written:
                trusted.add(path)
                open_ones.discard(path)
    return trusted
