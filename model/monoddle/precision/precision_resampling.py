"""The interval of the difference of two average precisions, by drawing whole scenes.

Why    Average precision is one number of all frames together: no mean over frames, so a difference per frame does not exist.
       But which detection takes which object is decided frame by frame. So a frame is taken apart once, into what the count of
       hits and alarms changes by at each score. A draw of scenes is then a weighted sum of these changes, and exact: the very
       average precision of the drawn frames, repetitions counted (benchmarks/precision_interval.py).
How    As many scenes as there are are drawn with replacement, the same for both detectors, and both are measured on the draw.
       Quantiles of the differences as in ``model.train.paired_bootstrap``.
Source docs/method/monoddle.md#precision-interval
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.data.objects import Objects
from model.monoddle.precision.average_precision import NUM_STEPS, Difficulty, frame_entries, precision_means
from model.monoddle.precision.box_overlap import Floats
from model.monoddle.precision.matching import count_matches, recall_thresholds, scores_of_hits
from model.monoddle.precision.overlap_pairs import Integers
from model.train.paired_bootstrap import MIN_SCENES, SceneInterval, expanded_quantiles, scene_of


class PrecisionRow(NamedTuple):
    """Which average precision: names as in ``ApRow``, and the difficulty itself."""

    category: str
    metric: str
    overlap: str
    difficulty: Difficulty


class ScoreChanges(NamedTuple):
    """One detector on one set of frames, taken apart.

    Attributes:
        hit_score: (h,) float64 scores that thresholds are chosen from, falling.
        hit_scene: (h,) int64 the scene of each.
        score: (e,) float64 falling; from a threshold of this score down, the counts change.
        right: (e,) float64 by so many hits, of AOS by so much similarity.
        counted: (e,) int64 and by so many hits and alarms together.
        scene: (e,) int64 the scene of each change.
        num_truth: (s,) int64 objects that count, by scene.
    """

    hit_score: Floats
    hit_scene: Integers
    score: Floats
    right: Floats
    counted: Integers
    scene: Integers
    num_truth: Integers


def score_changes(
    truth: Sequence[Objects], detections: Sequence[Objects], scenes: Sequence[int], row: PrecisionRow
) -> ScoreChanges:
    """Take a detector's frames apart.

    Args:
        truth: the annotated objects of each frame.
        detections: the detections of the same frames.
        scenes: number of each frame's scene, 0 to s - 1.
        row: which average precision.

    Raises:
        AveragePrecisionError: as of ``average_precision``.
    """
    hits, changes = list[tuple[Floats, int]](), list[tuple[Floats, Floats, Integers, int]]()
    num_truth = np.zeros(max(scenes, default=-1) + 1, np.int64)
    entries = frame_entries(
        truth, detections, category=row.category, metric=row.metric, overlap=row.overlap, difficulty=row.difficulty
    )
    for scene, entry in zip(scenes, entries, strict=True):
        num_truth[scene] += np.count_nonzero(entry.truth_code == 0)
        thresholds = np.unique(entry.score[entry.found_code != -1])[::-1]
        if not len(thresholds):
            continue
        hits.append((scores_of_hits(*entry[:2], entry.truth_code, entry.found_code, entry.score), scene))
        right, alarms, similarity = count_matches(*entry, thresholds)
        counted = np.diff(right + alarms, prepend=0)
        right = np.diff(similarity if row.metric == "aos" else right.astype(np.float64), prepend=0.0)
        changes.append((thresholds, right, counted, scene))
    hit_score, hit_scene = _joined([score for score, _ in hits]), _repeated([(len(score), scene) for score, scene in hits])
    score, scene_of_change = _joined([one[0] for one in changes]), _repeated([(len(one[0]), one[3]) for one in changes])
    falling, order = np.argsort(-hit_score, kind="stable"), np.argsort(-score, kind="stable")
    return ScoreChanges(
        hit_score=hit_score[falling],
        hit_scene=hit_scene[falling],
        score=score[order],
        right=_joined([one[1] for one in changes])[order],
        counted=_joined([one[2] for one in changes]).astype(np.int64)[order],
        scene=scene_of_change[order],
        num_truth=num_truth,
    )


def drawn_precision(changes: ScoreChanges, times: NDArray[np.int64]) -> float:
    """Return AP_R40 in percent of a draw in which each scene comes so many times (s,); 0 where no object counts."""
    num_truth = int(times @ changes.num_truth)
    if not num_truth:
        return 0.0
    thresholds = recall_thresholds(np.repeat(changes.hit_score, times[changes.hit_scene]), num_truth, NUM_STEPS)
    reached = np.searchsorted(-changes.score, -thresholds, side="right")  # changes at scores of each threshold or more
    weights = times[changes.scene]
    right, counted = (np.concatenate([[0], np.cumsum(weights * part)])[reached] for part in (changes.right, changes.counted))
    return precision_means(right, counted)[0]


def precision_interval(
    a: ScoreChanges, b: ScoreChanges, *, num_resamples: int = 2000, seed: int | tuple[int, ...] = 0
) -> SceneInterval:
    """Return the interval of AP_R40 of b minus that of a, over new scenes.

    Args:
        a: one detector.
        b: another one on the same frames.
        num_resamples: of the bootstrap.
        seed: of the draws.

    Returns:
        In points of AP; no ends where fewer than ``MIN_SCENES`` scenes have an object that counts.
    """
    num_scenes, num_with_objects = len(a.num_truth), int(np.count_nonzero(a.num_truth))
    if num_with_objects < MIN_SCENES:
        return SceneInterval(None, None, num_with_objects)
    generator = np.random.default_rng(seed)
    differences = np.empty(num_resamples)
    for number in range(num_resamples):
        times = np.bincount(generator.integers(0, num_scenes, num_scenes), minlength=num_scenes)
        differences[number] = drawn_precision(b, times) - drawn_precision(a, times)
    low, high = expanded_quantiles(differences, num_with_objects)
    return SceneInterval(low, high, num_with_objects)


def scene_numbers(keys: Sequence[str]) -> list[int]:
    """Return the number of each frame key's scene; the keys' order changes no number."""
    numbers = {scene: number for number, scene in enumerate(sorted({scene_of(key) for key in keys}))}
    return [numbers[scene_of(key)] for key in keys]


def _joined(parts: Sequence[NDArray[np.generic]]) -> Floats:
    joined: Floats = np.concatenate([*parts, np.zeros(0)]).astype(np.float64)
    return joined


def _repeated(parts: Sequence[tuple[int, int]]) -> Integers:
    counts, scenes = np.array(parts, np.int64).reshape(-1, 2).T
    repeated: Integers = np.repeat(scenes, counts)
    return repeated
