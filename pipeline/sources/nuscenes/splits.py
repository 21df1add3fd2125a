"""The splits that a release brings: nuScenes' official lists, or the ``splits.json`` of its version folder.

The official lists belong to nuScenes' own three versions. Own drives often count scene-0001, scene-0002 ..., and the names alone
would put them into splits that nobody made for them. The lists are data of this package, ``official_splits.json``, with the names
and the order that nuscenes-devkit gives them. So nothing that runs needs the devkit.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Collection, Mapping
from functools import cache
from importlib import resources
from pathlib import Path

import orjson

from pipeline.splits import SPLITS, unknown_scene
from storage_schemas.errors import SourceError
from storage_schemas.regular_files import MAX_TEXT_BYTES, read_regular
from storage_schemas.remote_path import DataPath

OFFICIAL_VERSIONS = ("v1.0-trainval", "v1.0-mini", "v1.0-test")

SPLITS_FILE = "splits.json"
"""The devkit's name of the file with a release's own splits, beside its tables."""


def official_splits(version: str) -> dict[str, str]:
    """Return scene name -> train, val or test of the official nuScenes splits; empty for a version that is not nuScenes' own."""
    if version not in OFFICIAL_VERSIONS:
        return {}
    lists = _official_lists()
    prefix = "mini_" if version == "v1.0-mini" else ""
    return {scene: split for split in SPLITS for scene in lists.get(f"{prefix}{split}", [])}


@cache
def _official_lists() -> Mapping[str, list[str]]:
    """Return the names of scenes by the name of their list: train, val, test, mini_train and mini_val."""
    text = resources.files(__package__).joinpath("official_splits.json").read_text(encoding="utf-8")
    lists: dict[str, list[str]] = json.loads(text)
    return lists


def splits_of_release(folder: DataPath, scenes: Collection[str]) -> dict[str, str]:
    """Return scene name -> train, val or test of a release: those of its own file, or else the official ones.

    Args:
        folder: version folder, e.g. ``<root>/v1.0-mini``.
        scenes: names of its scenes.

    Raises:
        SourceError: the file is no mapping of lists of scene names, names a scene that the release has not, has a scene in two
            splits, or a release that is not nuScenes' own names none of train, val and test.
    """
    path = folder / SPLITS_FILE
    if not (path.is_file() or (isinstance(path, Path) and os.path.lexists(path))):  # a pipe there is an error, not no file
        return official_splits(folder.name)
    lists = _lists(path)
    known: dict[str, list[str]] = {split: lists[split] for split in SPLITS if split in lists}
    if not known:
        if folder.name in OFFICIAL_VERSIONS:  # the devkit's users put lists with names of their own beside the official ones
            return official_splits(folder.name)
        raise SourceError(
            f"'{path}' has none of the splits train, val and test; splits there: {', '.join(lists) or 'none'}. "
            "Name its lists train and val, or say in the recipe's source.splits which scenes are which"
        )
    split_of: dict[str, str] = {}
    for split, names in known.items():
        for name in names:
            if (other := split_of.setdefault(name, split)) != split:
                raise SourceError(
                    f"'{path}': scene '{name}' is in {other} and in {split}. What is trained on must not be measured on: "
                    "take it out of one of the lists"
                )
    if fault := unknown_scene(known, list(scenes)):
        raise SourceError(f"'{path}': {fault}")
    return split_of


def _lists(path: DataPath) -> Mapping[str, list[str]]:
    """Return the lists of a file of splits by their names; SourceError if it is no mapping of lists of names."""
    expected = 'expected {"train": ["scene-a", ...], "val": ["scene-b", ...]}. Correct it, or delete it'
    try:
        content = read_regular(path, most_bytes=MAX_TEXT_BYTES)
        lists = orjson.loads(content)
    except OSError as error:
        raise SourceError(f"'{path}' cannot be read: {error.strerror}") from error
    except orjson.JSONDecodeError as error:
        raise SourceError(
            f"'{path}' is not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}; {expected}"
        ) from error
    if twice := _key_twice(content):  # a reader would take the last list and drop the scenes of the others
        raise SourceError(f"'{path}' has the key {twice!r} twice, so one of its lists would be lost. Join the two, or delete one")
    if not isinstance(lists, dict):
        raise SourceError(f"'{path}' is a {type(lists).__name__}; {expected}")
    for split, names in lists.items():
        if not isinstance(names, list):
            raise SourceError(f"'{path}': '{split}' is {names!r}, not a list of scene names; {expected}")
        if wrong := [name for name in names if not isinstance(name, str)]:
            raise SourceError(f"'{path}': '{split}' has the entry {wrong[0]!r}, which is no scene name; {expected}")
    return lists


def _key_twice(content: bytes) -> str:
    """Return a key that a JSON text has twice in one object, "" if there is none."""
    twice: list[str] = []

    def note(pairs: list[tuple[str, object]]) -> dict[str, object]:
        counts = Counter(key for key, _ in pairs)
        twice.extend(key for key, count in counts.items() if count > 1)
        return dict(pairs)

    json.loads(content, object_pairs_hook=note)
    return twice[0] if twice else ""
