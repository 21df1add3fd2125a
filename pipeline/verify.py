"""Check a store: every unit of a plan must exist, be whole, and have the fingerprint of its lineage as its name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from storage_schemas.awaited import counted
from storage_schemas.catalog import known_layouts
from storage_schemas.errors import (
    DepthmillError,
    NewerLayoutError,
    SourceError,
    StoreAccessError,
    UnitNotFoundError,
    UnknownLayoutError,
)
from storage_schemas.image_files import check_pixels
from storage_schemas.jobs import Note, noted_prune, notes
from storage_schemas.layout import UnitData
from storage_schemas.lineage import LINEAGE_FILE, LineageRecord
from storage_schemas.store import Store, UnitPath
from storage_schemas.unit_listing import marked_units


@dataclass(frozen=True)
class Verdict:
    """Result of a check.

    Attributes:
        num_units: units looked at.
        num_bytes: bytes they should have.
        num_unsealed: units of an older depthmill, whose chunks have no checksums: whole now, but damage to come is noticed only
            by the next check, or by a stage that reads them.
        faults: one line each.
        damaged: units whose bytes are wrong for certain. A unit that a newer depthmill wrote or a plug-in that is not installed
            here, or that could not be reached or was not allowed to be read, has a fault and is not damaged.
    """

    num_units: int
    num_bytes: int
    num_unsealed: int
    faults: tuple[str, ...]
    damaged: tuple[UnitPath, ...]


@dataclass(frozen=True)
class Repair:
    """What became of the damaged units.

    Attributes:
        deleted: damaged units, now gone.
        derived: units that an older depthmill made of them, perhaps of their damaged bytes; gone too.
        held: kept, because a run that goes on names them.
    """

    deleted: tuple[UnitPath, ...]
    derived: tuple[UnitPath, ...]
    held: dict[UnitPath, Note]


def verify_units(store: Store, paths: Iterable[UnitPath], *, on_unit: Callable[[UnitPath], None] | None = None) -> Verdict:
    """Read every file of every unit again: digests, layout, and that the folder's name is the fingerprint of its lineage."""
    faults: list[str] = []
    damaged: list[UnitPath] = []
    num_units = num_bytes = num_unsealed = 0
    for path in counted(paths, "units are read and compared with what was written"):
        num_units += 1
        fault_lines, is_damaged, record = _check(store, path)
        faults += fault_lines
        if record is not None:
            num_bytes += sum(file.num_bytes for file in record.files.values())
            num_unsealed += not record.is_sealed
        if is_damaged:
            damaged.append(path)
        if on_unit is not None:
            on_unit(path)
    return Verdict(num_units, num_bytes, num_unsealed, tuple(faults), tuple(damaged))


def _check(store: Store, path: UnitPath) -> tuple[list[str], bool, LineageRecord | None]:
    record = None
    try:
        record = store.lineage(path)
        faults = store.damage(path)
        if (found := record.identity.fingerprint()) != path.fingerprint:
            faults.append(f"{path.key}: {LINEAGE_FILE} belongs to unit {found}")
        if not faults:
            faults += [f"{path.key}: {fault}" for fault in _undecodable(store.read_unit(path))]
        return faults, bool(faults), record
    except (NewerLayoutError, StoreAccessError, UnitNotFoundError, UnknownLayoutError) as error:
        return [f"{path.key}: {error}"], False, record  # the bytes may be right
    except DepthmillError as error:
        return [f"{path.key}: {error}"], True, record


def _undecodable(data: UnitData) -> Iterator[str]:
    """Yield why images of a unit cannot be decoded: those that were damaged before they were packed by an older depthmill."""
    if "encoded" not in data.arrays:
        return
    files = data.tables["files"]["file"]
    for file, encoded, num_bytes in zip(files, data.arrays["encoded"], data.arrays["num_bytes"], strict=True):
        try:
            check_pixels(encoded[:num_bytes].tobytes(), what=f"image '{file}'", remedy="Copy it again")
        except SourceError as error:
            yield str(error)


def delete_damaged(store: Store, paths: Iterable[UnitPath]) -> Repair:
    """Delete damaged units and what may have been made of them, so that the recipe makes them again: the same bytes.

    Until then a manifest that names such a unit cannot be read; it could not before either. A stage compares its inputs with
    what was written, and says so by the checksums of what it writes. So only units without checksums can hold damage of an input;
    they are deleted with it, through all generations.

    Args:
        store: an opened store.
        paths: units that ``verify_units`` found to be damaged. What has been made anew since is whole and stays.

    Raises:
        StoreError: a unit cannot be deleted, or a note cannot be read.
    """
    with noted_prune(store):
        held_by = {key: note for note in notes(store, "run") for key in note.units}
        damaged = [path for path in paths if _check(store, path)[1]]
        derived = _made_of(store, set(damaged)) if damaged else []
        wanted = [*damaged, *derived]
        for path in (going := [path for path in wanted if path.key not in held_by]):
            store.files.remove_tree(path.key)
    gone, held = set(going), {path: held_by[path.key] for path in wanted if path.key in held_by}
    return Repair(tuple(path for path in damaged if path in gone), tuple(path for path in derived if path in gone), held)


def _made_of(store: Store, damaged: set[UnitPath]) -> list[UnitPath]:
    """Return the units without checksums that were made of these, directly or not, in order."""
    unsealed: dict[UnitPath, set[str]] = {}
    for path in all_units(store):
        try:
            record = store.lineage(path)
        except DepthmillError:
            continue  # what cannot be read is damaged itself, or not ours to judge
        if not record.is_sealed and path not in damaged:
            unsealed[path] = set(record.identity.inputs.values())
    doubtful, found = {path.fingerprint for path in damaged}, set()
    while added := {path for path, inputs in unsealed.items() if path not in found and inputs & doubtful}:
        found |= added
        doubtful |= {path.fingerprint for path in added}
    return sorted(found)


def marked(store: Store, paths: Iterable[UnitPath]) -> list[UnitPath]:
    """Return those of some units that have a commit mark, also where it cannot be read, in the order given."""
    wanted = list(paths)
    found = marked_units(store, {path.layout for path in wanted})
    return [path for path in wanted if path in found]


def all_units(store: Store) -> list[UnitPath]:
    """Return every unit with a commit mark of the stores that are known here, also where the mark cannot be read."""
    return sorted(marked_units(store, known_layouts()))
