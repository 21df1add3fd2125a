"""ZJU-4DRadarCam: frames with ready-made depth maps of LiDAR and radar; no drives, poses, boxes or point clouds.

Reads  <root>/{train,val,test}.txt and, through the reader, <root>/{image,radar_png,gt,gt_interp}/<name>.png
Source docs/method/formats.md#zju-4dradarcam. The optional twin folders ``*_npy`` hold the same arrays and are not read.

What the set does not say stays visibly unknown: poses are NaN, the camera matrix too unless the recipe gives it.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from pipeline.sources.zju_4dradarcam_files import CAMERA, ZjuFiles
from pipeline.sources.zju_4dradarcam_lists import ListedScene, Split, lists_digest, read_scenes
from pipeline.types import SceneInfo
from storage_schemas.catalog import DEPTH_INTERPOLATED, DEPTH_SINGLE, RADAR_POINTS
from storage_schemas.errors import SourceError
from storage_schemas.lineage import SourceRef

SOURCE_VERSION = 1
"""Raised when the same files come to mean something else, so that old units are not taken for up to date."""

_FOLDER_OF_LAYOUT = {DEPTH_SINGLE.name: "gt", DEPTH_INTERPOLATED.name: "gt_interp", RADAR_POINTS.name: "radar_png"}
_NEEDED_FOLDERS = ("image", "radar_png", "gt")

Row = tuple[float, float, float]


class ZjuConfig(BaseModel):
    """``source:`` of a recipe for a ZJU-4DRadarCam set on a disk."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    kind: Literal["zju_4dradarcam"]
    root: str = Field(description="folder that holds image/, radar_png/, gt/, gt_interp/, train.txt, val.txt and test.txt")
    splits: tuple[Split, ...] = Field(
        default=("train", "val", "test"), min_length=1, description="lists to read; each frame may be in one of them only"
    )
    frames_per_scene: int = Field(
        default=50, ge=1, le=1000, description="a scene is a run of at most so many consecutive names of one list"
    )
    intrinsic_px: tuple[Row, Row, Row] | None = Field(
        default=None, description="rows of the 3x3 camera matrix of the whole image; null = not known, stored as NaN"
    )

    @field_validator("splits")
    @classmethod
    def _each_once(cls, value: tuple[Split, ...]) -> tuple[Split, ...]:
        if len(set(value)) != len(value):
            raise ValueError("each list once, please")
        return value

    @field_validator("intrinsic_px")
    @classmethod
    def _pinhole(cls, value: tuple[Row, Row, Row] | None) -> tuple[Row, Row, Row] | None:
        if value is None:
            return None
        is_finite = all(math.isfinite(number) for row in value for number in row)
        if not is_finite or value[2] != (0.0, 0.0, 1.0) or value[1][0] != 0.0 or value[0][0] <= 0 or value[1][1] <= 0:
            raise ValueError("expected [[fx, skew, cx], [0, fy, cy], [0, 0, 1]] in pixels with fx and fy above 0")
        return value


class ZjuSource:
    """An opened ZJU-4DRadarCam set.

    Args:
        config: root, lists and how they are cut into scenes.

    Raises:
        SourceError: root or a folder does not exist.
    """

    def __init__(self, config: ZjuConfig) -> None:
        self.config = config
        self.root = Path(config.root).expanduser().absolute()
        self._check_folders()
        self._lists = lists_digest(self.root, [split for split in config.splits if (self.root / f"{split}.txt").is_file()])
        self._listed: list[ListedScene] | None = None

    def scenes(self) -> list[SceneInfo]:
        """Return the scenes of all lists, in the order of ``splits``.

        Raises:
            SourceError: a list is missing, or names what it must not; see ``read_scenes``.
        """
        given = tuple(layout for layout, folder in _FOLDER_OF_LAYOUT.items() if (self.root / folder).is_dir())
        return [
            SceneInfo(
                scene.name,
                scene.digest(SOURCE_VERSION, self.config.intrinsic_px),
                (CAMERA,),
                has_lidar=False,
                given=given,
            )
            for scene in self._read_lists()
        ]

    def preparation(self) -> str | None:
        """Return None: the raw data is there."""
        return None

    def prepare(self, *, num_workers: int = 1) -> None:
        """Do nothing: the raw data is there."""

    def source_ref(self, scene: SceneInfo) -> SourceRef:
        """Return what a unit's lineage says of the raw data of a scene."""
        return SourceRef(release="zju_4dradarcam", digest=scene.digest)

    def reader(self) -> ZjuFiles:
        """Return the picklable reader of raw files."""
        matrix = self.config.intrinsic_px
        return ZjuFiles(
            str(self.root),
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
            there = sorted(path.name for path in self.root.iterdir() if path.is_dir())
            raise SourceError(
                f"folder '{self.root / missing[0]}' is missing; a ZJU-4DRadarCam set has {', '.join(_NEEDED_FOLDERS)} and, for "
                f"training, gt_interp. Folders there: {', '.join(there[:8]) or 'none'}. Set source.root to the folder above them"
            )
