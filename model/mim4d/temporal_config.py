"""Everything that decides how a withheld frame's volume is rebuilt from the other frames of its clip.

Source  docs/method/mim4d.md#ego-warp, #sources-and-queries, #decoder-layers, #pitfalls (1, 15, 16, 17)
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from storage_schemas.frozen_config import FrozenConfig


class TemporalConfig(FrozenConfig):
    """Options of the ego warp and of the temporal decoder. The sizes are the published ones, the switches the corrected ones."""

    warp: Literal["metric", "released_index_bug"] = Field(
        "metric",
        description="how a source is brought to the target's pose. metric: in metres. released_index_bug: as in the released "
        "code, by a matrix in metres applied to voxel indices, so it moves too far or too little and turns about a corner",
    )
    time_embed: Literal["signed_dt", "list_position"] = Field(
        "signed_dt",
        description="what tells one source from another. signed_dt: its time minus the target's, seconds. list_position: as "
        "released, its place in the list of the frames that are left, which does not say which frame is missing",
    )
    short: Literal["adjacent", "first"] = Field(
        "adjacent",
        description="what the short branch reads. adjacent: the frames just before and just after the target, as far as the "
        "clip has them. first: as released, the newest frame that is left",
    )
    queries: Literal["interpolated", "per_cell"] = Field(
        "interpolated",
        description="the learned queries on a grid of another size: interpolated; or, as released, refused",
    )
    query_grid_yx: tuple[int, int] | None = Field(
        None, description="rows and columns of the table of learned queries; null: those of the voxel grid"
    )
    embed_channels: int = Field(128, ge=4, description="channels of a cell seen from above, and of the short branch")
    long_reduction: int = Field(2, ge=1, description="the long branch has embed_channels divided by this")
    num_points: int = Field(4, ge=1, description="places that a head looks at in every source")
    short_heads: int = Field(4, ge=1, description="attention heads of the short branch")
    short_layers: int = Field(2, ge=1, description="layers of the short branch")
    short_hidden: int = Field(256, ge=1, description="hidden channels of the perceptrons of the short branch")
    long_heads: int = Field(2, ge=1, description="attention heads of the long branch")
    long_layers: int = Field(2, ge=1, description="layers of the long branch")
    long_hidden: int = Field(256, ge=1, description="hidden channels of the perceptrons of the long branch")
    num_time_periods: int = Field(8, ge=1, description="sine and cosine pairs that a time difference is written in")
    shortest_period_s: float = Field(0.5, gt=0, description="period of the fastest pair, seconds; about six camera frames")
    longest_period_s: float = Field(
        8.0, gt=0, description="period of the slowest pair, seconds; four times the longest clip or more"
    )

    @staticmethod
    def released() -> TemporalConfig:
        """Return the options with which the decoder is the public code's, errors and all."""
        return TemporalConfig(warp="released_index_bug", time_embed="list_position", short="first", queries="per_cell")

    @property
    def long_channels(self) -> int:
        """Return the channels of a cell in the long branch."""
        return self.embed_channels // self.long_reduction

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.embed_channels % self.long_reduction:
            raise ValueError(
                f"embed_channels is {self.embed_channels}, which long_reduction {self.long_reduction} does not divide; "
                "change one of them"
            )
        for branch, channels, heads in (
            ("short", self.embed_channels, self.short_heads),
            ("long", self.long_channels, self.long_heads),
        ):
            if channels % heads:
                raise ValueError(
                    f"the {branch} branch has {channels} channels, which {branch}_heads {heads} does not divide; "
                    "change one of them"
                )
            if channels % 4:
                raise ValueError(
                    f"the {branch} branch has {channels} channels, expected a multiple of 4: a sine and a cosine for each axis; "
                    "change embed_channels or long_reduction"
                )
        if self.shortest_period_s > self.longest_period_s:
            raise ValueError(
                f"shortest_period_s is {self.shortest_period_s:g}, more than longest_period_s {self.longest_period_s:g}; "
                "swap them"
            )
        if self.query_grid_yx is not None and min(self.query_grid_yx) < 1:
            raise ValueError(f"query_grid_yx is {self.query_grid_yx}, expected one row and one column or more; or leave it out")
        if self.query_grid_yx is not None and self.queries == "per_cell":
            raise ValueError(
                f"query_grid_yx is {self.query_grid_yx}, but queries is per_cell: one for each cell of the voxel grid; "
                "leave query_grid_yx out or set queries to interpolated"
            )
        return self
