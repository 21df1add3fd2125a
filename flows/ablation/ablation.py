"""An ablation: variants of one training, each with several seeds, all on the very same pinned data.

Why    One training says little: two seeds of one configuration differ as much as published gains do. Every pair of a variant and
       a seed is an ordinary training, named by what decides its result. A complete training is therefore never trained again,
       whichever command made it, and a stop loses nothing.
Reads  the recipe's groups ``train:`` and ``ablation:``, the store
Writes <runs>/trainings/<fingerprint>; the table is written by flows/ablation/table.py
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from flows.ablation.columns import Columns, columns_of
from flows.run.opening import Opened
from flows.run.runs import with_local_starts
from flows.run.training import due_parts, machine_of, training_folder
from storage_schemas.errors import RecipeError
from storage_schemas.manifest import open_manifest

if TYPE_CHECKING:
    from model.train.config import CommonConfig

State = Literal["complete", "begun", "to do"]

_SEED_KEYS = ("seed", "data.seed")


@dataclass(frozen=True)
class Run:
    """One training of an ablation.

    Attributes:
        variant: the first variant that it belongs to.
        seed: of weights, order and augmentation.
        config: what is trained.
        folder: where it writes.
        address: the same for people, in a remote store a URL.
    """

    variant: str
    seed: int
    config: CommonConfig
    folder: Path
    address: str

    @property
    def title(self) -> str:
        """Return the name that people read."""
        return f"{self.variant}, seed {self.seed}"

    @property
    def state(self) -> State:
        """Say whether the training is complete, begun or still to do."""
        from model.train.loop import is_complete

        if is_complete(self.folder):
            return "begun" if due_parts(self.config, self.folder) else "complete"
        return "begun" if (self.folder / "last.pt").is_file() else "to do"


@dataclass(frozen=True)
class Ablation:
    """Everything that is to be trained and shown.

    Attributes:
        name: recipe and digest of all its trainings.
        where: name of the recipe file.
        manifest: fingerprint of the data.
        store: root of its store.
        folder: where the table is written.
        address: the same for people, in a remote store a URL.
        variants: what each changes, as dotted keys below ``train:``, by name and in order.
        runs: by variant, then by seed; variants that are the same share theirs.
        columns: what the table shows.
    """

    name: str
    where: str
    manifest: str
    store: str
    folder: Path
    address: str
    variants: Mapping[str, Mapping[str, Any]]
    runs: Mapping[str, Mapping[int, Run]]
    columns: Columns

    @property
    def first(self) -> str:
        """Return the variant that the others are compared with."""
        return next(iter(self.variants))

    @property
    def seeds(self) -> tuple[int, ...]:
        """Return the seeds of every variant."""
        return tuple(self.runs[self.first])

    @cached_property
    def same_as(self) -> dict[str, str]:
        """Return variants that are another, earlier one under a second name."""
        first_name_of = {}
        for name, runs in self.runs.items():
            owner = next(iter(runs.values())).variant
            if owner != name:
                first_name_of[name] = owner
        return first_name_of

    @cached_property
    def trainings(self) -> tuple[Run, ...]:
        """Return every training once, seed by seed: after the first of them all variants can be compared already."""
        run_by_folder = {self.runs[name][seed].folder: self.runs[name][seed] for seed in self.seeds for name in self.variants}
        return tuple(run_by_folder.values())


def read_ablation(opened: Opened, *, where: str, manifest: str | None, out: Path | None) -> Ablation:
    """Read what a recipe's ``ablation:`` group describes, before anything is made or trained.

    Args:
        opened: the recipe.
        where: name of the recipe file, for errors and the table.
        manifest: fingerprint of another manifest than the recipe's own.
        out: another folder for the table than ``<runs>/ablations/<name>``.

    Raises:
        RecipeError: there are no variants, or one has a mistake; lists every mistake with the variant and the key.
        ManifestError: the chosen manifest is not there.
    """
    machine_of(opened)  # a setting that does not fit must be reported before an hour of work
    choices = opened.recipe.ablation
    if not choices.variants:
        raise RecipeError(
            f"recipe '{where}' has no ablation.variants, so there is nothing to compare. Add e.g. ablation: {{seeds: [0, 1, 2], "
            "variants: {baseline: {}, smaller steps: {learning_rate: 0.00003}}}"
        )
    fingerprint = _fingerprint(opened, manifest)
    variants = {name: _dotted(changes) for name, changes in choices.variants.items()}
    configs = _configs(opened, variants, choices.seeds, where=where)
    runs: dict[str, dict[int, Run]] = {}
    by_folder: dict[Path, Run] = {}
    for name, by_seed in configs.items():
        runs[name] = {}
        for seed, config in by_seed.items():
            folder = training_folder(opened, config, fingerprint)
            runs[name][seed] = by_folder.setdefault(folder, Run(name, seed, config, folder, opened.runs.address(folder)))
    named = json.dumps({name: [run.folder.name for run in by_seed.values()] for name, by_seed in runs.items()})
    ablation_name = f"{Path(where).stem}-{hashlib.sha256(named.encode()).hexdigest()[:8]}"
    folder = out or opened.runs.work / "ablations" / ablation_name
    return Ablation(
        name=ablation_name,
        where=where,
        manifest=fingerprint,
        store=opened.store.shown_root,
        folder=folder,
        address=opened.runs.address(folder),
        variants=variants,
        runs=runs,
        columns=columns_of([by_seed[choices.seeds[0]] for by_seed in configs.values()], choices.metrics, where=where),
    )


def _fingerprint(opened: Opened, manifest: str | None) -> str:
    """Return the manifest's whole fingerprint; the recipe's own need not be made yet."""
    fingerprint = (
        opened.plan().manifest.path.fingerprint if manifest is None else open_manifest(opened.store, manifest).path.fingerprint
    )
    return str(fingerprint)


def _configs(
    opened: Opened, variants: Mapping[str, Mapping[str, Any]], seeds: tuple[int, ...], *, where: str
) -> dict[str, dict[int, CommonConfig]]:
    """Return every configuration by variant and seed; RecipeError lists the mistakes of all variants."""
    from model.families import parse_train_config

    base, cache_dir = opened.recipe.train, opened.settings.cache_dir
    configs: dict[str, dict[int, CommonConfig]] = {}
    mistakes: dict[str, str] = {}
    for name, changes in variants.items():
        try:
            _refuse_keys(changes, where=where)
            configs[name] = {
                seed: parse_train_config(with_local_starts(options, cache_dir), where=where)
                for seed in seeds
                for options in [laid_over(base, {**changes, **dict.fromkeys(_SEED_KEYS, seed)}, where=where)]
            }
        except RecipeError as error:
            mistakes[name] = str(error)
    texts = set(mistakes.values())
    if len(mistakes) == len(variants) > 1 and len(texts) == 1:
        raise RecipeError(texts.pop())  # every variant has the same mistake, so it is in the train: group
    if mistakes:
        lines = (f"variant '{name}' of {line}" for name, text in mistakes.items() for line in text.split("\n"))
        raise RecipeError("\n".join(lines))
    families = {name: by_seed[seeds[0]].family for name, by_seed in configs.items()}
    first = next(iter(families))
    for name, family in families.items():
        if family != families[first]:
            raise RecipeError(
                f"recipe '{where}': variant '{name}' is of family {family}, '{first}' of {families[first]}: no measure is common "
                "to them. Make a recipe for each family"
            )
    return configs


def _refuse_keys(changes: Mapping[str, Any], *, where: str) -> None:
    for key in changes:
        if key in _SEED_KEYS:
            raise RecipeError(
                f"recipe '{where}': {key} is set by ablation.seeds, the same for every variant. Leave it out, or change these"
            )
        if key.startswith("train."):
            raise RecipeError(f"recipe '{where}': '{key}' begins with train, where all keys of a variant are; write '{key[6:]}'")


def laid_over(train: Mapping[str, Any], changes: Mapping[str, Any], *, where: str) -> dict[str, Any]:
    """Return a ``train:`` group with some of its keys, given as ``key.key``, changed or added.

    Raises:
        RecipeError: a key lies in what is no group.
    """
    result = copy.deepcopy(dict(train))
    for key, value in changes.items():
        inner, (*parents, last) = result, key.split(".")
        for number, part in enumerate(parents, start=1):
            inner = inner.setdefault(part, {})
            if not isinstance(inner, dict):
                place = ".".join(["train", *parents[:number]])
                raise RecipeError(f"recipe '{where}': '{key}' cannot be set, for {place} is {inner!r}, expected a group of keys")
        inner[last] = value
    return result


def _dotted(changes: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return changes with groups opened, ``{distill: {form: l1}}`` as ``{distill.form: l1}``; a key said twice is the last."""
    flat: dict[str, Any] = {}
    for key, value in changes.items():
        flat |= _dotted(value, f"{prefix}{key}.") if isinstance(value, dict) and value else {f"{prefix}{key}": value}
    return flat
