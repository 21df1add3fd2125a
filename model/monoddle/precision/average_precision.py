"""KITTI's average precision of detections: in the image, from above, in space, and with the direction.

Why    The numbers every paper on monocular detection reports, with exact overlaps: public Python evaluators give exact boxes
       about 0 (``box_overlap.py``). All frames are gone through at once: 3,769 frames in about a second
       (benchmarks/average_precision.py).
Source the KITTI object benchmark, arXiv 1905.12365 for R40; docs/method/monoddle.md#average-precision, #devkit-and-ports,
       #golden-cases. Where the C++ devkit and its Python ports differ this is the devkit as it is today. Older copies of it count
       an object of exactly the least height (``DEVKIT_DIFFICULTIES``), which today's devkit and the ports pass over
Order  The devkit takes the detections of a frame in the order of the file where overlaps are equal, or where several detections
       that are too low compete. Here they are taken by falling score, so that only equal scores leave anything to the order.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.data.objects import Objects
from model.monoddle.precision.box_overlap import Floats
from model.monoddle.precision.matching import count_matches, count_scores, recall_thresholds, scores_of_hits
from model.monoddle.precision.overlap_pairs import AveragePrecisionError, Integers, World, is_of, joined_world

STRICT_OVERLAP = {"Car": 0.7, "Pedestrian": 0.5, "Cyclist": 0.5}
"""An overlap must be larger than this; 2D and AOS know only this table."""

LOOSE_OVERLAP = {"Car": 0.5, "Pedestrian": 0.25, "Cyclist": 0.25}
"""The second table of BEV and 3D."""

NEIGHBOUR = {"Car": "Van", "Pedestrian": "Person_sitting"}
"""What may be taken for the category without being right or wrong."""

NUM_STEPS = 40
"""Precision is read at 41 recalls, 0 to 1."""

NO_ANGLE_RAD = -10.0
"""KITTI's "not said"."""

PRECISION_TABLES = (("3d", "strict"), ("bev", "strict"), ("3d", "loose"), ("bev", "loose"), ("2d", "strict"), ("aos", "strict"))
"""Metric and table of the rows of a category, in their order."""


def split_measured(categories: Iterable[str]) -> tuple[list[str], list[str]]:
    """Return the categories that have a least overlap, and the others, which cannot be measured."""
    named = list(categories)
    return [name for name in named if name in STRICT_OVERLAP], [name for name in named if name not in STRICT_OVERLAP]


def not_measured_text(categories: Sequence[str]) -> str:
    """Say which categories have no average precision, and why."""
    return f"Not measured: {', '.join(categories)}. KITTI defines least overlaps of {', '.join(STRICT_OVERLAP)} only."


class Difficulty(NamedTuple):
    """Which objects count; what is lower, more hidden or more cut off is passed over, and so are lower detections.

    Attributes:
        name: of the column.
        min_height_px: least height of the image box.
        max_occlusion: 0 visible, 1 partly, 2 largely hidden.
        max_truncation: largest share outside the image, 0 to 1.
        counts_min_height: whether an object of exactly the least height counts; a detection of that height always does.
    """

    name: str
    min_height_px: float
    max_occlusion: int
    max_truncation: float
    counts_min_height: bool = False


KITTI_DIFFICULTIES = (Difficulty("easy", 40.0, 0, 0.15), Difficulty("moderate", 25.0, 1, 0.30), Difficulty("hard", 25.0, 2, 0.50))
"""As today's C++ devkit and the public Python evaluators. For images 370 to 376 pixels high: scale them for others."""

DEVKIT_DIFFICULTIES = tuple(difficulty._replace(counts_min_height=True) for difficulty in KITTI_DIFFICULTIES)
"""As older copies of the C++ devkit, which count an object of exactly the least height; for comparisons with their figures."""


class ApRow(NamedTuple):
    """One average precision.

    Attributes:
        category: what was looked for.
        metric: 2d, bev, 3d, or aos: 2d, each hit counting (1 + cos of the error of alpha) / 2.
        overlap: strict or loose.
        min_overlap: the number behind it.
        difficulty: name of the difficulty.
        r40: percent, mean precision at recall 1/40, 2/40, ... 1. With N objects at most 2.5 (N - 1): less than 100 below 41.
        r11: percent, at recall 0, 0.1, ... 1.
        num_truth: objects of this category that count at this difficulty.
        num_found: detections of this category that are high enough for it.
    """

    category: str
    metric: str
    overlap: str
    min_overlap: float
    difficulty: str
    r40: float
    r11: float
    num_truth: int
    num_found: int


class MatchEntry(NamedTuple):
    """What one row of the table looks at, as the kernels of ``matching`` take it; see there for shapes and codes."""

    first_pair: Integers
    pair_found: Integers
    overlap: Floats
    similarity: Floats
    truth_code: Integers
    found_code: Integers
    score: Floats
    is_excused: NDArray[np.bool_]


def average_precision(
    truth: Sequence[Objects],
    detections: Sequence[Objects],
    *,
    classes: Sequence[str] = ("Car", "Pedestrian", "Cyclist"),
    difficulties: Sequence[Difficulty] = KITTI_DIFFICULTIES,
) -> list[ApRow]:
    """Measure the detections of all frames together.

    Args:
        truth: the annotated objects of each frame, DontCare and other categories included; they decide what is passed over.
        detections: the detections of the same frames in the same order; a frame may have none. Of a detection, truncation and
            occlusion are not looked at, and one without a place in space (sizes of -1) is only ever right in the image.
        classes: of Car, Pedestrian and Cyclist, whose least overlaps KITTI defines. In ``truth`` and ``detections`` upper and
            lower case are one, as in the devkit.
        difficulties: which objects count.

    Returns:
        A row for each category, metric and table (3D strict, BEV strict, 3D loose, BEV loose, 2D, AOS) and difficulty, in this
        order. Where no object counts both values are 0. There is no AOS of a category if an annotation or a detection of it
        does not say its alpha (-10).

    Raises:
        AveragePrecisionError: the numbers of frames differ, a number is not finite, a category is none of the three.
    """
    for category in classes:
        _check_category(category)
    return precision_rows(joined_world(truth, detections), classes=classes, difficulties=difficulties)


def precision_rows(
    world: World,
    *,
    classes: Sequence[str],
    difficulties: Sequence[Difficulty],
    tables: Sequence[tuple[str, str]] = PRECISION_TABLES,
) -> list[ApRow]:
    """Return the rows of ``average_precision``, or of some of its metrics and tables, for frames that are joined already."""
    rows = []
    for category in classes:
        codes = [_codes(world, category, difficulty) for difficulty in difficulties]
        has_angles = not any(
            np.any(objects.alpha_rad[is_of(objects, category)] == NO_ANGLE_RAD) for objects in (world.truth, world.detections)
        )
        for metric, overlap in tables:
            if metric == "aos" and not has_angles:
                continue
            for difficulty, of_difficulty in zip(difficulties, codes, strict=True):
                entry = _entry(world, category, metric, overlap, of_difficulty)
                rows.append(_measured(entry, category, metric, overlap, difficulty).row)
    return rows


class Group(NamedTuple):
    """Some of the objects, which are measured alone; which detection goes with which object does not depend on it.

    Attributes:
        is_counted: (t,) bool; an object that is not is passed over, and so is what is matched with it.
        is_judged: (d,) bool; a detection that is not is no false alarm.
    """

    is_counted: NDArray[np.bool_]
    is_judged: NDArray[np.bool_]


class MeasuredRow(NamedTuple):
    """One row, and how many of its objects are found when every detection counts."""

    row: ApRow
    num_hits: int


def measured_groups(
    world: World,
    groups: Sequence[Group],
    *,
    category: str,
    difficulty: Difficulty,
    tables: Sequence[tuple[str, str]] = PRECISION_TABLES,
) -> list[list[MeasuredRow]]:
    """Measure groups of the objects by the matching of all of them: for each metric and table, a row for each group."""
    codes, rows = _codes(world, category, difficulty), list[list[MeasuredRow]]()
    for metric, overlap in tables:
        every = _entry(world, category, metric, overlap, codes)
        rows.append([])
        for group in groups:
            entry = every._replace(
                truth_code=np.where((every.truth_code == 0) & ~group.is_counted, 1, every.truth_code),
                is_excused=every.is_excused | ~group.is_judged,
            )
            measured = _measured(entry, category, metric, overlap, difficulty)
            num_found = int(np.count_nonzero((every.found_code == 0) & group.is_judged))
            rows[-1].append(measured._replace(row=measured.row._replace(num_found=num_found)))
    return rows


def counts_at(truth: Objects, category: str, difficulty: Difficulty) -> NDArray[np.bool_]:
    """Return (t,) which objects count, as the rows of a category have them at a difficulty."""
    is_counted: NDArray[np.bool_] = _truth_codes(truth, category, difficulty) == 0
    return is_counted


def _measured(entry: MatchEntry, category: str, metric: str, overlap: str, difficulty: Difficulty) -> MeasuredRow:
    num_truth = int(np.count_nonzero(entry.truth_code == 0))
    falling = np.sort(scores_of_hits(entry.first_pair, entry.pair_found, entry.truth_code, entry.found_code, entry.score))[::-1]
    hits, alarms, similarity = _counts(entry, recall_thresholds(falling, num_truth, NUM_STEPS))
    r40, r11 = precision_means(similarity if metric == "aos" else hits, hits + alarms)
    num_found, min_overlap = int(np.count_nonzero(entry.found_code == 0)), least_overlap(category, overlap)
    row = ApRow(category, metric, overlap, min_overlap, difficulty.name, r40, r11, num_truth, num_found)
    return MeasuredRow(row, len(falling))


def _counts(entry: MatchEntry, thresholds: Floats) -> tuple[Integers, Integers, Floats]:
    """Return what ``count_matches`` does; the detections that share enough with no object are counted all at once."""
    is_paired, num_pairs = np.zeros(len(entry.score), bool), np.diff(entry.first_pair)
    is_paired[entry.pair_found] = True
    alone = count_scores(entry.score, (entry.found_code == 0) & ~is_paired & ~entry.is_excused, thresholds)
    some = entry._replace(
        first_pair=np.concatenate([[0], np.cumsum(num_pairs[num_pairs > 0])]),
        pair_found=(np.cumsum(is_paired) - 1)[entry.pair_found],
        truth_code=entry.truth_code[num_pairs > 0],
        found_code=entry.found_code[is_paired],
        score=entry.score[is_paired],
        is_excused=entry.is_excused[is_paired],
    )
    hits, alarms, similarity = count_matches(*some, thresholds)
    return hits, alarms + alone, similarity


def least_overlap(category: str, overlap: str) -> float:
    """Return what an overlap must be larger than: of the strict or the loose table."""
    return (STRICT_OVERLAP if overlap == "strict" else LOOSE_OVERLAP)[category]


def _codes(world: World, category: str, difficulty: Difficulty) -> tuple[Integers, Integers]:
    """Return what objects (t,) and detections (d,) are in the rows of a category at a difficulty."""
    return _truth_codes(world.truth, category, difficulty), _found_codes(world.detections, category, difficulty)


def _entry(world: World, category: str, metric: str, overlap: str, codes: tuple[Integers, Integers]) -> MatchEntry:
    min_overlap, pair_overlap = least_overlap(category, overlap), world.overlap["2d" if metric == "aos" else metric]
    chosen = np.flatnonzero(pair_overlap > min_overlap)
    return MatchEntry(
        first_pair=np.searchsorted(world.pair_truth[chosen], np.arange(len(world.truth) + 1)),
        pair_found=world.pair_found[chosen],
        overlap=pair_overlap[chosen],
        similarity=world.similarity[chosen],
        truth_code=codes[0],
        found_code=codes[1],
        score=world.detections.score,
        # KITTI's areas have no place in space: they excuse in the image only
        is_excused=(world.own_share > min_overlap) & (metric in ("2d", "aos")),
    )


def frame_entries(
    truth: Sequence[Objects],
    detections: Sequence[Objects],
    *,
    category: str,
    metric: str,
    overlap: str,
    difficulty: Difficulty,
) -> Iterator[MatchEntry]:
    """Yield what one row of the table looks at, frame by frame; arguments and errors as those of ``average_precision``."""
    _check_category(category)
    world = joined_world(truth, detections)
    every = _entry(world, category, metric, overlap, _codes(world, category, difficulty))
    first_truth, first_found = (
        np.searchsorted(frame_of, np.arange(len(truth) + 1)) for frame_of in (world.truth_frame, world.found_frame)
    )
    for number in range(len(truth)):
        own, others = (slice(first[number], first[number + 1]) for first in (first_truth, first_found))
        pairs = slice(every.first_pair[own.start], every.first_pair[own.stop])
        yield MatchEntry(
            first_pair=every.first_pair[own.start : own.stop + 1] - pairs.start,
            pair_found=every.pair_found[pairs] - others.start,
            overlap=every.overlap[pairs],
            similarity=every.similarity[pairs],
            truth_code=every.truth_code[own],
            found_code=every.found_code[others],
            score=every.score[others],
            is_excused=every.is_excused[others],
        )


def entries_of_frame(
    truth: Objects, detections: Objects, *, rows: Sequence[tuple[str, str, str]], difficulty: Difficulty
) -> list[MatchEntry]:
    """Return what rows of the table, each of a category, a metric and an overlap, look at in one frame.

    Raises:
        AveragePrecisionError: a number is not finite, a category has no least overlap.
    """
    for category, _, _ in rows:
        _check_category(category)
    world = joined_world([truth], [detections])
    return [_entry(world, category, metric, overlap, _codes(world, category, difficulty)) for category, metric, overlap in rows]


def precision_means(right: NDArray[np.int64] | Floats, counted: Integers) -> tuple[float, float]:
    """Return R40 and R11 in percent from what is right and what counts at each threshold; recalls not reached give 0."""
    precision = np.zeros(NUM_STEPS + 1)
    reached = np.divide(right, counted, out=np.zeros(len(counted)), where=counted > 0)
    precision[: len(counted)] = np.maximum.accumulate(reached[::-1])[::-1]
    return 100.0 * float(precision[1:].mean()), 100.0 * float(precision[:: NUM_STEPS // 10].mean())


def _truth_codes(truth: Objects, category: str, difficulty: Difficulty) -> Integers:
    """Return (t,) 0 counts, 1 passed over, -1 another category."""
    height_px, least_px = truth.box_px[:, 3] - truth.box_px[:, 1], difficulty.min_height_px
    is_hard = (
        (height_px < least_px if difficulty.counts_min_height else height_px <= least_px)
        | (truth.occlusion > difficulty.max_occlusion)
        | (truth.truncation > difficulty.max_truncation)
    )
    is_neighbour = is_of(truth, NEIGHBOUR[category]) if category in NEIGHBOUR else np.zeros(len(truth), bool)
    codes: Integers = np.where(is_of(truth, category), np.where(is_hard, 1, 0), np.where(is_neighbour, 1, -1))
    return codes


def _found_codes(detections: Objects, category: str, difficulty: Difficulty) -> Integers:
    """Return (d,) 1 too low, whatever its category; 0 counts; -1 another category."""
    is_low = np.abs(detections.box_px[:, 3] - detections.box_px[:, 1]) < difficulty.min_height_px
    codes: Integers = np.where(is_low, 1, np.where(is_of(detections, category), 0, -1))
    return codes


def _check_category(category: str) -> None:
    if category not in STRICT_OVERLAP:
        near = difflib.get_close_matches(category.capitalize(), STRICT_OVERLAP, n=1)
        raise AveragePrecisionError(
            f"no least overlap is defined for the category '{category}', expected of {', '.join(STRICT_OVERLAP)}"
            + (f"; did you mean {near[0]}?" if near else ". Leave it out of classes")
        )
