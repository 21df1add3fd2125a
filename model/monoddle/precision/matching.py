"""Which detection goes with which annotated object: the two passes of the KITTI benchmark, as numba kernels.

Why    The rules are greedy, object by object, and are gone through 42 times for every table entry, so they are loops; what a
       loop looks at is only the pairs of one frame that overlap enough, a list that numpy makes beforehand. No frame appears
       here: a detection is only ever paired with objects of its own frame.
Source docs/method/monoddle.md#average-precision, #devkit-and-ports: the C++ devkit where the two differ.
       ``average_precision_twin.py`` has the same rules as plain loops, frame by frame
Codes  0 counts; 1 is passed over, as what is matched with it is: neither right nor wrong; -1 is not there

The arguments are the same everywhere:
    first_pair (t + 1,) int64: the pairs of truth i are first_pair[i] to first_pair[i + 1]; in the order of the detections.
    pair_found (p,) int64: the detection of each pair.
    truth_code (t,), found_code (d,) int64.
    score (d,) float64.
"""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, error_model="numpy")
def scores_of_hits(first_pair, pair_found, truth_code, found_code, score):  # type: ignore[no-untyped-def]  # numba reads none
    """Return the scores of what is found when every detection counts, from which the thresholds are chosen.

    Each object takes the free detection with the highest score, the first of equal ones.

    Returns:
        (hits,) float64 in the order of the objects.
    """
    num_hits = 0
    hits = np.empty(len(truth_code), np.float64)
    is_taken = np.zeros(len(score), np.bool_)
    for i in range(len(truth_code)):
        if truth_code[i] == -1:
            continue
        best = -1
        for pair in range(first_pair[i], first_pair[i + 1]):
            j = pair_found[pair]
            if found_code[j] != -1 and not is_taken[j] and (best == -1 or score[j] > score[best]):
                best = j
        if best >= 0:
            is_taken[best] = True
            if truth_code[i] == 0 and found_code[best] == 0:
                hits[num_hits] = score[best]
                num_hits += 1
    return hits[:num_hits]


@njit(cache=True, error_model="numpy")
def recall_thresholds(falling, num_truth, num_steps):  # type: ignore[no-untyped-def]  # numba reads none
    """Return the scores, falling, at which the recall is nearest to 0, 1/num_steps, ... 1, as far as the recall reaches.

    ``falling`` (h,) float64: scores of hits in falling order; ``num_truth`` objects count.
    """
    num_kept = 0
    kept = np.empty(num_steps + 2, np.float64)
    wanted = 0.0
    for i in range(len(falling)):
        recall, next_recall = (i + 1) / num_truth, (i + 2) / num_truth
        if i + 1 < len(falling) and next_recall - wanted < wanted - recall:
            continue
        if num_kept == len(kept):
            break
        kept[num_kept] = falling[i]
        num_kept += 1
        wanted += 1.0 / num_steps
    return kept[:num_kept]


@njit(cache=True, error_model="numpy")
def count_scores(score, is_counted, falling):  # type: ignore[no-untyped-def]  # numba reads none
    """Return (n,) how many of the counted scores (d,) reach each of the thresholds ``falling`` (n,)."""
    first_reached = np.zeros(len(falling) + 1, np.int64)
    for j in range(len(score)):
        if is_counted[j]:
            low, high = 0, len(falling)
            while low < high:
                middle = (low + high) // 2
                if score[j] >= falling[middle]:
                    high = middle
                else:
                    low = middle + 1
            first_reached[low] += 1
    return np.cumsum(first_reached[: len(falling)])


@njit(cache=True, error_model="numpy")
def count_matches(  # type: ignore[no-untyped-def]  # numba reads none
    first_pair, pair_found, overlap, similarity, truth_code, found_code, score, is_excused, thresholds
):
    """Count hits and false alarms among the detections with a score of each threshold or more.

    Each object takes the free detection with the largest overlap, the first of equal ones; one with code 1 only if there is none
    with code 0. ``overlap`` (p,) and ``similarity`` (p,), how well the directions agree from 0 to 1, are of the pairs;
    ``is_excused`` (d,) bool: no false alarm if no object takes it, because it lies where nobody annotated; ``thresholds`` (n,).

    Returns:
        (n,) hits and false alarms, int64, and the sums of the hits' similarities, float64.
    """
    hits, alarms = np.zeros(len(thresholds), np.int64), np.zeros(len(thresholds), np.int64)
    similarities = np.zeros(len(thresholds), np.float64)
    taken_at = np.full(len(score), -1)
    for n in range(len(thresholds)):
        for i in range(len(truth_code)):
            if truth_code[i] == -1:
                continue
            best = -1
            for pair in range(first_pair[i], first_pair[i + 1]):
                j = pair_found[pair]
                if found_code[j] == -1 or taken_at[j] == n or score[j] < thresholds[n]:
                    continue
                is_better = best == -1
                if not is_better and found_code[j] == 0:
                    is_better = found_code[pair_found[best]] == 1 or overlap[pair] > overlap[best]
                if is_better:
                    best = pair
            if best >= 0:
                j = pair_found[best]
                taken_at[j] = n
                if truth_code[i] == 0 and found_code[j] == 0:
                    hits[n] += 1
                    similarities[n] += similarity[best]
        for j in range(len(score)):
            if found_code[j] == 0 and taken_at[j] != n and score[j] >= thresholds[n] and not is_excused[j]:
                alarms[n] += 1
    return hits, alarms, similarities
