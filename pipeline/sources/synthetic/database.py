"""The whole world on disk: scenes are simulated once, then all tables are written together.

A finished scene leaves `simulated/<scene>.json` below the root, written last and atomically: its digest and its
table rows. A scene whose record has the wanted digest, and is what was written, is not simulated again. Tables that are not what
was written are written again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from pipeline.processes import ProcessPool
from pipeline.sources.synthetic.config import WORLD_VERSION, SyntheticParams, scene_names, version_name
from pipeline.sources.synthetic.rows import SceneTables, merge_tables
from pipeline.sources.synthetic.simulate import simulate_scene
from pipeline.sources.synthetic.vocabulary import constant_tables
from storage_schemas.files import written_whole
from storage_schemas.regular_files import read_regular
from storage_schemas.seals import check_digest, sealed_digests

TABLES = (
    "attribute",
    "calibrated_sensor",
    "category",
    "ego_pose",
    "instance",
    "log",
    "map",
    "sample",
    "sample_annotation",
    "sample_data",
    "scene",
    "sensor",
    "visibility",
)


_TABLES_DIGEST = "tables_sha256"
"""Key of a scene's record: the digest of its tables as JSON."""


def scene_digest(params: SyntheticParams, index: int) -> str:
    """Return a hash (64 hex digits) over all that scene `index` depends on; `params.scenes` is not part of it."""
    wanted: dict[str, Any] = params.model_dump(mode="json", exclude={"scenes", "trajectories"})
    if params.trajectories is not None:
        wanted["trajectories"] = hashlib.sha256(read_regular(params.trajectories)).hexdigest()
    text = json.dumps({"version": WORLD_VERSION, "index": index, **wanted}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def write_tables(params: SyntheticParams, scenes: Sequence[SceneTables], root: Path) -> None:
    """Write the 13 tables of the given scenes, each in one step, and then their digests."""
    merged = merge_tables([constant_tables(params.radars), *scenes])
    contents = {f"{table}.json": json.dumps(merged.get(table, [])).encode() for table in TABLES}
    for name, content in contents.items():
        _write(root / version_name(params) / name, content)
    _write(_digests_path(params, root), sealed_digests(contents))


def write_world(params: SyntheticParams, root: Path, *, num_workers: int = 1) -> None:
    """Simulate the missing scenes, in several processes if there are several, and write the tables."""
    names = scene_names(params)
    missing = [index for index in range(len(names)) if _digest_on_disk(root, names[index]) != scene_digest(params, index)]
    num_workers = min(num_workers, len(missing))
    if num_workers > 1:
        with ProcessPool(num_workers) as pool, ThreadPoolExecutor(num_workers) as threads:
            list(threads.map(lambda index: pool.run(_write_scene, params, index, root), missing))
    else:
        for index in missing:
            _write_scene(params, index, root)
    records = [_read_record(root, name) for name in names]
    write_tables(params, [record["tables"] for record in records if record is not None], root)


def _write_scene(params: SyntheticParams, index: int, root: Path) -> None:
    """Simulate one scene and leave its record."""
    path = _record_path(root, scene_names(params)[index])
    path.unlink(missing_ok=True)
    tables = json.dumps(simulate_scene(params, index, root))
    digests = json.dumps({"digest": scene_digest(params, index), _TABLES_DIGEST: hashlib.sha256(tables.encode()).hexdigest()})
    _write(path, f'{digests[:-1]}, "tables": {tables}}}'.encode())


def _digest_on_disk(root: Path, name: str) -> str | None:
    """Return the digest of a finished scene whose tables are what was written; None if it is to be made anew."""
    record = _read_record(root, name)
    if record is None:
        return None
    tables = record.get(_TABLES_DIGEST)  # records of former versions have none
    is_whole = tables is None or tables == hashlib.sha256(json.dumps(record["tables"]).encode()).hexdigest()
    return str(record["digest"]) if is_whole else None


def is_complete(params: SyntheticParams, root: Path) -> bool:
    """Return whether `write_world` would have nothing to do: all scenes as wanted, and tables of just these."""
    folder, digests = root / version_name(params), _digests_path(params, root)
    try:
        sealed = read_regular(digests) if digests.is_file() else None  # worlds of former versions have none
        for table in TABLES:
            check_digest(sealed, f"{table}.json", read_regular(folder / f"{table}.json"))
        written = {scene["name"]: scene["token"] for scene in json.loads(read_regular(folder / "scene.json"))}
    except (OSError, ValueError, KeyError, TypeError):  # a table is missing or damaged
        return False
    if tuple(written) != scene_names(params):
        return False
    records = (_read_record(root, name) for name in written)
    return all(record is not None and record["digest"] == scene_digest(params, index) for index, record in enumerate(records))


def _record_path(root: Path, name: str) -> Path:
    """Return where a finished scene leaves its record."""
    return root / "simulated" / f"{name}.json"


def _read_record(root: Path, name: str) -> dict[str, Any] | None:
    """Return a finished scene's digests and tables, or None if there are none that can be read."""
    try:
        record = json.loads(read_regular(_record_path(root, name)))
    except (OSError, ValueError):  # a SourceError, of a pipe in its place, is a ValueError
        return None
    return record if isinstance(record, dict) and {"digest", "tables"} <= record.keys() else None


def _digests_path(params: SyntheticParams, root: Path) -> Path:
    return root / version_name(params) / ".digests.json"  # hidden: it is no table


def _write(path: Path, content: bytes) -> None:
    """Write a file atomically, so that no reader sees half of it."""
    with written_whole(path, is_flushed=False) as stream:
        stream.write(content)
