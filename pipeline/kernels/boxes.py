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
        """Return where instances are at a time; those annotated only further than the tolerance away are left out."""
        befores, afters = [], []
        for instance in instances:
            track = self._track[instance]
            times = [float(self._time_us[row]) for row in track]
            if times[0] - tolerance_us <= timestamp_us <= times[-1] + tolerance_us:
                after = min(bisect_left(times, timestamp_us), len(track) - 1)
                befores.append(track[max(0, after - 1)])
                afters.append(track[after])
        return self._placed(befores, afters, np.full(len(afters), float(timestamp_us)), np.array([0, len(afters)]))

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
