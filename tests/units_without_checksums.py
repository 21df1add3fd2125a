"""Units as depthmill 0.1.0 wrote them: chunks without checksums, and a lineage that does not speak of them."""

from __future__ import annotations

import hashlib
import json
import shutil
import warnings
from pathlib import Path

import zarr
from zarr.codecs import ZstdCodec

from storage_schemas.store import Store, UnitPath


def take_checksums(store: Store, path: UnitPath) -> None:
    """Rewrite a unit of a local store without any checksum; the same values, fingerprint and time of writing."""
    folder = Path(store.files.path(path.key))
    data, record = store.read_unit(path), json.loads((folder / "lineage.json").read_text())
    attributes = json.loads((folder / "zarr.json").read_text())["attributes"]
    of_array = {name: json.loads((folder / name / "zarr.json").read_text()) for name in data.arrays}
    for name in data.arrays:
        shutil.rmtree(folder / name)
    (folder / "zarr.json").unlink()
    group = zarr.create_group(str(folder), zarr_format=3, attributes=attributes)
    for name, values in data.arrays.items():
        was = of_array[name]
        is_framed = was["codecs"][0]["name"] == "sharding_indexed"
        inner = was["codecs"][0]["configuration"]["codecs"] if is_framed else was["codecs"]
        array = group.create_array(
            name,
            shape=values.shape,
            dtype=values.dtype,
            dimension_names=was["dimension_names"],
            attributes=was["attributes"],
            chunks=(1, *values.shape[1:]) if is_framed else tuple(max(1, size) for size in values.shape),
            shards=values.shape if is_framed else None,
            compressors=ZstdCodec(level=1) if "zstd" in [codec["name"] for codec in inner] else None,
            fill_value=was["fill_value"],
        )
        array[...] = values
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        zarr.consolidate_metadata(group.store)
    files = [file for file in folder.rglob("*") if file.is_file() and file.name != "lineage.json"]
    record["files"] = {
        file.relative_to(folder).as_posix(): {
            "num_bytes": file.stat().st_size,
            "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        }
        for file in sorted(files)
    }
    for key in ("checksums", "record_sha256"):
        record.pop(key)
    (folder / "lineage.json").write_text(json.dumps(record, indent=1))
