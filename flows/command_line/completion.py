"""What the shell offers after TAB: recipes, recipe keys, stores, units, manifests.

Why    Names of scenes and fingerprints are long; a person who types them makes mistakes
Reads  folder listings of local stores and the ``store:`` of a recipe; never a unit, never a remote store
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import typer

MAX_OFFERED = 300
"""No shell shows more in a useful way, and a store may hold tens of thousands of units."""

_RECIPE_ENDINGS = (".yaml", ".yml")


def recipes(incomplete: str) -> list[str]:
    """Offer recipe files that begin with what is typed, also those one folder further down.

    Folders themselves are left to the shell: it would put a space after them.
    """
    return [path for path in _paths(incomplete) if path.endswith(_RECIPE_ENDINGS)][:MAX_OFFERED]


def recipes_and_stores(incomplete: str) -> list[str]:
    """Offer recipe files and folders that look like a store."""
    stores = [path for path in _paths(incomplete) if (Path(path).expanduser() / "manifest").is_dir()]
    return [*recipes(incomplete), *stores][:MAX_OFFERED]


def recipe_keys(incomplete: str) -> list[str]:
    """Offer ``key.key=default`` for every key of a recipe's stages and ablation, or of its training once that is typed."""
    from flows.command_line.recipe_keys import keys_with_defaults

    if incomplete.startswith("train"):  # importing torch takes two seconds
        keys = [*keys_with_defaults("train")]
    else:
        keys = [*keys_with_defaults("stages"), *keys_with_defaults("ablation"), *keys_with_defaults("retrain")]
    offered = [f"{key}={default}" for key, default in keys]
    return [setting for setting in offered if setting.startswith(incomplete)]


def manifests(ctx: typer.Context, incomplete: str) -> list[str]:
    """Offer the manifests of the store that the words before name."""
    root = _local_store(ctx)
    return [] if root is None else [name for name in _names(root / "manifest" / "all" / "all") if name.startswith(incomplete)]


def scenes(ctx: typer.Context, incomplete: str) -> list[str]:
    """Offer the scenes of the store that the words before name."""
    root = _local_store(ctx)
    return [] if root is None else [name for name in _names(root / "frames") if name.startswith(incomplete)][:MAX_OFFERED]


def units(ctx: typer.Context, incomplete: str) -> list[str]:
    """Offer the unit keys ``<layout>/<scene>/<camera>/<fingerprint>`` of the store that the words before name."""
    root = _local_store(ctx)
    if root is None:
        return []
    unit_keys = []
    for key in _keys(root, "", incomplete, 4):
        unit_keys.append(key)
        if len(unit_keys) == MAX_OFFERED:
            break
    return unit_keys


def splits() -> list[str]:
    """Offer the splits."""
    return ["train", "val", "test"]


def metrics() -> list[str]:
    """Offer the metrics of an evaluation."""
    from storage_schemas.evaluation import METRIC_COLUMNS

    return [column.name for column in METRIC_COLUMNS]


def _paths(incomplete: str) -> Iterator[str]:
    """Yield entries that begin with what is typed, and what lies in those that are folders, as they would be typed."""
    folder, begin = os.path.split(incomplete)
    for name in _names(Path(folder or ".").expanduser()):
        if name.startswith(begin) and (begin or not name.startswith(".")):
            path = os.path.join(folder, name)
            yield path
            for inner in _names(Path(path).expanduser()):
                if not inner.startswith("."):
                    yield os.path.join(path, inner)


def _keys(folder: Path, key: str, incomplete: str, levels: int) -> Iterator[str]:
    """Yield the keys of so many levels below a folder that begin with what is typed; looks into no other folder."""
    for name in _names(folder):
        full_key = f"{key}{name}"
        if levels == 1:
            if full_key.startswith(incomplete):
                yield full_key
        elif full_key.startswith(incomplete) or incomplete.startswith(f"{full_key}/"):
            yield from _keys(folder / name, f"{full_key}/", incomplete, levels - 1)


def _local_store(ctx: typer.Context) -> Path | None:
    """Return the store that a recipe or store among the words before names, None if that store is not on this machine."""
    typed = [ctx.params.get("recipe"), ctx.params.get("store"), *ctx.args]  # args holds an option that is still being typed
    for word in (str(word) for word in typed if word is not None):
        store = _store_of(word) if word.endswith(_RECIPE_ENDINGS) else word
        if store and (folder := Path(store).expanduser()).is_dir():
            return folder
    return None


def _store_of(recipe: str) -> str | None:
    from storage_schemas.regular_files import MAX_RECIPE_BYTES, read_text
    from storage_schemas.yaml_text import parse_yaml

    try:
        content = parse_yaml(read_text(Path(recipe).expanduser(), most_bytes=MAX_RECIPE_BYTES))
        return str(content["store"])
    except (OSError, ValueError, KeyError, TypeError):  # an error text would break the line that is being typed
        return None


def _names(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries)
    except OSError:
        return []
