"""A recipe with its additions off, one of them off, or one of them on: what an assessment compares a recipe with.

Why    "The recipe is better" means better than the published one on the same frames, and each addition must earn its place
How    An addition is a param of an accumulating or cleaning stage that was added later and whose default is the published
       behaviour; so a new one is switched on and off without a further line here
"""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from pipeline.recipe import Recipe
from pipeline.stage import StageSpec
from pipeline.stages import accumulate_lidar, clean_horizon
from storage_schemas.errors import RecipeError

STAGES_WITH_ADDITIONS: tuple[StageSpec[Any], ...] = (accumulate_lidar.STAGE, clean_horizon.STAGE)

NO_RULES = frozenset({"neighbors", "movable"})
"""Params that were added later and say what data there is."""

NO_DEPTH = frozenset({"confidence"})
"""Params that were added later and change no depth: what is stored besides. They go where what they need goes."""

NEEDS = {"least_front_share": "surface", "confidence": "surface"}
"""Params that mean nothing, and are refused, without another one."""


def additions_of(recipe: Recipe) -> tuple[str, ...]:
    """Return the names of the additions that a recipe switches on, in the order of its params."""
    return tuple(
        name
        for stage in STAGES_WITH_ADDITIONS
        for name in _names(stage)
        if name not in NO_DEPTH and getattr(recipe.stages.params_of(stage), name) != _default(stage, name)
    )


def published(recipe: Recipe) -> Recipe:
    """Return the recipe with all additions off."""
    return _with_additions(recipe, frozenset())


def without(recipe: Recipe, addition: str) -> Recipe:
    """Return the recipe without one of its additions, and without those that mean nothing without it."""
    return _with_additions(recipe, {name for name in additions_of(recipe) if addition not in (name, NEEDS.get(name))})


def only(recipe: Recipe, addition: str) -> Recipe:
    """Return the recipe with one of its additions alone, and with what that one needs."""
    return _with_additions(recipe, {addition, NEEDS.get(addition, addition)})


def _with_additions(recipe: Recipe, kept: frozenset[str] | set[str]) -> Recipe:
    """Return the recipe with the additions that are not kept set to their defaults; the params are checked again."""
    stages = {}
    for stage in STAGES_WITH_ADDITIONS:
        params = recipe.stages.params_of(stage)
        stays = {name for name in _names(stage) if name in kept or (name in NO_DEPTH and NEEDS.get(name, name) in kept)}
        values = {
            name: _default(stage, name) if name in _names(stage) and name not in stays else getattr(params, name)
            for name in params_of(stage)
        }
        try:
            stages[stage.name] = stage.params.model_validate(values)
        except ValidationError as error:
            raise RecipeError(
                f"the recipe with no other additions than {', '.join(sorted(kept)) or 'none'} cannot be assessed: "
                f"stages.{stage.name}: {error.errors()[0]['msg']}"
            ) from error
    return recipe.model_copy(update={"preset": "published", "stages": recipe.stages.model_copy(update=stages)})


def params_of(stage: StageSpec[Any]) -> tuple[str, ...]:
    """Return the names of a stage's params."""
    return tuple(stage.params.model_fields)


def _names(stage: StageSpec[Any]) -> tuple[str, ...]:
    later = getattr(stage.params, "added_later", {})
    return tuple(name for name in params_of(stage) if name in later and name not in NO_RULES)


def _default(stage: StageSpec[Any], name: str) -> Any:
    return stage.params.added_later[name]
