"""Annotated boxes at any time: interpolation between key frames and the question whether a box moves.

Follows the devkit's ``get_boxes`` and ``box_velocity`` (docs/method/pipeline.md#moving-objects) on the columns of
``frames.boxes``.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.geometry import rigid, slerp
from pipeline.kernels.categories import moves
from storage_schemas.layout import Columns

MAX_STEP_US = 1_500_000
"""Between annotations further apart nothing is known of an object; the devkit's bound for velocities."""


@dataclass(frozen=True)
class PlacedBox:
    """A box at one moment: pose in the world frame, half extents along its x, y, z in metres."""

    instance: str
    world_from_box: NDArray[np.float64]
    half_size_m: NDArray[np.float64]


@dataclass(frozen=True)
class PlacedBoxes:
    """Boxes of several moments, in one array.

    Attributes:
        first: (moments + 1,) first box of each moment.
        instances: instance token of each box.
        world_from_box: (n, 4, 4) float64.
        half_size_m: (n, 3) float64 half extents along the boxes' x, y, z.
    """

    first: NDArray[np.int64]
    instances: tuple[str, ...]
    world_from_box: NDArray[np.float64]
    half_size_m: NDArray[np.float64]

    def __iter__(self) -> Iterator[PlacedBox]:
        """Return the boxes one by one."""
        return (PlacedBox(*fields) for fields in zip(self.instances, self.world_from_box, self.half_size_m, strict=True))

    def of_moment(self, moment: int) -> slice:
        """Return which boxes belong to a moment."""
        return slice(int(self.first[moment]), int(self.first[moment + 1]))


class SceneBoxes:
    """The moving boxes of one scene, looked up by sweep or by instance and time.

    Args:
        boxes: columns of ``frames.boxes``.
        moving_mps: a box moves if its horizontal speed exceeds this, or is unknown.
        movable: names, or beginnings of names, of categories that can move besides those that ``categories`` knows.
    """

    def __init__(self, boxes: Columns, *, moving_mps: float, movable: Sequence[str] = ()) -> None:
        self._instance = boxes["instance_token"]
        self._sample = boxes["sample_index"]
        self._time_us = np.array(boxes["sample_timestamp_us"], np.float64)
        self._center_m = np.array(boxes["center_m"], np.float64).reshape(-1, 3)
        self._rotation_wxyz = np.array(boxes["world_from_box_wxyz"], np.float64).reshape(-1, 4)
        self._half_size_m = np.array(boxes["size_wlh_m"], np.float64).reshape(-1, 3)[:, [1, 0, 2]] / 2
        self._movable: dict[int, dict[str, int]] = {}  # key frame -> instance -> row
        self._moving: dict[int, list[int]] = {}  # key frame -> rows
        self._track: dict[str, list[int]] = {}  # instance -> rows in time order
        is_movable = {category: moves(category, movable) for category in set(boxes["category"])}
        for row, (sample, instance, category) in enumerate(
            zip(boxes["sample_index"], self._instance, boxes["category"], strict=True)
        ):
            if is_movable[category]:
                self._movable.setdefault(sample, {})[instance] = row
                self._track.setdefault(instance, []).append(row)
        speed_mps = boxes["speed_mps"]
        for sample, row_of in self._movable.items():
            speeds = ((row, speed_mps[row]) for row in row_of.values())
            self._moving[sample] = [row for row, speed in speeds if speed is None or not speed <= moving_mps]
        for track in self._track.values():
            track.sort(key=self._time_us.__getitem__)

    def moving_at_sweeps(self, sweeps: Sequence[dict[str, Any]]) -> PlacedBoxes:
        """Return the moving boxes at rows of ``frames.sweeps``.

        A key-frame sweep has its key frame's boxes. Any other sweep belongs to the key frame after it: a box annotated in
        both that key frame and the one before is interpolated in time, a box annotated only after is taken as it stands.
        """
        afters = [self._moving.get(sweep["sample_index"], []) for sweep in sweeps]
        befores = [
            rows if sweep["is_keyframe"] else self._rows_before(sweep["sample_index"], rows)
            for sweep, rows in zip(sweeps, afters, strict=True)
        ]
        counts = [len(rows) for rows in afters]
        times_us = np.repeat([float(sweep["timestamp_us"]) for sweep in sweeps], counts)
        first = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
        return self._placed([*chain.from_iterable(befores)], [*chain.from_iterable(afters)], times_us, first)

    def moving_at_sweep(self, sweep: dict[str, Any]) -> list[PlacedBox]:
        """Return the moving boxes at one row of ``frames.sweeps``."""
        return list(self.moving_at_sweeps([sweep]))

    def at_time(self, instances: Sequence[str], timestamp_us: int, *, tolerance_us: int) -> PlacedBoxes:
        """Return where instances are at a time; those that nobody knows are left out.

        Between the annotations of two key frames that follow each other, an instance is interpolated. Beside a gap of annotation
        and at the ends of a track it goes on with the velocity between the two nearest key frames, up to the tolerance.
        """
        befores, afters, moved_us = list[int](), list[int](), list[float]()
        for instance in instances:
            between = self._rows_around(self._track[instance], timestamp_us, tolerance_us)
            if between is not None:
                befores.append(between[0])
                afters.append(between[1])
                moved_us.append(between[2])
        times_us = float(timestamp_us) - np.array(moved_us, np.float64)
        placed = self._placed(befores, afters, times_us, np.array([0, len(afters)]))
        for number, (before, after, over_us) in enumerate(zip(befores, afters, moved_us, strict=True)):
            if over_us and before != after:
                step_m, step_us = self._center_m[after] - self._center_m[before], self._time_us[after] - self._time_us[before]
                placed.world_from_box[number, :3, 3] += step_m * (over_us / step_us)
        return placed

    def moving_at_image(self, keyframe: dict[str, Any], *, tolerance_us: int) -> PlacedBoxes:
        """Return where the boxes that move in a key frame are at the time of one of its images; see ``at_time``."""
        names = [self._instance[row] for row in self._moving.get(keyframe["sample_index"], [])]
        return self.at_time(names, keyframe["timestamp_us"], tolerance_us=tolerance_us)

    def _rows_around(self, track: list[int], timestamp_us: int, tolerance_us: int) -> tuple[int, int, float] | None:
        """Return the two rows that place an instance at a time, and how far outside them it lies, us; None for no place.

        The two rows are one where an annotation has no neighbour that its velocity could be taken from.
        """
        at = bisect_left(track, timestamp_us, key=self._time_us.__getitem__)
        if at < len(track) and (self._time_us[track[at]] == timestamp_us or (at > 0 and self._follows(track, at))):
            return (track[at - 1] if at > 0 and self._follows(track, at) else track[at]), track[at], 0.0
        near = [number for number in (at - 1, at) if 0 <= number < len(track)]
        nearest = min(near, key=lambda number: abs(self._time_us[track[number]] - timestamp_us))
        over_us = float(timestamp_us - self._time_us[track[nearest]])
        if abs(over_us) > tolerance_us:
            return None
        first = nearest - 1 if over_us > 0 else nearest  # of the two whose velocity goes on
        if not (first >= 0 and first + 1 < len(track) and self._follows(track, first + 1)):
            return track[nearest], track[nearest], 0.0
        return track[first], track[first + 1], over_us

    def _follows(self, track: list[int], number: int) -> bool:
        """Say whether an annotation and the one before it are of key frames that follow each other, and near in time."""
        before, after = track[number - 1], track[number]
        is_next = self._sample[after] == self._sample[before] + 1
        return bool(is_next and 0 < self._time_us[after] - self._time_us[before] <= MAX_STEP_US)

    def _rows_before(self, sample: int, rows: list[int]) -> list[int]:
        """Return the rows of the same instances one key frame earlier; the row itself for an instance that has no earlier one."""
        previous = self._movable.get(sample - 1, {})
        return [previous.get(self._instance[row], row) for row in rows]

    def _placed(
        self, befores: list[int], afters: list[int], times_us: NDArray[np.float64], first: NDArray[np.int64]
    ) -> PlacedBoxes:
        """Place boxes between two rows each, at times clipped to those of the two; both may be the same row."""
        start_us, stop_us = self._time_us[befores], self._time_us[afters]
        with np.errstate(invalid="ignore", divide="ignore"):
            amount = np.where(stop_us > start_us, (np.clip(times_us, start_us, stop_us) - start_us) / (stop_us - start_us), 1.0)
        center = self._center_m[befores] * (1 - amount)[:, None] + self._center_m[afters] * amount[:, None]
        rotation = slerp(self._rotation_wxyz[befores], self._rotation_wxyz[afters], amount)
        names = tuple(self._instance[row] for row in afters)
        return PlacedBoxes(first, names, rigid(center, rotation), self._half_size_m[afters])
