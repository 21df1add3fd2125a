"""Sources of raw drives: what they must offer, and how a recipe's ``source:`` becomes one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Protocol

from pydantic import Field

from pipeline.sources.kitti_object import KittiObjectConfig, KittiObjectSource
from pipeline.sources.nuscenes import NuScenesConfig, NuScenesSource
from pipeline.sources.simulated import SyntheticConfig, SyntheticSource
from pipeline.sources.zju_4dradarcam import ZjuConfig, ZjuSource
from pipeline.stage import RawReader
from pipeline.types import SceneInfo
from storage_schemas.lineage import SourceRef

SourceConfig = Annotated[NuScenesConfig | SyntheticConfig | ZjuConfig | KittiObjectConfig, Field(discriminator="kind")]
"""``source:`` of a recipe; ``kind`` chooses."""


class Source(Protocol):
    """An opened data set."""

    def scenes(self) -> list[SceneInfo]:
        """Return all scenes in the data set's own order; must not decode sensor files."""
        ...

    def preparation(self) -> str | None:
        """Say what ``prepare`` will have to do first, None if the raw data is there."""
        ...

    def prepare(self, *, num_workers: int = 1) -> None:
        """Make the raw data ready; does nothing for data on a disk."""
        ...

    def source_ref(self, scene: SceneInfo) -> SourceRef:
        """Return what a unit's lineage says of the raw data of a scene."""
        ...

    def reader(self) -> RawReader:
        """Return the picklable reader of raw files."""
        ...


def open_source(config: NuScenesConfig | SyntheticConfig | ZjuConfig | KittiObjectConfig, cache_folder: Path) -> Source:
    """Open the source that a recipe names; SourceError if it is not there."""
    if isinstance(config, SyntheticConfig):
        return SyntheticSource(config, cache_folder)
    if isinstance(config, ZjuConfig):
        return ZjuSource(config)
    if isinstance(config, KittiObjectConfig):
        return KittiObjectSource(config)
    return NuScenesSource(config, cache_folder)
