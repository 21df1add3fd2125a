"""Which of two runs is better: frame by frame on the same frames, with an interval for the mean difference.

Why    Frames differ far more from each other than two networks do; the difference of each frame takes the frame itself away.
       Rows are paired by ``frame_key``, never by their place in a file.
       The interval is one over new scenes, see ``model.train.paired_bootstrap``.
Reads  columns of ``storage_schemas.evaluation.FRAME_METRICS``, of two evaluations
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.semodepth.summary import METRIC_FORMATS, groups_of
from model.train.paired_bootstrap import INTERVAL, ComparisonError, bootstrap_interval, interval_text, too_few_text
from storage_schemas.layout import Columns


class Comparison(NamedTuple):
    """Two runs, a and b, on the frames of a group that both have; a frame without pixels is left out.

    Attributes:
        group: "all", "day" or "night".
        metric: name of the metric; its unit is that of the values here.
        cap_m: largest target depth that counts.
        radar: "on" or "off".
        num_frames: frames in both.
        mean_a: mean over them.
        mean_b: mean over them.
        mean_difference: mean of b - a.
        low: lower end of the 95 % interval of the mean difference; None if there are too few scenes for one.
        high: upper end; None likewise.
        share_better: share of frames where b is better: a smaller error, or a larger delta. Equal is not better.
        num_only_a: frames of the group that only a has; they are left out.
        num_only_b: the same of b.
        num_other_pixels: frames in both whose numbers of pixels differ: the runs were measured against different targets.
        share_of_frames: frames in both over frames in either.
        share_of_pixels: pixels in both over pixels in either; of a frame in both, the smaller number is in both.
        num_scenes: scenes of the frames in both, which the interval rests on.
    """

    group: str
    metric: str
    cap_m: float
    radar: str
    num_frames: int
    mean_a: float
    mean_b: float
    mean_difference: float
    low: float | None
    high: float | None
    share_better: float
    num_only_a: int
    num_only_b: int
    num_other_pixels: int
    share_of_frames: float = 1.0
    share_of_pixels: float = 1.0
    num_scenes: int = 0

    @property
    def shares(self) -> dict[str, float]:
        """Return what is in both over what is in either, by what it is of."""
        return {"frames": self.share_of_frames, "pixels": self.share_of_pixels}


class _Frames(NamedTuple):
    """One run's frames that have pixels."""

    key: NDArray[np.str_]
    value: NDArray[np.float64]
    num_pixels: NDArray[np.int64]
    is_night: NDArray[np.bool_]


def compare_runs(
    a: Columns,
    b: Columns,
    *,
    metric: str = "mae_mm",
    cap_m: float = 80.0,
    radar: str = "on",
    num_resamples: int = 2000,
    seed: int = 0,
) -> list[Comparison]:
    """Compare two runs on the frames that both have.

    Args:
        a: columns of FRAME_METRICS of one run.
        b: the same of the other.
        metric: one of the metrics.
        cap_m: a cap that both have.
        radar: "on" or "off".
        num_resamples: resamples of the bootstrap.
        seed: of the bootstrap; each group draws by itself.

    Returns:
        A comparison of all, day and night frames; a group that has no common frame is left out.

    Raises:
        ComparisonError: unknown metric, no rows of that cap and radar, a frame that is there twice, or no frame in common.
    """
    if metric not in METRIC_FORMATS:
        raise ComparisonError(f"metric '{metric}' is unknown, expected one of: {', '.join(METRIC_FORMATS)}")
    of_a, of_b = (_frames_of(columns, metric=metric, cap_m=cap_m, radar=radar, run=run) for columns, run in ((a, "a"), (b, "b")))
    # ascending by key, so that the draws below do not depend on the order of the rows
    common, in_a, in_b = np.intersect1d(of_a.key, of_b.key, assume_unique=True, return_indices=True)
    if not len(common):
        raise ComparisonError(
            f"the runs have no frame in common: a has {len(of_a.key)} frames, e.g. '{of_a.key[0]}', b has {len(of_b.key)}, "
            f"e.g. '{of_b.key[0]}'. Evaluate both on the same manifest and split"
        )
    value_a, value_b = of_a.value[in_a], of_b.value[in_b]
    is_better = value_b > value_a if metric.startswith("delta") else value_b < value_a
    is_other = of_a.num_pixels[in_a] != of_b.num_pixels[in_b]
    only_a, only_b = (groups_of(np.delete(frames.is_night, at)) for frames, at in ((of_a, in_a), (of_b, in_b)))
    pixels_a, pixels_b = of_a.num_pixels[in_a], of_b.num_pixels[in_b]
    pixels_of_one = int(np.delete(of_a.num_pixels, in_a).sum() + np.delete(of_b.num_pixels, in_b).sum())
    share_of_frames = len(common) / (len(of_a.key) + len(of_b.key) - len(common))
    share_of_pixels = int(np.minimum(pixels_a, pixels_b).sum()) / (int(np.maximum(pixels_a, pixels_b).sum()) + pixels_of_one)
    comparisons = []
    for number, (group, is_member) in enumerate(groups_of(of_a.is_night[in_a]).items()):
        if not is_member.any():
            continue
        difference = (value_b - value_a)[is_member]
        interval = bootstrap_interval(difference, common[is_member].tolist(), num_resamples=num_resamples, seed=(seed, number))
        comparisons.append(
            Comparison(
                group=group,
                metric=metric,
                cap_m=cap_m,
                radar=radar,
                num_frames=int(is_member.sum()),
                mean_a=float(value_a[is_member].mean()),
                mean_b=float(value_b[is_member].mean()),
                mean_difference=float(difference.mean()),
                low=interval.low,
                high=interval.high,
                share_better=float(is_better[is_member].mean()),
                num_only_a=int(only_a[group].sum()),
                num_only_b=int(only_b[group].sum()),
                num_other_pixels=int(is_other[is_member].sum()),
                share_of_frames=share_of_frames,
                share_of_pixels=share_of_pixels,
                num_scenes=interval.num_scenes,
            )
        )
    return comparisons


def comparison_text(comparisons: Sequence[Comparison]) -> str:
    """Return comparisons of one metric as a table for the console, with what was left out below it; empty for none."""
    if not comparisons:
        return ""
    every = comparisons[0]  # the group "all" comes first and covers the others
    form = METRIC_FORMATS[every.metric]
    aim = "larger" if every.metric.startswith("delta") else "smaller"
    lines = [
        f"{form.head} up to {every.cap_m:g} m, radar {every.radar}: {aim} is better",
        f"{'frames':<6} {'number':>7} {'a':>9} {'b':>9} {'b - a':>9}  {f'{INTERVAL:.0%} interval':<22} {'b better':>8}",
    ]
    for row in comparisons:
        decimals = form.decimals + 1
        interval = interval_text(row.low, row.high, decimals=decimals)
        lines.append(
            f"{row.group:<6} {row.num_frames:>7} {row.mean_a:>9.{form.decimals}f} {row.mean_b:>9.{form.decimals}f} "
            f"{row.mean_difference:>+9.{decimals}f}  {interval:<22} {row.share_better:>8.1%}"
        )
    if every.share_of_pixels < 1.0:
        lines.append(f"compared: {every.share_of_frames:.1%} of the frames, {every.share_of_pixels:.1%} of the pixels")
    lines += too_few_text({row.group: row.num_scenes for row in comparisons if row.low is None})
    if every.num_only_a or every.num_only_b:
        lines.append(f"left out: {every.num_only_a} frames only in a, {every.num_only_b} only in b")
    if every.num_other_pixels:
        lines.append(
            f"warning: {every.num_other_pixels} frames have another number of pixels in a than in b: their targets differ. "
            "Evaluate both on the same manifest"
        )
    return "\n".join(lines)


def _frames_of(columns: Columns, *, metric: str, cap_m: float, radar: str, run: str) -> _Frames:
    states, caps = np.array(columns["radar"], dtype=str), np.array(columns["cap_m"], dtype=np.float64)
    num_pixels = np.array(columns["num_pixels"], dtype=np.int64)
    chosen = np.flatnonzero((states == radar) & (caps == cap_m) & (num_pixels > 0))
    if not (num_pixels > 0).any():
        raise ComparisonError(
            f"run {run} measured nothing: none of its {len(set(columns['frame_key']))} frames has a pixel with a target. "
            "Evaluate it on a split, or against a target, that has some"
        )
    if not len(chosen):
        pairs = sorted({f"{state} at {cap:g} m" for state, cap in zip(states, caps, strict=True)})
        raise ComparisonError(
            f"run {run} has no frame with pixels and radar {radar} at {cap_m:g} m; it has radar {', '.join(pairs) or 'nowhere'}. "
            "Choose one of these, or run depthmill evaluate again"
        )
    keys = np.array(columns["frame_key"], dtype=str)
    names, counts = np.unique(keys[chosen], return_counts=True)
    if counts.max() > 1:
        raise ComparisonError(
            f"run {run} has frame '{names[counts.argmax()]}' {counts.max()} times with radar {radar} at {cap_m:g} m, expected "
            "once. Run depthmill evaluate again"
        )
    values, is_night = np.array(columns[metric], dtype=np.float64), np.array(columns["is_night"], dtype=np.bool_)
    return _Frames(keys[chosen], values[chosen], num_pixels[chosen], is_night[chosen])
