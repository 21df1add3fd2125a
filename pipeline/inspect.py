"""Describe a store, a unit or a sample, as text and as data."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from storage_schemas.catalog import known_layouts
from storage_schemas.errors import ManifestError, StoreError
from storage_schemas.manifest import manifest_paths, open_manifest
from storage_schemas.store import Store, UnitPath


@dataclass(frozen=True)
class Description:
    """The same facts for people and for programs."""

    text: str
    data: dict[str, Any]


def describe(store: Store, what: str | None) -> Description:
    """Describe a store (None), a unit (its key), a manifest (its fingerprint) or a sample (its frame key).

    Raises:
        StoreError: the store has nothing of that name; the text names a unit that it has.
    """
    if what is None:
        return _describe_store(store)
    parts = what.strip("/").split("/")
    if len(parts) == 4 and (parts[0] in known_layouts() or store.has(UnitPath(*parts))):
        return _describe_unit(store, UnitPath(*parts))
    if len(parts) == 3 and parts[0] not in known_layouts():
        return _describe_sample(store, what)
    if re.fullmatch(r"[0-9a-f]+", what):
        return _describe_manifest(store, what)
    raise StoreError(
        f"'{what}' is neither a unit key (<store>/<scene>/<camera>/<fingerprint>), a frame key "
        f"(<scene>/<camera>/<timestamp_us>) nor a manifest fingerprint. {_example(store, what)}"
    )


def _example(store: Store, what: str) -> str:
    """Name a unit of the store: the first one with this text in its key, or the first of all."""
    keys = [path.key for name in known_layouts() for path in store.units(name)]
    key = next((key for key in keys if what.strip("/") in key), min(keys, default=None))
    return f"For example '{key}'" if key else "The store holds no unit: run the recipe"


def _describe_store(store: Store) -> Description:
    summaries: dict[str, Any] = {}
    for layout in known_layouts().values():
        sizes = [sum(file.num_bytes for file in store.lineage(path).files.values()) for path in store.units(layout.name)]
        if sizes:
            summaries[layout.name] = {"units": len(sizes), "num_bytes": sum(sizes), "description": layout.description}
    lines = [
        f"{name:<18} {summary['units']:>6} units  {summary['num_bytes'] / 1e6:>10.1f} MB  {summary['description']}"
        for name, summary in summaries.items()
    ]
    manifests = [path.fingerprint for path in manifest_paths(store)]
    lines.append(f"manifests, newest first: {', '.join(manifests) or 'none'}")
    return Description(
        "\n".join([f"store {store.root}", *lines]), {"root": store.root, "stores": summaries, "manifests": manifests}
    )


def _describe_unit(store: Store, path: UnitPath) -> Description:
    record, unit = store.lineage(path), store.open_unit(path)
    lines = [
        f"unit {path.key}",
        f"made by {record.identity.stage} v{record.identity.stage_version} in {record.seconds:.2f} s, {record.written_utc}",
        f"params {record.identity.params}",
        f"inputs {record.identity.inputs}",
        f"counts {record.counts}",
    ]
    arrays = {}
    for name in unit.array_names:
        spec, values = unit.layout.array(name), unit.array(name)
        finite = values[~np.isnan(values)] if values.dtype.kind == "f" else values
        bounds = [float(np.min(finite)), float(np.max(finite))] if finite.size else []
        scale = spec.scale if spec.scale is not None else 1.0
        arrays[name] = {
            "dims": spec.dims,
            "shape": values.shape,
            "dtype": spec.dtype,
            "unit": spec.unit,
            "range": [v * scale for v in bounds],
        }
        lines.append(
            f"  {name} {dict(zip(spec.dims, values.shape, strict=True))} {spec.dtype} [{spec.unit}] "
            f"range {arrays[name]['range']}: {spec.description}"
        )
    for table in unit.layout.tables:
        if unit.has_table(table.name):
            lines.append(f"  {table.name}.parquet: {table.description}")
    return Description("\n".join(lines), {"lineage": record.model_dump(mode="json"), "arrays": arrays})


def _describe_manifest(store: Store, fingerprint: str) -> Description:
    manifest = open_manifest(store, fingerprint)
    samples = manifest.rows()
    splits = {split: sum(row["split"] == split for row in samples) for split in ("train", "val", "test", "")}
    record = store.lineage(manifest.path)
    data: dict[str, Any] = {
        "fingerprint": manifest.path.fingerprint,
        "samples": len(samples),
        "splits": splits,
        "night": sum(row["is_night"] for row in samples),
        "scenes": len({row["scene"] for row in samples}),
        "units": len(manifest.named_units()),
        "written_utc": record.written_utc,
    }
    if manifest.unknown_stores:
        data["unknown_stores"] = list(manifest.unknown_stores)  # of plug-in stages that are not installed here
    return Description("\n".join(f"{key:<12} {value}" for key, value in data.items()), data)


def _describe_sample(store: Store, frame_key: str) -> Description:
    manifest = open_manifest(store)
    row = next((row for row in manifest.rows() if row["frame_key"] == frame_key), None)
    if row is None:
        raise ManifestError(
            f"sample '{frame_key}' is not in manifest {manifest.path.fingerprint}; the first one there is "
            f"{manifest.samples['frame_key'][0] if len(manifest) else 'none'}"
        )
    return Description(
        "\n".join(f"{key:<22} {value}" for key, value in row.items()), {key: _plain(value) for key, value in row.items()}
    )


def _plain(value: Any) -> Any:
    """Return a value in a form that JSON can hold: NaN becomes null, in a list too."""
    if isinstance(value, list):
        return [_plain(element) for element in value]
    return None if isinstance(value, float) and np.isnan(value) else value
