"""The whole world on disk: scenes are simulated once, then all tables are written together.

A finished scene leaves `simulated/<scene>.json` below the root, written last and atomically: its digest and its
table rows. A scene whose record has the wanted digest is not simulated again.
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


def scene_digest(params: SyntheticParams, index: int) -> str:
    """Return a hash (64 hex digits) over all that scene `index` depends on; `params.scenes` is not part of it."""
    wanted: dict[str, Any] = params.model_dump(mode="json", exclude={"scenes", "trajectories"})
    if params.trajectories is not None:
        wanted["trajectories"] = hashlib.sha256(Path(params.trajectories).read_bytes()).hexdigest()
    text = json.dumps({"version": WORLD_VERSION, "index": index, **wanted}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def write_tables(params: SyntheticParams, scenes: Sequence[SceneTables], root: Path) -> None:
    """Write the 13 tables of the given scenes, each in one step."""
    merged = merge_tables([constant_tables(params.radars), *scenes])
    for table in TABLES:
        _write_json(root / version_name(params) / f"{table}.json", merged.get(table, []))


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
    _write_json(path, {"digest": scene_digest(params, index), "tables": simulate_scene(params, index, root)})


def _digest_on_disk(root: Path, name: str) -> str | None:
    record = _read_record(root, name)
    return None if record is None else str(record["digest"])


def is_complete(params: SyntheticParams, root: Path) -> bool:
    """Return whether `write_world` would have nothing to do: all scenes as wanted, and tables of just these."""
    folder = root / version_name(params)
    if not all((folder / f"{table}.json").is_file() for table in TABLES):
        return False
    written = {scene["name"]: scene["token"] for scene in json.loads((folder / "scene.json").read_text())}
    if tuple(written) != scene_names(params):
        return False
    records = (_read_record(root, name) for name in written)
    return all(record is not None and record["digest"] == scene_digest(params, index) for index, record in enumerate(records))


def _record_path(root: Path, name: str) -> Path:
    """Return where a finished scene leaves its record."""
    return root / "simulated" / f"{name}.json"


def _read_record(root: Path, name: str) -> dict[str, Any] | None:
    """Return a finished scene's digest and tables, or None."""
    path = _record_path(root, name)
    return json.loads(path.read_text()) if path.is_file() else None


def _write_json(path: Path, content: object) -> None:
    """Write JSON atomically, so that no reader sees half a file."""
    with written_whole(path, is_flushed=False) as stream:
        stream.write(json.dumps(content).encode())
