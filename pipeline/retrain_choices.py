"""``retrain:`` of a recipe: what a training must show to become the champion of its line."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator


class RetrainChoices(BaseModel):
    """Rules of ``depthmill retrain``; what is left open is filled in by the family, see flows/retrain/rules.py.

    No unit and no training is named by them: a changed rule makes nothing again.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    metric: str | None = Field(
        default=None,
        description="measure that decides; null: mae_mm, the 3D average precision of train.evaluation.category at moderate "
        "difficulty, or the relative error of rebuilt depth. docs/operations/schedule.md lists those of each family",
    )
    cap_m: float | None = Field(
        default=None, gt=0, description="of depth networks: largest target depth that counts, 50, 70 or 80 metres; null: 80"
    )
    radar: Literal["on", "off"] | None = Field(
        default=None, description="of depth networks: compare with the radar seen or taken away; null: on where there is radar"
    )
    margin: float = Field(
        default=0.0, ge=0, description="improvement that a training must reach to become the champion, in the metric's unit"
    )
    needs_interval: bool = Field(
        default=False, description="promote only if the 95 % interval of the difference excludes 0 as well"
    )
    least_share: float = Field(
        default=0.5, gt=0, le=1, description="share, at least, of what either network was measured on that both must have"
    )
    fine_tune: bool = Field(default=False, description="start from the champion's weights instead of from scratch")

    @field_validator("radar", mode="before")
    @classmethod
    def _take_what_yaml_makes_of_on(cls, radar: Any) -> Any:
        """YAML reads a bare ``on`` as true and ``off`` as false."""
        return {True: "on", False: "off"}[radar] if isinstance(radar, bool) else radar
