"""Where the code of commit a7a46d7 keeps what ``surface.py`` describes; the only imports by which the frozen file was made."""

# ruff: noqa: I001 - some of these modules are not in this checkout, so they are not seen to belong together

from __future__ import annotations

from typing import Any

from flows.cli import app
from flows.settings import Settings
from model.train.families import CONFIGS, family_of
from pipeline.ablation_choices import AblationChoices
from pipeline.recipe import Recipe, StageChoices
from pipeline.sources.kitti_object import KittiObjectConfig
from pipeline.sources.nuscenes import NuScenesConfig
from pipeline.sources.simulated import SyntheticConfig
from pipeline.sources.zju_4dradarcam import ZjuConfig
from pipeline.stages import STAGES
from storage_schemas.catalog import LAYOUTS

__all__ = ["LAYOUTS", "STAGES", "Settings", "app"]

KEYS = {
    "": Recipe,
    "source nuscenes": NuScenesConfig,
    "source synthetic": SyntheticConfig,
    "source zju_4dradarcam": ZjuConfig,
    "source kitti_object": KittiObjectConfig,
    "stages": StageChoices,
    "ablation": AblationChoices,
    **{f"train {name}": config for name, config in CONFIGS.items()},
}
"""The pydantic model of every group of a recipe; those of ``train`` by family."""


def network_of(config: Any) -> Any:
    """Return the untrained network of a configuration."""
    return family_of(config).network(config)


def training_name(config: Any, manifest: str) -> str:
    """Return the name of a training, by its configuration and its manifest's fingerprint."""
    name: str = config.fingerprint(manifest)
    return name
