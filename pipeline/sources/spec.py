"""What a kind of source is: its configuration, how its folders are recognised, what ``init`` writes, and how it is opened.

Why    A source is one folder with a ``SPEC``. Code outside iterates over ``pipeline.sources.source_specs()`` and
       never tests for one kind
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

from pydantic import BaseModel

from pipeline.capability import CAMERA_SWEEPS
from pipeline.sources.recipe_text import Line
from pipeline.stage import RawReader
from pipeline.types import SceneInfo
from pipeline.wanted_files import WantedFiles
from storage_schemas.remote_path import DataPath


class SourceConfig(Protocol):
    """``source:`` of a recipe: a frozen pydantic model that forbids unknown keys, with ``kind: Literal[<kind>]``."""

    @property
    def kind(self) -> str:
        """Name of the kind, which chooses the model."""
        ...


class Source(Protocol):
    """An opened data set."""

    @property
    def release(self) -> str:
        """Name of the data set's release, part of the fingerprints of the units that are made from its tables."""
        ...

    def scenes(self) -> list[SceneInfo]:
        """Return all scenes in the data set's own order; must not decode sensor files."""
        ...

    def preparation(self) -> str | None:
        """Say what ``prepare`` will have to do first, None if the raw data exists."""
        ...

    def prepare(self, *, num_workers: int = 1) -> None:
        """Make the raw data ready; does nothing for data on a disk."""
        ...

    def reader(self) -> RawReader:
        """Return the picklable reader of raw files."""
        ...


@runtime_checkable
class ChecksFiles(Protocol):
    """Further method of a source that knows which of its files are there."""

    def asked_for(self, wanted: WantedFiles) -> Source:
        """Return the source as a recipe sees it that reads these files; its scenes say what they lack."""
        ...


class OnDisk:
    """Base of a source whose raw data is on a disk already, so that nothing has to be prepared."""

    def preparation(self) -> str | None:
        """Return None: the raw data exists already."""
        return None

    def prepare(self, *, num_workers: int = 1) -> None:
        """Do nothing: the raw data exists already."""


class Survey(Protocol):
    """What ``depthmill init`` found in a folder."""

    @property
    def summary(self) -> str:
        """What was found, in one line."""
        ...

    def lines(self, store: str, about_store: str) -> list[Line]:
        """Return the keys of a recipe for what was found, each with why.

        Args:
            store: path or URL of the store.
            about_store: what the recipe says beside it.
        """
        ...


def asks_for_camera_sweeps(recipe: Mapping[str, Any]) -> bool:
    """Say whether the data of a recipe asks for windows of images between key frames."""
    stages = recipe.get("stages")
    windows = stages.get("index_windows") if isinstance(stages, Mapping) else None
    return isinstance(windows, Mapping) and bool(windows.get("enabled")) and windows.get("frames") == "sweep"


def _never(_: DataPath) -> bool:
    return False


def _no_defaults(_: Mapping[str, Any]) -> dict[str, Any]:
    return {}


ConfigT = TypeVar("ConfigT", bound=BaseModel)


@dataclass(frozen=True)
class SourceSpec(Generic[ConfigT]):
    """One kind of source.

    Attributes:
        kind: ``source.kind`` of a recipe; also the name of the folder of its code.
        config: model of the recipe's ``source:``; frozen, forbids unknown keys, has ``kind: Literal[<kind>]``.
        open: (config, cache folder) -> opened source; SourceError if the data does not exist.
        offers: capabilities that its scenes may have (see ``SceneInfo.offers``); not each scene has all of them. A kind that
            offers camera sweeps has a key ``camera_sweeps`` in its configuration, which asks for their index.
        recipe_defaults: (data of a recipe) -> values of keys that the recipe leaves out, where the kind knows better than the
            schema; groups are merged key by key, and what the recipe says stays.
        looked_for: what ``init`` looks for in a folder, in words; "" for a kind that has no folder to recognise.
        recognise: (folder) -> whether it is the root of such a data set; fast, decodes nothing.
        survey: (root, version) -> the content of the root and the recipe's lines; version is None unless ``versions_of`` is set.
            RecipeError if the version does not exist, SourceError if the data set is broken.
        takes_urls: ``recognise`` and ``survey`` take a ``RemotePath``, too, and ``open`` a root that is a URL.
        versions_of: words for data that may have several versions in one root, which ``init --version`` chooses from; "" for
            a kind without versions.
    """

    kind: str
    config: type[ConfigT]
    open: Callable[[ConfigT, Path], Source]
    offers: frozenset[str]
    recipe_defaults: Callable[[Mapping[str, Any]], Mapping[str, Any]] = _no_defaults
    looked_for: str = ""
    recognise: Callable[[Any], bool] = _never
    survey: Callable[[Any, str | None], Survey] | None = None
    takes_urls: bool = False
    versions_of: str = ""

    def __post_init__(self) -> None:
        """Refuse a contradictory spec when it is made, so that a plug-in with such a spec is reported as broken."""
        fields = self.config.model_fields
        if "kind" not in fields or getattr(fields["kind"].annotation, "__args__", ()) != (self.kind,):
            raise TypeError(f"source '{self.kind}': {self.config.__name__} must have the key kind: Literal['{self.kind}']")
        if CAMERA_SWEEPS in self.offers and "camera_sweeps" not in fields:
            raise TypeError(f"source '{self.kind}': {self.config.__name__} must have the key camera_sweeps, as it offers them")
        if bool(self.looked_for) != (self.survey is not None):
            raise TypeError(f"source '{self.kind}': looked_for and survey go together, one of them is missing")
