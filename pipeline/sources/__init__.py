"""The list of sources of raw drives, and how a recipe's ``source:`` becomes one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Union

from pydantic import Field

from pipeline.sources.kitti_object.spec import SPEC as KITTI_OBJECT
from pipeline.sources.nuscenes.spec import SPEC as NUSCENES
from pipeline.sources.spec import Source, SourceSpec
from pipeline.sources.synthetic.spec import SPEC as SYNTHETIC
from pipeline.sources.zju_4dradarcam.spec import SPEC as ZJU_4DRADARCAM
from storage_schemas.plug_ins import PlugIn, PlugInError, broken_plug_ins, loaded_plug_ins

OWN_SOURCES: tuple[SourceSpec[Any], ...] = (NUSCENES, SYNTHETIC, ZJU_4DRADARCAM, KITTI_OBJECT)
"""Kinds of this repository; a folder that two of them recognise is taken for the first."""


def _plug_ins() -> dict[str, PlugIn]:
    found = loaded_plug_ins("depthmill.sources", own=frozenset(spec.kind for spec in OWN_SOURCES))
    for name, (plug_in, spec) in found.items():
        if not isinstance(spec, SourceSpec) or spec.kind != name:
            raise PlugInError(
                f"plug-in '{name}' (depthmill.sources) of package {plug_in.package} is {spec!r}, expected a SourceSpec "
                f"of the kind '{name}'. Repair the package, or remove it with pip uninstall {plug_in.package}"
            )
    return {name: plug_in for name, (plug_in, _) in found.items()}


PLUG_INS: Mapping[str, PlugIn] = _plug_ins()
"""Packages that bring further kinds, by kind."""

SOURCES: Mapping[str, SourceSpec[Any]] = {
    **{spec.kind: spec for spec in OWN_SOURCES},
    **{kind: plug_in.load() for kind, plug_in in PLUG_INS.items()},
}
"""Every kind of source by its name: this repository's, then those of plug-ins."""

if TYPE_CHECKING:
    from pipeline.sources.spec import SourceConfig as SourceConfig
else:
    SourceConfig = Annotated[Union[tuple(spec.config for spec in SOURCES.values())], Field(discriminator="kind")]  # noqa: UP007
    """``source:`` of a recipe; ``kind`` chooses."""


def provenance_of(kind: str) -> dict[str, str]:
    """Return what a unit's provenance says of the package that brings a kind: its version; nothing for this repository's own."""
    plug_in = PLUG_INS.get(kind)
    return {} if plug_in is None else {plug_in.package: plug_in.version}


def unknown_kind(kind: object) -> str:
    """Say why no source has the kind that a recipe names: nothing brings it, or its plug-in is broken."""
    broken = broken_plug_ins("depthmill.sources")
    if isinstance(kind, str) and kind in broken:
        return f"source.kind is {kind!r}, but {broken[kind]}"
    return f"source.kind is {kind!r}, expected one of: {', '.join(SOURCES)}"


def open_source(config: SourceConfig, cache_folder: Path) -> Source:
    """Open the source that a recipe names; SourceError if it is not there."""
    return SOURCES[config.kind].open(config, cache_folder)
