"""nuScenes-format drives as one kind of source."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from pipeline.capability import BOXES, CAMERA_SWEEPS, LIDAR, OBJECTS, POSES, RADAR, TRUTH
from pipeline.sources.nuscenes.config import NuScenesConfig
from pipeline.sources.nuscenes.init import recognise, survey
from pipeline.sources.nuscenes.source import NuScenesSource
from pipeline.sources.spec import SourceSpec, asks_for_camera_sweeps
from pipeline.splits import SplitChoice


def _recipe_defaults(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Index the images between key frames where a stage takes windows of them, and split as ``source.splits`` says.

    Splits are the manifest's, not the index's: another split makes another manifest of the same units.

    Raises:
        ValueError: the splits are given for the manifest, too, and are others.
    """
    defaults: dict[str, Any] = {"source": {"camera_sweeps": True}} if asks_for_camera_sweeps(recipe) else {}
    try:
        chosen = SplitChoice.model_validate(recipe["source"].get("splits", {}))
    except ValidationError:  # the recipe's own check says what is wrong, at source.splits
        return defaults
    if chosen == SplitChoice():
        return defaults
    stages = recipe.get("stages")
    of_manifest = stages.get("build_manifest") if isinstance(stages, Mapping) else None
    if isinstance(of_manifest, Mapping) and of_manifest.get("splits", recipe["source"]["splits"]) != recipe["source"]["splits"]:
        raise ValueError("source.splits and stages.build_manifest.splits are different. Leave one of them out")
    return {**defaults, "stages": {"build_manifest": {"splits": recipe["source"]["splits"]}}}


SPEC = SourceSpec(
    "nuscenes",
    config=NuScenesConfig,
    open=NuScenesSource,
    offers=frozenset({LIDAR, RADAR, POSES, BOXES, OBJECTS, CAMERA_SWEEPS, TRUTH}),
    recipe_defaults=_recipe_defaults,
    looked_for="nuScenes format (samples/, sweeps/ and a version folder such as v1.0-mini/ with scene.json and sample_data.json)",
    recognise=recognise,
    survey=survey,
    takes_urls=True,
    versions_of="nuScenes-format data",
)
