"""Errors of a depth map against exact depth, before and after cleaning: counts that can be added over frames.

Why    "The supervision got better" is a claim about gross errors removed and good pixels kept; both need the truth
Reads  arrays of uint16 steps (1/256 m, 0 = no measurement; in the truth 0 = sky) of any equal shape, e.g. (y, x) or (frame, y, x)
Writes TruthComparison: counts in total, by surface class and by range of the truth; shares and medians are derived from counts

A measured pixel is *gross* if its error exceeds 10 m and 10 % of the truth, or if the truth is sky. Everything is exact:
comparisons are made on integers, and medians come from a full histogram of the integer errors.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import reduce
from operator import add
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from storage_schemas.catalog import SURFACES
from storage_schemas.encoding import STEPS_PER_M

GROSS_M = 10
"""Metres that the error of a gross pixel exceeds."""

GROSS_PERCENT = 10
"""Per cent of the truth that the error of a gross pixel exceeds as well."""

RANGE_EDGES_M = (20, 40, 80)
"""Borders of the range bins."""

RANGES = ("0-20 m", "20-40 m", "40-80 m", "80+ m", "sky")
"""Names of the range bins, by the truth; sky has no depth."""

_NUM_STEPS = 1 << 16


@dataclass(frozen=True)
class _Counts:
    """Counts that are added field by field."""

    def __add__(self, other: Self) -> Self:
        """Return the counts over both sets of pixels."""
        return replace(self, **{name: value + getattr(other, name) for name, value in vars(self).items()})


@dataclass(frozen=True)
class MapErrors(_Counts):
    """Counts over some pixels of one depth map.

    Attributes:
        num_pixels: pixels looked at, measured or not.
        num_measured: of these, pixels with a measurement.
        num_gross: of these, pixels that are grossly wrong.
        num_gross_near: of these, pixels that are too near (ghosts, airborne returns, returns in front of the sky); the others
            are too far (background seen through a gap in the foreground).
        error_counts: (65536,) int64, measured pixels by absolute error in steps of 1/256 m, where the truth has a depth.
    """

    num_pixels: int
    num_measured: int
    num_gross: int
    num_gross_near: int
    error_counts: NDArray[np.int64]

    @property
    def coverage(self) -> float:
        """Share of the pixels that is measured; NaN without pixels."""
        return _share(self.num_measured, self.num_pixels)

    @property
    def gross_share(self) -> float:
        """Share of the measured pixels that is grossly wrong; NaN without measurement."""
        return _share(self.num_gross, self.num_measured)

    @property
    def correct_share(self) -> float:
        """Share of all pixels that are measured with an error below 1 m; NaN without pixels."""
        return _share(int(self.error_counts[:STEPS_PER_M].sum()), self.num_pixels)

    @property
    def median_error_m(self) -> float:
        """Median absolute error in metres where the truth has a depth, gross pixels included; NaN without measurement."""
        return _median_of_counts(self.error_counts) / STEPS_PER_M


@dataclass(frozen=True)
class BeforeAfter(_Counts):
    """The same pixels before and after cleaning.

    Attributes:
        before: counts of the map before.
        after: counts of the map after.
        num_good_lost: pixels measured and not gross before, without measurement after.
        num_gross_removed: pixels gross before, without measurement after.
    """

    before: MapErrors
    after: MapErrors
    num_good_lost: int
    num_gross_removed: int

    @property
    def good_lost_share(self) -> float:
        """Share of the good (measured, not gross) pixels that cleaning removed; NaN if there were none."""
        return _share(self.num_good_lost, self.before.num_measured - self.before.num_gross)

    @property
    def gross_removed_share(self) -> float:
        """Share of the gross pixels that cleaning removed; NaN if there were none."""
        return _share(self.num_gross_removed, self.before.num_gross)


@dataclass(frozen=True)
class TruthComparison:
    """Counts in total and in groups that add up to the total.

    Attributes:
        total: every pixel.
        by_surface: a group per name in ``catalog.SURFACES``; empty if the surface is not known.
        by_range: a group per name in ``RANGES``, by the depth of the truth.
    """

    total: BeforeAfter
    by_surface: dict[str, BeforeAfter]
    by_range: dict[str, BeforeAfter]

    def __add__(self, other: TruthComparison) -> TruthComparison:
        """Return the counts over both sets of pixels."""
        return TruthComparison(
            self.total + other.total, _add(self.by_surface, other.by_surface), _add(self.by_range, other.by_range)
        )


def is_gross(steps: NDArray[np.uint16], truth: NDArray[np.uint16]) -> NDArray[np.bool_]:
    """Say which pixels are measured and grossly wrong: more than 10 m and 10 % off, or measured where the truth is sky.

    Args:
        steps: depth map, uint16 steps of 1/256 m, 0 = no measurement.
        truth: exact depth of the same shape, 0 = sky.
    """
    error = np.abs(steps.astype(np.int32) - truth)
    is_wrong = (error > GROSS_M * STEPS_PER_M) & (error * 100 > GROSS_PERCENT * truth.astype(np.int32))
    return np.asarray((steps > 0) & (is_wrong | (truth == 0)))


def compare_with_truth(
    before: NDArray[np.uint16],
    after: NDArray[np.uint16],
    truth: NDArray[np.uint16],
    surface: NDArray[np.uint8] | None = None,
) -> TruthComparison:
    """Count errors of a depth map before and after cleaning.

    Args:
        before: map before (accumulated), uint16 steps of 1/256 m, 0 = no measurement; any shape.
        after: map after (clean), same shape.
        truth: exact depth, same shape, 0 = sky.
        surface: number of the surface class per pixel (``catalog.SURFACES``), same shape; None = not known.

    Raises:
        ValueError: the shapes differ.
    """
    maps: dict[str, NDArray[Any]] = {
        "before": before,
        "after": after,
        "truth": truth,
        **({} if surface is None else {"surface": surface}),
    }
    if len({values.shape for values in maps.values()}) > 1:
        raise ValueError(f"maps must have one shape, got {', '.join(f'{name} {v.shape}' for name, v in maps.items())}")
    edges = np.array(RANGE_EDGES_M) * STEPS_PER_M
    bin_of_step = np.digitize(np.arange(_NUM_STEPS), edges).astype(np.uint8)
    bin_of_step[0] = RANGES.index("sky")
    by_range = _count_groups(before, after, truth, bin_of_step[truth], RANGES)
    by_surface = {} if surface is None else _count_groups(before, after, truth, surface, SURFACES)
    return TruthComparison(reduce(add, by_range.values()), by_surface, by_range)


def compare_with_sweep(before: NDArray[np.uint16], after: NDArray[np.uint16], single: NDArray[np.uint16]) -> BeforeAfter:
    """Count disagreement with the single sweep at the pixels that it measured; a proxy where the truth is not known.

    The lidar and the camera stand in different places and the window sees other moments, so a return behind or in front of
    the single sweep's is not necessarily wrong, and errors outside the sweep's pixels are not seen.

    Args:
        before: map before (accumulated), uint16 steps of 1/256 m, 0 = no measurement; any shape.
        after: map after (clean), same shape.
        single: map of the key sweep alone, same shape.
    """
    seen = single > 0
    return compare_with_truth(before[seen], after[seen], single[seen]).total


def _count_groups(
    before: NDArray[np.uint16],
    after: NDArray[np.uint16],
    truth: NDArray[np.uint16],
    group: NDArray[np.uint8],
    names: tuple[str, ...],
) -> dict[str, BeforeAfter]:
    num_pixels = np.bincount(group.ravel(), minlength=len(names))
    seen = (before > 0) | (after > 0)
    old, new, true, of = before[seen], after[seen], truth[seen], group[seen]
    was_gross, was_good = is_gross(old, true), (old > 0) & ~is_gross(old, true)
    old_errors, new_errors = _map_errors(old, true, of, num_pixels), _map_errors(new, true, of, num_pixels)
    good_lost = np.bincount(of[was_good & (new == 0)], minlength=len(names))
    gross_removed = np.bincount(of[was_gross & (new == 0)], minlength=len(names))
    return {
        name: BeforeAfter(old_errors[k], new_errors[k], int(good_lost[k]), int(gross_removed[k])) for k, name in enumerate(names)
    }


def _map_errors(
    steps: NDArray[np.uint16], truth: NDArray[np.uint16], group: NDArray[np.uint8], num_pixels: NDArray[np.int64]
) -> list[MapErrors]:
    size = len(num_pixels)
    num_measured = np.bincount(group[steps > 0], minlength=size)
    gross = is_gross(steps, truth)
    num_gross = np.bincount(group[gross], minlength=size)
    num_near = np.bincount(group[gross & ((steps < truth) | (truth == 0))], minlength=size)
    has_error = (steps > 0) & (truth > 0)
    error = np.abs(steps[has_error].astype(np.int64) - truth[has_error])
    counts = np.bincount(group[has_error] * np.int64(_NUM_STEPS) + error, minlength=size * _NUM_STEPS).reshape(size, _NUM_STEPS)
    return [
        MapErrors(int(num_pixels[k]), int(num_measured[k]), int(num_gross[k]), int(num_near[k]), counts[k]) for k in range(size)
    ]


def _median_of_counts(counts: NDArray[np.int64]) -> float:
    """Return the median of the values 0, 1, 2, ... that occur ``counts`` times, like NumPy; NaN without any."""
    below = np.cumsum(counts)
    total = int(below[-1])
    if not total:
        return math.nan
    middle = np.searchsorted(below, [(total - 1) // 2, total // 2], side="right")
    return float(middle.mean())


def _share(part: int, whole: int) -> float:
    return part / whole if whole else math.nan


def _add(left: dict[str, BeforeAfter], right: dict[str, BeforeAfter]) -> dict[str, BeforeAfter]:
    return {name: left[name] + right[name] for name in left if name in right}
