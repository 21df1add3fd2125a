"""What verbs open before they work, and how they answer.

Heavy modules are imported inside the functions, so that ``--help`` answers at once.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from storage_schemas.errors import RecipeError

if TYPE_CHECKING:
    from flows.run.materialize import Opened
    from model.train.config import Machine
    from storage_schemas.manifest import Manifest
    from storage_schemas.store import Store


def open_with_settings(recipe_file: Path, overrides: list[str] | None, workers: int | None = None) -> Opened:
    """Open a recipe under the settings of this machine.

    Raises:
        RecipeError: the recipe, an override or a setting is wrong.
        SourceError: its source is not there.
    """
    from pydantic import ValidationError

    from flows.run.materialize import open_recipe
    from flows.settings import Settings
    from pipeline.recipe import load_recipe

    try:
        settings = Settings() if workers is None else Settings(workers=workers)
    except ValueError as error:
        first = (
            error.errors()[0] if isinstance(error, ValidationError) else {"loc": ("settings",), "msg": str(error), "input": ""}
        )
        name = f"DEPTHMILL_{'_'.join(map(str, first['loc'])).upper()}"
        raise RecipeError(f"setting {name} (or its option) is {first['input']!r}: {first['msg']}") from error
    return open_recipe(load_recipe(recipe_file, overrides=overrides or ()), settings)


def open_store(path: str) -> Store:
    """Open a store that must be there, given by its path, its URL or a recipe."""
    from pipeline.recipe import load_recipe
    from storage_schemas.store import Store

    store = Store(load_recipe(path).store if path.endswith((".yaml", ".yml")) else path)
    if not store.files.names(""):
        raise RecipeError(f"store '{store.root}' does not exist or is empty. Give the path or URL of a store, or a recipe file")
    return store


def open_pinned(recipe: str, manifest: str | None) -> tuple[Manifest, Machine]:
    """Open a manifest of a recipe or store, and say where networks run."""
    from flows.run.training import machine_of, machine_of_settings
    from flows.settings import Settings
    from storage_schemas.manifest import open_manifest

    if recipe.endswith((".yaml", ".yml")):
        opened = open_with_settings(Path(recipe), None)
        return open_manifest(opened.store, manifest or own_manifest(opened)), machine_of(opened)
    return open_manifest(open_store(recipe), manifest), machine_of_settings(Settings(), image_root=None)


def own_manifest(opened: Opened) -> str:
    """Return the fingerprint of a recipe's manifest; RecipeError if it is not made yet."""
    wanted = opened.plan().manifest
    if wanted.reason is not None:
        raise RecipeError(
            f"the manifest of this recipe is not there yet ({wanted.reason}). Run depthmill run first, or choose --manifest"
        )
    return wanted.path.fingerprint


def say(data: dict[str, Any], words: str, *, as_json: bool) -> None:
    """Print an answer: words for people, or the data as JSON."""
    typer.echo(json.dumps(data, indent=1) if as_json else words)


def print_json(value: Any) -> None:
    """Print a value as JSON."""
    typer.echo(json.dumps(value, indent=1))
