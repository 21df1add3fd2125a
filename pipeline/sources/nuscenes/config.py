"""``source:`` of a recipe for nuScenes-format data."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from pipeline.splits import SplitChoice


class NuScenesConfig(BaseModel):
    """``source:`` of a recipe for a nuScenes-format data set, on a disk or at a URL."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    kind: Literal["nuscenes"]
    root: str = Field(description="folder or URL that holds samples/, sweeps/, maps/ and the version folder")
    version: str = Field(default="v1.0-trainval", description="name of the folder with the tables, e.g. v1.0-mini")
    lidar_columns: int | None = Field(
        default=None,
        ge=3,
        le=64,
        description="float32 a point of LiDAR files ending with .bin: x, y, z, then anything. When left out: 5, as nuScenes has, "
        "and files that cannot have 5 are refused; 4 for x, y, z, intensity",
    )
    camera_sweeps: bool = Field(
        default=False,
        description="index the camera images between key frames, too; true where stages.index_windows.frames is sweep",
    )
    splits: SplitChoice = Field(
        default=SplitChoice(),
        description="which scenes are train, val and test: lists ({train: [scene-a], val: [scene-b]}) or a rule "
        "({share: {train: 0.8, val: 0.2}, seed: 0}), by which a scene's split follows from its name and the seed alone. Left "
        "out: the splits.json of the version, or the official splits of nuScenes' own versions",
    )
