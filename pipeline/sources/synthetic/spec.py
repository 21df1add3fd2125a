"""A simulated world as one kind of source."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.capability import BOXES, CAMERA_SWEEPS, LIDAR, OBJECTS, POSES, RADAR, TRUTH
from pipeline.sources.spec import SourceSpec, asks_for_camera_sweeps
from pipeline.sources.synthetic.config import SyntheticConfig
from pipeline.sources.synthetic.source import SyntheticSource


def _recipe_defaults(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Simulate the sensors that the recipe asks for."""
    source: dict[str, Any] = {key: recipe[key] for key in ("cameras",) if key in recipe}
    stages = recipe.get("stages")
    radar = stages.get("project_radar") if isinstance(stages, Mapping) else None
    if isinstance(radar, Mapping) and "channels" in radar:
        source["radars"] = radar["channels"]
    if asks_for_camera_sweeps(recipe):
        source["camera_sweeps"] = True
    return {"source": source}


SPEC = SourceSpec(
    "synthetic",
    config=SyntheticConfig,
    open=SyntheticSource,
    offers=frozenset({LIDAR, RADAR, POSES, BOXES, OBJECTS, CAMERA_SWEEPS, TRUTH}),
    recipe_defaults=_recipe_defaults,
)
