"""Which of two detectors is better: the nuScenes metric side by side, each figure with an interval over scenes.

Why    The metric is one number of all key frames together, but which detection takes which object is decided in single frames.
       So a draw of scenes is measured exactly from the matches: every frame counts as often as its scene was drawn
Reads  the matches of two evaluations
Source docs/method/uvtr.md#interval
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.train.paired_bootstrap import (
    INTERVAL,
    MIN_SCENES,
    ComparisonError,
    expanded_quantiles,
    interval_text,
    scene_of,
    too_few_text,
)
from model.uvtr.classes import CLASSES
from model.uvtr.detection_metric import class_curve, figures_of_curves, metric_rows
from model.uvtr.frame_matches import Matches
from model.uvtr.measures import ERRORS_OF_PRESENT, HEADLINE, measure_of, values_of

_NUM_RESAMPLES = 1000


class MetricDifference(NamedTuple):
    """One figure of two detectors, a and b, on the key frames that both were measured on.

    Attributes:
        measure: see ``measures``.
        num_frames: key frames in both.
        num_scenes: their scenes with an object that counts.
        mean_a: of a, on these key frames.
        mean_b: of b.
        mean_difference: b - a.
        low: lower end of the 95 % interval of the difference; None if there are too few scenes for one.
        high: upper end; None likewise.
        share_of_frames: key frames in both over those in either.
    """

    measure: str
    num_frames: int
    num_scenes: int
    mean_a: float
    mean_b: float
    mean_difference: float
    low: float | None
    high: float | None
    share_of_frames: float

    @property
    def shares(self) -> dict[str, float]:
        """Return what is in both over what is in either, by what it is of."""
        return {"key frames": self.share_of_frames}


def compare_metrics(a: Matches, b: Matches) -> list[MetricDifference]:
    """Compare two evaluations of the same key frames: the headline, errors, and every class that has objects.

    Raises:
        ComparisonError: they are of different key frames, or of other objects.
    """
    if set(a.frames) != set(b.frames):
        only = [(run, sorted(set(x.frames) - set(y.frames))) for run, x, y in (("a", a, b), ("b", b, a))]
        extras = ", ".join(f"{len(keys)} are only in {run}, e.g. '{keys[0]}'" for run, keys in only if keys)
        raise ComparisonError(
            f"the evaluations are of different key frames: a has {len(a.frames)}, b has {len(b.frames)}; {extras}. Evaluate both "
            "on the same manifest and split (depthmill evaluate)"
        )
    present = [f"{CLASSES[label]}/ap" for label in np.unique(a.truth_label)]
    return metric_differences(a, b, [*HEADLINE, *ERRORS_OF_PRESENT, *present])


def metric_differences(
    a: Matches, b: Matches, measures: Sequence[str], *, left_out: Collection[str] = (), seed: int = 0
) -> list[MetricDifference]:
    """Compare figures of two detectors on the key frames that both have, in the order asked for.

    Args:
        a: one evaluation.
        b: the other.
        measures: names of figures; one that either detector lacks is left out.
        left_out: scenes that are not compared.
        seed: of the draws.

    Raises:
        ComparisonError: there is no key frame in common, or the two have other objects there.
    """
    frames = [key for key in a.frames if key in set(b.frames) and scene_of(key) not in left_out]
    if not frames:
        raise ComparisonError("the evaluations have no key frame in common. Evaluate both on the same manifest and split")
    run_a, run_b = _Run(a, frames), _Run(b, frames)
    _refuse_other_objects(run_a, run_b, frames)
    values_a, values_b = run_a.values(), run_b.values()
    wanted = [name for name in measures if name in values_a and name in values_b]
    lows, highs, num_scenes = _intervals(run_a, run_b, frames, wanted, seed=seed)
    union = {key for key in (*a.frames, *b.frames) if scene_of(key) not in left_out}
    return [
        MetricDifference(
            measure=name,
            num_frames=len(frames),
            num_scenes=num_scenes,
            mean_a=values_a[name],
            mean_b=values_b[name],
            mean_difference=values_b[name] - values_a[name],
            low=lows.get(name),
            high=highs.get(name),
            share_of_frames=len(frames) / len(union),
        )
        for name in wanted
    ]


class _Run:
    """One detector on the key frames that are compared."""

    def __init__(self, matches: Matches, frames: Sequence[str]) -> None:
        self._matches = matches
        self._curves = [class_curve(matches, label) for label in range(len(CLASSES))]
        place_of = {key: place for place, key in enumerate(matches.frames)}
        self._places = np.array([place_of[key] for key in frames], np.int64)

    def values(self, times: NDArray[np.int64] | None = None) -> dict[str, float]:
        """Return all figures where each of the compared key frames counts so many times; None = once."""
        every = np.zeros(len(self._matches.frames))
        every[self._places] = 1 if times is None else times
        num_truth, num_found = (
            np.bincount(labels, every[frames], minlength=len(CLASSES)).astype(np.int64)
            for labels, frames in (
                (self._matches.truth_label, self._matches.truth_frame),
                (self._matches.found_label, self._matches.found_frame),
            )
        )
        return values_of(metric_rows(figures_of_curves(self._matches, self._curves, every), num_truth, num_found))

    def num_truth(self) -> NDArray[np.int64]:
        """Return the objects of each class (f, 10) at each of the compared key frames."""
        pairs = self._matches.truth_frame * len(CLASSES) + self._matches.truth_label
        counts = np.bincount(pairs, minlength=len(self._matches.frames) * len(CLASSES))
        return np.asarray(counts.reshape(-1, len(CLASSES))[self._places])


def _refuse_other_objects(a: _Run, b: _Run, frames: Sequence[str]) -> None:
    differs = np.flatnonzero((a.num_truth() != b.num_truth()).any(axis=1))
    if len(differs):
        raise ComparisonError(
            f"the evaluations count other objects in {len(differs)} of {len(frames)} key frames, e.g. '{frames[differs[0]]}': "
            "the objects of the store have changed in between. Evaluate both on the same manifest (depthmill evaluate)"
        )


def _intervals(
    a: _Run, b: _Run, frames: Sequence[str], measures: Sequence[str], *, seed: int
) -> tuple[dict[str, float], dict[str, float], int]:
    """Return the ends of the intervals by measure, none where there are too few scenes, and the scenes with objects."""
    scenes, number = np.unique([scene_of(key) for key in frames], return_inverse=True)
    has_objects = np.bincount(number, a.num_truth().sum(axis=1), minlength=len(scenes)) > 0
    num_scenes = int(has_objects.sum())
    if num_scenes < MIN_SCENES:
        return {}, {}, num_scenes
    generator = np.random.default_rng(seed)
    drawn: dict[str, list[float]] = {name: [] for name in measures}
    for _ in range(_NUM_RESAMPLES):
        times = np.bincount(generator.integers(0, len(scenes), len(scenes)), minlength=len(scenes))[number]
        values_a, values_b = a.values(times), b.values(times)
        for name in measures:  # a draw without an object of a class says nothing of it
            if name in values_a and name in values_b:
                drawn[name].append(values_b[name] - values_a[name])
    ends = {name: expanded_quantiles(np.array(values), num_scenes) for name, values in drawn.items() if values}
    return {name: low for name, (low, _) in ends.items()}, {name: high for name, (_, high) in ends.items()}, num_scenes


def metric_comparison_text(rows: Sequence[MetricDifference]) -> str:
    """Return comparisons as a table for the console, with what a reader must know below it."""
    lines = [f"{'measure':<32} {'a':>8} {'b':>8} {'b - a':>9}  {f'{INTERVAL:.0%} interval':<20} better"]
    for row in rows:
        measure = measure_of(row.measure)
        better = "more" if measure.is_higher_better else "less"
        interval = interval_text(row.low, row.high, decimals=4)
        lines.append(
            f"{measure.head:<32} {row.mean_a:>8.4f} {row.mean_b:>8.4f} {row.mean_difference:>+9.4f}  {interval:<20} {better}"
        )
    if rows:
        lines.append(f"{rows[0].num_frames} key frames; scenes with objects: {rows[0].num_scenes}")
        lines += too_few_text({"with objects": rows[0].num_scenes} if rows[0].low is None else {})
    lines.append(
        "One training each: trainings that differ in their seed only differ too. Compare means over seeds (depthmill ablate)."
    )
    return "\n".join(lines)
