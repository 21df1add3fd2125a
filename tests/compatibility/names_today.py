"""Where the code of today keeps what ``surface.py`` describes: the one place to change when a module moves."""

from __future__ import annotations

from typing import Any

from flows.cli import app
from flows.settings import Settings
from model.families import FAMILIES, family_of
from pipeline.ablation_choices import AblationChoices
from pipeline.recipe import Recipe, StageChoices
from pipeline.sources import OWN_SOURCES
from pipeline.stage_list import STAGES
from storage_schemas.catalog import LAYOUTS

__all__ = ["LAYOUTS", "STAGES", "Settings", "app"]

KEYS = {
    "": Recipe,
    **{f"source {spec.kind}": spec.config for spec in OWN_SOURCES},
    "stages": StageChoices,
    "ablation": AblationChoices,
    **{f"train {family.name}": family.config for family in FAMILIES},
}
"""The pydantic model of every group of a recipe; those of ``train`` by family."""


def network_of(config: Any) -> Any:
    """Return the untrained network of a configuration."""
    return family_of(config).network(config)


def training_name(config: Any, manifest: str) -> str:
    """Return the name of a training, by its configuration and its manifest's fingerprint."""
    name: str = FAMILIES.training_name(config, manifest)
    return name
