"""The recipe: what is to be made, from what, by which rules. Everything in it is fingerprinted, nothing else is.

Where and how fast (cache, workers, orchestrator) are settings (flows/settings.py) and never change a result.
"""

from __future__ import annotations

import difflib
import os
import re
import reprlib
from collections import Counter
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model, field_validator, model_validator

from pipeline.ablation_choices import AblationChoices
from pipeline.capability import CAMERA_SWEEPS
from pipeline.presets import PRESETS, PresetName, filled
from pipeline.retrain_choices import RetrainChoices
from pipeline.sources import config_union, source_specs, unknown_kind
from pipeline.stage import ParamsT, StageSpec
from pipeline.stage_list import BROKEN_STAGES, STAGES
from pipeline.stages import index_windows
from pipeline.wanted_files import WantedFiles
from storage_schemas.errors import RecipeError, SourceError
from storage_schemas.frozen_config import group_of
from storage_schemas.regular_files import MAX_RECIPE_BYTES, read_text
from storage_schemas.yaml_text import YamlTextError, parse_yaml

if TYPE_CHECKING:
    from pipeline.sources.spec import SourceConfig
else:
    SourceConfig = config_union()


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ParamsOfStages(_Frozen):
    """``stages:`` of a recipe: the params of every stage, with defaults. Each stage has one field, see below."""

    def params_of(self, stage: StageSpec[ParamsT]) -> ParamsT:
        """Return the params of a stage, typed; mypy does not know ``stages.<name>``, since the fields are made from a list."""
        params: ParamsT = getattr(self, stage.name)
        return params

    def wants(self, stage: StageSpec[Any]) -> bool:
        """Say whether the recipe asks for a stage; it must name one of another package, whose installation changes no recipe."""
        return stage.is_wanted(self.params_of(stage)) and (stage.plug_in is None or stage.name in self.model_fields_set)


if TYPE_CHECKING:
    StageChoices = ParamsOfStages  # mypy cannot see fields that are made from a list
else:
    StageChoices = create_model(
        "StageChoices",
        __base__=ParamsOfStages,
        __module__=__name__,
        **{stage.name: (stage.params, Field(default_factory=stage.params)) for stage in STAGES},
    )


MOST_LINES = 30
"""Mistakes that an error lists; a file that is no recipe may have thousands."""

_NO_STORES = (
    *("http", "https", "github", "git", "data", "zip", "tar", "libarchive", "jar", "reference", "dir", "generic"),
    *("cached", "blockcache", "filecache", "simplecache", "local"),
)
"""URL schemes of fsspec that cannot be written, or lead to no folder of their own."""


class Recipe(_Frozen):
    """A whole recipe file."""

    source: SourceConfig
    store: str = Field(description="path or fsspec URL of the store")
    cameras: tuple[str, ...] = Field(default=("CAM_FRONT",), min_length=1, description="camera channels")
    scenes: tuple[str, ...] | None = Field(default=None, description="scene names to use; all when left out")
    preset: PresetName = Field(
        default="published",
        description="rules of supervision for keys that are left out of stages. published: as in the papers. surface: the front "
        "surface of each pixel, without the returns that cannot be right (docs/method/pipeline.md#presets)",
    )
    stages: StageChoices = Field(default_factory=StageChoices)
    train: dict[str, Any] = Field(
        default_factory=dict, description="what depthmill train makes of the manifest; checked by model/families.py"
    )
    ablation: AblationChoices = Field(
        default_factory=AblationChoices, description="variants of train: that depthmill ablate compares"
    )
    retrain: RetrainChoices = Field(
        default_factory=RetrainChoices, description="what a training must show to become the champion of depthmill retrain"
    )

    @field_validator("store")
    @classmethod
    def _refuse_what_is_no_store(cls, store: str) -> str:
        if not store.strip():
            raise ValueError("expected the path or URL of a folder")
        try:
            Path(store).expanduser()
        except RuntimeError:
            raise ValueError("there is no such user, so that ~ stands for nothing. Write the path out") from None
        if "::" in store:
            raise ValueError("'::' chains file systems, and a store lies in one. Write the path or URL without it")
        scheme, rest = store.partition(":")[0].lower(), store.partition(":")[2].lstrip("/")
        if scheme == "memory":
            raise ValueError("what lies in memory is gone when the command ends. Write a path, or the URL of an object store")
        if scheme in _NO_STORES and "://" in store:
            raise ValueError(f"no store can be written to {scheme}://. Write a path, or the URL of an object store")
        if "://" in store and scheme != "file" and (not rest or store.partition("://")[2].startswith("/")):
            raise ValueError(f"it names no bucket. Write {scheme}://bucket/{rest or 'folder'}")
        if (variable := re.match(r"\$\{?(\w+)\}?(?=/|$)", store)) and variable[1] in os.environ:
            raise ValueError(f"a recipe does not read {variable[0]} from the environment. Write the path out, or ~ for home")
        if re.match(r"[a-z0-9]{2,}:/(?!/)", store, re.IGNORECASE):
            raise ValueError(f"a URL has two slashes after the colon. Write {scheme}://{rest}")
        if "://" in store and not store.startswith(scheme):
            raise ValueError(f"the scheme of a URL is written in small letters. Write {scheme}://{rest}")
        return store

    @field_validator("cameras", "scenes")
    @classmethod
    def _refuse_twice(cls, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if names == ():
            raise ValueError("name at least one, or leave the key out to take all")
        if twice := next((name for name, count in Counter(names or ()).items() if count > 1), None):
            raise ValueError(f"{twice!r} stands there twice. Name each once")
        return names

    @model_validator(mode="before")
    @classmethod
    def _take_windows_of_the_cameras_there_are(cls, data: Any) -> Any:
        """Set the cameras of windows to the recipe's unless they are named; runs after ``_take_defaults_of_the_source``."""
        stages = data.get("stages") if isinstance(data, dict) else None
        windows = stages.get("index_windows") if isinstance(stages, dict) else None
        if not (isinstance(stages, dict) and isinstance(windows, dict) and windows.get("enabled")):
            return data
        cameras = data.get("cameras", cls.model_fields["cameras"].default)
        return {**data, "stages": {**stages, "index_windows": {"cameras": cameras, **windows}}}

    @model_validator(mode="after")
    def _refuse_windows_of_sweeps_without_any(self) -> Recipe:
        windows = self.stages.params_of(index_windows.STAGE)
        if windows.enabled and windows.frames == "sweep" and not getattr(self.source, "camera_sweeps", False):
            if CAMERA_SWEEPS in source_specs()[self.source.kind].offers:
                step = "set source.camera_sweeps to true or leave it out"
            else:
                kinds = ", ".join(kind for kind, spec in source_specs().items() if CAMERA_SWEEPS in spec.offers)
                step = f"take a source that has them ({kinds})"
            raise ValueError(
                f"stages.index_windows.frames is sweep, but source.kind {self.source.kind} gives no images between key frames; "
                f"{step}, or set stages.index_windows.frames to key"
            )
        return self

    @model_validator(mode="before")
    @classmethod
    def _take_defaults_of_the_source(cls, data: Any) -> Any:
        """Fill keys that the recipe leaves out with the defaults of the kind of source; see ``SourceSpec.recipe_defaults``."""
        kind = data["source"].get("kind") if isinstance(data, dict) and isinstance(data.get("source"), dict) else None
        spec = source_specs().get(kind) if isinstance(kind, str) else None
        return data if spec is None else filled(data, spec.recipe_defaults(data))

    @model_validator(mode="before")
    @classmethod
    def _take_values_of_the_preset(cls, data: Any) -> Any:
        """Fill keys that the recipe leaves out with those of its preset; runs first, so that a preset goes before a source."""
        preset = PRESETS.get(data["preset"]) if isinstance(data, dict) and isinstance(data.get("preset"), str) else None
        return data if preset is None else filled(data, preset)


def wanted_files(recipe: Recipe) -> WantedFiles:
    """Return the raw files that the stages of a recipe read, by channel."""
    stages = [stage for stage in STAGES if recipe.stages.wants(stage)]
    return WantedFiles.of(stage.files_of(recipe.stages.params_of(stage), recipe.cameras) for stage in stages)


def load_recipe(path: str | Path, *, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe file.

    Args:
        path: YAML file.
        overrides: ``key.key=value`` changes, e.g. ``stages.clean_horizon.near_m=25``; values are YAML.

    Raises:
        RecipeError: the file is missing, is not YAML, or does not fit the schema; names the key and a likely correction.
    """
    file = Path(path)
    try:
        data = parse_yaml(read_text(file, most_bytes=MAX_RECIPE_BYTES))
    except FileNotFoundError as error:
        raise RecipeError(f"recipe '{file}' does not exist. Write one with depthmill init, or run depthmill demo") from error
    except IsADirectoryError as error:
        raise RecipeError(f"recipe '{file}' is a folder; expected a YAML file. Give the recipe that it was made with") from error
    except YamlTextError as error:
        raise RecipeError(f"recipe '{file}' {error}") from error
    except SourceError as error:
        raise RecipeError(f"recipe: {error}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"recipe '{file}' cannot be read: {error}") from error
    if not isinstance(data, dict):
        raise RecipeError(f"recipe '{file}' is empty or not a mapping; expected the keys source and store")
    for override in overrides:
        _apply(data, override)
    return parse_recipe(data, where=str(file))


def parse_recipe(data: dict[str, Any], *, where: str) -> Recipe:
    """Check recipe data against the schema; RecipeError lists the mistakes, one a line."""
    try:
        return Recipe.model_validate(data)
    except ValidationError as error:
        faults = error.errors()
        lines = [f"recipe '{where}': {_explain(dict(fault))}" for fault in faults[:MOST_LINES]]
        more = [f"and {len(faults) - MOST_LINES:,} more mistakes in it"] if len(faults) > MOST_LINES else []
        raise RecipeError("\n".join([*lines, *more])) from error


def _apply(data: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    if not equals or not all(key.split(".")):
        raise RecipeError(f"override '{override}' is not of the form key.key=value, e.g. stages.clean_horizon.near_m=25")
    *parents, last = key.split(".")
    for parent in parents:
        data = data.setdefault(parent, {})
        if not isinstance(data, dict):
            raise RecipeError(f"override '{override}': '{parent}' is a value, not a group of keys")
    try:
        data[last] = parse_yaml(value)
    except YamlTextError as error:
        raise RecipeError(f"override {_shown(override)}: the value {error}") from error


def _explain(error: dict[str, Any]) -> str:
    full = error["loc"]
    location = [str(part) for part in (full[:1] + full[2:] if full[:1] == ("source",) else full)]  # without the kind
    key, value = ".".join(location) or "recipe", error.get("input")
    if error["type"] == "extra_forbidden":
        if location[:-1] == ["stages"] and location[-1] in BROKEN_STAGES:
            return f"unknown key '{key}'; {BROKEN_STAGES[location[-1]]}"
        valid_keys = _keys_at(location[:-1], full)
        near = difflib.get_close_matches(location[-1], valid_keys, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"expected one of: {', '.join(valid_keys)}"
        return f"unknown key '{key}'; {hint}"
    if error["type"] == "missing":
        return f"key '{key}' is missing"
    if error["type"].startswith("union_tag"):
        return unknown_kind(value.get("kind")) if isinstance(value, dict) else "source must be a group of keys"
    if error["type"] == "invalid_key":  # YAML reads on, yes, 1 and 2026-01-01 as other things than texts
        group = ".".join(location[:-1])
        return f"the key {value} {f'of {group} ' if group else ''}is no text: YAML reads it as {_kind(value)}. Put it in quotes"
    if error["type"] == "too_short" and not value:
        return f"{key} is {_shown(value)}: name at least one, or leave the key out"
    if error["type"] in ("tuple_type", "list_type"):
        return f"{key} is {_shown(value)}: expected a list, e.g. [a, b]"
    if error["type"] == "string_type" and isinstance(value, bool | int | float | date):
        return f"{key} is {value}: expected a text. Put it in quotes"
    if error["type"] in ("dict_type", "model_attributes_type"):
        return f"{key} is {_shown(value)}: expected a group of keys"
    if error["type"] == "model_type":
        return f"{key} is {_shown(value)}: expected a group of keys, {{}} for its defaults{_or_null(location, full)}"
    message = str(error["msg"]).removeprefix("Value error, ")
    if not location:
        return message  # that of keys that contradict each other names them
    return f"{key}: {message}" if isinstance(value, dict | BaseModel) else f"{key} is {_shown(value)}: {message}"


def _kind(value: object) -> str:
    """Return in words what YAML made of a key."""
    kinds = ((bool, "true or false"), (int, "a number"), (float, "a number"), (type(None), "nothing"))
    return next((words for kind, words in kinds if isinstance(value, kind)), "a date")


def _shown(value: object) -> str:
    """Return a wrong value, cut where it is long, or would be if it were written out."""
    short = reprlib.Repr()
    short.maxlevel, short.maxstring, short.maxother, short.maxlist, short.maxdict = 3, 200, 200, 10, 10
    return short.repr(value)


def _or_null(location: Sequence[str], full: Sequence[Any]) -> str:
    """Return how a group of keys is switched off, where it can be."""
    field = _group_at(location[:-1], full).model_fields[location[-1]] if location else None
    return ", or null to switch it off" if field is not None and type(None) in get_args(field.annotation) else ""


def _keys_at(location: Sequence[str], full: Sequence[Any]) -> list[str]:
    """Return the keys that exist at a place of the schema."""
    return list(_group_at(location, full).model_fields)


def _group_at(location: Sequence[str], full: Sequence[Any]) -> Any:
    model: Any = Recipe
    for part in location:
        model = source_specs()[full[1]].config if part == "source" else group_of(model.model_fields[part].annotation)
    return model
