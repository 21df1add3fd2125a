"""Check a store: every unit of a plan must exist, be whole, and have the fingerprint of its lineage as its name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

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
from storage_schemas.layout import UnitData
from storage_schemas.store import Store, UnitPath


@dataclass(frozen=True)
class Verdict:
    """Result of a check.

    Attributes:
        num_units: units looked at.
        num_bytes: bytes they should have.
        faults: one line each.
        damaged: units whose bytes are wrong for certain. A unit that a newer depthmill wrote or a plug-in that is not installed
            here, or that could not be reached or was not allowed to be read, has a fault and is not damaged.
    """

    num_units: int
    num_bytes: int
    faults: tuple[str, ...]
    damaged: tuple[UnitPath, ...]


def verify_units(store: Store, paths: Iterable[UnitPath], *, on_unit: Callable[[UnitPath], None] | None = None) -> Verdict:
    """Read every file of every unit again: digests, layout, and that the folder's name is the fingerprint of its lineage."""
    faults: list[str] = []
    damaged: list[UnitPath] = []
    num_units = num_bytes = 0
    for path in paths:
        num_units += 1
        num_faults = len(faults)
        try:
            record = store.lineage(path)
            num_bytes += sum(file.num_bytes for file in record.files.values())
            if record.identity.fingerprint() != path.fingerprint:
                faults.append(f"{path.key}: lineage.json belongs to unit {record.identity.fingerprint()}")
            faults.extend(different := store.damage(path))
            if not different:
                faults.extend(f"{path.key}: {fault}" for fault in _undecodable(store.read_unit(path)))
        except (NewerLayoutError, StoreAccessError, UnitNotFoundError, UnknownLayoutError) as error:
            num_faults = len(faults) + 1  # this fault is not damage: the bytes may be right
            faults.append(f"{path.key}: {error}")
        except DepthmillError as error:
            faults.append(f"{path.key}: {error}")
        if len(faults) > num_faults:
            damaged.append(path)
        if on_unit is not None:
            on_unit(path)
    return Verdict(num_units, num_bytes, tuple(faults), tuple(damaged))


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


def delete_units(store: Store, paths: Iterable[UnitPath]) -> None:
    """Delete units, so that the recipe that made them makes them again: equal fingerprint, equal bytes.

    Until then a manifest that names such a unit cannot be read; it could not before either.
    """
    for path in paths:
        store.files.remove_tree(path.key)


def all_units(store: Store) -> list[UnitPath]:
    """Return every committed unit of the stores that are known here."""
    return sorted(path for name in known_layouts() for path in store.units(name))
