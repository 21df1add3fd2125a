"""What a training has seen: its own scenes, and those of the checkpoint it began with, and so on.

Why    A network wins by memory on frames that it was trained on, so champion and challenger are compared on others.
Reads  training.json, manifests
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from flows.run.runs import Runs
from storage_schemas.errors import ManifestError, StoreError
from storage_schemas.manifest import open_manifest
from storage_schemas.store import Store


class SeenScenes(NamedTuple):
    """What a training has seen.

    Attributes:
        scenes: names of the scenes.
        unknown: fingerprints of manifests that are in no store that is known, so that their scenes are not among these.
    """

    scenes: frozenset[str]
    unknown: tuple[str, ...]


def seen_scenes(training: Path, store: Store, runs: Runs | None = None) -> SeenScenes:
    """Return the scenes that a complete training, and every training that it began with, was trained on.

    A manifest is looked up in the store, and in the one that its training names. One that is in neither cannot be looked up.

    Args:
        training: its folder.
        store: where its manifest is; a training that it began with may be of another store.
        runs: where a training is looked for that another machine began with; None = only where the record says.

    Raises:
        StoreError: the training's own record is missing or damaged.
    """
    from model.train.loop import read_training

    scenes: set[str] = set()
    unknown: list[str] = []

    def add(manifest: Any, record: dict[str, Any]) -> None:
        found = _scenes_of(store, manifest, record)
        if found is None:
            unknown.append(str(manifest))
        scenes.update(found or ())

    record: dict[str, Any] | None = read_training(training)
    visited: set[Path] = set()
    while record is not None:
        add(record.get("manifest"), record)
        start = record.get("start_file")
        if start is None or (folder := _folder_of(Path(start), runs)) in visited:
            break
        visited.add(folder)
        try:
            record, begun = read_training(folder), record
        except StoreError:  # a checkpoint that was moved or whose training is not complete: its manifest is known all the same
            add(record.get("start_manifest"), {})
            break
        if record.get("manifest") != begun.get("start_manifest"):  # the folder holds another training by now
            add(begun.get("start_manifest"), {})
            break
    return SeenScenes(frozenset(scenes), tuple(dict.fromkeys(unknown)))


def _folder_of(start: Path, runs: Runs | None) -> Path:
    """Return the folder of the training whose checkpoint another one began with; StoreError if the store cannot be read.

    The path in a record is that of the machine which trained, so the training is looked for by its name on any other.
    """
    folder = start.parent
    if runs is None or folder.exists() or folder.parent.name != "trainings":
        return folder
    return runs.training(folder.name)


def _scenes_of(store: Store, manifest: Any, record: dict[str, Any]) -> set[str] | None:
    """Return the scenes that a manifest trains on; None if it is in no store that is known."""
    from model.train.shared_scenes import scenes_of_split

    data = record.get("config", {}).get("data", {})
    for place in (store, *([Store(str(record["store"]))] if "store" in record else [])):
        with suppress(ManifestError, StoreError):
            return scenes_of_split(open_manifest(place, str(manifest)), data.get("split", "train"))
    return None
