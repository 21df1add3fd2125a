"""Which of two pre-trainings is better: clip by clip on the same clips, with an interval for the mean difference.

Why     As for frames of depth (``model.semodepth.comparison``): the difference of each clip takes the clip itself away
        The interval is one over new scenes, see ``model.train.paired_bootstrap``: neighbouring clips share frames
Reads   rows of ``clip_errors``, of two evaluations
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.mim4d.clip_errors import ClipRow
from model.mim4d.loss import DIRECT, RECONSTRUCT
from model.mim4d.ray_errors import CONSTANT, COPIED_WARPED
from model.train.paired_bootstrap import INTERVAL, ComparisonError, bootstrap_interval, interval_text, too_few_text

HIDDEN_COLOUR = "hidden_rgb_l1"

HEADS = {"abs_rel": "AbsRel", "delta1": "delta<1.25", HIDDEN_COLOUR: "hidden colour L1"}
"""What is compared, with its name in tables; delta is better when it is larger."""

_VOLUMES = (RECONSTRUCT, DIRECT, COPIED_WARPED)
"""What the networks can show, and what a rebuilt volume has to beat; the other controls say nothing of a network."""


class ClipComparison(NamedTuple):
    """Two evaluations, a and b, on the clips where both have something to measure.

    Attributes:
        volume: what is shown.
        frames: all, or key if only one of the two renders other frames than the key frame.
        measure: a key of ``HEADS``.
        num_clips: clips where both have a value.
        mean_a: mean over them.
        mean_b: mean over them.
        mean_difference: mean of b - a.
        low: lower end of the 95 % interval of the mean difference; None if there are too few scenes for one.
        high: upper end; None likewise.
        share_better: share of clips where b is better; equal is not.
        num_other_rays: clips whose numbers of rays differ: the evaluations were measured against different points.
        num_scenes: scenes of the clips, which the interval rests on.
        share_of_clips: clips in both over clips in either.
        share_of_rays: rays in both over rays in either; of a clip in both, the smaller number is in both.
    """

    volume: str
    frames: str
    measure: str
    num_clips: int
    mean_a: float
    mean_b: float
    mean_difference: float
    low: float | None
    high: float | None
    share_better: float
    num_other_rays: int
    num_scenes: int
    share_of_clips: float = 1.0
    share_of_rays: float = 1.0

    @property
    def num_frames(self) -> int:
        """Return the number of clips, which take the place of frames."""
        return self.num_clips

    @property
    def shares(self) -> dict[str, float]:
        """Return what is in both over what is in either, by what it is of."""
        return {"clips": self.share_of_clips, "rays": self.share_of_rays}


_ByPlace = Mapping[tuple[str, str], Mapping[str, ClipRow]]
"""Rows by volume and frames, then by clip."""


def compare_clips(
    a: Sequence[ClipRow], b: Sequence[ClipRow], *, num_resamples: int = 2000, seed: int = 0
) -> list[ClipComparison]:
    """Compare two evaluations of MIM4D.

    Args:
        a: rows of one.
        b: rows of the other.
        num_resamples: resamples of the bootstrap.
        seed: of the bootstrap; each row draws by itself.

    Returns:
        A comparison for each volume and measure that both have.

    Raises:
        ComparisonError: they were measured on different clips, or have no volume in common.
    """
    places_a, places_b = _by_place(a), _by_place(b)
    _refuse_other_clips(places_a, places_b)
    frames = "all" if _has_history(places_a) == _has_history(places_b) else "key"
    # the constant counts all rays that were chosen, whatever box of voxels a network has
    rays_a, rays_b = places_a.get((CONSTANT, frames), {}), places_b.get((CONSTANT, frames), {})
    num_other_rays = sum(rays_a[key].num_rays != rays_b[key].num_rays for key in rays_a.keys() & rays_b.keys())
    comparisons: list[ClipComparison] = []
    for volume in _VOLUMES:
        for measure, keys, values_a, values_b in _pairs(places_a.get((volume, frames), {}), places_b.get((volume, frames), {})):
            difference = values_b - values_a
            interval = bootstrap_interval(difference, keys, num_resamples=num_resamples, seed=(seed, len(comparisons)))
            is_better = difference > 0 if measure.startswith("delta") else difference < 0
            comparisons.append(
                ClipComparison(
                    volume=volume,
                    frames=frames,
                    measure=measure,
                    num_clips=len(difference),
                    mean_a=float(values_a.mean()),
                    mean_b=float(values_b.mean()),
                    mean_difference=float(difference.mean()),
                    low=interval.low,
                    high=interval.high,
                    share_better=float(is_better.mean()),
                    num_other_rays=num_other_rays,
                    num_scenes=interval.num_scenes,
                )
            )
    if not comparisons:
        raise ComparisonError("the evaluations have no volume with rays in common. Run depthmill evaluate for both again")
    return comparisons


def judge_clips(
    a: Sequence[ClipRow], b: Sequence[ClipRow], *, volume: str, measure: str, left_out: Collection[str] = (), seed: int = 0
) -> ClipComparison:
    """Compare one measure of two networks on the clips where both have rays, of all frames.

    Unlike in ``compare_clips``, a network whose answer is not a number keeps its clip: the means are no numbers then.

    Args:
        a: rows of one evaluation.
        b: rows of the other.
        volume: what is shown.
        measure: a key of ``HEADS``.
        left_out: scenes whose clips are not compared.
        seed: of the bootstrap.

    Raises:
        ComparisonError: there is no clip in common where both have rays.
    """
    of_a, of_b = (measured_of(rows, volume, measure, left_out=left_out) for rows in (a, b))
    keys = sorted(of_a.keys() & of_b.keys())
    if not keys:
        raise ComparisonError(
            f"the evaluations have no clip in common where both have {volume}/{measure}: a has {len(of_a)}, b has {len(of_b)}. "
            "Evaluate both on the same manifest and split"
        )
    values_a, values_b = (np.array([of_run[key].value for key in keys], np.float64) for of_run in (of_a, of_b))
    difference, num_rays = values_b - values_a, [(of_a[key].num_rays, of_b[key].num_rays) for key in keys]
    interval = bootstrap_interval(difference, keys, seed=seed)
    rays_of_one = sum(rows[key].num_rays for rows in (of_a, of_b) for key in of_a.keys() ^ of_b.keys() if key in rows)
    return ClipComparison(
        volume=volume,
        frames="all",
        measure=measure,
        num_clips=len(keys),
        mean_a=float(values_a.mean()),
        mean_b=float(values_b.mean()),
        mean_difference=float(difference.mean()),
        low=interval.low,
        high=interval.high,
        share_better=float((difference > 0 if measure.startswith("delta") else difference < 0).mean()),
        num_other_rays=sum(in_a != in_b for in_a, in_b in num_rays),
        num_scenes=interval.num_scenes,
        share_of_clips=len(keys) / len(of_a.keys() | of_b.keys()),
        share_of_rays=sum(map(min, num_rays)) / (sum(map(max, num_rays)) + rays_of_one),
    )


class ClipValue(NamedTuple):
    """A measure of one clip, and the number of rays that it is a mean over."""

    value: float
    num_rays: int


def measured_of(rows: Sequence[ClipRow], volume: str, measure: str, *, left_out: Collection[str] = ()) -> dict[str, ClipValue]:
    """Return a measure of every clip that has rays for it, over all its frames, by the clip's key."""
    counts = "num_hidden" if measure == HIDDEN_COLOUR else "num_rays"
    return {
        row.window_key: ClipValue(getattr(row, measure), getattr(row, counts))
        for row in rows
        if (row.volume, row.frames) == (volume, "all")
        and getattr(row, counts)
        and row.window_key.split("/", 1)[0] not in left_out
    }


def clip_comparison_text(rows: Sequence[ClipComparison]) -> str:
    """Return comparisons as a table for the console, with what a reader must know below it."""
    lines = [
        "mean over clips; smaller is better, but a larger delta",
        f"{'volume':<14} {'measure':<16}  clips {'a':>7} {'b':>7} {'b - a':>8}  {f'{INTERVAL:.0%} interval':<20} b better",
    ]
    for row in rows:
        interval = interval_text(row.low, row.high, decimals=4)
        lines.append(
            f"{row.volume:<14} {HEADS[row.measure]:<16} {row.num_clips:>6} {row.mean_a:>7.3f} {row.mean_b:>7.3f} "
            f"{row.mean_difference:>+8.4f}  {interval:<20} {row.share_better:>8.1%}"
        )
    lines += too_few_text({row.volume: row.num_scenes for row in rows if row.low is None})
    if rows[0].frames == "key":
        lines.append("key frames only: one of the two was trained on single frames")
    if rows[0].num_other_rays:
        lines.append(
            f"warning: {rows[0].num_other_rays} clips have another number of rays in a than in b: evaluation.rays_per_camera, "
            "data.held_out_share or the size of the images differs, so they were held against different points"
        )
    lines.append(
        "One training each: trainings that differ in their seed only differ too. Compare means over seeds (depthmill ablate)."
    )
    return "\n".join(lines)


def _by_place(rows: Sequence[ClipRow]) -> _ByPlace:
    by_place: dict[tuple[str, str], dict[str, ClipRow]] = {}
    for row in rows:
        by_place.setdefault((row.volume, row.frames), {})[row.window_key] = row
    return by_place


def _keys(by_place: _ByPlace) -> set[str]:
    return {key for rows in by_place.values() for key in rows}


def _refuse_other_clips(a: _ByPlace, b: _ByPlace) -> None:
    keys_a, keys_b = _keys(a), _keys(b)
    if keys_a == keys_b:
        return
    only = [(run, sorted(keys - other)) for run, keys, other in (("a", keys_a, keys_b), ("b", keys_b, keys_a)) if keys - other]
    extras = ", ".join(f"{len(keys)} are only in {run}, e.g. '{keys[0]}'" for run, keys in only)
    raise ComparisonError(
        f"the evaluations are of different clips: a has {len(keys_a)}, b has {len(keys_b)}; {extras}. Evaluate both on the same "
        "manifest and split (depthmill evaluate)"
    )


def _has_history(by_place: _ByPlace) -> bool:
    """Say whether other frames than the key frame were rendered."""
    key = by_place.get((CONSTANT, "key"), {})
    return any(row.num_rays != key[name].num_rays for name, row in by_place.get((CONSTANT, "all"), {}).items() if name in key)


def _pairs(
    a: Mapping[str, ClipRow], b: Mapping[str, ClipRow]
) -> Iterator[tuple[str, list[str], NDArray[np.float64], NDArray[np.float64]]]:
    """Yield each measure with keys and the values of both on the clips where both have one; none if there is no such clip."""
    common = sorted(a.keys() & b.keys())  # ascending, so that the draws do not depend on the order of the rows
    for measure in HEADS:
        values_a, values_b = (np.array([getattr(rows[key], measure) for key in common], dtype=np.float64) for rows in (a, b))
        is_finite = np.isfinite(values_a) & np.isfinite(values_b)
        if is_finite.any():
            keys = [common[place] for place in np.flatnonzero(is_finite)]
            yield measure, keys, values_a[is_finite], values_b[is_finite]
