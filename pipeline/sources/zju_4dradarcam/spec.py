"""ZJU-4DRadarCam as one kind of source."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.capability import provided
from pipeline.sources.spec import SourceSpec
from pipeline.sources.zju_4dradarcam.config import ZjuConfig
from pipeline.sources.zju_4dradarcam.files import MAPS_FOLDERS
from pipeline.sources.zju_4dradarcam.init import recognise, survey
from pipeline.sources.zju_4dradarcam.source import ZjuSource


def _recipe_defaults(_: Mapping[str, Any]) -> dict[str, Any]:
    """Take every frame: leaving the last one of a scene out is a rule of nuScenes."""
    return {"stages": {"build_manifest": {"drop_last_keyframe": False}}}


SPEC = SourceSpec(
    "zju_4dradarcam",
    config=ZjuConfig,
    open=ZjuSource,
    offers=frozenset(map(provided, MAPS_FOLDERS)),
    recipe_defaults=_recipe_defaults,
    looked_for="ZJU-4DRadarCam (image/, radar_png/, gt/, gt_interp/ with train.txt, val.txt, test.txt)",
    recognise=recognise,
    survey=survey,
    takes_urls=True,
)
