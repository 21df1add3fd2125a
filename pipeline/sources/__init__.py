"""The list of sources of raw drives, and how a recipe's ``source:`` becomes one."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Annotated, Any, Union

from pydantic import Field

from pipeline.sources.kitti_object.spec import SPEC as KITTI_OBJECT
from pipeline.sources.nuscenes.spec import SPEC as NUSCENES
from pipeline.sources.spec import ChecksFiles, Source, SourceConfig, SourceSpec
from pipeline.sources.synthetic.spec import SPEC as SYNTHETIC
from pipeline.sources.zju_4dradarcam.spec import SPEC as ZJU_4DRADARCAM
from pipeline.wanted_files import WantedFiles
from storage_schemas.plug_ins import PlugIn, broken_plug_ins, loaded_plug_ins

OWN_SOURCES: tuple[SourceSpec[Any], ...] = (NUSCENES, SYNTHETIC, ZJU_4DRADARCAM, KITTI_OBJECT)
"""Kinds of this repository; of two that recognise a folder, the first is used."""


@cache
def _brought() -> tuple[dict[str, tuple[PlugIn, SourceSpec[Any]]], dict[str, str]]:
    """Return the kinds of other packages, and why installed ones are not among them, by name; PlugInError for a name of ours."""
    usable, broken = {}, broken_plug_ins("depthmill.sources")
    for name, (plug_in, spec) in loaded_plug_ins("depthmill.sources", own=frozenset(spec.kind for spec in OWN_SOURCES)).items():
        if isinstance(spec, SourceSpec) and spec.kind == name:
            usable[name] = (plug_in, spec)
        else:
            is_what = f"of the kind '{spec.kind}'" if isinstance(spec, SourceSpec) else type(spec).__name__
            broken[name] = (
                f"plug-in '{name}' (depthmill.sources) of package {plug_in.package} {plug_in.version} cannot be used: "
                f"{plug_in.entry.value} is {is_what}, expected a SourceSpec of the kind '{name}'"
            )
    return usable, broken


def source_plug_ins() -> dict[str, tuple[PlugIn, SourceSpec[Any]]]:
    """Return the kinds that packages outside bring, by name; imported when first asked for, as they import this package."""
    return _brought()[0]


def broken_sources() -> dict[str, str]:
    """Return why installed kinds of packages outside cannot be used, by name."""
    return _brought()[1]


@cache
def source_specs() -> dict[str, SourceSpec[Any]]:
    """Return every kind of source by its name: this repository's, then those of plug-ins."""
    return {spec.kind: spec for spec in (*OWN_SOURCES, *(spec for _, spec in source_plug_ins().values()))}


def config_union() -> Any:
    """Return the type of ``source:`` of a recipe: the configuration of any kind; ``kind`` chooses."""
    return Annotated[Union[tuple(spec.config for spec in source_specs().values())], Field(discriminator="kind")]  # noqa: UP007


def provenance_of(kind: str) -> dict[str, str]:
    """Return the package and version that bring a kind, for a unit's provenance; nothing for this repository's own kinds."""
    plug_in_and_spec = source_plug_ins().get(kind)
    return {} if plug_in_and_spec is None else {plug_in_and_spec[0].package: plug_in_and_spec[0].version}


def unknown_kind(kind: object) -> str:
    """Say why no source has the kind that a recipe names: nothing brings it, or its plug-in is broken."""
    if isinstance(kind, str) and kind in broken_sources():
        return f"source.kind is {kind!r}, but {broken_sources()[kind]}"
    return f"source.kind is {kind!r}, expected one of: {', '.join(source_specs())}"


def open_source(config: SourceConfig, cache_folder: Path, wanted: WantedFiles | None = None) -> Source:
    """Open the source that a recipe names.

    Args:
        config: ``source:`` of the recipe.
        cache_folder: where the source may keep what it found.
        wanted: files that the recipe reads; scenes then say which of them they lack. None = as if all were there.

    Raises:
        SourceError: the source does not exist.
    """
    source = source_specs()[config.kind].open(config, cache_folder)
    return source.asked_for(wanted) if wanted is not None and isinstance(source, ChecksFiles) else source
