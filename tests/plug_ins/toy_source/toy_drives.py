"""A source of another package: folders of images with depth maps beside them, one scene a folder, no poses."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from pipeline.capability import provided
from pipeline.sources.raw_files import RawFiles
from pipeline.sources.recipe_text import Line, plural, scalar
from pipeline.sources.spec import OnDisk, SourceSpec
from pipeline.types import SceneInfo
from storage_schemas.catalog import DEPTH_SINGLE, FRAMES
from storage_schemas.errors import SourceError
from storage_schemas.layout import Columns, StoreLayout, columns_from_rows

CAMERA = "CAM_TOY"
UNKNOWN = {
    "ego_from_cam_translation_m": [math.nan] * 3,
    "ego_from_cam_rotation_wxyz": [math.nan] * 4,
    "world_from_ego_translation_m": [math.nan] * 3,
    "world_from_ego_rotation_wxyz": [math.nan] * 4,
}


class ToyConfig(BaseModel):
    """``source:`` of a recipe for toy drives."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    kind: Literal["toy"]
    root: str = Field(description="folder that holds toy.txt, which names the drives")


class ToyFiles(RawFiles):
    """Reader of toy drives."""

    def scene_tables(self, scene: str) -> dict[str, Columns]:
        """Return the FRAMES tables of a drive."""
        rows = []
        for number, path in enumerate(sorted((self.root / scene).glob("*.image.png"))):
            with Image.open(path) as image:
                size = {"width": image.width, "height": image.height}
            names = {"sample_token": path.stem, "sample_data_token": path.stem, "file": f"{scene}/{path.name}"}
            moment = {"sample_index": number, "timestamp_us": number}
            rows.append({"camera": CAMERA, "intrinsic_px": [math.nan] * 9, **names, **moment, **size, **UNKNOWN})
        about = {"scene": scene, "split": "train", "description": "", "is_night": False, "num_keyframes": len(rows)}
        tables: dict[str, list[dict[str, Any]]] = {"keyframes": rows, "sweeps": [], "boxes": [], "scene": [about]}
        return {spec.name: columns_from_rows(spec, tables[spec.name]) for spec in FRAMES.tables}

    def map_file(self, layout: StoreLayout, image_file: str) -> str:
        """Return the depth map of an image."""
        return image_file.replace(".image.png", ".depth.png")

    def read_points(self, file: str) -> Any:
        """Raise SourceError: toy drives have no LiDAR."""
        raise SourceError(f"'{file}': toy drives have no LiDAR")

    read_radar = read_points


class ToySource(OnDisk):
    """Toy drives on a disk."""

    release = "toy"

    def __init__(self, config: ToyConfig, cache_folder: Path) -> None:
        self.root = Path(config.root)

    def scenes(self) -> list[SceneInfo]:
        """Return one scene a line of toy.txt."""
        offers = {provided(DEPTH_SINGLE): ""}
        names = (self.root / "toy.txt").read_text().split()
        return [SceneInfo(name, hashlib.sha256(name.encode()).hexdigest(), (CAMERA,), offers) for name in names]

    def reader(self) -> ToyFiles:
        """Return the reader of images and depth maps."""
        return ToyFiles(str(self.root))


@dataclass(frozen=True)
class ToySurvey:
    """What a folder of toy drives holds."""

    root: Path
    num_drives: int

    @property
    def summary(self) -> str:
        """What was found, in one line."""
        return f"toy drives: {plural(self.num_drives, 'drive')}"

    def lines(self, store: str, about_store: str) -> list[Line]:
        """Return the keys of a recipe."""
        return [
            ("source:", ""),
            ("  kind: toy", self.summary),
            (f"  root: {scalar(str(self.root))}", ""),
            (f"store: {scalar(store)}", about_store),
        ]


def survey(root: Path, version: str | None) -> ToySurvey:
    """Count the drives of a folder."""
    return ToySurvey(root, len((root / "toy.txt").read_text().split()))


SPEC = SourceSpec(
    "toy",
    config=ToyConfig,
    open=ToySource,
    offers=frozenset({provided(DEPTH_SINGLE)}),
    recipe_defaults=lambda _: {"cameras": (CAMERA,), "stages": {"build_manifest": {"drop_last_keyframe": False}}},
    looked_for="toy drives (toy.txt)",
    recognise=lambda root: (root / "toy.txt").is_file(),
    survey=survey,
)
