"""Annotated boxes of a scene in the order of their objects' tracks, and how fast they move.

Why    The devkit follows prev and next. Converters leave them empty, and then every box has an unknown speed. The object and the
       time say the same, so the links are only compared with them
Source docs/method/pipeline.md#links
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from pipeline.sources.nuscenes.checks import SceneFindings
from pipeline.sources.nuscenes.object_facts import NOTHING_SAID, Facts

MAX_TRACK_GAP_S = 1.5
"""The devkit's ``max_time_diff``: no speed over a longer gap to one neighbour (twice that for central differences)."""


class Box(NamedTuple):
    """Fields kept of a sample_annotation record."""

    token: str
    sample: dict[str, Any]
    instance_token: str
    translation: list[float]
    size: list[float]
    rotation: list[float]
    previous: str
    next: str
    facts: Facts = NOTHING_SAID


def track_speeds(boxes: Sequence[Box], found: SceneFindings) -> list[float | None]:
    """Return the horizontal speed of each box in m/s between its neighbours in time; None without one that is near enough."""
    tracks: dict[str, list[int]] = {}
    for number, box in enumerate(boxes):
        tracks.setdefault(box.instance_token, []).append(number)
    speeds: list[float | None] = [None] * len(boxes)
    num_absent = num_against_time = 0
    for track in tracks.values():
        track.sort(key=lambda number: boxes[number].sample["timestamp"])
        before: Box | None = None
        for place, number in enumerate(track):
            box = boxes[number]
            after = boxes[track[place + 1]] if place + 1 < len(track) else None
            speeds[number] = _speed(box, before, after)
            if box.previous != ("" if before is None else before.token):
                num_absent, num_against_time = num_absent + (not box.previous), num_against_time + bool(box.previous)
            if box.next != ("" if after is None else after.token):
                num_absent, num_against_time = num_absent + (not box.next), num_against_time + bool(box.next)
            before = box
    found.missing(
        "links between boxes of one object are absent", num_absent, advice="Speeds follow instance_token and time instead"
    )
    found.missing(
        "links between boxes lead nowhere, or to another box than the next in time",
        num_against_time,
        advice="Speeds follow instance_token and time instead",
    )
    return speeds


def _speed(box: Box, before: Box | None, after: Box | None) -> float | None:
    first, last = before or box, after or box
    if first is last:
        return None
    seconds = 1e-6 * (int(last.sample["timestamp"]) - int(first.sample["timestamp"]))
    is_central = before is not None and after is not None
    if seconds > MAX_TRACK_GAP_S * (2 if is_central else 1) or seconds <= 0:
        return None
    dx, dy = (last.translation[axis] - first.translation[axis] for axis in (0, 1))
    return float((dx * dx + dy * dy) ** 0.5 / seconds)
