"""``free_space:`` of a stage: how sweeps vote on each other's returns."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from pipeline.stage import StageParams

Offset = Annotated[int, Field(ge=1, le=10_000)]


class FreeSpace(StageParams):
    """A return that other sweeps see through is dropped: docs/method/pipeline.md#free-space-votes."""

    offsets: tuple[Offset, ...] = Field(
        default=(1, 2, 3, 5, 7, 10, 15, 20, 25, 30, 40, 50, 60, 80),
        min_length=1,
        max_length=100,
        description="how many sweeps away the sweeps that vote are, before and after alike",
    )
    scouts: tuple[Offset, ...] = Field(
        default=(5, 20, 50),
        min_length=1,
        description="those of the offsets that look at every return; the others look only where one of these sees free space",
    )
    margin_m: float = Field(
        default=1.0, gt=0.0, description="metres: a sweep sees through a return only if it sees at least so much farther ..."
    )
    margin_share: float = Field(
        default=0.1, ge=0.0, lt=1.0, description="... and at least this share of the distance; nearer than both is a hit"
    )
    range_m: float = Field(default=80.0, gt=0.0, le=255.0, description="metres: no sweep votes on what is farther from it")
    least_free: int = Field(default=2, ge=1, le=200, description="fewest votes for free space that drop a return")
    outvote: float = Field(
        default=1.0, ge=0.0, description="the votes must be more than this times the hits; 2 (and least_free 3) for poor poses"
    )
    far_rule: bool = Field(
        default=True,
        description="let offsets 15 to 50 drop a return alone, by 3 votes that are more than twice their hits: slow movers",
    )

    @model_validator(mode="after")
    def _check_offsets(self) -> FreeSpace:
        for name in ("offsets", "scouts"):
            values = getattr(self, name)
            if len(set(values)) < len(values):
                raise ValueError(f"{name} {list(values)}: expected different numbers; leave out what is there twice")
        unknown = [scout for scout in self.scouts if scout not in self.offsets]
        if unknown:
            raise ValueError(
                f"scouts {list(self.scouts)}: {unknown[0]} is none of the offsets {list(self.offsets)}. "
                "Add it to offsets or choose scouts among them"
            )
        return self
