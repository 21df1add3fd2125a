"""ZJU-4DRadarCam: frames with ready-made depth maps of LiDAR and radar; no drives, poses, boxes or point clouds.

Reads  <root>/{train,val,test}.txt and, through the reader, <root>/{image,radar_png,gt,gt_interp}/<name>.png
Source docs/method/formats.md#zju-4dradarcam. The optional twin folders ``*_npy`` hold the same arrays and are not read.

What the set does not say stays visibly unknown: poses are NaN, and so is the camera matrix unless the recipe gives it.
"""

from __future__ import annotations

import math
from pathlib import Path

from pipeline.capability import provided
from pipeline.sources.spec import OnDisk
from pipeline.sources.zju_4dradarcam.config import ZjuConfig
from pipeline.sources.zju_4dradarcam.files import CAMERA, MAPS_FOLDERS, ZjuFiles
from pipeline.sources.zju_4dradarcam.lists import ListedScene, lists_digest, read_scenes
from pipeline.types import SceneInfo
from storage_schemas.errors import SourceError
from storage_schemas.remote_path import data_path, folder_names

SOURCE_VERSION = 1
"""Raised by hand when the same files get another meaning: otherwise old units would count as up to date."""

_NEEDED_FOLDERS = ("image", "radar_png", "gt")


class ZjuSource(OnDisk):
    """An opened ZJU-4DRadarCam set.

    Args:
        config: root, lists and how they are cut into scenes.
        cache_folder: where copies of files at a URL may be kept.

    Raises:
        SourceError: root or a folder does not exist.
    """

    release = "zju_4dradarcam"

    def __init__(self, config: ZjuConfig, cache_folder: Path) -> None:
        self.config = config
        self.root = data_path(config.root, cache_folder)
        self._check_folders()
        self._lists = lists_digest(self.root, [split for split in config.splits if (self.root / f"{split}.txt").is_file()])
        self._listed: list[ListedScene] | None = None

    def scenes(self) -> list[SceneInfo]:
        """Return the scenes of all lists, in the order of ``splits``.

        Raises:
            SourceError: a list is missing, or names a frame wrongly or twice; see ``read_scenes``.
        """
        offers = {provided(layout): "" for layout, folder in MAPS_FOLDERS.items() if (self.root / folder).is_dir()}
        return [
            SceneInfo(scene.name, scene.digest(SOURCE_VERSION, self.config.intrinsic_px), (CAMERA,), offers)
            for scene in self._read_lists()
        ]

    def reader(self) -> ZjuFiles:
        """Return the picklable reader of raw files."""
        matrix = self.config.intrinsic_px
        return ZjuFiles(
            self.root,
            self.config.splits,
            frames_per_scene=self.config.frames_per_scene,
            intrinsic_px=[math.nan] * 9 if matrix is None else [number for row in matrix for number in row],
            lists=self._lists,
        )

    def _read_lists(self) -> list[ListedScene]:
        if self._listed is None:
            self._listed = read_scenes(self.root, self.config.splits, frames_per_scene=self.config.frames_per_scene)
        return self._listed

    def _check_folders(self) -> None:
        if not self.root.is_dir():
            raise SourceError(
                f"source root '{self.root}' does not exist. Set source.root in the recipe to the folder that holds image/, gt/ "
                "and train.txt"
            )
        if missing := [name for name in _NEEDED_FOLDERS if not (self.root / name).is_dir()]:
            names = [name for name in folder_names(self.root) if (self.root / name).is_dir()]
            raise SourceError(
                f"folder '{self.root / missing[0]}' is missing; a ZJU-4DRadarCam set has {', '.join(_NEEDED_FOLDERS)} and, for "
                f"training, gt_interp. Folders there: {', '.join(names[:8]) or 'none'}. Set source.root to the folder above them"
            )
