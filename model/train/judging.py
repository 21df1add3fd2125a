"""What it takes to replace a champion, and what of a comparison decides it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from model.train.measures import Measure


@dataclass(frozen=True)
class Judging:
    """By what trainings of a family can be judged; of each choice the first one is the default.

    Attributes:
        metrics: measures by their names in ``retrain.metric``.
        caps_m: largest target depths in metres; empty: the rule ``cap_m`` means nothing for the family.
        radar: states of the radar; empty: the rule ``radar`` means nothing for the family.
        why: says of a rule why a choice that others have is not among its choices, e.g. a key of ``train:``.
    """

    metrics: Mapping[str, Measure]
    caps_m: tuple[float, ...] = ()
    radar: tuple[str, ...] = ()
    why: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Rules:
    """What a challenger must show, every choice made.

    Attributes:
        margin: improvement of the mean that it must reach, in the metric's unit; equal is never better.
        metric: metric that decides.
        cap_m: largest target depth that counts, metres; None of a family without depth maps.
        radar: on or off; None of a family without radar.
        needs_interval: the 95 % interval of the mean difference must exclude 0 as well.
        least_share: of what either network was measured on, so much must be common to both.
        is_higher_better: of the metric, as its family says.
        left_out: scenes that one of the two was trained on; their frames are not compared.
    """

    margin: float = 0.0
    metric: str = "mae_mm"
    cap_m: float | None = 80.0
    radar: str | None = "on"
    needs_interval: bool = False
    least_share: float = 0.5
    is_higher_better: bool = False
    left_out: frozenset[str] = frozenset()

    @property
    def text(self) -> str:
        """Return what decides, e.g. "mae_mm up to 80 m, radar on: smaller is better, the margin is 0"."""
        cap = "" if self.cap_m is None else f" up to {self.cap_m:g} m"
        radar = "" if self.radar is None else f", radar {self.radar}"
        interval = ", and the 95 % interval must exclude 0" if self.needs_interval else ""
        aim = "larger" if self.is_higher_better else "smaller"
        return f"{self.metric}{cap}{radar}: {aim} is better, the margin is {self.margin:g}{interval}"


class MeanDifference(Protocol):
    """Two runs, a and b, on the frames that both have."""

    @property
    def num_frames(self) -> int:
        """Frames in both, or clips."""

    @property
    def shares(self) -> Mapping[str, float]:
        """What is in both over what is in either, 0 to 1, by what it is of; the first is of what ``num_frames`` counts."""

    @property
    def mean_a(self) -> float:
        """Mean over them, or their average precision."""

    @property
    def mean_b(self) -> float:
        """Mean over them, or their average precision."""

    @property
    def mean_difference(self) -> float:
        """Mean of b - a."""

    @property
    def low(self) -> float | None:
        """Lower end of its 95 % interval; None if there are too few scenes for one."""

    @property
    def high(self) -> float | None:
        """Upper end; None likewise."""
