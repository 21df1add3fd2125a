"""The KITTI object benchmark as one kind of source."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.capability import provided
from pipeline.sources.kitti_object.config import KittiObjectConfig
from pipeline.sources.kitti_object.files import CAMERA
from pipeline.sources.kitti_object.init import recognise, survey
from pipeline.sources.kitti_object.source import KittiObjectSource
from pipeline.sources.spec import SourceSpec
from storage_schemas.catalog import BOXES, DEPTH_SINGLE


def _recipe_defaults(_: Mapping[str, Any]) -> dict[str, Any]:
    """Take the only camera there is, and every frame: leaving the last one of a scene out is a rule of nuScenes."""
    return {"cameras": (CAMERA,), "stages": {"build_manifest": {"drop_last_keyframe": False}}}


SPEC = SourceSpec(
    "kitti_object",
    config=KittiObjectConfig,
    open=KittiObjectSource,
    offers=frozenset({provided(BOXES), provided(DEPTH_SINGLE)}),
    recipe_defaults=_recipe_defaults,
    looked_for="KITTI object (training/image_2, training/calib, training/label_2 with ImageSets/)",
    recognise=recognise,
    survey=survey,
    takes_urls=True,
)
