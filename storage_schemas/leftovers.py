"""What killed processes left in a store: files on their way, folders being deleted, and units without a commit mark.

No reader sees any of it. ``status`` counts it. ``prune`` deletes what is older than a day, if no run that goes on may need it.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Container, Iterator
from dataclasses import dataclass
from pathlib import Path

from storage_schemas.catalog import known_layouts
from storage_schemas.files import KEPT_S, UNFINISHED
from storage_schemas.lineage import LINEAGE_FILE
from storage_schemas.store import Store
from storage_schemas.unit_listing import UnitListing, list_units

_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{32}")
"""Name of a file on its way, as depthmill alone gives it."""


@dataclass(frozen=True)
class Leftovers:
    """What was found.

    Attributes:
        old: keys of what may be deleted, in order.
        num_young: how many more were changed within the last day, or belong to a run that goes on.
    """

    old: tuple[str, ...]
    num_young: int

    @property
    def num_all(self) -> int:
        """How many there are."""
        return len(self.old) + self.num_young


def find_leftovers(
    store: Store, *, held: Container[str] = (), is_thorough: bool = False, listing: UnitListing | None = None
) -> Leftovers:
    """Find what killed processes left.

    Args:
        store: an opened store.
        held: keys of units that a run which is going on names.
        is_thorough: look into committed units too, where older versions kept their temporary files; this opens every folder.
            Of an object store nothing is found without it, because it takes a listing of all files.
        listing: of all layouts of a remote store, if there is one already.
    """
    if not (store.files.is_local or is_thorough):
        return Leftovers((), 0)
    if not store.files.is_local:
        return _leftovers_at_a_url(listing or list_units(store, known_layouts()), held)
    found = [*_unfinished(store), *_half_units(store), *(_in_units(store) if is_thorough else ())]
    now, old = time.time(), []
    for key in found:
        changed = None if key in held else store.files.newest_change(key)
        if changed is not None and abs(now - changed) > KEPT_S:  # a time far ahead is that of a wrong clock, not of work
            old.append(key)
    return Leftovers(tuple(sorted(old)), len(found) - len(old))


def _leftovers_at_a_url(listing: UnitListing, held: Container[str]) -> Leftovers:
    """Find units without a commit mark; a server shows a file only when it is whole, so there is nothing else."""
    youngest = {path.key: written for path, written in listing.newest.items() if path not in listing.marks}
    now = time.time()
    old = [key for key, written in youngest.items() if written and key not in held and now - written > KEPT_S]
    return Leftovers(tuple(sorted(old)), len(youngest) - len(old))


def delete_leftover(store: Store, key: str) -> None:
    """Delete one of them, unless it has been committed since; StoreError if it may not be deleted."""
    if store.files.exists(f"{key}/{LINEAGE_FILE}"):
        return
    store.files.remove_tree(key)


def _unfinished(store: Store) -> list[str]:
    return [f"{UNFINISHED}/{name}" for name in store.files.names(UNFINISHED)]


def _half_units(store: Store) -> Iterator[str]:
    for layout in known_layouts():
        with_mark = store.marked(layout)
        yield from sorted(path.key for path in store.candidates(layout) - with_mark)


def _in_units(store: Store) -> Iterator[str]:
    for layout in known_layouts():
        for folder, _, files in os.walk(store.files.path(layout)):
            for name in files:
                if _TEMPORARY.fullmatch(name):
                    yield str((Path(folder) / name).relative_to(store.root).as_posix())
