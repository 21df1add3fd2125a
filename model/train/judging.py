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
        least_share: of the frames and of the pixels that either network was measured on, so many must be common to both.
        left_out: scenes that one of the two was trained on; their frames are not compared.
    """

    margin: float = 0.0
    metric: str = "mae_mm"
    cap_m: float = 80.0
    radar: str = "on"
    needs_interval: bool = False
    least_share: float = 0.5
    left_out: frozenset[str] = frozenset()


class MeanDifference(Protocol):
    """Two runs, a and b, on the frames that both have."""

    @property
    def num_frames(self) -> int:
        """Frames in both."""

    @property
    def share_of_frames(self) -> float:
        """Frames in both over frames in either, 0 to 1."""

    @property
    def share_of_pixels(self) -> float:
        """The same of the pixels of all frames."""

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
