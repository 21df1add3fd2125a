"""``source:`` of a recipe for a simulated world: what the world is asked to hold.

Every field changes the files that are written, so every field except `scenes` enters a scene's digest
(`database.scene_digest`). `WORLD_VERSION` is bumped by hand when the same parameters give other files. A field that was
added later is left out while it has its default, so that worlds written before it keep their digest.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Final, Literal

from pydantic import Field, field_validator

from storage_schemas.catalog import RADAR_CHANNELS
from storage_schemas.frozen_config import FrozenConfig

WORLD_VERSION: Final = 2

CAMERA_CHANNELS: Final = (
    "CAM_FRONT",
    "CAM_FRONT_RIGHT",
    "CAM_BACK_RIGHT",
    "CAM_BACK",
    "CAM_BACK_LEFT",
    "CAM_FRONT_LEFT",
)

MINI_SCENE_NAMES: Final = (
    "scene-0061",
    "scene-0103",
    "scene-0553",
    "scene-0916",
    "scene-0655",
    "scene-0757",
    "scene-0796",
    "scene-1077",
    "scene-1094",
    "scene-1100",
)
"""The ten names of the devkit's mini splits, ordered so that two scenes already make a train and a val split."""


class SyntheticParams(FrozenConfig):
    """Size and content of the simulated world."""

    added_later: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {"radars": ("RADAR_FRONT",), "radar": "conventional", "camera_sweeps": False}
    )

    scenes: int = Field(default=2, ge=1, le=850, description="Number of scenes; up to 10 make a v1.0-mini.")
    seconds: float = Field(default=20.0, ge=1.0, le=40.0, description="Length of a scene, seconds.")
    seed: int = Field(default=0, ge=0, description="Seed of the whole world; scene i uses (seed, i).")
    image_size: tuple[int, int] = Field(
        default=(1600, 900), description="Image width and height, pixels; the focal length follows the width."
    )
    cameras: tuple[str, ...] = Field(
        default=("CAM_FRONT",), min_length=1, description="Camera channels to render, of the six of nuScenes."
    )
    lidar_azimuth_steps: int = Field(default=1084, ge=16, le=4096, description="Firings per turn of the 32-beam scanner.")
    radars: tuple[str, ...] = Field(
        default=("RADAR_FRONT",),
        min_length=1,
        description="Radar channels, of the five of nuScenes; a recipe's own unless given.",
    )
    radar: Literal["conventional", "imaging"] = Field(
        default="conventional",
        description="conventional: up to 110 returns a scan, no height (z = 0); imaging: 3+1D, up to 900, with elevation.",
    )
    camera_sweeps: bool = Field(
        default=False,
        description="Images of all cameras between key frames, too, at 12 Hz; true where stages.index_windows.frames is sweep.",
    )
    trajectories: str | None = Field(
        default=None,
        description="Path of a mini_val_scenes.json whose drives give ego motion and calibration (scene i uses "
        "drive i modulo their number); none = a gently curving route at 8 to 12 m/s.",
    )

    @field_validator("image_size")
    @classmethod
    def _check_image_size(cls, value: tuple[int, int]) -> tuple[int, int]:
        if not (32 <= value[0] <= 4096 and 16 <= value[1] <= 4096):
            raise ValueError(f"image_size {value} is outside 32x16 to 4096x4096 pixels")
        return value

    @field_validator("cameras")
    @classmethod
    def _check_cameras(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [name for name in value if name not in CAMERA_CHANNELS]
        if unknown or len(set(value)) != len(value):
            raise ValueError(f"cameras {value}: expected different names out of {', '.join(CAMERA_CHANNELS)}")
        return value

    @field_validator("radars")
    @classmethod
    def _check_radars(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [name for name in value if name not in RADAR_CHANNELS]
        if unknown or len(set(value)) != len(value):
            raise ValueError(f"radars {value}: expected different names out of {', '.join(RADAR_CHANNELS)}")
        return value


class SyntheticConfig(SyntheticParams):
    """``source:`` of a recipe for a simulated world."""

    kind: Literal["synthetic"]
    root: str | None = Field(default=None, description="folder to write the world to; default: a folder of the cache")

    @property
    def world(self) -> SyntheticParams:
        """The parameters that determine the world."""
        return SyntheticParams(**self.model_dump(exclude={"kind", "root"}))


def version_name(params: SyntheticParams) -> str:
    """Return the database version the world is written as, the name of its table folder."""
    return "v1.0-mini" if params.scenes <= len(MINI_SCENE_NAMES) else "v1.0-trainval"


def scene_names(params: SyntheticParams) -> tuple[str, ...]:
    """Return the scene names, all known to the devkit's splits; scene i has the same name in every world."""
    if params.scenes <= len(MINI_SCENE_NAMES):
        return MINI_SCENE_NAMES[: params.scenes]
    from pipeline.sources.nuscenes.splits import official_splits

    split_of = official_splits("v1.0-trainval")
    others = sorted(name for name, split in split_of.items() if split != "test" and name not in MINI_SCENE_NAMES)
    return (*MINI_SCENE_NAMES, *others)[: params.scenes]
