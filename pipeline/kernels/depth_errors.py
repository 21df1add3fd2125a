"""Count the errors of a depth map against a reference: exact depth, or returns of a sweep that was held out.

Why    "This supervision is cleaner" is a claim about errors; counts that can be added over frames make it one of a whole drive
Reads  depth maps (height, width) uint16 in steps of 1/256 m, 0 = no measurement; a reference of the same shape
Writes int64 counts for each group of pixels, in three readings: as they are, at boundaries, and by chance
Source docs/method/pipeline.md#measuring-supervision

Everything is counted in integers, so sums over frames are exact and do not depend on their order. ``count_errors`` is one pass
over the pixels; ``count_errors_twin`` is the readable version that tests compare with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Self

import numpy as np
from numba import njit
from numpy.typing import NDArray

from storage_schemas.encoding import STEPS_PER_M

GROSS_M, GROSS_PERCENT = 10, 10
"""A pixel is grossly wrong where its error exceeds both: metres, and per cent of the reference."""

BAD_PERCENT = 3
"""A pixel that is not grossly wrong is bad where its error exceeds half a metre and this, per cent of the reference."""

BAD_STEPS = STEPS_PER_M // 2
"""Half a metre in steps."""

CONTINUOUS_PERCENT = 10
"""Two neighbours of the truth are of one surface where they differ by at most so many per cent of the nearer one."""

SKY_STEPS = 1000 * STEPS_PER_M
"""The depth that the sky counts as where an error at a boundary is measured."""

CHANCE_COLUMNS = 15
"""How far the truth is moved aside for the chance level of boundary ambiguity, pixels."""

READINGS = ("plain", "boundary", "chance")
"""plain: against the pixel's own reference. boundary: against the nearest of its 3x3 neighbourhood. chance: against its own, or
the nearest of a neighbourhood ``CHANCE_COLUMNS`` aside, which has nothing to do with the pixel."""

NO_GROUP = 255
"""Label of pixels that belong to no group."""


@dataclass(frozen=True)
class ErrorCounts:
    """Counts over some pixels of some frames; all are whole numbers, so that adding is exact.

    Attributes:
        pixels: pixels looked at, measured or not.
        measured: of these, with a measurement.
        compared: of these, with a reference: a depth, or the sky where the sky is known.
        near: compared pixels that are grossly too near; those in front of the sky are among them.
        far: compared pixels that are grossly too far.
        bad_near: of the other compared pixels, those that are bad and too near.
        bad_far: of the other compared pixels, those that are bad and too far.
        abs_steps: sum of the absolute errors of the other compared pixels, steps of 1/256 m.
        signed_steps: sum of their errors, map minus reference: negative = too near.
    """

    pixels: int = 0
    measured: int = 0
    compared: int = 0
    near: int = 0
    far: int = 0
    bad_near: int = 0
    bad_far: int = 0
    abs_steps: int = 0
    signed_steps: int = 0

    def __add__(self, other: Self) -> Self:
        """Return the counts over both sets of pixels."""
        return type(self)(*(getattr(self, name) + getattr(other, name) for name in COUNT_NAMES))

    @property
    def others(self) -> int:
        """Compared pixels that are not grossly wrong."""
        return self.compared - self.near - self.far

    @property
    def coverage(self) -> float:
        """Share of the pixels that is measured; NaN without pixels, as all shares here."""
        return _share(self.measured, self.pixels)

    @property
    def near_share(self) -> float:
        """Share of the compared pixels that is grossly too near."""
        return _share(self.near, self.compared)

    @property
    def far_share(self) -> float:
        """Share of the compared pixels that is grossly too far."""
        return _share(self.far, self.compared)

    @property
    def gross_share(self) -> float:
        """Share of the compared pixels that is grossly wrong."""
        return _share(self.near + self.far, self.compared)

    @property
    def bad_share(self) -> float:
        """Share of the others that is bad."""
        return _share(self.bad_near + self.bad_far, self.others)

    @property
    def bad_near_share(self) -> float:
        """Share of the others that is bad and too near."""
        return _share(self.bad_near, self.others)

    @property
    def bad_far_share(self) -> float:
        """Share of the others that is bad and too far."""
        return _share(self.bad_far, self.others)

    @property
    def good_share(self) -> float:
        """Share of the compared pixels that is neither grossly wrong nor bad."""
        return _share(self.others - self.bad_near - self.bad_far, self.compared)

    @property
    def mae_m(self) -> float:
        """Mean absolute error of the others, metres."""
        return _share(self.abs_steps, self.others * STEPS_PER_M)

    @property
    def signed_m(self) -> float:
        """Mean error of the others, metres; negative = too near."""
        return _share(self.signed_steps, self.others * STEPS_PER_M)


COUNT_NAMES = tuple(field.name for field in fields(ErrorCounts))


@dataclass(frozen=True)
class ErrorReadings:
    """The same pixels in the three readings of ``READINGS``."""

    plain: ErrorCounts = ErrorCounts()
    boundary: ErrorCounts = ErrorCounts()
    chance: ErrorCounts = ErrorCounts()

    def __add__(self, other: Self) -> Self:
        """Return the counts over both sets of pixels."""
        return type(self)(*(getattr(self, name) + getattr(other, name) for name in READINGS))

    @property
    def gross_ambiguous(self) -> float:
        """Share of the gross errors that a neighbour of the pixel explains; NaN without any."""
        return _explained(self.plain.near + self.plain.far, self.boundary.near + self.boundary.far)

    @property
    def gross_by_chance(self) -> float:
        """Share of the gross errors that a place with nothing to do with the pixel explains as well."""
        return _explained(self.plain.near + self.plain.far, self.chance.near + self.chance.far)

    @property
    def bad_ambiguous(self) -> float:
        """Share of the bad pixels that a neighbour of the pixel explains; NaN without any."""
        return _explained(self.plain.bad_near + self.plain.bad_far, self.boundary.bad_near + self.boundary.bad_far)

    @property
    def bad_by_chance(self) -> float:
        """Share of the bad pixels that a place with nothing to do with the pixel explains as well."""
        return _explained(self.plain.bad_near + self.plain.bad_far, self.chance.bad_near + self.chance.bad_far)


Groups = dict[tuple[str, str], ErrorReadings]
"""Counts by grouping and group, for example ``("range", "0-20 m")``; ``("all", "all")`` is every pixel."""


def add_groups(left: Mapping[tuple[str, str], ErrorReadings], right: Mapping[tuple[str, str], ErrorReadings]) -> Groups:
    """Return the sums of two sets of groups; a group that only one of them has is taken over."""
    return dict(left) | {key: left[key] + counts if key in left else counts for key, counts in right.items()}


@dataclass(frozen=True)
class Labels:
    """Which group each pixel belongs to.

    Attributes:
        grouping: name of the grouping, e.g. ``range``.
        names: names of the groups.
        label: (height, width) uint8 number of each pixel's group, ``NO_GROUP`` for none.
    """

    grouping: str
    names: tuple[str, ...]
    label: NDArray[np.uint8]


def measure_map(
    steps: NDArray[np.uint16], reference: NDArray[np.uint16], labels: Sequence[Labels] = (), *, zero_is_sky: bool
) -> Groups:
    """Count the errors of one depth map, in total and by groups; groups without a pixel are left out.

    Args:
        steps: (height, width) uint16 depth map, steps of 1/256 m, 0 = no measurement.
        reference: same shape; 0 = sky, or no reference.
        labels: groupings.
        zero_is_sky: what 0 in the reference means. Exact depth: the sky. Held-out returns: nothing is known.

    Raises:
        ValueError: the shapes differ.
    """
    every = Labels("all", ("all",), np.zeros(steps.shape, np.uint8))
    groupings = [every, *labels]
    shapes = [reference.shape, *(one.label.shape for one in labels)]
    if wrong := [shape for shape in shapes if shape != steps.shape]:
        raise ValueError(f"maps of one frame must have one shape, got {steps.shape} and {wrong[0]}")
    counts = np.zeros((len(READINGS), len(groupings), NO_GROUP + 1, len(COUNT_NAMES)), np.int64)
    stacked = np.stack([one.label for one in groupings])
    count_errors(np.ascontiguousarray(steps), np.ascontiguousarray(reference), stacked, zero_is_sky, counts)
    for k, one in enumerate(groupings):
        counts[0, k, :, 0] = np.bincount(one.label.ravel(), minlength=NO_GROUP + 1)
    counts[1:, :, :, :2] = counts[0, :, :, :2]
    return {
        (one.grouping, name): ErrorReadings(*(ErrorCounts(*counts[reading, k, n].tolist()) for reading in range(len(READINGS))))
        for k, one in enumerate(groupings)
        for n, name in enumerate(one.names)
        if counts[0, k, n, 0]
    }


@njit(cache=True, error_model="numpy")
def count_errors(steps, reference, labels, zero_is_sky, counts):  # type: ignore[no-untyped-def]  # numba reads no annotations
    """Add the errors of one map to counts; ``pixels`` is left to the caller, and ``measured`` is counted in the first reading.

    Args:
        steps: (height, width) uint16 depth map, 0 = no measurement.
        reference: (height, width) uint16, 0 = sky or none.
        labels: (groupings, height, width) uint8.
        zero_is_sky: what 0 in the reference means.
        counts: (readings, groupings, 256, len(COUNT_NAMES)) int64; is added to.
    """
    height, width = steps.shape
    num_groupings = labels.shape[0]
    for y in range(height):
        for x in range(width):
            d, t = np.int64(steps[y, x]), np.int64(reference[y, x])
            if d == 0:
                continue
            if t == 0 and not zero_is_sky:
                for k in range(num_groupings):
                    counts[0, k, labels[k, y, x], 1] += 1
                continue
            t = t if t > 0 else np.int64(SKY_STEPS)
            error, kind = d - t, _kind_of(d - t, t)
            chance, kind_chance = error, kind
            if kind:  # what is right stays right
                aside = x + CHANCE_COLUMNS if x + CHANCE_COLUMNS < width else x - CHANCE_COLUMNS
                if aside >= 0:
                    chance, near_t = _nearest_of(d, t, reference, y, aside, zero_is_sky)
                    kind_chance = _kind_of(chance, near_t)
            boundary, near_t = _nearest_of(d, t, reference, y, x, zero_is_sky)
            kind_boundary = _kind_of(boundary, near_t)
            for k in range(num_groupings):
                group = labels[k, y, x]
                counts[0, k, group, 1] += 1
                _add(counts[0, k, group], error, kind)
                _add(counts[1, k, group], boundary, kind_boundary)
                _add(counts[2, k, group], chance, kind_chance)


@njit(cache=True, error_model="numpy", inline="always")
def _kind_of(error, t):  # type: ignore[no-untyped-def]
    """Return 0 for right, 1 for bad, 2 for grossly wrong."""
    size = abs(error)
    if size > GROSS_M * STEPS_PER_M and 100 * size > GROSS_PERCENT * t:
        return 2
    return 1 if size > BAD_STEPS and 100 * size > BAD_PERCENT * t else 0


@njit(cache=True, error_model="numpy")
def _nearest_of(d, t, reference, y, x, zero_is_sky):  # type: ignore[no-untyped-def]
    """Return the smallest error of a depth against the pixel's reference t and a 3x3 neighbourhood, and its reference.

    The error is 0 where the depth lies between the centre of the neighbourhood and a neighbour that is continuous with it.
    """
    height, width = reference.shape
    nearest, its = d - t, t
    center = np.int64(reference[y, x])
    for row in range(max(0, y - 1), min(height, y + 2)):
        for column in range(max(0, x - 1), min(width, x + 2)):
            value = np.int64(reference[row, column])
            if value == 0:
                if not zero_is_sky:
                    continue
                value = np.int64(SKY_STEPS)
            elif center > 0:
                low, high = min(center, value), max(center, value)
                if low <= d <= high and 100 * (high - low) <= CONTINUOUS_PERCENT * low:
                    return np.int64(0), d
            if abs(d - value) < abs(nearest):
                nearest, its = d - value, value
    return nearest, its


@njit(cache=True, error_model="numpy", inline="always")
def _add(row, error, kind):  # type: ignore[no-untyped-def]
    """Add one compared pixel to a row of counts, in the order of COUNT_NAMES."""
    row[2] += 1
    if kind == 2:
        row[3 if error < 0 else 4] += 1
        return
    if kind == 1:
        row[5 if error < 0 else 6] += 1
    row[7] += abs(error)
    row[8] += error


def count_errors_twin(steps: NDArray[np.uint16], reference: NDArray[np.uint16], *, zero_is_sky: bool) -> ErrorReadings:
    """Readable twin of ``measure_map`` without groups: whole arrays in NumPy, (height, width) uint16 each."""
    d = steps.astype(np.int64)
    known = (reference > 0) | zero_is_sky
    t = np.where(reference > 0, reference, SKY_STEPS).astype(np.int64)
    compared = (d > 0) & known
    plain, plain_t = d - t, t
    boundary, boundary_t = _nearest_twin(d, t, known, reference, aside=np.arange(steps.shape[1]))
    columns = np.arange(steps.shape[1])
    aside = np.where(columns + CHANCE_COLUMNS < steps.shape[1], columns + CHANCE_COLUMNS, columns - CHANCE_COLUMNS)
    chance, chance_t = _nearest_twin(d, t, known, reference, aside=np.maximum(aside, 0))
    is_right = (np.abs(plain) <= BAD_STEPS) | (100 * np.abs(plain) <= BAD_PERCENT * t)
    keep = is_right | (aside < 0)[None, :]
    chance, chance_t = np.where(keep, plain, chance), np.where(keep, t, chance_t)
    return ErrorReadings(
        *(_counts_twin(d, compared, error, of) for error, of in ((plain, plain_t), (boundary, boundary_t), (chance, chance_t)))
    )


def _nearest_twin(
    d: NDArray[np.int64],
    t: NDArray[np.int64],
    known: NDArray[np.bool_],
    reference: NDArray[np.uint16],
    *,
    aside: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    padded_t, padded_known = np.pad(t, 1), np.pad(known, 1)  # padding is not known
    is_depth = np.pad(reference > 0, 1)
    best, best_t = d - t, t.copy()
    is_between = np.zeros(d.shape, bool)
    rows, centers = np.arange(d.shape[0])[:, None] + 1, aside[None, :] + 1
    center, center_is_depth = padded_t[rows, centers], is_depth[rows, centers]
    for row in (-1, 0, 1):
        for column in (-1, 0, 1):
            value, valid = padded_t[rows + row, centers + column], padded_known[rows + row, centers + column]
            low, high = np.minimum(center, value), np.maximum(center, value)
            both = center_is_depth & is_depth[rows + row, centers + column]
            is_between |= both & (low <= d) & (d <= high) & (100 * (high - low) <= CONTINUOUS_PERCENT * low)
            nearer = valid & (np.abs(d - value) < np.abs(best))
            best, best_t = np.where(nearer, d - value, best), np.where(nearer, value, best_t)
    return np.where(is_between, 0, best), np.where(is_between, d, best_t)


def _counts_twin(
    d: NDArray[np.int64], compared: NDArray[np.bool_], error: NDArray[np.int64], t: NDArray[np.int64]
) -> ErrorCounts:
    size = np.abs(error)
    gross = compared & (size > GROSS_M * STEPS_PER_M) & (100 * size > GROSS_PERCENT * t)
    others = compared & ~gross
    bad = others & (size > BAD_STEPS) & (100 * size > BAD_PERCENT * t)
    return ErrorCounts(
        pixels=d.size,
        measured=np.count_nonzero(d),
        compared=np.count_nonzero(compared),
        near=np.count_nonzero(gross & (error < 0)),
        far=np.count_nonzero(gross & (error > 0)),
        bad_near=np.count_nonzero(bad & (error < 0)),
        bad_far=np.count_nonzero(bad & (error > 0)),
        abs_steps=int(size[others].sum()),
        signed_steps=int(error[others].sum()),
    )


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")


def _explained(before: int, after: int) -> float:
    return 1.0 - after / before if before else float("nan")
