"""nuScenes-format data sets: any version folder, any cameras, any image size.

The tables are read once per release and cached as Parquet under the cache folder, keyed by path, size and time of every table;
from then on a plan costs a few file stats. Workers read one scene's rows. The devkit gives the official splits.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import uuid
from pathlib import Path
from typing import Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field

from pipeline.sources.json_tables import TABLE_NAMES
from pipeline.sources.nuscenes_tables import scenes_of_release
from pipeline.sources.raw_files import NuScenesFiles
from pipeline.types import SceneInfo
from storage_schemas.catalog import CAMERA_SWEEPS, FRAMES
from storage_schemas.errors import SourceError
from storage_schemas.layout import Columns
from storage_schemas.lineage import SourceRef
from storage_schemas.table import SceneTableWriter

INDEX_VERSION = 2
"""Raised when the cached index changes its meaning, so that an old cache is not used."""


class NuScenesConfig(BaseModel):
    """``source:`` of a recipe for a nuScenes-format data set on a disk."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    kind: Literal["nuscenes"]
    root: str = Field(description="folder that holds samples/, sweeps/, maps/ and the version folder")
    version: str = Field(default="v1.0-trainval", description="name of the folder with the tables, e.g. v1.0-mini")
    camera_sweeps: bool = Field(
        default=False,
        description="index the camera images between key frames, too; true where stages.index_windows.frames is sweep",
    )


class NuScenesSource:
    """An opened nuScenes-format data set.

    Args:
        config: root and version.
        cache_folder: where the index may be kept between runs.

    Raises:
        SourceError: root or version folder does not exist, tables are missing.
    """

    def __init__(self, config: NuScenesConfig, cache_folder: Path) -> None:
        self.root = Path(config.root).expanduser().absolute()
        self.version = config.version
        self._camera_sweeps = config.camera_sweeps
        self._tables = self.root / config.version
        self._check_folders()
        self._index = cache_folder / "index" / self._stamp()

    @property
    def release(self) -> str:
        """Name of the release for the lineage."""
        return f"nuscenes/{self.version}"

    def scenes(self) -> list[SceneInfo]:
        """Return the scenes in the order of scene.json, building the index on first use."""
        listing = self._index / "scenes.json"
        if not listing.is_file():
            self._build_index()
        found = json.loads(listing.read_bytes())
        return [SceneInfo(**{**scene, "channels": tuple(scene["channels"])}) for scene in found]

    def preparation(self) -> str | None:
        """Return None: the raw data is there."""
        return None

    def prepare(self, *, num_workers: int = 1) -> None:
        """Do nothing: the raw data is there."""

    def source_ref(self, scene: SceneInfo) -> SourceRef:
        """Return what a unit's lineage says of the raw data of a scene."""
        return SourceRef(release=self.release, digest=scene.digest)

    def reader(self) -> NuScenesFiles:
        """Return the picklable reader of raw files, building the index on first use."""
        self.scenes()
        return NuScenesFiles(str(self.root), str(self._index))

    def _check_folders(self) -> None:
        if not self.root.is_dir():
            raise SourceError(
                f"source root '{self.root}' does not exist. Set source.root in the recipe to the folder that holds "
                "samples/ and the version folder"
            )
        if not self._tables.is_dir():
            there = sorted(path.parent.name for path in self.root.glob("*/sample_data.json"))
            raise SourceError(
                f"source version '{self.version}' is not in '{self.root}'; versions there: {', '.join(there) or 'none'}. "
                "Set source.version in the recipe"
            )
        if missing := [name for name in TABLE_NAMES if not (self._tables / f"{name}.json").is_file()]:
            raise SourceError(
                f"table '{self._tables / missing[0]}.json' is missing. A nuScenes release has {len(TABLE_NAMES)} tables "
                "in its version folder; unpack the metadata archive again"
            )

    def _stamp(self) -> str:
        facts = [INDEX_VERSION, str(self.root), self.version, (self.root / "truth").is_dir()]
        if self._camera_sweeps:  # nothing is noted without, so that indices made before there was a choice are still used
            facts.append("camera_sweeps")
        for name in TABLE_NAMES:
            stat = (self._tables / f"{name}.json").stat()
            facts.append([name, stat.st_size, stat.st_mtime_ns])
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:24]

    def _build_index(self) -> None:
        folder = self._index.with_name(f".{self._index.name}.{uuid.uuid4().hex}")
        try:
            folder.mkdir(parents=True)
            specs = (*FRAMES.tables, *CAMERA_SWEEPS.tables) if self._camera_sweeps else FRAMES.tables
            writers = {spec.name: SceneTableWriter(str(folder / f"{spec.name}.parquet"), spec) for spec in specs}
            infos = []
            splits = official_splits(self.version)
            for scene, tables in scenes_of_release(self._tables, splits, camera_sweeps=self._camera_sweeps):
                for name, writer in writers.items():
                    writer.add(scene, tables[name])
                infos.append(self._scene_info(scene, tables))
            for writer in writers.values():
                writer.close()
            (folder / "scenes.json").write_bytes(orjson.dumps(infos))
            try:
                folder.rename(self._index)
            except OSError:
                if not (self._index / "scenes.json").is_file():  # else another process was faster, with the same content
                    raise
        except OSError as error:
            raise SourceError(
                f"cannot write the index cache '{self._index.parent}': {error.strerror}. Give this user write permission "
                "there or set DEPTHMILL_CACHE_DIR to another folder"
            ) from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _scene_info(self, scene: str, tables: dict[str, Columns]) -> dict[str, object]:
        sweeps = tables["sweeps"]
        of_keyframes = {channel for channel, is_key in zip(sweeps["channel"], sweeps["is_keyframe"], strict=True) if is_key}
        return {
            "name": scene,
            "digest": _digest({spec.name: tables[spec.name] for spec in FRAMES.tables}),
            "channels": sorted(of_keyframes | set(tables["keyframes"]["camera"])),
            "has_truth": (self.root / "truth").is_dir(),
            "camera_sweeps": _digest(tables["camera_sweeps"]) if self._camera_sweeps else "",
        }


def _digest(tables: object) -> str:
    """Return a digest (64 hex digits) of tables in memory."""
    return hashlib.sha256(orjson.dumps(tables)).hexdigest()


def official_splits(version: str) -> dict[str, str]:
    """Return scene name -> train, val or test of the official nuScenes splits for a version folder."""
    from nuscenes.utils.splits import create_splits_scenes

    splits = create_splits_scenes()
    prefix = "mini_" if version.endswith("mini") else ""
    return {scene: split for split in ("train", "val", "test") for scene in splits.get(f"{prefix}{split}", [])}
