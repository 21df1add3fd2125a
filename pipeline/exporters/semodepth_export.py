"""Write a manifest as the public text-and-PNG layout.

Reads  the units that the manifest pins; image files only where the store refers to them
Writes ``training|validation/nuscenes/nuscenes_<split>_<list>.txt`` and ``data/<list>/<scene>/<camera>/<file name>``

The lists hold absolute paths: the public scripts open each line as it stands, so only those open from any folder. A frame keeps
its file name, below its scene and camera, because names are unique only there; import reads scene and camera back from it.
Everything is written into a folder beside ``out`` that is renamed at the end: what is visible is whole.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.exporters.image_file import image_file
from pipeline.exporters.out_folder import check_out, whole_folder
from pipeline.exporters.semodepth_files import IMAGE, LISTS, RADAR, ListedStore, list_key
from pipeline.stage import RawReader
from storage_schemas.awaited import counted
from storage_schemas.errors import ManifestError
from storage_schemas.manifest import Manifest
from storage_schemas.public_files import encode_png, encode_radar
from storage_schemas.store import Store, StoredUnit, UnitPath

LEFT_OUT = "left-out"
"""Key under which ``export_semodepth`` counts samples of no split or of test, which the layout has no lists for."""


def export_semodepth(manifest: Manifest, raw: RawReader | None, out: Path) -> dict[str, int]:
    """Write a manifest in the layout that the public training scripts read.

    Args:
        manifest: its train and val samples are written, in its order.
        raw: reader of image files, for stores that refer to images instead of holding them; None if the source is not at hand.
        out: folder to write; must not exist or be empty.

    Returns:
        Samples per split, and under "left-out" those in neither train nor val if there are any.

    Raises:
        ManifestError: nothing to write, a sample lacks a store that the layout needs, or two samples share a file name.
        SourceError: an image file that the store refers to is missing or has changed.
        StoreError: ``out`` is not empty, the disk is full, or writing is not permitted; nothing is left behind.
    """
    check_out(out)
    samples = {split: [row for row in manifest.rows() if row["split"] == split] for split in LISTS}
    _check_samples(manifest, samples)
    listed_root = out.absolute()
    with whole_folder(out) as temporary:
        for split, rows in samples.items():
            _write_split(manifest, raw, split, rows, temporary, listed_root)
    counts = {split: len(rows) for split, rows in samples.items()}
    num_left_out = len(manifest) - sum(counts.values())
    return {**counts, LEFT_OUT: num_left_out} if num_left_out else counts


def data_key(row: dict[str, Any], listed: ListedStore) -> str:
    """Return the path of a sample's file below the root of the layout."""
    name = PurePosixPath(row["file"])
    return f"data/{listed.name}/{row['scene']}/{row['camera']}/{name.stem}{listed.suffix or name.suffix}"


def _check_samples(manifest: Manifest, samples: dict[str, list[dict[str, Any]]]) -> None:
    if not any(samples.values()):
        splits = sorted({row["split"] or "none" for row in manifest.rows()})
        raise ManifestError(
            f"manifest {manifest.path.fingerprint} has no train or val samples (splits there: "
            f"{', '.join(splits) or 'none'}); the layout has no other lists. Say which scenes are train and val with "
            "stages.build_manifest.splits in the recipe (nuScenes format: source.splits), run it, and export again"
        )
    keys: dict[str, str] = {}
    for split, rows in samples.items():
        for row in rows:
            for listed in LISTS[split]:
                if manifest.unit_of(row, listed.layout) is None:
                    raise ManifestError(_missing_text(manifest, row, split, listed))
            other = keys.setdefault(data_key(row, IMAGE).rsplit(".", 1)[0], row["frame_key"])
            if other != row["frame_key"]:
                raise ManifestError(
                    f"samples '{other}' and '{row['frame_key']}' have the same file name in one scene and camera "
                    f"({row['file']}), so one would overwrite the other. Rename the image files of the source"
                )


def _missing_text(manifest: Manifest, row: dict[str, Any], split: str, listed: ListedStore) -> str:
    return (
        f"scene {row['scene']}, camera {row['camera']} has no {listed.layout} in manifest {manifest.path.fingerprint}, but "
        f"{list_key(split, listed)} needs a line for every {split} sample: the lists are joined by line number. "
        f"Run the recipe with {listed.stage} for this scene (a scene without the sensor has no such unit), or leave "
        "the scene out with scenes: in the recipe, run, and export again"
    )


def _write_split(
    manifest: Manifest, raw: RawReader | None, split: str, rows: Sequence[dict[str, Any]], temporary: Path, listed_root: Path
) -> None:
    lines: dict[ListedStore, list[str]] = {listed: [] for listed in LISTS[split]}
    reader = _FrameReader(manifest.store, raw)
    for row in counted(rows, f"samples of {split} are written"):
        for listed in LISTS[split]:
            key = data_key(row, listed)
            path = manifest.unit_of(row, listed.layout)
            if path is None:
                raise AssertionError("checked before anything was written")
            line = str(listed_root / key)
            if "\n" in line:
                raise ManifestError(
                    f"path '{line}' holds a line break, which a text list cannot. Choose another --out or file name"
                )
            _write(temporary / key, reader.read(listed, path, row))
            lines[listed].append(line)
    for listed, paths in lines.items():
        _write(temporary / list_key(split, listed), os.fsencode("".join(f"{path}\n" for path in paths)))


def _write(file: Path, content: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)


class _FrameReader:
    """Encodes single frames of units, keeping the last opened unit of each store open: samples come scene by scene."""

    def __init__(self, store: Store, raw: RawReader | None) -> None:
        self._store, self._raw = store, raw
        self._opened: dict[str, tuple[UnitPath, StoredUnit, Any]] = {}

    def read(self, listed: ListedStore, path: UnitPath, row: dict[str, Any]) -> bytes:
        """Return the content of a sample's file in one list."""
        unit, loaded = self._open(listed, path)
        if listed == IMAGE:
            return image_file(unit, loaded, row["frame"], self._raw)
        if listed == RADAR:
            first, stop = np.searchsorted(loaded[0], (row["frame"], row["frame"] + 1))
            return encode_radar(loaded[1][first:stop])
        steps: NDArray[np.uint16] = unit.array("depth_m", row["frame"])
        return encode_png(steps)

    def _open(self, listed: ListedStore, path: UnitPath) -> tuple[StoredUnit, Any]:
        if listed.name not in self._opened or self._opened[listed.name][0] != path:
            unit = self._store.open_unit(path)
            loaded: Any = None
            if listed == IMAGE:
                loaded = unit.table("files")
            elif listed == RADAR:
                loaded = (
                    unit.array("frame_of_point"),
                    np.stack([unit.array(name) for name in ("u_px", "v_px", "depth_m")], axis=1),
                )
            self._opened[listed.name] = (path, unit, loaded)
        return self._opened[listed.name][1:]
