"""Folders of images with a depth map beside each: ``<root>/<scene>/<time_us>.png`` and ``<time_us>.depth.png``.

Reads  <root>/toy.json: scene -> split (train, val or test)
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from pipeline.capability import provided
from pipeline.sources.raw_files import RawFiles, image_size
from pipeline.sources.recipe_text import Line, plural, scalar
from pipeline.sources.spec import OnDisk, SourceSpec
from pipeline.types import SceneInfo
from storage_schemas.catalog import DEPTH_SINGLE, FRAMES
from storage_schemas.errors import SourceError
from storage_schemas.layout import Columns, StoreLayout, columns_from_rows

CAMERA = "CAM_TOY"
INDEX = "toy.json"


class ToyConfig(BaseModel):
    """``source:`` of a recipe with ``kind: toy_folders``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["toy_folders"]
    root: str = Field(description="folder that holds toy.json")
    focal_px: float = Field(default=20.0, gt=0, description="focal length of the camera, pixels")


def read_index(root: Path) -> dict[str, str]:
    """Return the split of each scene; SourceError if the index is missing or damaged."""
    try:
        index = json.loads((root / INDEX).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SourceError(f"'{root / INDEX}' cannot be read: {error}. Write it: {{scene: split, ...}}") from error
    if not isinstance(index, dict):
        raise SourceError(f"'{root / INDEX}' holds {type(index).__name__}, expected {{scene: split, ...}}")
    return index


def times_us(root: Path, scene: str) -> list[int]:
    """Return the times of a scene's frames."""
    return sorted(int(path.name.split(".")[0]) for path in (root / scene).glob("*.depth.png"))


class ToyFiles(RawFiles):
    """Reader of raw files, and of the index of one scene."""

    def __init__(self, root: str, focal_px: float) -> None:
        super().__init__(root)
        self._focal_px = focal_px

    def map_file(self, layout: StoreLayout, image_file: str) -> str:
        """Return the depth map beside an image."""
        return image_file.removesuffix(".png") + ".depth.png"

    def read_points(self, file: str) -> NDArray[np.float32]:
        """Raise SourceError: there are depth maps only."""
        raise SourceError(f"'{file}': folders of depth maps have no LiDAR points")

    def read_radar(self, file: str) -> dict[str, NDArray[Any]]:
        """Raise SourceError: there are depth maps only."""
        raise SourceError(f"'{file}': folders of depth maps have no radar")

    def scene_tables(self, scene: str) -> dict[str, Columns]:
        """Return the FRAMES tables of one scene: key frames, and no sweeps or boxes."""
        keyframes = []
        for number, time_us in enumerate(times_us(self.root, scene)):
            file = f"{scene}/{time_us}.png"
            width, height = image_size(str(self.root / file))
            keyframes.append(
                {
                    "camera": CAMERA,
                    "sample_token": f"{scene}-{time_us}",
                    "sample_data_token": f"{scene}-{time_us}",
                    "sample_index": number,
                    "timestamp_us": time_us,
                    "file": file,
                    "height": height,
                    "width": width,
                    "intrinsic_px": [self._focal_px, 0.0, width / 2, 0.0, self._focal_px, height / 2, 0.0, 0.0, 1.0],
                    "ego_from_cam_translation_m": [math.nan] * 3,
                    "ego_from_cam_rotation_wxyz": [math.nan] * 4,
                    "world_from_ego_translation_m": [math.nan] * 3,
                    "world_from_ego_rotation_wxyz": [math.nan] * 4,
                }
            )
        about = {
            "scene": scene,
            "split": read_index(self.root)[scene],
            "description": "toy folders",
            "is_night": False,
            "num_keyframes": len(keyframes),
        }
        rows: dict[str, list[dict[str, Any]]] = {"keyframes": keyframes, "sweeps": [], "boxes": [], "scene": [about]}
        return {spec.name: columns_from_rows(spec, rows[spec.name]) for spec in FRAMES.tables}


class ToySource(OnDisk):
    """The opened folder."""

    release = "toy_folders"

    def __init__(self, config: ToyConfig) -> None:
        self.root = Path(config.root).expanduser().absolute()
        self._focal_px, self._index = config.focal_px, read_index(self.root)

    def scenes(self) -> list[SceneInfo]:
        """Return the scenes of the index."""
        return [self._scene(name, split) for name, split in self._index.items()]

    def reader(self) -> ToyFiles:
        """Return the reader of raw files."""
        return ToyFiles(str(self.root), self._focal_px)

    def _scene(self, name: str, split: str) -> SceneInfo:
        text = json.dumps([name, split, self._focal_px, times_us(self.root, name)])
        return SceneInfo(name, hashlib.sha256(text.encode()).hexdigest(), (CAMERA,), {provided(DEPTH_SINGLE): ""})


@dataclass(frozen=True)
class ToyFound:
    """What ``depthmill init`` found."""

    root: Path
    splits: Mapping[str, str]

    @property
    def summary(self) -> str:
        """What was found, in one line."""
        return f"toy folders: {plural(len(self.splits), 'scene')}"

    def lines(self, store: str, about_store: str) -> list[Line]:
        """Return the keys of a recipe."""
        return [
            ("source:", ""),
            ("  kind: toy_folders", ""),
            (f"  root: {scalar(str(self.root))}", plural(len(self.splits), "scene")),
            (f"store: {scalar(store)}", about_store),
        ]


def _recipe_defaults(_: Mapping[str, Any]) -> dict[str, Any]:
    return {"cameras": [CAMERA], "stages": {"build_manifest": {"drop_last_keyframe": False}}}


SPEC = SourceSpec(
    "toy_folders",
    config=ToyConfig,
    open=lambda config, _: ToySource(config),
    offers=frozenset({provided(DEPTH_SINGLE)}),
    recipe_defaults=_recipe_defaults,
    looked_for="toy folders (toy.json with a folder of PNGs for each scene)",
    recognise=lambda folder: (folder / INDEX).is_file(),
    survey=lambda root, _: ToyFound(root, read_index(root)),
)
