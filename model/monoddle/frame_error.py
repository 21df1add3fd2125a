"""How wrong a detector is about one frame: what the worst frames of a split are chosen by.

Source  docs/method/monoddle.md#error-of-a-frame
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from model.data.objects import Objects
from model.monoddle.precision.average_precision import Difficulty, MatchEntry, entries_of_frame, least_overlap
from model.monoddle.precision.matching import count_matches


class FrameError(NamedTuple):
    """What is wrong about one frame.

    Attributes:
        num_missed: objects that count at the difficulty, and that no detection is right about.
        num_false: detections that are right about no object, and that do not lie where nobody annotated.
        depth_m: largest distance in depth between an object and what was found of it in the image; 0 if nothing was.
    """

    num_missed: int
    num_false: int
    depth_m: float

    @property
    def for_order(self) -> tuple[float, ...]:
        """Missed and false objects together; where two frames have equally many, the depth."""
        return (float(self.num_missed + self.num_false), self.depth_m)


class ErrorRule(NamedTuple):
    """When a detection is right.

    Attributes:
        classes: categories that are looked at; each has a least overlap.
        metric: 3d, bev or 2d.
        overlap: strict or loose.
        difficulty: which objects count.
    """

    classes: tuple[str, ...]
    metric: str
    overlap: str
    difficulty: Difficulty

    @property
    def words(self) -> str:
        """Say when a detection is right, e.g. "Car 3D@0.7, moderate"."""
        right = ", ".join(f"{name} {self.metric.upper()}@{least_overlap(name, self.table):g}" for name in self.classes)
        return f"{right}, {self.difficulty.name}"

    @property
    def table(self) -> str:
        """Which table of least overlaps is used; 2D has only the strict one."""
        return "strict" if self.metric == "2d" else self.overlap

    def error_of(self, truth: Objects, found: Objects) -> FrameError:
        """Compare the detections of one frame with its annotations, as the average precision does; every score counts.

        Raises:
            AveragePrecisionError: a number is not finite.
        """
        falling = found[np.argsort(-found.score, kind="stable")]
        num_missed, num_false, depth_m = 0, 0, 0.0
        rows = [(name, *by) for name in self.classes for by in (("2d", "strict"), (self.metric, self.table))]
        entries = iter(entries_of_frame(truth, falling, rows=rows, difficulty=self.difficulty))
        for seen, entry in zip(entries, entries, strict=True):
            # precision in space excuses nothing where nobody annotated; frames would be chosen for what is no error
            hits, alarms, _ = count_matches(*entry._replace(is_excused=seen.is_excused), np.array([-np.inf]))
            num_missed += int(np.count_nonzero(entry.truth_code == 0)) - int(hits[0])
            num_false += int(alarms[0])
            depth_m = max(depth_m, _depth_error_m(seen, truth, falling))
        return FrameError(num_missed, num_false, depth_m)


def _depth_error_m(seen: MatchEntry, truth: Objects, found: Objects) -> float:
    """Return the largest distance in depth between an object that counts and the detection that overlaps most with it."""
    largest_m = 0.0
    for i in np.flatnonzero(seen.truth_code == 0):
        pairs = slice(seen.first_pair[i], seen.first_pair[i + 1])
        is_right = seen.found_code[seen.pair_found[pairs]] == 0
        if is_right.any():
            j = seen.pair_found[pairs][is_right][np.argmax(seen.overlap[pairs][is_right])]
            largest_m = max(largest_m, float(abs(truth.location_m[i, 2] - found.location_m[j, 2])))
    return largest_m
