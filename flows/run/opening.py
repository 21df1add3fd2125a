"""What commands open before they work: a recipe with its source and store, or a store alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from flows.run.runs import Runs, with_local_starts
from flows.run.teachers import teacher_facts
from flows.settings import Settings, settings_of_machine
from flows.workers.choice import pool_of
from flows.workers.pool import WorkerPool
from pipeline.plan import Plan, make_plan
from pipeline.recipe import Recipe, load_recipe, wanted_files
from pipeline.sources import open_source
from pipeline.sources.spec import Source
from storage_schemas.awaited import awaited
from storage_schemas.errors import RecipeError
from storage_schemas.manifest import Manifest, open_manifest
from storage_schemas.store import Store


@dataclass(frozen=True)
class Opened:
    """A recipe with its source and store opened."""

    recipe: Recipe
    source: Source
    store: Store
    settings: Settings

    @cached_property
    def runs(self) -> Runs:
        """Champion, history, trainings, reports and logs of this store."""
        return Runs(self.settings.runs_root(self.store.root), self.settings.cache_dir)

    @property
    def pool(self) -> WorkerPool:
        """Who makes the units; checked, not yet opened. Errors as ``pool_of``."""
        return pool_of(self.settings)

    @cached_property
    def train(self) -> dict[str, Any]:
        """The recipe's ``train:`` group; what it begins with in a remote store is a file of this machine."""
        return with_local_starts(self.recipe.train, self.settings.cache_dir)

    def plan(self) -> Plan:
        """Plan against the store as it is now."""
        with awaited("the source is looked through, and the store for what is there already"):
            return make_plan(self.recipe, self.source, self.store, facts=teacher_facts(self.recipe, self.settings))


def open_recipe(recipe: Recipe, settings: Settings) -> Opened:
    """Open source and store of a recipe; nothing is written to the store."""
    with awaited("the index of the source is read, or made where there is none yet"):
        source = open_source(recipe.source, settings.cache_dir, wanted_files(recipe))
    return Opened(recipe, source, Store(recipe.store), settings)


def open_with_settings(
    recipe_file: Path,
    overrides: Sequence[str] | None,
    workers: int | None = None,
    dask: str | None = None,
    log: str | None = None,
    device: str | None = None,
) -> Opened:
    """Open a recipe under the settings of this machine; ``workers`` and those after it are options, which come before them.

    Raises:
        RecipeError: the recipe, an override or a setting is wrong.
        SourceError: its source is not there.
    """
    settings = settings_of_machine(workers, dask, log, device)
    return open_recipe(load_recipe(recipe_file, overrides=overrides or ()), settings)


def is_recipe(name: str) -> bool:
    """Say whether what was given in place of a store is a recipe file, by its ending."""
    return name.endswith((".yaml", ".yml"))


def open_store(path: str) -> Store:
    """Open a store that must be there, given by its path, its URL or a recipe."""
    store = Store(load_recipe(path).store if is_recipe(path) else path)
    if not store.files.names(""):
        raise RecipeError(f"store '{store.root}' does not exist or is empty. Give the path or URL of a store, or a recipe file")
    return store


def own_manifest(opened: Opened) -> str:
    """Return the fingerprint of a recipe's manifest; RecipeError if it is not made yet."""
    manifest = opened.plan().manifest
    if manifest.reason is not None:
        raise RecipeError(
            f"the manifest of this recipe is not there yet ({manifest.reason}). Run depthmill run first, or choose --manifest"
        )
    return manifest.path.fingerprint


def open_manifest_of(data: Opened | str, manifest: str | None) -> Manifest:
    """Open a manifest of a recipe, of a store, or of what was opened already.

    Args:
        data: an opened recipe, a recipe file, or path or URL of a store.
        manifest: fingerprint, or its beginning; None = the recipe's own, or the store's newest.

    Raises:
        RecipeError: the recipe's own manifest is not made yet, or there is no such store.
        ManifestError: there is no such manifest.
    """
    if isinstance(data, str) and not is_recipe(data):
        return open_manifest(open_store(data), manifest)
    opened = open_with_settings(Path(data), None) if isinstance(data, str) else data
    return open_manifest(opened.store, manifest or own_manifest(opened))
