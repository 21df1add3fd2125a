"""``source:`` of a recipe for the KITTI object benchmark."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from pipeline.sources.kitti_object.lists import KittiList


class KittiObjectConfig(BaseModel):
    """``source:`` of a recipe for the KITTI object benchmark on a disk."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    kind: Literal["kitti_object"]
    root: str = Field(description="folder that holds training/, testing/ and ImageSets/, or object/ with the first two")
    splits: tuple[KittiList, ...] = Field(
        default=("train", "val"),
        min_length=1,
        description="lists of ImageSets/ to read; trainval counts as train; test is of testing/, which has no labels",
    )
    frames_per_scene: int = Field(
        default=50, ge=1, le=1000, description="a scene is a run of at most so many frames of one list and one image size"
    )

    @field_validator("splits")
    @classmethod
    def _each_once(cls, value: tuple[KittiList, ...]) -> tuple[KittiList, ...]:
        if len(set(value)) != len(value):
            raise ValueError("each list once, please")
        return value
