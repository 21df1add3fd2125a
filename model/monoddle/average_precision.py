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
from dataclasses import fields, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.data.objects import Objects, join_objects
from model.monoddle.box_overlap import Floats, overlap_2d, overlap_3d, overlap_bev, own_share_2d, solid_boxes
from model.monoddle.matching import count_matches, recall_thresholds, scores_of_hits
from storage_schemas.errors import DepthmillError

Integers = NDArray[np.int64]

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

_TABLE = (("3d", "strict"), ("bev", "strict"), ("3d", "loose"), ("bev", "loose"), ("2d", "strict"), ("aos", "strict"))


def split_measured(categories: Iterable[str]) -> tuple[list[str], list[str]]:
    """Return the categories that have a least overlap, and the others, which cannot be measured."""
    named = list(categories)
    return [name for name in named if name in STRICT_OVERLAP], [name for name in named if name not in STRICT_OVERLAP]


def not_measured_text(categories: Sequence[str]) -> str:
    """Say which categories have no average precision, and why."""
    return f"Not measured: {', '.join(categories)}. KITTI defines least overlaps of {', '.join(STRICT_OVERLAP)} only."


class AveragePrecisionError(DepthmillError):
    """Annotations and detections that cannot be measured against each other."""


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


class _Frames(NamedTuple):
    """The objects of all frames in one list, categories in lower case."""

    objects: Objects
    num_objects: Integers  # (frames,)
    frame_of: Integers  # (n,)


class _World(NamedTuple):
    """All frames as one; pairs are those of one frame, in the order of the objects, then of the detections."""

    truth: Objects
    detections: Objects
    pair_truth: Integers
    pair_found: Integers
    overlap: dict[str, Floats]
    similarity: Floats
    own_share: Floats  # (d,) largest part of a detection in one area that is not to be judged


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
    if len(truth) != len(detections):
        raise AveragePrecisionError(
            f"annotations of {len(truth)} frames and detections of {len(detections)}, expected the same frames in the same "
            "order; give Objects.none() for a frame in which nothing was found"
        )
    for category in classes:
        _check_category(category)
    world = _world(_all_frames("truth", truth), _all_frames("found", detections))
    rows = []
    for category in classes:
        has_angles = not any(
            np.any(objects.alpha_rad[_is_of(objects, category)] == NO_ANGLE_RAD) for objects in (world.truth, world.detections)
        )
        for metric, overlap in _TABLE:
            if metric != "aos" or has_angles:
                rows += [_measure(world, category, metric, overlap, difficulty) for difficulty in difficulties]
    return rows


def _measure(world: _World, category: str, metric: str, overlap: str, difficulty: Difficulty) -> ApRow:
    """Return one row."""
    entry = _entry(world, category, metric, overlap, difficulty)
    num_truth = int(np.count_nonzero(entry.truth_code == 0))
    falling = np.sort(scores_of_hits(entry.first_pair, entry.pair_found, entry.truth_code, entry.found_code, entry.score))[::-1]
    hits, alarms, similarity = count_matches(*entry, recall_thresholds(falling, num_truth, NUM_STEPS))
    r40, r11 = precision_means(similarity if metric == "aos" else hits, hits + alarms)
    min_overlap, num_found = least_overlap(category, overlap), int(np.count_nonzero(entry.found_code == 0))
    return ApRow(category, metric, overlap, min_overlap, difficulty.name, r40, r11, num_truth, num_found)


def least_overlap(category: str, overlap: str) -> float:
    """Return what an overlap must be larger than: of the strict or the loose table."""
    return (STRICT_OVERLAP if overlap == "strict" else LOOSE_OVERLAP)[category]


def _entry(world: _World, category: str, metric: str, overlap: str, difficulty: Difficulty) -> MatchEntry:
    min_overlap, pair_overlap = least_overlap(category, overlap), world.overlap["2d" if metric == "aos" else metric]
    chosen = np.flatnonzero(pair_overlap > min_overlap)
    return MatchEntry(
        first_pair=np.searchsorted(world.pair_truth[chosen], np.arange(len(world.truth) + 1)),
        pair_found=world.pair_found[chosen],
        overlap=pair_overlap[chosen],
        similarity=world.similarity[chosen],
        truth_code=_truth_codes(world.truth, category, difficulty),
        found_code=_found_codes(world.detections, category, difficulty),
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
    frames, found = _all_frames("truth", truth), _all_frames("found", detections)
    every = _entry(_world(frames, found), category, metric, overlap, difficulty)
    first_truth, first_found = (np.concatenate([[0], np.cumsum(part.num_objects)]) for part in (frames, found))
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
    world = _world(_all_frames("truth", [truth]), _all_frames("found", [detections]))
    return [_entry(world, category, metric, overlap, difficulty) for category, metric, overlap in rows]


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
    is_neighbour = _is_of(truth, NEIGHBOUR[category]) if category in NEIGHBOUR else np.zeros(len(truth), bool)
    codes: Integers = np.where(_is_of(truth, category), np.where(is_hard, 1, 0), np.where(is_neighbour, 1, -1))
    return codes


def _found_codes(detections: Objects, category: str, difficulty: Difficulty) -> Integers:
    """Return (d,) 1 too low, whatever its category; 0 counts; -1 another category."""
    is_low = np.abs(detections.box_px[:, 3] - detections.box_px[:, 1]) < difficulty.min_height_px
    codes: Integers = np.where(is_low, 1, np.where(_is_of(detections, category), 0, -1))
    return codes


def _is_of(objects: Objects, category: str) -> NDArray[np.bool_]:
    is_of: NDArray[np.bool_] = objects.category == category.lower()
    return is_of


def _world(truth: _Frames, detections: _Frames) -> _World:
    """Put the detections of each frame in falling order, and compare its boxes."""
    all_truth, all_found = truth.objects, detections.objects[np.lexsort((-detections.objects.score, detections.frame_of))]
    pair_truth, pair_found = _pairs_of_one_frame(truth.num_objects, detections.num_objects)
    is_area = _is_of(all_truth, "DontCare")[pair_truth]
    own_share = np.zeros(len(all_found))
    areas, inside = pair_truth[is_area], pair_found[is_area]
    np.maximum.at(own_share, inside, own_share_2d(all_found.box_px[inside], all_truth.box_px[areas]))
    pair_truth, pair_found = pair_truth[~is_area], pair_found[~is_area]
    solid_truth, solid_found = solid_boxes(all_truth)[pair_truth], solid_boxes(all_found)[pair_found]
    overlap = {
        "2d": overlap_2d(all_truth.box_px[pair_truth], all_found.box_px[pair_found]),
        "bev": overlap_bev(solid_truth, solid_found),
        "3d": overlap_3d(solid_truth, solid_found),
    }
    similarity = (1.0 + np.cos(all_truth.alpha_rad[pair_truth] - all_found.alpha_rad[pair_found])) / 2.0
    return _World(all_truth, all_found, pair_truth, pair_found, overlap, similarity, own_share)


def _pairs_of_one_frame(num_truth: Integers, num_found: Integers) -> tuple[Integers, Integers]:
    """Return every pair of an object and a detection of one frame, as numbers among all objects and all detections."""
    partners = np.repeat(num_found, num_truth)  # of each object
    first_partner = np.repeat(np.cumsum(num_found) - num_found, num_truth)
    pair_truth = np.repeat(np.arange(len(partners)), partners)
    within = np.arange(len(pair_truth)) - np.repeat(np.cumsum(partners) - partners, partners)
    return pair_truth, first_partner[pair_truth] + within


def _all_frames(what: str, frames: Sequence[Objects]) -> _Frames:
    """Join frames of finite numbers."""
    num_objects = np.array([len(frame) for frame in frames], np.int64)
    objects = join_objects(list(frames))
    frame_of = np.repeat(np.arange(len(frames)), num_objects)
    _check_finite(what, objects, frame_of)
    lower = np.char.lower(objects.category) if len(objects) else objects.category
    return _Frames(replace(objects, category=lower), num_objects, frame_of)


def _check_category(category: str) -> None:
    if category not in STRICT_OVERLAP:
        near = difflib.get_close_matches(category.capitalize(), STRICT_OVERLAP, n=1)
        raise AveragePrecisionError(
            f"no least overlap is defined for the category '{category}', expected of {', '.join(STRICT_OVERLAP)}"
            + (f"; did you mean {near[0]}?" if near else ". Leave it out of classes")
        )


def _check_finite(what: str, objects: Objects, frame_of: Integers) -> None:
    for field in fields(Objects):
        values = getattr(objects, field.name)
        if field.name == "category" or np.isfinite(values).all():
            continue
        bad = int((~np.isfinite(values)).reshape(len(objects), -1).any(axis=1).argmax())
        frame = int(frame_of[bad])
        raise AveragePrecisionError(
            f"{what}: object {bad - int(np.searchsorted(frame_of, frame))} of frame {frame} ({objects.category[bad]}) has "
            f"{field.name} {values[bad]}, expected finite numbers. Leave it out, or correct what made it"
        )
