"""Open stores with xarray and print a digest of everything that is in them, as JSON.

Run as a script, with the code to use on PYTHONPATH: ``python datasets.py STORE ...``. ``open_dataset`` opens the newest manifest;
xarray alone opens one unit of every kind that has arrays.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from storage_schemas.dataset import open_dataset
from storage_schemas.manifest import open_manifest
from storage_schemas.store import Store


def described(dataset: xr.Dataset) -> dict[str, list[Any]]:
    """Return dimensions, type, shape, unit and a digest of the values of every variable."""
    found = {}
    for name, variable in dataset.variables.items():
        values = np.ascontiguousarray(variable.values)
        content = json.dumps(values.tolist()).encode() if values.dtype.kind in "OUT" else values.tobytes()
        digest = hashlib.sha256(content).hexdigest()[:16]
        found[str(name)] = [list(variable.dims), str(values.dtype), list(values.shape), variable.attrs.get("units"), digest]
    return found


def opened(store: Path) -> dict[str, Any]:
    """Return what a store shows of itself, by the way it is opened."""
    manifest = open_manifest(Store(str(store)))
    found = {}
    if len({(row["height"], row["width"]) for row in manifest.rows()}) == 1:  # open_dataset refuses several sizes
        found["open_dataset"] = described(open_dataset(manifest))
    for kind in sorted(store.iterdir()):
        arrays = sorted(path.parent for path in kind.glob("*/*/*/zarr.json"))
        if arrays:
            found[str(arrays[0].relative_to(store))] = described(xr.open_zarr(arrays[0]))
    return found


if __name__ == "__main__":
    print(json.dumps({Path(store).name: opened(Path(store)) for store in sys.argv[1:]}, indent=1))
