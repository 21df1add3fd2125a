"""Manifests: which units belong together, and what differs between two.

A manifest is a unit of the MANIFEST layout. It never changes, and the units it names are never overwritten, so a training run
that notes a manifest's fingerprint can read the very same bytes for as long as nobody prunes that manifest.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from storage_schemas.catalog import MANIFEST, find_layout
from storage_schemas.errors import ManifestNotFoundError
from storage_schemas.layout import PIN_PREFIX, Columns, rows
from storage_schemas.many_requests import MOST_AT_ONCE, all_at_once
from storage_schemas.store import Store, UnitPath

_ALL_CAMERAS = "all"


@dataclass(frozen=True)
class Manifest:
    """One manifest opened for reading.

    Attributes:
        store: the store it belongs to.
        path: its address.
        samples: its table, a column per field of ``catalog.MANIFEST``, and a pin for each store that a package outside brought.
    """

    store: Store
    path: UnitPath
    samples: Columns

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.samples["frame_key"])

    def rows(self) -> list[dict[str, Any]]:
        """Return the samples as row dicts, in manifest order."""
        return rows(self.samples)

    @cached_property
    def stores(self) -> tuple[str, ...]:
        """Names of the stores that its rows pin; where a plug-in is not installed, one of them may be unknown here."""
        return tuple(name.removeprefix(PIN_PREFIX) for name in self.samples if name.startswith(PIN_PREFIX))

    @property
    def unknown_stores(self) -> tuple[str, ...]:
        """Those of ``stores`` that no installed package knows: their units are kept, and cannot be read here."""
        return tuple(name for name in self.stores if find_layout(name) is None)

    def unit_of(self, row: dict[str, Any], layout: str) -> UnitPath | None:
        """Return the unit that holds a sample's data of one store, None if the sample has none."""
        fingerprint = row.get(f"{PIN_PREFIX}{layout}")
        return None if fingerprint is None else self._address(layout, row["scene"], row["camera"], fingerprint)

    def unit_of_scene(self, layout: str, scene: str) -> UnitPath | None:
        """Return the unit of a whole scene that the manifest was built from, e.g. of ``frames``; None if there is none."""
        key = f"{layout}/{scene}/{_ALL_CAMERAS}"
        return UnitPath(layout, scene, _ALL_CAMERAS, self._inputs[key]) if key in self._inputs else None

    def named_units(self) -> set[UnitPath]:
        """Return every unit that the manifest needs: those of its rows, and those it was built from."""
        samples = self.samples
        named = {
            self._address(store, scene, camera, fingerprint)
            for store in self.stores
            for scene, camera, fingerprint in zip(
                samples["scene"], samples["camera"], samples[f"{PIN_PREFIX}{store}"], strict=True
            )
            if fingerprint is not None
        }
        for key, fingerprint in self._inputs.items():
            layout, scene, camera = key.split("/")
            named.add(UnitPath(layout, scene, camera, fingerprint))
        return named

    def _address(self, store: str, scene: str, camera: str, fingerprint: str) -> UnitPath:
        layout = find_layout(store)
        # for an unknown store, only the inputs of the manifest tell whether one unit holds all cameras
        is_of_scene = f"{store}/{scene}/{_ALL_CAMERAS}" in self._inputs if layout is None else layout.per == "scene"
        return UnitPath(store, scene, _ALL_CAMERAS if is_of_scene else camera, fingerprint)

    @cached_property
    def _inputs(self) -> dict[str, str]:
        return self.store.lineage(self.path).identity.inputs


def manifest_paths(store: Store) -> list[UnitPath]:
    """Return the manifests of a store, newest first."""
    paths = sorted(store.units(MANIFEST.name))
    records = all_at_once(store.lineage, paths, most=1 if store.files.is_local else MOST_AT_ONCE)
    written = zip((record.written_utc for record in records), paths, strict=True)
    return [path for _, path in sorted(written, reverse=True)]


def open_manifest(store: Store, fingerprint: str | None = None) -> Manifest:
    """Open a manifest: the newest, or the one whose fingerprint starts with the given characters.

    Raises:
        ManifestError: no manifest fits, or more than one does.
    """
    paths = manifest_paths(store)
    if not paths:
        raise ManifestNotFoundError(f"store '{store.root}' has no manifest yet. Run depthmill run with the recipe that fills it")
    fits = paths[:1] if fingerprint is None else [path for path in paths if path.fingerprint.startswith(fingerprint)]
    if len(fits) != 1:
        fingerprints = ", ".join(path.fingerprint for path in paths[:5])
        raise ManifestNotFoundError(
            f"manifest '{fingerprint}' {'is ambiguous' if fits else 'does not exist'} in store '{store.root}'; "
            f"newest first: {fingerprints}"
        )
    return Manifest(store, fits[0], store.open_unit(fits[0]).table("samples"))


def diff(old: Manifest, new: Manifest) -> dict[str, list[str]]:
    """Compare two manifests.

    Returns:
        ``added`` and ``removed`` frame keys, and ``changed``: frame keys whose units differ, with the stores in brackets.
    """
    before = {row["frame_key"]: row for row in old.rows()}
    after = {row["frame_key"]: row for row in new.rows()}
    pins = [f"{PIN_PREFIX}{store}" for store in dict.fromkeys((*old.stores, *new.stores))]
    changed = []
    for key in before.keys() & after.keys():
        stores = [pin.removeprefix(PIN_PREFIX) for pin in pins if before[key].get(pin) != after[key].get(pin)]
        if stores:
            changed.append(f"{key} ({', '.join(stores)})")
    return {
        "added": sorted(after.keys() - before.keys()),
        "removed": sorted(before.keys() - after.keys()),
        "changed": sorted(changed),
    }


def units_named_by_manifests(store: Store) -> set[UnitPath]:
    """Return every unit that some manifest of the store needs; StoreError if one cannot be read."""
    named: set[UnitPath] = set()
    for path in store.marked(MANIFEST.name):
        named |= Manifest(store, path, store.open_unit(path).table("samples")).named_units()
    return named
