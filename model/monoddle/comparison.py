"""Which of two detectors is better: their average precisions side by side, each with an interval over scenes.

Why    One number of all frames together has no difference per frame; see ``precision_resampling`` for the interval.
Reads  average_precision.csv of two evaluations, and the objects of both where there are any (``measured_objects``)
Source docs/method/monoddle.md#precision-interval
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from model.data.objects import Objects
from model.monoddle.evaluation import read_average_precision, scaled_difficulties
from model.monoddle.measured_objects import MeasuredFrame, MeasuredObjects, has_measured_objects, read_measured_objects
from model.monoddle.measures import PrecisionNames
from model.monoddle.precision.average_precision import ApRow
from model.monoddle.precision.precision_resampling import (
    PrecisionRow,
    drawn_precision,
    precision_interval,
    scene_numbers,
    score_changes,
)
from model.train.paired_bootstrap import INTERVAL, SceneInterval, interval_text, too_few_text
from storage_schemas.errors import DepthmillError

_KEY_COLUMNS = ("category", "metric", "overlap", "difficulty")


class DetectionComparisonError(DepthmillError):
    """Two evaluations of detectors that cannot be compared."""


class PrecisionDifference(NamedTuple):
    """One average precision of two detectors, a and b, on the frames that both were measured on.

    Attributes:
        names: which average precision.
        num_frames: frames in both.
        num_truth: objects that count in them.
        mean_a: AP_R40 of a in percent.
        mean_b: the same of b.
        mean_difference: b - a in points.
        low: lower end of the 95 % interval of the difference; None if too few scenes have objects that count.
        high: upper end; None likewise.
        num_scenes: scenes with objects that count, which the interval rests on.
        shares: of frames, and of annotated objects of the class: those in both over those in either.
    """

    names: PrecisionNames
    num_frames: int
    num_truth: int
    mean_a: float
    mean_b: float
    mean_difference: float
    low: float | None
    high: float | None
    num_scenes: int
    shares: Mapping[str, float]


class _Pair(NamedTuple):
    """The frames that two evaluations have in common, ascending by key, and what of both is common."""

    keys: list[str]
    truth: list[Objects]
    found_a: list[Objects]
    found_b: list[Objects]
    height_scale: float
    frames_of_one: list[MeasuredFrame]


def precision_differences(a: Sequence[ApRow], b: Sequence[ApRow]) -> list[dict[str, Any]]:
    """Return a row for each average precision that both have, with the difference b - a in points of R40.

    Raises:
        DetectionComparisonError: they have none in common, or one was measured against other objects; names the first.
    """
    others = {_key(row): row for row in b}
    pairs = [(row, others[_key(row)]) for row in a if _key(row) in others]
    if not pairs:
        names = [", ".join(dict.fromkeys(row.category for row in rows)) or "nothing" for rows in (a, b)]
        raise DetectionComparisonError(
            f"the evaluations have no average precision in common: a has {names[0]}, b has {names[1]}. Evaluate detectors of the "
            "same classes"
        )
    for row_a, row_b in pairs:
        if (row_a.num_truth, row_a.min_overlap) != (row_b.num_truth, row_b.min_overlap):
            raise DetectionComparisonError(
                f"the evaluations are of other objects: {row_a.category} {row_a.metric} {row_a.overlap} {row_a.difficulty} "
                f"counts {row_a.num_truth} in a and {row_b.num_truth} in b. Evaluate both on the same manifest and split"
            )
    return [
        {
            **dict(zip(_KEY_COLUMNS, _key(row_a), strict=True)),
            "num_truth": row_a.num_truth,
            "a": row_a.r40,
            "b": row_b.r40,
            "difference": row_b.r40 - row_a.r40,
        }
        for row_a, row_b in pairs
    ]


def compare_precisions(a: Path, b: Path) -> list[dict[str, Any]]:
    """Compare the average precisions of two evaluations.

    Returns:
        A row for each; ``low``, ``high`` and ``num_scenes`` of the interval, without ends where it cannot be made.

    Raises:
        DetectionComparisonError: they were measured on other objects, or have no row in common.
        StoreError: a file is missing or damaged.
    """
    rows = precision_differences(*(read_average_precision(folder) for folder in (a, b)))
    pair = None
    if has_measured_objects(a) and has_measured_objects(b):
        pair = _pair(read_measured_objects(a), read_measured_objects(b))
    for number, row in enumerate(rows):
        interval = SceneInterval(None, None, 0)
        if pair is not None and row["num_truth"]:
            names = PrecisionNames(*(row[name] for name in _KEY_COLUMNS))
            found = _difference(pair, names, seed=number)
            interval = SceneInterval(found.low, found.high, found.num_scenes)
        row |= interval._asdict()
    return rows


def compare_detections(
    a: Path, b: Path, names: Sequence[PrecisionNames], *, left_out: Collection[str] = ()
) -> list[PrecisionDifference]:
    """Compare average precisions of two evaluations on the frames that both have.

    Args:
        a: folder of one evaluation.
        b: folder of another.
        names: which average precisions.
        left_out: scenes whose frames are not compared.

    Raises:
        DetectionComparisonError: there is no frame in common, or the annotations of a frame differ.
        StoreError: a file is missing or damaged.
    """
    pair = _pair(*(_without(read_measured_objects(folder), left_out) for folder in (a, b)))
    return [_difference(pair, one, seed=number) for number, one in enumerate(names)]


def comparison_text(differences: Sequence[Mapping[str, Any]]) -> str:
    """Return the differences as a table, and what they do not tell."""
    lines = ["", f"| AP_R40 | difficulty | a | b | b - a | {INTERVAL:.0%} interval | objects |", "|---|---|---|---|---|---|---|"]
    for row in differences:
        name = f"{row['category']} {row['metric']} {row['overlap']}"
        interval = interval_text(row["low"], row["high"], decimals=2)
        lines.append(
            f"| {name} | {row['difficulty']} | {row['a']:.2f} | {row['b']:.2f} | {row['difference']:+.2f} | {interval} "
            f"| {row['num_truth']} |"
        )
    few = {f"{row['category']} {row['difficulty']}": row["num_scenes"] for row in differences if row["low"] is None}
    measured = [row for row in differences if row["num_truth"]]
    if measured and not any(row["num_scenes"] for row in measured):
        few = {}
        lines.append("\nno interval: an evaluation of a former version keeps no objects. Run depthmill evaluate for both again")
    lines += [f"\n{line}" for line in too_few_text(few)]
    lines.append(
        "\nThe interval is one over new scenes, of these two networks. Trainings that differ in their seed only lie some points "
        "apart: compare means over seeds (depthmill ablate)."
    )
    return "\n".join(lines)


def differences_as_rows(differences: Sequence[PrecisionDifference]) -> list[dict[str, Any]]:
    """Return differences as ``comparison_text`` takes them."""
    return [
        {
            **one.names._asdict(),
            "num_truth": one.num_truth,
            "a": one.mean_a,
            "b": one.mean_b,
            "difference": one.mean_difference,
            "low": one.low,
            "high": one.high,
            "num_scenes": one.num_scenes,
        }
        for one in differences
    ]


def _difference(pair: _Pair, names: PrecisionNames, *, seed: int) -> PrecisionDifference:
    difficulty = next(one for one in scaled_difficulties(pair.height_scale) if one.name == names.difficulty)
    row = PrecisionRow(names.category, names.metric, names.overlap, difficulty)
    scenes = scene_numbers(pair.keys)
    of_a, of_b = (score_changes(pair.truth, found, scenes, row) for found in (pair.found_a, pair.found_b))
    once = np.ones(len(of_a.num_truth), np.int64)
    precision_a, precision_b = drawn_precision(of_a, once), drawn_precision(of_b, once)
    interval = precision_interval(of_a, of_b, seed=seed)
    return PrecisionDifference(
        names=names,
        num_frames=len(pair.keys),
        num_truth=int(of_a.num_truth.sum()),
        mean_a=precision_a,
        mean_b=precision_b,
        mean_difference=precision_b - precision_a,
        low=interval.low,
        high=interval.high,
        num_scenes=interval.num_scenes,
        shares=_shares(pair, names.category),
    )


def _pair(a: MeasuredObjects, b: MeasuredObjects) -> _Pair:
    """Return the frames that both have; DetectionComparisonError if they were measured against other objects."""
    if a.height_scale != b.height_scale:
        raise DetectionComparisonError(
            f"the evaluations have other least heights: those of the benchmark times {a.height_scale:g} in a and "
            f"{b.height_scale:g} in b. Evaluate both with the same train.evaluation.height_scale"
        )
    keys = sorted(a.frames.keys() & b.frames.keys())  # ascending, so that draws do not depend on the order of the rows
    if not keys:
        raise DetectionComparisonError(
            f"the evaluations have no frame in common: a has {len(a.frames)} frames, b has {len(b.frames)}. Evaluate both on the "
            "same manifest and split"
        )
    for key in keys:
        if not _are_equal(a.frames[key].truth, b.frames[key].truth):
            raise DetectionComparisonError(
                f"the evaluations are of other objects: the annotations of frame '{key}' differ. Evaluate both on the same "
                "manifest and split"
            )
    common, in_both = [(a.frames[key], b.frames[key]) for key in keys], set(keys)
    of_one = [frame for measured in (a, b) for key, frame in measured.frames.items() if key not in in_both]
    return _Pair(
        keys,
        [frame.truth for frame, _ in common],
        [frame.found for frame, _ in common],
        [frame.found for _, frame in common],
        a.height_scale,
        of_one,
    )


def _shares(pair: _Pair, category: str) -> dict[str, float]:
    def num_objects(truth: Sequence[Objects]) -> int:
        return sum(int(np.count_nonzero(np.char.lower(one.category) == category.lower())) for one in truth if len(one))

    in_both, in_one = num_objects(pair.truth), num_objects([frame.truth for frame in pair.frames_of_one])
    num_frames = len(pair.keys) + len(pair.frames_of_one)
    return {
        "frames": len(pair.keys) / num_frames,
        "objects": in_both / (in_both + in_one) if in_both + in_one else 1.0,
    }


def _without(measured: MeasuredObjects, scenes: Collection[str]) -> MeasuredObjects:
    """Return an evaluation without the frames of some scenes."""
    kept = {key: frame for key, frame in measured.frames.items() if key.split("/", 1)[0] not in scenes}
    return measured._replace(frames=kept)


def _are_equal(a: Objects, b: Objects) -> bool:
    return all(np.array_equal(getattr(a, field.name), getattr(b, field.name)) for field in fields(Objects))


def _key(row: ApRow) -> tuple[str, ...]:
    return tuple(str(getattr(row, name)) for name in _KEY_COLUMNS)
