"""Sums of an assessment: over all frames, and by range, image row, class, day and night, scene.

Why    One number hides where the errors are; counts can be added in any order, so every grouping is exact
Reads  FrameErrors, one frame at a time; maps are not kept
Writes Summary
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import isfinite

import numpy as np

from model.train.paired_bootstrap import SceneInterval, bootstrap_interval
from pipeline.assessment.assess import Against, FrameErrors
from pipeline.kernels.depth_errors import ErrorReadings, Groups, add_groups

ALL = ("all", "all")
"""Key of the counts over every pixel."""

MEASURES = {"gross": "gross_share", "bad": "bad_share", "mae_m": "mae_m"}
"""Measures whose difference gets an interval over scenes -> the property of ErrorCounts."""


@dataclass(frozen=True)
class FrameRow:
    """The counts of one map over all its pixels, without the map."""

    scene: str
    camera: str
    frame: int
    timestamp_us: int
    is_night: bool
    contender: str
    layout: str
    errors: ErrorReadings

    @property
    def key(self) -> str:
        """Name of the frame, as manifests have it."""
        return f"{self.scene}/{self.camera}/{self.timestamp_us}"


@dataclass
class Summary:
    """What was measured.

    Attributes:
        against: exact depth or held-out sweeps.
        neighbours: sweeps on either side of a key sweep that were held out with it.
        contenders: names of the recipes; the first is the one that is assessed.
        groups: (contender, layout) -> sums by grouping and group.
        rows: one a map.
        seconds: time that the frames took.
    """

    against: Against
    neighbours: int
    contenders: tuple[str, ...]
    groups: dict[tuple[str, str], Groups] = field(default_factory=dict)
    rows: list[FrameRow] = field(default_factory=list)
    seconds: float = 0.0

    def add(self, frame: Sequence[FrameErrors]) -> None:
        """Add all maps of a frame."""
        for errors in frame:
            total = errors.groups.get(ALL, ErrorReadings())
            groups = {
                **errors.groups,
                ("light", "night" if errors.is_night else "day"): total,
                ("scene", errors.frame.scene): total,
            }
            key = (errors.contender, errors.layout)
            self.groups[key] = add_groups(self.groups.get(key, {}), groups)
            self.rows.append(
                FrameRow(
                    errors.frame.scene,
                    errors.frame.camera,
                    errors.frame.number,
                    errors.timestamp_us,
                    errors.is_night,
                    errors.contender,
                    errors.layout,
                    total,
                )
            )

    @property
    def num_frames(self) -> int:
        """Frames that were measured."""
        return len({row.key for row in self.rows})

    @property
    def num_scenes(self) -> int:
        """Scenes that they are of."""
        return len({row.scene for row in self.rows})

    @property
    def layouts(self) -> tuple[str, ...]:
        """Stores that were measured, in the order that they are made."""
        return tuple(dict.fromkeys(layout for _, layout in self.groups))

    def total(self, contender: str, layout: str) -> ErrorReadings:
        """Return the sums over every pixel."""
        return self.groups.get((contender, layout), {}).get(ALL, ErrorReadings())

    def groupings(self, layout: str) -> list[str]:
        """Return the groupings of a store that have more than one group, in the order that they were made."""
        names: dict[str, set[str]] = {}
        for contender in self.contenders:
            for grouping, group in self.groups.get((contender, layout), {}):
                names.setdefault(grouping, set()).add(group)
        return [name for name, groups in names.items() if name != "all" and not name.startswith("removed") and len(groups) > 1]

    def interval(self, measure: str, layout: str, *, other: str) -> SceneInterval:
        """Return the interval over scenes of what the assessed recipe has more than another one, mean over frames.

        Args:
            measure: a key of ``MEASURES``.
            layout: store.
            other: name of the other recipe.
        """
        values: dict[str, dict[str, float]] = {self.contenders[0]: {}, other: {}}
        for row in self.rows:
            if row.layout == layout and row.contender in values:
                values[row.contender][row.key] = getattr(row.errors.plain, MEASURES[measure])
        mine, others = values[self.contenders[0]], values[other]
        keys = [key for key in mine if key in others and isfinite(mine[key]) and isfinite(others[key])]
        return bootstrap_interval(np.array([mine[key] - others[key] for key in keys]), keys)

    def worst(self, layout: str, most: int) -> list[FrameRow]:
        """Return the frames of the assessed recipe with the largest share of gross and bad pixels."""
        mine = [row for row in self.rows if row.contender == self.contenders[0] and row.layout == layout]
        return sorted(mine, key=lambda row: (-_wrong_share(row.errors), row.key))[:most]


def _wrong_share(errors: ErrorReadings) -> float:
    counts = errors.plain
    wrong = counts.near + counts.far + counts.bad_near + counts.bad_far
    return wrong / counts.compared if counts.compared else 0.0
