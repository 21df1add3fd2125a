"""``ablation:`` of a recipe: which trainings are compared with each other, and over which seeds."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator


class AblationChoices(BaseModel):
    """Variants of the ``train:`` group; what a variant changes is checked by model/families.py."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seeds: tuple[int, ...] = Field(
        default=(0, 1, 2),
        min_length=1,
        description="every variant is trained once with each; they take the place of train.seed and train.data.seed",
    )
    variants: dict[str, dict[str, Any]] = Field(
        default_factory=dict,
        description=(
            "name -> keys of train: and their values, e.g. + depth: {distill.form: l1, data.mono: true}; the others are compared "
            "with the first"
        ),
    )
    metrics: tuple[str, ...] | None = Field(
        default=None,
        min_length=1,
        description=(
            "columns of the table, e.g. mae_mm@80/night, Car/3d@0.7/moderate or reconstruct/rgb_l1/hidden; null: MAE, RMSE and "
            "delta1 up to 80 m, 3D and BEV average precision at both overlaps, or AbsRel of rendered depth and hidden colour"
        ),
    )

    @field_validator("variants", mode="before")
    @classmethod
    def _nothing_if_null(cls, variants: Any) -> Any:
        if not isinstance(variants, dict):
            return variants
        return {
            name: {} if changes is None else changes for name, changes in variants.items()
        }  # "baseline:" without a value changes nothing

    @field_validator("seeds")
    @classmethod
    def _not_negative(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if min(seeds) < 0:
            raise ValueError(f"{min(seeds)} is negative; a seed is 0 or more")
        return seeds

    @field_validator("seeds", "metrics")
    @classmethod
    def _each_once(cls, values: tuple[Any, ...] | None) -> tuple[Any, ...] | None:
        twice = [value for value in dict.fromkeys(values or ()) if (values or ()).count(value) > 1]
        if twice:
            raise ValueError(f"{twice[0]} is there more than once; name each once")
        return values
