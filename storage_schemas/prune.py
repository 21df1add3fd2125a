"""Which units may be deleted, and their deletion: never what a manifest or a running job names.

A unit goes only if all of this holds:

1. No manifest of the store names it, neither in a row nor among the inputs it was built from.
2. No run that is going on names it (``jobs.py``). The notes are read *before* the manifests: a run whose note is gone by then has
   written its manifest, which is therefore seen. A run that begins later sees the note of this prune, waits for its end, and then
   makes anew what is gone. So a manifest that is being built never ends up naming a unit that is being deleted.
3. Its lineage is older than the grace period, a day unless asked otherwise. This covers writers that leave no note (``import``, a
   depthmill of last year), listings that lag on network file systems, and clocks that differ; and it keeps what a failed run of
   today has finished, which tomorrow's run builds on.

What killed processes left is deleted too, when it is a day old: half-written files and units without a commit mark
(``leftovers.py``).

A unit whose lineage cannot be read is kept: ``depthmill verify --all --delete-damaged`` is for those. Manifests are never pruned,
nor are units of a store that this depthmill does not know, because the plug-in stage that wrote them is not installed here.
"""

from __future__ import annotations

import datetime
import re
import time
from collections.abc import Callable
from dataclasses import dataclass

from storage_schemas.awaited import counted
from storage_schemas.catalog import MANIFEST, known_layouts
from storage_schemas.errors import RecipeError, StoreError
from storage_schemas.jobs import PRUNE_LASTS, Note, noted_prune, notes
from storage_schemas.leftovers import Leftovers, delete_leftover, find_leftovers
from storage_schemas.lineage import LineageRecord
from storage_schemas.manifest import units_named_by_manifests
from storage_schemas.many_requests import all_at_once
from storage_schemas.store import Store, UnitPath
from storage_schemas.unit_listing import list_units, marked_units, read_committed

GRACE = datetime.timedelta(hours=24)
"""Younger units are kept."""

DELETED_AT_ONCE = 16
"""Units of a remote store whose deletion is under way at once."""

_UNITS_OF_TIME = {"m": "minutes", "h": "hours", "d": "days"}


@dataclass(frozen=True)
class Prunable:
    """The units that no manifest names.

    Attributes:
        units: may be deleted.
        young: kept, because they are younger than the grace period.
        held: kept, because a run that is going on names them.
        unreadable: kept, because nothing is known about their age.
        leftovers: what killed processes left.
    """

    units: tuple[UnitPath, ...]
    young: tuple[UnitPath, ...]
    held: dict[UnitPath, Note]
    unreadable: tuple[UnitPath, ...]
    leftovers: Leftovers


def find_prunable(store: Store, *, older_than: datetime.timedelta = GRACE) -> Prunable:
    """Sort the committed units that no manifest names into those that may go and those that are kept.

    Raises:
        StoreError: a manifest or a note cannot be read, so that it is not known what they name.
    """
    now = datetime.datetime.now(datetime.UTC)
    held_by = {key: note for note in notes(store, "run") for key in note.units}  # read before the manifests: see rule 2 above
    listing = None if store.files.is_local else list_units(store, known_layouts())
    named = units_named_by_manifests(store)
    marked = marked_units(store, known_layouts()) if listing is None else set(listing.marks)
    unnamed = sorted(path for path in marked if path.layout != MANIFEST.name and path not in named)
    held = {path: held_by[path.key] for path in unnamed if path.key in held_by}
    free = [path for path in unnamed if path not in held]
    records = read_committed(store, free)
    sorted_out: dict[str, list[UnitPath]] = {"units": [], "young": [], "unreadable": []}
    for path in free:
        sorted_out[_judge(records.get(path), now - older_than)].append(path)
    leftovers = find_leftovers(store, held=held_by, is_thorough=True, listing=listing)
    return Prunable(tuple(sorted_out["units"]), tuple(sorted_out["young"]), held, tuple(sorted_out["unreadable"]), leftovers)


def delete_prunable(
    store: Store,
    *,
    older_than: datetime.timedelta = GRACE,
    on_unit: Callable[[UnitPath], None] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Prunable:
    """Delete what may go, and return it with what was kept; ``on_unit`` is called with every unit after its deletion.

    Raises:
        StoreError: as ``find_prunable``, before anything is deleted; a unit cannot be deleted; or it takes longer than other
            processes believe a prune to last.
    """
    with noted_prune(store):
        deadline = clock() + 0.8 * PRUNE_LASTS.total_seconds()
        chosen = find_prunable(store, older_than=older_than)
        at_once = 1 if store.files.is_local else DELETED_AT_ONCE
        for number in counted(range(0, len(chosen.units), at_once), "units are deleted"):
            if clock() > deadline:
                raise StoreError(
                    f"{number} of {len(chosen.units)} units are deleted from '{store.root}', then the time of one prune was "
                    "over. Run the same command again for the rest"
                )
            group = chosen.units[number : number + at_once]
            all_at_once(lambda path: store.files.remove_tree(path.key), group)
            if on_unit is not None:
                for path in group:
                    on_unit(path)
        for key in chosen.leftovers.old:
            delete_leftover(store, key)
    return chosen


def parse_age(text: str) -> datetime.timedelta:
    """Read an age such as ``90m``, ``24h`` or ``7d``; ``0`` is none.

    Raises:
        RecipeError: it is not of this form.
    """
    if text == "0":
        return datetime.timedelta(0)
    match = re.fullmatch(r"(\d+)([mhd])", text)
    if match is None:
        raise RecipeError(f"age '{text}' cannot be read; expected a number and m, h or d, e.g. 24h")
    return datetime.timedelta(**{_UNITS_OF_TIME[match[2]]: int(match[1])})


def _judge(record: LineageRecord | StoreError | None, oldest_kept: datetime.datetime) -> str:
    if not isinstance(record, LineageRecord):  # the lineage is damaged, gone, or of a newer depthmill
        return "unreadable"
    try:
        written = datetime.datetime.fromisoformat(record.written_utc)
        return "units" if written <= oldest_kept else "young"
    except (ValueError, TypeError):  # no time, or one without a zone
        return "unreadable"
