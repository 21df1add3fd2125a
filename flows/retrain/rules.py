"""The rules of a round: what the recipe's ``retrain:`` says, and what the family takes where it says nothing."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from pipeline.retrain_choices import RetrainChoices
from storage_schemas.errors import RecipeError

if TYPE_CHECKING:
    from model.train.config import CommonConfig
    from model.train.family import Family
    from model.train.judging import Judging, Rules

_NAMED = 12
"""Metrics that an error lists; a detector of three classes has 54."""


def rules_of(choices: RetrainChoices, family: Family[Any], config: CommonConfig, *, where: str) -> Rules:
    """Return the rules by which trainings of a configuration are judged.

    Args:
        choices: ``retrain:`` of the recipe.
        family: of the training.
        config: the training.
        where: name of the recipe file.

    Raises:
        RecipeError: the family cannot be judged, or a rule does not fit it; says which do.
    """
    from model.train.judging import Rules

    if family.retrain_refusal:
        raise RecipeError(f"recipe '{where}': train.family is '{family.name}', and {family.retrain_refusal}")
    judging = family.judging(config)
    _refuse_meaningless(choices, family, judging, where=where)
    metric = _metric(choices.metric, judging, where=where)
    return Rules(
        margin=choices.margin,
        metric=metric,
        cap_m=_chosen("cap_m", choices.cap_m, judging.caps_m, judging, where=where),
        radar=_chosen("radar", choices.radar, judging.radar, judging, where=where),
        needs_interval=choices.needs_interval,
        least_share=choices.least_share,
        is_higher_better=judging.metrics[metric].is_higher_better,
    )


def overrides_of(**choices: Any) -> tuple[str, ...]:
    """Return options of a command or parameters of a deployment as changed recipe keys; None = the recipe's own."""
    return tuple(f"retrain.{name}={_as_yaml(value)}" for name, value in choices.items() if value is not None)


def _as_yaml(value: Any) -> str:
    import json

    return json.dumps(value)  # quotes a text, so that neither "on" nor a number becomes another type


def _refuse_meaningless(choices: RetrainChoices, family: Family[Any], judging: Judging, *, where: str) -> None:
    """Check that no rule is given that means nothing for the family."""
    meaningless = [name for name, allowed in (("cap_m", judging.caps_m), ("radar", judging.radar)) if not allowed]
    for name in meaningless:
        if (value := getattr(choices, name)) is not None:
            fitting = ", ".join(key for key in RetrainChoices.model_fields if key not in meaningless)
            raise RecipeError(
                f"recipe '{where}': retrain.{name} is {value!r}, which means nothing for {family.noun} (train.family "
                f"'{family.name}'). Leave it out; rules that fit: {fitting}"
            )


def _metric(metric: str | None, judging: Judging, *, where: str) -> str:
    known = list(judging.metrics)
    if metric is None:
        return known[0]
    if metric not in judging.metrics:
        near = difflib.get_close_matches(metric, known, n=1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        raise RecipeError(f"recipe '{where}': retrain.metric is '{metric}', expected one of: {_listed(known)}{hint}")
    return metric


def _chosen(name: str, value: Any, allowed: Sequence[Any], judging: Judging, *, where: str) -> Any:
    """Return a choice, or the default of the family; None where the rule means nothing for it."""
    if value is None or value in allowed:
        return next(iter(allowed), None) if value is None else value
    why = f" ({judging.why[name]})" if name in judging.why else ""
    raise RecipeError(f"recipe '{where}': retrain.{name} is {value!r}{why}, expected one of: {_listed(sorted(allowed))}")


def _listed(names: Iterable[Any]) -> str:
    texts = [str(name) for name in names]
    more = len(texts) - _NAMED
    return ", ".join(texts[:_NAMED]) + (f" and {more} more" if more > 0 else "")
