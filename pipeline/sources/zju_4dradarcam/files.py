"""Raw files of a ZJU-4DRadarCam set, and the index of one scene made from its list and its images' headers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.sources.raw_files import RawFiles, image_size
from pipeline.sources.zju_4dradarcam.lists import ListedScene, Split, lists_digest, read_scenes
from pipeline.wanted_files import WantedFiles
from storage_schemas.catalog import DEPTH_INTERPOLATED, DEPTH_SINGLE, FRAMES, RADAR_POINTS
from storage_schemas.errors import SourceError
from storage_schemas.layout import Columns, StoreLayout, columns_from_rows
from storage_schemas.remote_path import DataPath

CAMERA = "CAM_FRONT"
"""Channel of the set's one camera; the default of ``cameras:`` in a recipe."""

MAPS_FOLDERS = {DEPTH_SINGLE: "gt", DEPTH_INTERPOLATED: "gt_interp", RADAR_POINTS: "radar_png"}
"""Layouts that the set provides as depth maps, and the folder of each below the root."""

_UNKNOWN_VECTOR, _UNKNOWN_ROTATION = [math.nan] * 3, [math.nan] * 4


class ZjuFiles(RawFiles):
    """Reader of raw files; small and picklable, opened anew in every worker.

    Args:
        root: folder with the lists and image/, radar_png/, gt/ and gt_interp/.
        splits: lists that are read.
        frames_per_scene: most frames of a scene.
        intrinsic_px: 3x3 camera matrix, row-major; NaN = not known.
        lists: digest of the lists when the plan was made.
    """

    def __init__(
        self, root: str | DataPath, splits: Sequence[Split], *, frames_per_scene: int, intrinsic_px: Sequence[float], lists: str
    ) -> None:
        super().__init__(root)
        self._splits, self._frames_per_scene = tuple(splits), frames_per_scene
        self._intrinsic_px, self._lists = list(intrinsic_px), lists
        self._scenes: dict[str, ListedScene] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Pickle without the lists that were read."""
        return {**super().__getstate__(), "_scenes": None}

    def map_file(self, layout: StoreLayout, image_file: str) -> str:
        """Return the file of a frame's map: the image's name, in the folder of the layout."""
        return f"{MAPS_FOLDERS[layout]}/{PurePosixPath(image_file).stem}.png"

    def files_of(self, scene: str, wanted: Sequence[WantedFiles]) -> Iterable[str]:
        """Return the image of each frame, then the maps of each."""
        for folder in ("image", *MAPS_FOLDERS.values()):
            for frame in self._listed()[scene].frames:
                yield f"{folder}/{frame}.png"

    def read_points(self, file: str) -> NDArray[np.float32]:
        """Raise SourceError: the set has depth maps and no LiDAR points."""
        raise SourceError(f"'{file}': a ZJU-4DRadarCam set has depth maps (gt/) and no LiDAR point files")

    def read_radar(self, file: str) -> dict[str, NDArray[Any]]:
        """Raise SourceError: the set has radar as depth maps and no radar points."""
        raise SourceError(f"'{file}': a ZJU-4DRadarCam set has radar as depth maps (radar_png/) and no radar point files")

    def scene_tables(self, scene: str) -> dict[str, Columns]:
        """Return the FRAMES tables of one scene; it has no sweeps and no boxes, and its poses are NaN, since they are unknown.

        Raises:
            SourceError: a file is missing or no image, images of the scene differ in size, or a list has changed since the plan.
        """
        listed = self._listed()[scene]
        keyframes: list[dict[str, Any]] = []
        for number, (frame, time_us) in enumerate(zip(listed.frames, listed.timestamps_us, strict=True)):
            file = f"image/{frame}.png"
            width, height = self._image_size(file, split=listed.split)
            if keyframes and (height, width) != (keyframes[0]["height"], keyframes[0]["width"]):
                raise SourceError(
                    f"image '{self.root / file}' is {width}x{height}, '{keyframes[0]['file']}' of the same scene {scene} is "
                    f"{keyframes[0]['width']}x{keyframes[0]['height']}; expected one size. Cut all images of the set alike"
                )
            keyframes.append(
                {
                    "camera": CAMERA,
                    "sample_token": frame,
                    "sample_data_token": frame,
                    "sample_index": number,
                    "timestamp_us": time_us,
                    "file": file,
                    "height": height,
                    "width": width,
                    "intrinsic_px": self._intrinsic_px,
                    "ego_from_cam_translation_m": _UNKNOWN_VECTOR,
                    "ego_from_cam_rotation_wxyz": _UNKNOWN_ROTATION,
                    "world_from_ego_translation_m": _UNKNOWN_VECTOR,
                    "world_from_ego_rotation_wxyz": _UNKNOWN_ROTATION,
                }
            )
        last = listed.first + len(listed.frames) - 1
        about = {
            "scene": scene,
            "split": listed.split,
            "description": f"ZJU-4DRadarCam, frames {listed.first} to {last} of {listed.split}.txt",
            "is_night": False,
            "num_keyframes": len(keyframes),
        }
        rows: dict[str, list[dict[str, Any]]] = {"keyframes": keyframes, "sweeps": [], "boxes": [], "scene": [about]}
        return {spec.name: columns_from_rows(spec, rows[spec.name]) for spec in FRAMES.tables}

    def _listed(self) -> dict[str, ListedScene]:
        if self._scenes is None:
            if lists_digest(self.root, self._splits) != self._lists:
                raise SourceError(
                    f"a list in '{self.root}' ({', '.join(f'{split}.txt' for split in self._splits)}) has changed since the plan "
                    "was made. Run the same command again"
                )
            scenes = read_scenes(self.root, self._splits, frames_per_scene=self._frames_per_scene)
            self._scenes = {scene.name: scene for scene in scenes}
        return self._scenes

    def _image_size(self, file: str, *, split: str) -> tuple[int, int]:
        """Return (width, height) from the header of an image."""
        path = self.root / file
        try:
            return image_size(path)
        except SourceError as error:
            if not isinstance(error.__cause__, FileNotFoundError):
                raise
            raise SourceError(
                f"file missing: {path}, an image that {split}.txt names. Copy it, or delete its line, then run the same command"
            ) from error
