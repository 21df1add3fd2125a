"""What it takes to replace a champion, and what of a comparison decides it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Rules:
    """What a challenger must show.

    Attributes:
        margin: improvement of the mean that it must reach, in the metric's unit; equal is never better.
        metric: metric that decides.
        cap_m: 50, 70 or 80.
        radar: on or off.
        needs_interval: the 95 % interval of the mean difference must exclude 0 as well.
    """

    margin: float = 0.0
    metric: str = "mae_mm"
    cap_m: float = 80.0
    radar: str = "on"
    needs_interval: bool = False


class MeanDifference(Protocol):
    """Two runs, a and b, on the frames that both have."""

    @property
    def num_frames(self) -> int:
        """Frames in both."""

    @property
    def mean_a(self) -> float:
        """Mean over them."""

    @property
    def mean_b(self) -> float:
        """Mean over them."""

    @property
    def mean_difference(self) -> float:
        """Mean of b - a."""

    @property
    def low(self) -> float | None:
        """Lower end of its 95 % interval; None if there are too few scenes for one."""

    @property
    def high(self) -> float | None:
        """Upper end; None likewise."""
