"""nuScenes-format drives as one kind of source."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.capability import BOXES, CAMERA_SWEEPS, LIDAR, POSES, RADAR, TRUTH
from pipeline.sources.nuscenes.config import NuScenesConfig
from pipeline.sources.nuscenes.init import recognise, survey
from pipeline.sources.nuscenes.source import NuScenesSource
from pipeline.sources.spec import SourceSpec, asks_for_camera_sweeps


def _recipe_defaults(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Index the images between key frames where a stage takes windows of them."""
    return {"source": {"camera_sweeps": True}} if asks_for_camera_sweeps(recipe) else {}


SPEC = SourceSpec(
    "nuscenes",
    config=NuScenesConfig,
    open=NuScenesSource,
    offers=frozenset({LIDAR, RADAR, POSES, BOXES, CAMERA_SWEEPS, TRUTH}),
    recipe_defaults=_recipe_defaults,
    looked_for="nuScenes format (samples/, sweeps/ and a version folder such as v1.0-mini/ with scene.json and sample_data.json)",
    recognise=recognise,
    survey=survey,
    versions_of="nuScenes-format data",
)
