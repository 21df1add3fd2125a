"""``poses:`` of a stage: how the recorded trajectory is smoothed before anything is placed on it."""

from __future__ import annotations

from pydantic import Field

from pipeline.stage import StageParams


class Poses(StageParams):
    """A pose is corrected by those around it in time: docs/method/pipeline.md#poses."""

    half_window_s: float = Field(
        default=0.15, gt=0.0, le=5.0, description="seconds: poses up to so much before and after a pose take part in its fit"
    )
    degree: int = Field(default=2, ge=1, le=3, description="of the polynomial of time that the car's motion is taken for")
    max_m: float = Field(
        default=0.1, gt=0.0, le=1.0, description="metres: a pose that the fit would move by more stays as it was given"
    )
    max_deg: float = Field(
        default=0.15, gt=0.0, le=5.0, description="degrees: a pose that the fit would turn by more stays as it was given"
    )
