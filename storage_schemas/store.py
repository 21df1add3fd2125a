"""Units of a store: written once, completely, with the commit mark last; the only file that imports zarr.

``<store>/<layout>/<scene>/<camera>/<fingerprint>/`` holds a Zarr v3 group, Parquet tables, and ``lineage.json``. A folder
without ``lineage.json`` does not exist for a reader. Nothing is ever overwritten with other bytes: two writers of the same
fingerprint write the same bytes, each file atomically, so that concurrent runs need no lock.
"""

from __future__ import annotations

import datetime
import json
import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from storage_schemas.catalog import find_layout, layout_named
from storage_schemas.checksum import CHECKSUMS, REPAIR, sha256_of
from storage_schemas.errors import NewerLayoutError, StoreError, UnitNotFoundError, UnknownLayoutError
from storage_schemas.files import MOST_TRANSFERS, StoreFiles
from storage_schemas.frame_shard import ZSTD_LEVEL, frame_shard
from storage_schemas.layout import ArraySpec, Columns, StoreLayout, UnitData, check, check_shapes
from storage_schemas.lineage import LINEAGE_END, LINEAGE_FILE, FileRecord, Identity, LineageRecord, is_unchanged
from storage_schemas.lineage import provenance as process_provenance
from storage_schemas.many_requests import all_at_once
from storage_schemas.shown_text import without_secrets
from storage_schemas.table import decode_table, encode_table

_ZARR_ERRORS = (OSError, ValueError, RuntimeError, LookupError, TypeError, AttributeError, ArithmeticError)
"""What zarr raises for metadata that contradicts itself."""


@dataclass(frozen=True, order=True)
class UnitPath:
    """Address of a unit inside a store."""

    layout: str
    scene: str
    camera: str
    fingerprint: str

    @property
    def key(self) -> str:
        """Path below the store's root."""
        return f"{self.layout}/{self.scene}/{self.camera}/{self.fingerprint}"

    @staticmethod
    def of(identity: Identity) -> UnitPath:
        """Return where a unit of this identity lives."""
        return UnitPath(identity.layout, identity.scene, identity.camera, identity.fingerprint())


class Store:
    """All units below one root (a local path or an fsspec URL)."""

    def __init__(self, root: str | Path) -> None:
        self.files = StoreFiles(root, is_store=True)

    @property
    def root(self) -> str:
        """Root path or URL."""
        return self.files.root

    @property
    def shown_root(self) -> str:
        """Path or URL as it may be shown or written down: without passwords."""
        return without_secrets(self.files.root)

    def has(self, path: UnitPath) -> bool:
        """Say whether the unit is committed; a commit mark that is empty or was cut is none."""
        key = f"{path.key}/{LINEAGE_FILE}"
        if self.files.is_local:
            if self.files.ends_with(key, LINEAGE_END):
                return True  # nearly always, and no more than the end was read
            if not self.files.exists(key):
                return False
        try:
            return is_whole_mark(self.files.get(key))
        except FileNotFoundError:
            return False

    def candidates(self, layout: str) -> set[UnitPath]:
        """Return the folders of a layout, committed or not, by listing only (no file is opened)."""
        if not self.files.is_local:
            parts = [key.split("/") for key in self.files.keys(layout)]  # one listing costs less than one a folder
            return {UnitPath(*names[:4]) for names in parts if len(names) > 4}
        return {
            UnitPath(layout, scene, camera, fingerprint)
            for scene in self.files.names(layout)
            for camera in self.files.names(f"{layout}/{scene}")
            for fingerprint in self.files.names(f"{layout}/{scene}/{camera}")
        }

    def units(self, layout: str) -> set[UnitPath]:
        """Return the committed units of a layout."""
        if self.files.is_local:
            return {path for path in self.candidates(layout) if self.has(path)}
        return self.marked(layout)

    def marked(self, layout: str) -> set[UnitPath]:
        """Return the units of a layout that have a commit mark, also one that cannot be read."""
        if self.files.is_local:
            return {path for path in self.candidates(layout) if self.files.exists(f"{path.key}/{LINEAGE_FILE}")}
        parts = [key.split("/") for key in self.files.keys(layout) if key.endswith(f"/{LINEAGE_FILE}")]
        return {UnitPath(*names) for *names, _ in parts if len(names) == 4}  # one listing costs less than a request per unit

    def lineage(self, path: UnitPath) -> LineageRecord:
        """Read a unit's lineage.

        Raises:
            UnitNotFoundError: the unit is not committed.
            NewerLayoutError: it was written by a newer depthmill.
            StoreError: the record is damaged.
        """
        try:
            text = self.files.get(f"{path.key}/{LINEAGE_FILE}")
        except FileNotFoundError as error:
            raise UnitNotFoundError(
                f"unit '{path.key}' is not in store '{self.root}' (no {LINEAGE_FILE}). "
                "Run the recipe that makes it, or choose another manifest"
            ) from error
        return self.parsed_lineage(path, text)

    def parsed_lineage(self, path: UnitPath, text: bytes) -> LineageRecord:
        """Return the lineage that a commit mark holds; errors as ``lineage``, but for a mark that is not there."""
        try:
            raw = json.loads(text)
            version = int(raw["identity"]["layout_version"])
        except (ValueError, KeyError, TypeError) as error:
            raise self._damaged_lineage(path, str(error)) from error
        layout = find_layout(path.layout)  # None for a plug-in that is not installed here; its lineage can still be read
        if layout is not None and version > layout.version:
            raise NewerLayoutError(
                f"unit '{path.key}' has layout {path.layout} v{version}, this depthmill knows v{layout.version}. "
                "Update depthmill to read it"
            )
        try:
            record = LineageRecord.model_validate(raw)
        except ValidationError as error:
            raise self._damaged_lineage(path, error.errors()[0]["msg"]) from error
        if record.checksums and not is_unchanged(text):
            raise self._damaged_lineage(path, "its content has changed since it was written")
        if record.fingerprint != path.fingerprint:
            raise self._damaged_lineage(path, f"it belongs to unit {record.fingerprint}")
        return record

    def _damaged_lineage(self, path: UnitPath, why: str) -> StoreError:
        return StoreError(f"'{self.files.path(path.key)}/{LINEAGE_FILE}' is damaged: {why}. {REPAIR}")

    def write_unit(
        self,
        identity: Identity,
        data: UnitData,
        *,
        seconds: float,
        counts: Mapping[str, float],
        provenance: Mapping[str, str] | None = None,
    ) -> LineageRecord:
        """Check, encode and write one unit, the commit mark last.

        Args:
            identity: what the unit is made from; its fingerprint is its address.
            data: arrays in their stored dtype, tables as columns.
            seconds: wall time that making it took.
            counts: what the stage counted.
            provenance: more facts about how the unit came to be, e.g. a digest of the raw files that were read.

        Raises:
            LayoutError: the content does not follow its layout.
            StoreError: disk full, no permission; no commit mark is left.
        """
        layout, path = layout_named(identity.layout), UnitPath.of(identity)
        check(layout, data, where=path.key)
        encoded = encode_unit(layout, data, where=path.key)
        self.files.put_all({f"{path.key}/{name}": content for name, content in encoded.items()})
        record = LineageRecord(
            identity=identity,
            fingerprint=path.fingerprint,
            seconds=round(seconds, 6),
            counts=dict(counts),
            files={
                name: FileRecord(num_bytes=sum(map(len, content)), sha256=sha256_of(content))
                for name, content in sorted(encoded.items())
            },
            written_utc=datetime.datetime.now(datetime.UTC).isoformat(timespec="microseconds"),
            checksums=CHECKSUMS,
            provenance={**process_provenance(), **(provenance or {})},
        )
        self.files.put(f"{path.key}/{LINEAGE_FILE}", record.to_json())
        return record

    def read_unit(self, path: UnitPath) -> UnitData:
        """Read a whole unit into memory and check it against its digests and its layout."""
        unit = self.open_unit(path)
        unit.check_shapes()
        data = UnitData(
            arrays={name: unit.array(name) for name in unit.array_names},
            tables={spec.name: unit.table(spec.name) for spec in unit.layout.tables if unit.has_table(spec.name)},
        )
        check(unit.layout, data, where=path.key)
        return data

    def open_unit(self, path: UnitPath) -> StoredUnit:
        """Open a committed unit for reading parts of it.

        Raises:
            UnknownLayoutError: a plug-in stage made it that is not installed here; names the package.
            StoreError: as ``lineage``.
        """
        record = self.lineage(path)
        if find_layout(path.layout) is None:
            raise UnknownLayoutError(
                f"unit '{path.key}' is of a store that is not known here: stage '{record.identity.stage}' of package "
                f"{record.identity.params.get('plug_in', 'unknown')} made it, which is not installed or cannot be loaded. "
                "depthmill doctor lists plug-ins"
            )
        return StoredUnit(self, path, record)

    def damage(self, path: UnitPath) -> list[str]:
        """Compare every file of a unit with its recorded size and digest; return one line per difference."""

        def difference(item: tuple[str, FileRecord]) -> str | None:
            name, record = item
            try:
                content = self.files.get(f"{path.key}/{name}")
            except FileNotFoundError:
                return f"{path.key}/{name}: file missing"
            if len(content) != record.num_bytes:
                return f"{path.key}/{name}: {len(content)} bytes, {record.num_bytes} were written"
            if sha256_of([content]) != record.sha256:
                return f"{path.key}/{name}: content differs from what was written (sha256)"
            return None

        found = all_at_once(difference, self.lineage(path).files.items(), most=1 if self.files.is_local else MOST_TRANSFERS)
        return [line for line in found if line is not None]


class StoredUnit:
    """A committed unit on disk; arrays and tables are read when asked for, and compared with what was written."""

    def __init__(self, store: Store, path: UnitPath, record: LineageRecord) -> None:
        import zarr

        self.path, self.layout, self._store, self._record = path, layout_named(path.layout), store, record
        try:
            self._group: Any = zarr.open_group(_checked_zarr(store, path, record), mode="r", zarr_format=3)
        except StoreError:
            raise
        except _ZARR_ERRORS as error:
            raise StoreError(f"unit '{path.key}' cannot be opened as Zarr: {error}. {REPAIR}") from error

    @property
    def array_names(self) -> list[str]:
        """Names of the arrays present, in the layout's order."""
        return [spec.name for spec in self.layout.arrays if spec.name in self._group]

    def array(self, name: str, frame: int | None = None) -> NDArray[Any]:
        """Read an array in its stored dtype: whole, or one index along its first dimension."""
        self.layout.array(name)
        try:
            return np.asarray(self._group[name][...] if frame is None else self._group[name][frame])
        except StoreError:
            raise
        except _ZARR_ERRORS as error:
            why = str(error).rstrip(".")
            raise StoreError(f"array '{name}' of unit '{self.path.key}' cannot be read: {why}. {REPAIR}") from error

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of an array without reading it."""
        self.layout.array(name)
        return tuple(self._group[name].shape)

    def check_shapes(self) -> None:
        """Compare types and sizes with the layout before any memory is taken for them; LayoutError if they do not fit."""
        stored = {name: self._group[name] for name in self.array_names}
        check_shapes(self.layout, {name: (array.dtype, array.shape) for name, array in stored.items()}, where=self.path.key)

    def has_table(self, name: str) -> bool:
        """Say whether an optional table is present."""
        return self._store.files.exists(f"{self.path.key}/{name}.parquet")

    def table(self, name: str) -> Columns:
        """Read a table as columns."""
        try:
            content = self._store.files.get(f"{self.path.key}/{name}.parquet")
        except FileNotFoundError as error:
            raise StoreError(f"table '{name}' of unit '{self.path.key}' is missing. {REPAIR}") from error
        refuse_changed(self.path, self._record, f"{name}.parquet", content)
        return decode_table(self.layout.table(name), content, where=self.path.key)


def is_whole_mark(content: bytes) -> bool:
    """Say whether a commit mark was not cut: by its end, or because it is JSON, if another program wrote it."""
    if content.endswith(LINEAGE_END):
        return True
    try:
        return isinstance(json.loads(content), dict)
    except ValueError:
        return False


def zarr_url(store: Store, path: UnitPath) -> Any:
    """Return what zarr and xarray open for a unit: a path, or a store that reads persistently from a URL."""
    if store.files.is_local:
        return store.files.path(path.key)
    from storage_schemas.remote_zarr import open_remote_zarr

    return open_remote_zarr(store.files.path(path.key), store.files.policy)


def _checked_zarr(store: Store, path: UnitPath, record: LineageRecord) -> Any:
    from zarr.storage import LocalStore

    from storage_schemas.checked_zarr import CheckedZarr

    place = zarr_url(store, path)
    inner = LocalStore(place, read_only=True) if store.files.is_local else place

    def look(name: str) -> None:
        if store.files.is_local:
            with suppress(OSError):  # a file that is not there is a chunk without values
                store.files.open_local(f"{path.key}/{name}").close()

    return CheckedZarr(
        inner, lambda name, content: refuse_changed(path, record, name, content), look, has_checksums=bool(record.checksums)
    )


def refuse_changed(path: UnitPath, record: LineageRecord, name: str, content: bytes) -> None:
    """Compare a file of a unit with its digest; StoreError if it is not what was written."""
    of_file = record.files.get(name)
    if of_file is None or len(content) != of_file.num_bytes or sha256_of([content]) != of_file.sha256:
        raise StoreError(f"file '{name}' of unit '{path.key}' is not what was written (SHA-256). {REPAIR}")


def encode_unit(layout: StoreLayout, data: UnitData, *, where: str) -> dict[str, tuple[bytes, ...]]:
    """Encode a unit in memory: file name -> content in pieces. Deterministic, so equal content gives equal bytes."""
    tables = data.tables.items()
    encoded: dict[str, tuple[bytes, ...]] = {
        f"{name}.parquet": (encode_table(layout.table(name), columns, where=where),) for name, columns in tables
    }
    encoded.update(_encode_group(layout, data))
    return encoded


def _encode_group(layout: StoreLayout, data: UnitData) -> dict[str, tuple[bytes, ...]]:
    """Encode the Zarr group; a unit of tables alone is a group without arrays, so that every unit opens the same way."""
    import zarr
    from zarr.storage import MemoryStore

    memory: dict[str, Any] = {}
    attributes = {
        "layout": layout.name,
        "layout_version": layout.version,
        "description": layout.description,
        "tables": [f"{name}.parquet" for name in sorted(data.tables)],
        "Conventions": "CF-1.11",
    }
    group = zarr.create_group(MemoryStore(memory), zarr_format=3, attributes=attributes)
    shards: dict[str, tuple[bytes, ...]] = {}
    for spec in layout.arrays:
        if spec.name in data.arrays:
            shard = _encode_array(group, spec, data.arrays[spec.name])
            if shard:
                shards[f"{spec.name}/c" + "/0" * len(spec.dims)] = shard
    with warnings.catch_warnings():  # zarr warns that consolidated metadata is not yet in the v3 specification
        warnings.simplefilter("ignore")
        zarr.consolidate_metadata(group.store)  # with it one read opens the unit, also for xarray on an object store
    return {**{name: (buffer.to_bytes(),) for name, buffer in memory.items()}, **shards}


def _encode_array(group: Any, spec: ArraySpec, values: NDArray[Any]) -> tuple[bytes, ...]:
    """One frame a chunk, all frames of the unit in one shard, which is returned; small per-frame arrays are one chunk."""
    from zarr.codecs import Crc32cCodec, ZstdCodec

    is_framed = spec.dims[0] == "frame" and values.ndim > 1 and values.size > 0
    shape = tuple(max(1, size) for size in values.shape)
    attributes = spec.attributes()
    if spec.invalid is not None:
        attributes["_FillValue"] = int(spec.invalid)  # xarray masks by this attribute, not by Zarr's own fill_value
    array = group.create_array(
        spec.name,
        shape=values.shape,
        dtype=spec.dtype,
        dimension_names=spec.dims,
        attributes=attributes,
        chunks=(1, *shape[1:]) if is_framed else shape,
        shards=shape if is_framed else None,
        compressors=(*((ZstdCodec(level=ZSTD_LEVEL),) if spec.is_compressed else ()), Crc32cCodec()),
        fill_value=spec.invalid or 0,
    )
    if is_framed:
        return frame_shard(values, int(spec.invalid or 0), is_compressed=spec.is_compressed)
    array[...] = values
    return ()
