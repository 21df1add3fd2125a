"""``source:`` of a recipe for the KITTI object benchmark."""

from __future__ import annotations

import difflib
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from pipeline.sources.kitti_object.lists import KittiList
from storage_schemas.catalog import OBJECT_TYPES


class KittiObjectConfig(BaseModel):
    """``source:`` of a recipe for the KITTI object benchmark, on a disk or at a URL."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    kind: Literal["kitti_object"]
    root: str = Field(description="folder or URL that holds training/, testing/ and ImageSets/, or object/ with the first two")
    splits: tuple[KittiList, ...] = Field(
        default=("train", "val"),
        min_length=1,
        description="lists of ImageSets/ to read; trainval counts as train; test is of testing/, which has no labels",
    )
    frames_per_scene: int = Field(
        default=50, ge=1, le=1000, description="a scene is a run of at most so many frames of one list and one image size"
    )
    types: dict[str, str] = Field(
        default_factory=dict,
        description=(
            "types of the label files that KITTI does not know, and which of KITTI's types they are, e.g. {PassengerCar: Car}; "
            "DontCare makes them regions that nobody is judged in"
        ),
    )

    @field_validator("splits")
    @classmethod
    def _each_once(cls, value: tuple[KittiList, ...]) -> tuple[KittiList, ...]:
        if len(set(value)) != len(value):
            raise ValueError("each list once, please")
        return value

    @field_validator("types")
    @classmethod
    def _are_of_kitti(cls, value: dict[str, str]) -> dict[str, str]:
        known = {name.lower(): name for name in OBJECT_TYPES}
        for name, category in value.items():
            if category.lower() not in known:
                near = difflib.get_close_matches(category.lower(), known, n=1)
                hint = f"did you mean '{known[near[0]]}'?" if near else f"expected one of: {', '.join(OBJECT_TYPES)}"
                raise ValueError(f"'{name}' is made a '{category}', which is no type of KITTI; {hint}")
        lower = [name.lower() for name in value]
        if twice := next((name for name in value if lower.count(name.lower()) > 1), None):
            raise ValueError(f"'{twice}' is there twice; upper and lower case are one. Leave one of them out")
        return {name: known[category.lower()] for name, category in value.items()}
