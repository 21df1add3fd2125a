"""Every key of a recipe's stages, ablation, retrain and train groups with its default, as ``--set`` takes it."""

from __future__ import annotations

import json
import typing
from collections.abc import Iterator
from typing import Any, Literal

from pydantic import BaseModel
from pydantic_core import to_jsonable_python


def keys_with_defaults(group: Literal["stages", "ablation", "retrain", "train"]) -> Iterator[tuple[str, str]]:
    """Yield dotted key and default as YAML on one line, groups opened: ``stages.clean_horizon.near_m``, ``20.0``.

    Yields nothing for ``train`` where torch is not installed.
    """
    if group == "stages":
        from pipeline.recipe import StageChoices

        yield from _keys(StageChoices, group)
        return
    if group == "ablation":
        from pipeline.ablation_choices import AblationChoices

        yield from _keys(AblationChoices, group)
        return
    if group == "retrain":
        from pipeline.retrain_choices import RetrainChoices

        yield from _keys(RetrainChoices, group)
        return
    try:
        from model.families import FAMILIES
    except ImportError:  # the extra 'train' is not installed
        return
    default_by_key: dict[str, str] = {}
    for family in FAMILIES:  # a key that two families have is offered once, with the default of the first
        for key, default in _keys(family.config, group):
            default_by_key.setdefault(key, default)
    yield from default_by_key.items()


def _keys(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, str]]:
    for name, field in model.model_fields.items():
        annotation: Any = field.annotation
        if isinstance(annotation, type) and not typing.get_args(annotation) and issubclass(annotation, BaseModel):
            yield from _keys(annotation, f"{prefix}.{name}")
        else:
            default = None if field.is_required() else field.get_default(call_default_factory=True)
            yield f"{prefix}.{name}", json.dumps(to_jsonable_python(default))
