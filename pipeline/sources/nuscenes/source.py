"""nuScenes-format data sets: any version folder, any cameras, any image size.

The tables are read once per release and cached as Parquet under the cache folder, keyed by the content of every table; from then
on a plan costs a few file stats. Workers read one scene's rows.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import orjson

from pipeline import capability
from pipeline.finding import Finding
from pipeline.kernels.categories import read_otherwise_before, unknown_categories
from pipeline.sources.nuscenes.complete import Lacks, what_scenes_lack
from pipeline.sources.nuscenes.config import NuScenesConfig
from pipeline.sources.nuscenes.files import NuScenesFiles
from pipeline.sources.nuscenes.index_cache import digests_of_tables, is_whole, seal, throw_away
from pipeline.sources.nuscenes.json_tables import REQUIRED_TABLES, TABLE_NAMES
from pipeline.sources.nuscenes.lidar_points import LIDAR_COLUMNS
from pipeline.sources.nuscenes.object_facts import OBJECT_FACTS
from pipeline.sources.nuscenes.schema import fault_in_tables
from pipeline.sources.nuscenes.splits import SPLITS_FILE
from pipeline.sources.nuscenes.tables import IndexedScene, scenes_of_release
from pipeline.sources.spec import OnDisk
from pipeline.types import SceneInfo
from pipeline.wanted_files import WantedFiles
from storage_schemas.catalog import CAMERA_SWEEPS, FRAMES
from storage_schemas.errors import LayoutError, SourceError
from storage_schemas.files import folder_written_whole
from storage_schemas.layout import Columns
from storage_schemas.remote_path import data_path
from storage_schemas.table import SceneTableWriter

INDEX_VERSION = 5
"""Raised by hand when the cached index changes its meaning: otherwise an old cache would be used."""


class NuScenesSource(OnDisk):
    """An opened nuScenes-format data set.

    Args:
        config: root and version.
        cache_folder: where the index may be kept between runs.

    Raises:
        SourceError: root or version folder does not exist, tables are missing.
    """

    def __init__(self, config: NuScenesConfig, cache_folder: Path) -> None:
        self.root = data_path(config.root, cache_folder)
        self.version = config.version
        self._camera_sweeps = config.camera_sweeps
        self._lidar_columns = config.lidar_columns
        self._tables = self.root / config.version
        self._check_folders()
        self._index = cache_folder / "index" / self._stamp(cache_folder / "index")
        self._listed: list[SceneInfo] | None = None
        self._wanted = WantedFiles()

    @property
    def release(self) -> str:
        """Name of the release: the version, wherever its folder lies."""
        return f"nuscenes/{self.version}"

    def asked_for(self, wanted: WantedFiles) -> NuScenesSource:
        """Return the data set as a recipe sees it that reads these files: without what is not on the disk."""
        narrowed = copy.copy(self)
        narrowed._wanted = wanted
        return narrowed

    def scenes(self) -> list[SceneInfo]:
        """Return the scenes in the order of scene.json, building the index on first use."""
        lacks = self._lacks()
        scenes = [_without(scene, lacks[scene.name]) if scene.name in lacks else scene for scene in self._indexed_scenes()]
        if self._lidar_columns in (None, LIDAR_COLUMNS):
            return scenes
        # the same files read otherwise are other points
        return [replace(scene, digest=_digest([scene.digest, self._lidar_columns])) for scene in scenes]

    def reader(self) -> NuScenesFiles:
        """Return the picklable reader of raw files, building the index on first use."""
        return NuScenesFiles(self.root, str(self._index), lidar_columns=self._lidar_columns, lacks=self._lacks())

    def _indexed_scenes(self) -> list[SceneInfo]:
        if self._listed is None:
            if not is_whole(self._index):
                throw_away(self._index)
                self._build_index()
            self._listed = [_scene_info(scene) for scene in json.loads((self._index / "scenes.json").read_bytes())]
        return self._listed

    def _lacks(self) -> dict[str, Lacks]:
        scenes = self._indexed_scenes()
        if not self._wanted.of_channel:
            return {}
        whole = NuScenesFiles(self.root, str(self._index))

        def digests_of(scene: str, lacks: Lacks) -> tuple[str, str]:
            digest = _digest_of_scene(lacks.keep(whole.scene_tables(scene)))
            return digest, _digest(lacks.keep(whole.camera_sweeps(scene))["camera_sweeps"]) if self._camera_sweeps else ""

        return what_scenes_lack(self._index, self.root, self._wanted, scenes, digests_of)

    def _check_folders(self) -> None:
        if not self.root.is_dir():
            raise SourceError(
                f"source root '{self.root}' does not exist. Set source.root in the recipe to the folder that holds "
                "samples/ and the version folder"
            )
        if not self._tables.is_dir():
            versions = sorted(path.parent.name for path in self.root.glob("*/sample_data.json"))
            raise SourceError(
                f"source version '{self.version}' is not in '{self.root}'; versions there: {', '.join(versions) or 'none'}. "
                "Set source.version in the recipe"
            )
        if missing := [name for name in REQUIRED_TABLES if not (self._tables / f"{name}.json").is_file()]:
            raise SourceError(
                f"table '{self._tables / missing[0]}.json' is missing. Every release has {', '.join(REQUIRED_TABLES)}; "
                "unpack the metadata archive again"
            )

    def _stamp(self, notes: Path) -> str:
        facts = [INDEX_VERSION, str(self.root), self.version, (self.root / "truth").is_dir()]
        if self._camera_sweeps:  # without camera sweeps the key stays as it was, so that older indices are still used
            facts.append("camera_sweeps")
        tables = [self._tables / name for name in (*(f"{name}.json" for name in TABLE_NAMES), SPLITS_FILE)]
        note = notes / f"tables-{hashlib.sha256(os.fsencode(str(self._tables))).hexdigest()[:16]}.json"
        facts.append(digests_of_tables(tables, note=note))
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:24]

    def _build_index(self) -> None:
        specs = (*FRAMES.tables, OBJECT_FACTS, *(CAMERA_SWEEPS.tables if self._camera_sweeps else ()))
        try:
            with folder_written_whole(self._index) as folder:
                writers = {spec.name: SceneTableWriter(str(folder / f"{spec.name}.parquet"), spec) for spec in specs}
                infos = []
                for scene in scenes_of_release(self._tables, camera_sweeps=self._camera_sweeps):
                    for name, writer in writers.items():
                        writer.add(scene.name, scene.tables[name])
                    infos.append(self._indexed(scene))
                for writer in writers.values():
                    writer.close()
                (folder / "scenes.json").write_bytes(orjson.dumps(infos))
                seal(folder)
        except LayoutError as error:
            raise fault_in_tables(self._tables) or error from error
        except OSError as error:
            if is_whole(self._index):  # another process wrote the same index first
                return
            raise SourceError(
                f"cannot write the index cache '{self._index.parent}': {error.strerror}. Give this user write permission "
                "there or set DEPTHMILL_CACHE_DIR to another folder"
            ) from error

    def _indexed(self, scene: IndexedScene) -> dict[str, object]:
        """Return the index's note about a scene, which ``_scene_info`` reads."""
        sweeps = scene.tables["sweeps"]
        of_keyframes = {channel for channel, is_key in zip(sweeps["channel"], sweeps["is_keyframe"], strict=True) if is_key}
        channels = sorted(of_keyframes | set(scene.tables["keyframes"]["camera"]))
        offers = offers_of_drive(
            {scene.modalities[channel] for channel in channels},
            has_truth=(self.root / "truth").is_dir(),
            has_boxes=scene.has_boxes,
        )
        return {
            "name": scene.name,
            "digest": _digest_of_scene({spec.name: scene.tables[spec.name] for spec in FRAMES.tables}),
            "channels": channels,
            "offers": sorted(offers),
            "camera_sweeps": _digest(scene.tables["camera_sweeps"]) if self._camera_sweeps else "",
            "object_facts": _digest(scene.tables[OBJECT_FACTS.name]) if scene.has_boxes else "",
            "modalities": scene.modalities,
            "findings": [asdict(finding) for finding in (*scene.findings, *_unknown_categories(scene))],
        }


def _unknown_categories(scene: IndexedScene) -> list[Finding]:
    """Return a finding for each category of which nothing says whether it moves: its points would stay in silence."""
    categories: Counter[str] = Counter(scene.tables["boxes"]["category"])
    what = "boxes are of the category {!r}, which is not known to move and counts as standing still"
    advice = "If such objects move, name it in stages.accumulate_lidar.movable"
    return [Finding(what.format(name), scene.name, categories[name], advice=advice) for name in unknown_categories(categories)]


def _digest_of_scene(tables: Mapping[str, Columns]) -> str:
    """Return a digest of the FRAMES tables; another one than before where a category was taken for another thing."""
    digest = _digest(tables)
    renamed = read_otherwise_before(tables["boxes"]["category"])  # units made before are not right, though their params are
    return _digest([digest, renamed]) if renamed else digest


def _scene_info(indexed: dict[str, Any]) -> SceneInfo:
    offers = dict.fromkeys(indexed["offers"], "")
    if indexed["camera_sweeps"]:
        offers[capability.CAMERA_SWEEPS] = indexed["camera_sweeps"]
    if indexed["object_facts"]:
        offers[capability.OBJECTS] = indexed["object_facts"]
    findings = tuple(Finding(**finding) for finding in indexed["findings"])
    return SceneInfo(
        indexed["name"],
        indexed["digest"],
        tuple(indexed["channels"]),
        offers,
        modalities=indexed["modalities"],
        findings=findings,
    )


def _without(scene: SceneInfo, lacks: Lacks) -> SceneInfo:
    """Return a scene without what it lacks."""
    channels = tuple(channel for channel in scene.channels if channel not in lacks.channels)
    modalities = {scene.modalities[channel] for channel in channels}
    without_files = {capability.LIDAR: "lidar", capability.RADAR: "radar"}
    offers = {name: digest for name, digest in scene.offers.items() if without_files.get(name, "camera") in modalities}
    if lacks.camera_sweeps:
        offers[capability.CAMERA_SWEEPS] = lacks.camera_sweeps
    return replace(
        scene,
        digest=lacks.digest or scene.digest,
        channels=channels,
        offers=offers,
        findings=(*scene.findings, *lacks.findings),
        left_out=lacks.left_out,
    )


def offers_of_drive(modalities: Collection[str], *, has_truth: bool, has_boxes: bool = True) -> frozenset[str]:
    """Return the capabilities of a scene of a drive in this format, besides the index of its camera sweeps.

    Args:
        modalities: camera, lidar, radar: those that have files of key frames.
        has_truth: a simulated world with exact depth.
        has_boxes: there are annotation tables.
    """
    offers = {
        capability.POSES: True,
        capability.LIDAR: "lidar" in modalities,
        capability.RADAR: "radar" in modalities,
        capability.BOXES: has_boxes,
        capability.TRUTH: has_truth,
    }
    return frozenset(name for name, is_there in offers.items() if is_there)


def _digest(tables: object) -> str:
    """Return a digest (64 hex digits) of tables in memory."""
    return hashlib.sha256(orjson.dumps(tables)).hexdigest()
