"""Check a store: are all units of a plan there, whole, and what their names say."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from storage_schemas.catalog import LAYOUTS
from storage_schemas.errors import DepthmillError
from storage_schemas.store import Store, UnitPath


@dataclass(frozen=True)
class Verdict:
    """Result of a check: units looked at, bytes read, and one line per fault."""

    num_units: int
    num_bytes: int
    faults: tuple[str, ...]


def verify_units(store: Store, paths: Iterable[UnitPath], *, on_unit: Callable[[UnitPath], None] | None = None) -> Verdict:
    """Read every file of every unit again: digests, layout, and that the folder's name is the fingerprint of its lineage."""
    faults: list[str] = []
    num_units = num_bytes = 0
    for path in paths:
        num_units += 1
        try:
            record = store.lineage(path)
            num_bytes += sum(file.num_bytes for file in record.files.values())
            if record.identity.fingerprint() != path.fingerprint:
                faults.append(f"{path.key}: lineage.json belongs to unit {record.identity.fingerprint()}")
            damaged = store.damage(path)
            faults.extend(damaged)
            if not damaged:
                store.read_unit(path)
        except DepthmillError as error:
            faults.append(f"{path.key}: {error}")
        if on_unit is not None:
            on_unit(path)
    return Verdict(num_units, num_bytes, tuple(faults))


def all_units(store: Store) -> list[UnitPath]:
    """Return every committed unit of a store."""
    return sorted(path for layout in LAYOUTS for path in store.units(layout.name))
