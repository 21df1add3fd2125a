"""Annotated boxes at any time: interpolation between key frames and the question whether a box moves.

Follows the devkit's ``get_boxes`` and ``box_velocity`` (specs/pipeline.md section 2) on the columns of ``frames.boxes``.
"""

from __future__ import annotations

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

    def moving_at_sweep(self, sweep: dict[str, Any]) -> list[PlacedBox]:
        """Return the moving boxes at a row of ``frames.sweeps``.

        A key-frame sweep has its key frame's boxes. Any other sweep belongs to the key frame after it: a box annotated in
        both that key frame and the one before is interpolated in time, a box annotated only after is taken as it stands.
        """
        index = sweep["sample_index"]
        current, previous = self._by_sample.get(index, {}), self._by_sample.get(index - 1, {})
        if sweep["is_keyframe"]:
            previous = {}
        return [
            _between(previous.get(instance), row, sweep["timestamp_us"]) for instance, row in current.items() if row["is_moving"]
        ]

    def at_time(self, instance: str, timestamp_us: int, *, tolerance_us: int) -> PlacedBox | None:
        """Return where an instance is at a time, or None if it is annotated only further than the tolerance away."""
        track = self._by_instance[instance]
        if not track[0]["sample_timestamp_us"] - tolerance_us <= timestamp_us <= track[-1]["sample_timestamp_us"] + tolerance_us:
            return None
        after = next((k for k, row in enumerate(track) if row["sample_timestamp_us"] >= timestamp_us), len(track) - 1)
        return _between(track[after - 1] if after else None, track[after], timestamp_us)


def _between(before: dict[str, Any] | None, after: dict[str, Any], timestamp_us: int) -> PlacedBox:
    width, length, height = after["size_wlh_m"]
    half = np.array([length, width, height]) / 2
    center, rotation = np.asarray(after["center_m"]), np.asarray(after["world_from_box_wxyz"])
    if before is not None:
        start, stop = before["sample_timestamp_us"], after["sample_timestamp_us"]
        amount = (max(start, min(stop, timestamp_us)) - start) / (stop - start)
        center = np.asarray(before["center_m"]) * (1 - amount) + center * amount
        rotation = slerp(np.asarray(before["world_from_box_wxyz"]), rotation, amount)
    return PlacedBox(after["instance_token"], rigid(center, rotation), half)
