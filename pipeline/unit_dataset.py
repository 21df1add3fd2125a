"""One unit as an xarray Dataset that knows its cameras: the index of its scene says when and from where each frame was taken.

Why    A unit holds its own arrays only. Plain xarray opens it, but a depth map without camera matrix and pose is of little use
Reads  the unit, and the ``frames`` unit that it was made from, which its lineage leads to
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline.poses import world_from_cam
from storage_schemas.catalog import FRAMES
from storage_schemas.dataset import open_unit_dataset
from storage_schemas.errors import StoreError, UnitNotFoundError
from storage_schemas.layout import rows
from storage_schemas.manifest import Manifest
from storage_schemas.store import Store, UnitPath

if TYPE_CHECKING:
    import xarray as xr


def open_unit(manifest: Manifest, key: str) -> xr.Dataset:
    """Open a unit lazily; see ``storage_schemas.dataset.open_unit_dataset``.

    Args:
        manifest: says which unit is meant by a key without a fingerprint.
        key: ``<store>/<scene>/<camera>``, or with ``/<fingerprint>``.

    Raises:
        UnitNotFoundError: there is no such unit; names some that are there.
        StoreError: the unit is damaged.
    """
    parts = key.strip("/").split("/")
    if len(parts) == 4:
        path = UnitPath(*parts)
    else:
        named = sorted(manifest.named_units())
        fits = [path for path in named if path.key.rpartition("/")[0] == "/".join(parts)]
        if not fits:
            like = [path.key.rpartition("/")[0] for path in named if path.layout == parts[0]] or sorted({p.layout for p in named})
            raise UnitNotFoundError(
                f"unit '{key}' is not in manifest {manifest.path.fingerprint}; expected <store>/<scene>/<camera>, e.g. "
                f"{', '.join(like[:3])}"
            )
        (path,) = fits
    return open_unit_dataset(manifest.store, path, _frames_of(manifest.store, path))


def _frames_of(store: Store, path: UnitPath) -> list[dict[str, Any]]:
    """Return what the index says of a unit's frames; empty if it was made without one or that was pruned."""
    index = _index_of(store, path)
    if index is None:
        return []
    keyframes = rows(store.open_unit(index).table("keyframes"))
    return [
        {**row, "world_from_cam": world_from_cam(row).reshape(-1).tolist()} for row in keyframes if row["camera"] == path.camera
    ]


def _index_of(store: Store, path: UnitPath) -> UnitPath | None:
    """Follow the lineage of a unit to the index that it, or what it was made from, was made from."""
    to_look, seen = [path], set()
    while to_look:
        unit = to_look.pop(0)
        if unit.layout == FRAMES.name:
            return unit
        seen.add(unit)
        try:
            inputs = store.lineage(unit).identity.inputs
        except StoreError:
            continue  # it was pruned; another way may lead there
        to_look += [
            found for name, fingerprint in inputs.items() if (found := _input(store, unit, name, fingerprint)) not in seen
        ]
    return None


def _input(store: Store, unit: UnitPath, name: str, fingerprint: str) -> UnitPath:
    layout = name.split("/")[0]
    of_scene = UnitPath(layout, unit.scene, "all", fingerprint)
    return of_scene if layout == FRAMES.name else UnitPath(layout, unit.scene, unit.camera, fingerprint)
