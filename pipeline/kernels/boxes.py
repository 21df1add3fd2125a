"""Annotated boxes at any time: interpolation between key frames and the question whether a box moves.

Follows the devkit's ``get_boxes`` and ``box_velocity`` (specs/pipeline.md section 2) on the columns of ``frames.boxes``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.geometry import rigid, slerp
from storage_schemas.layout import Columns

MOVABLE_PREFIXES = ("vehicle.", "human.", "animal")
"""Categories that can move on their own; everything else (barriers, cones) belongs to the static world."""


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
        return (PlacedBox(*one) for one in zip(self.instances, self.world_from_box, self.half_size_m, strict=True))

    def of_moment(self, moment: int) -> slice:
        """Return which boxes belong to a moment."""
        return slice(int(self.first[moment]), int(self.first[moment + 1]))


class SceneBoxes:
    """The moving boxes of one scene, looked up by sweep or by instance and time.

    Args:
        boxes: columns of ``frames.boxes``.
        moving_mps: a box moves if its horizontal speed exceeds this, or is unknown.
    """

    def __init__(self, boxes: Columns, *, moving_mps: float) -> None:
        self._by_sample: dict[int, dict[str, dict[str, Any]]] = {}
        self._by_instance: dict[str, list[dict[str, Any]]] = {}
        names = list(boxes)
        for values in zip(*boxes.values(), strict=True):
            row = dict(zip(names, values, strict=True))
            if not row["category"].startswith(MOVABLE_PREFIXES):
                continue
            speed = row["speed_mps"]
            row["is_moving"] = speed is None or not speed <= moving_mps
            self._by_sample.setdefault(row["sample_index"], {})[row["instance_token"]] = row
            self._by_instance.setdefault(row["instance_token"], []).append(row)
        for track in self._by_instance.values():
            track.sort(key=lambda row: int(row["sample_timestamp_us"]))

    def moving_at_sweeps(self, sweeps: Sequence[dict[str, Any]]) -> PlacedBoxes:
        """Return the moving boxes at rows of ``frames.sweeps``.

        A key-frame sweep has its key frame's boxes. Any other sweep belongs to the key frame after it: a box annotated in
        both that key frame and the one before is interpolated in time, a box annotated only after is taken as it stands.
        """
        first, befores, afters, times = [0], [], [], []
        for sweep in sweeps:
            index = sweep["sample_index"]
            previous = {} if sweep["is_keyframe"] else self._by_sample.get(index - 1, {})
            for instance, row in self._by_sample.get(index, {}).items():
                if row["is_moving"]:
                    befores.append(previous.get(instance, row))
                    afters.append(row)
                    times.append(sweep["timestamp_us"])
            first.append(len(afters))
        return _placed(befores, afters, times, first)

    def moving_at_sweep(self, sweep: dict[str, Any]) -> list[PlacedBox]:
        """Return the moving boxes at one row of ``frames.sweeps``."""
        return list(self.moving_at_sweeps([sweep]))

    def at_time(self, instance: str, timestamp_us: int, *, tolerance_us: int) -> PlacedBox | None:
        """Return where an instance is at a time, or None if it is annotated only further than the tolerance away."""
        track = self._by_instance[instance]
        if not track[0]["sample_timestamp_us"] - tolerance_us <= timestamp_us <= track[-1]["sample_timestamp_us"] + tolerance_us:
            return None
        after = next((k for k, row in enumerate(track) if row["sample_timestamp_us"] >= timestamp_us), len(track) - 1)
        return next(iter(_placed([track[max(0, after - 1)]], [track[after]], [timestamp_us], [0, 1])))


def _placed(
    befores: Sequence[dict[str, Any]], afters: Sequence[dict[str, Any]], times_us: Sequence[int], first: Sequence[int]
) -> PlacedBoxes:
    """Place boxes between two annotations each, at times clipped to those of the two; both may be the same annotation."""
    start, stop = ([row["sample_timestamp_us"] for row in rows] for rows in (befores, afters))
    start_us, stop_us, time_us = (np.array(values, np.float64) for values in (start, stop, times_us))
    with np.errstate(invalid="ignore"):
        amount = np.where(stop_us > start_us, (np.clip(time_us, start_us, stop_us) - start_us) / (stop_us - start_us), 1.0)
    center = _column(befores, "center_m", 3) * (1 - amount)[:, None] + _column(afters, "center_m", 3) * amount[:, None]
    rotation = slerp(_column(befores, "world_from_box_wxyz", 4), _column(afters, "world_from_box_wxyz", 4), amount)
    return PlacedBoxes(
        np.asarray(first),
        tuple(row["instance_token"] for row in afters),
        rigid(center, rotation),
        _column(afters, "size_wlh_m", 3)[:, [1, 0, 2]] / 2,
    )


def _column(rows: Sequence[dict[str, Any]], name: str, size: int) -> NDArray[np.float64]:
    return np.array([row[name] for row in rows], np.float64).reshape(-1, size)
