"""``source:`` of a recipe for a simulated world: what the world is asked to hold.

Every field changes the files that are written, so every field except `scenes` enters a scene's digest
(`database.scene_digest`). `WORLD_VERSION` is bumped by hand when the same parameters give other files. A field that was
added later is left out while it has its default, so that worlds written before it keep their digest.

`world` names a set of such fields (`PRESETS`), which a recipe may overrule one by one. It decides no file itself and so is
not in the digest: a world is the same whether its fields came from the name or were given.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Final, Literal

from pydantic import Field, field_validator, model_validator

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


PRESETS: Final[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
    {
        "street": MappingProxyType(
            {
                "layout": "street",
                "motion": "steady",
                "clocks": "even",
                "traffic": "street",
                "ground": "flat",
                "radar": "conventional",
                "lidar": "plain",
                "camera": "plain",
                "weather": "dry",
                "spray": 0.55,
                "labels": False,
            }
        ),
        "town": MappingProxyType(
            {
                "layout": "town",
                "motion": "town",
                "clocks": "drawn",
                "traffic": "town",
                "ground": "graded",
                "radar": "cells",
                "lidar": "nuscenes",
                "camera": "sensor",
                "weather": "mixed",
                "spray": 0.002,
                "labels": True,
            }
        ),
    }
)
"""What ``world:`` stands for; street is what every world was before there was a choice."""


class SyntheticParams(FrozenConfig):
    """Size and content of the simulated world."""

    added_later: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {"radars": ("RADAR_FRONT",), "camera_sweeps": False, **PRESETS["street"]}
    )

    world: Literal["street", "town"] = Field(
        default="street",
        exclude=True,
        description="street: the world of the tutorial. town: statistics of real drives. It sets the keys from layout to "
        "labels, each of which may be given by itself.",
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
    layout: Literal["street", "town"] = Field(
        default="street",
        description="street: closed rows of houses. town: set-backs, gaps, side streets, trees, poles, signs, a skyline.",
    )
    motion: Literal["steady", "town"] = Field(
        default="steady",
        description="steady: 8 to 9 m/s along a gentle curve. town: stands, pulls off, brakes, turns at corners.",
    )
    clocks: Literal["even", "drawn"] = Field(
        default="even",
        description="even: the same offsets between sensors in every scene. drawn: own offsets a scene, a lost sweep.",
    )
    traffic: Literal["street", "town"] = Field(
        default="street",
        description="street: cars and pedestrians, most of them moving. town: ten classes, parked rows, attributes, visibility.",
    )
    ground: Literal["flat", "graded"] = Field(
        default="flat", description="flat: a plane. graded: slopes along the route, a crowned road and kerbs."
    )
    radar: Literal["conventional", "imaging", "cells"] = Field(
        default="conventional",
        description="conventional: up to 110 returns a scan, no height (z = 0); imaging: 3+1D, up to 900, with elevation; "
        "cells: no height, echoes summed in resolution cells, with clutter and the sensor's limit of 125.",
    )
    lidar: Literal["plain", "nuscenes"] = Field(
        default="plain",
        description="plain: a turn at one instant, returns only. nuscenes: every slot in firing order, own car, empty rows, "
        "motion within the turn.",
    )
    camera: Literal["plain", "sensor"] = Field(
        default="plain", description="plain: a clean picture. sensor: shadows, exposure, noise, blur and bloom of a real camera."
    )
    weather: Literal["dry", "mixed"] = Field(default="dry", description="dry; mixed: it rains in every fifth scene.")
    spray: float = Field(
        default=0.55,
        ge=0.0,
        le=1.0,
        description="Share of upward LiDAR beams behind the car that return from water or dust in the air.",
    )
    labels: bool = Field(
        default=False, description="Write semantic class, instance and motion of every pixel's surface beside the exact depth."
    )
    camera_sweeps: bool = Field(
        default=False,
        description="Images of all cameras between key frames, too, at 12 Hz; true where stages.index_windows.frames is sweep.",
    )
    trajectories: str | None = Field(
        default=None,
        description="Path of a mini_val_scenes.json whose drives give ego motion and calibration (scene i uses "
        "drive i modulo their number); null = a gently curving route at 8 to 12 m/s.",
    )

    @model_validator(mode="before")
    @classmethod
    def _fill_from_the_world(cls, given: Any) -> Any:
        """Fill the keys that `world` stands for, where they are not given; an unknown world is left to its own check."""
        world = given.get("world", "street") if isinstance(given, Mapping) else None
        if not isinstance(world, str) or world not in PRESETS:
            return given
        filled = {**PRESETS[world], **given}
        if filled.get("trajectories") is not None and "motion" not in given:
            filled["motion"] = "steady"  # a recorded drive replaces the motion
        return filled

    @field_validator("image_size")
    @classmethod
    def _check_image_size(cls, value: tuple[int, int]) -> tuple[int, int]:
        if not (32 <= value[0] <= 4096 and 16 <= value[1] <= 4096):
            raise ValueError(f"image_size {value} is outside 32x16 to 4096x4096 pixels")
        return value

    @model_validator(mode="after")
    def _refuse_two_motions(self) -> SyntheticParams:
        if self.trajectories is not None and self.motion != "steady":
            raise ValueError(
                f"motion is 'town' and trajectories is '{self.trajectories}': both give the ego motion; leave one of them out"
            )
        return self

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
    def params(self) -> SyntheticParams:
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
