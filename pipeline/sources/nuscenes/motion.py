"""Poses and boxes that leave the way of their neighbours in time: a value that is possible by itself, but not here.

Why    One wrong ego pose moves all points of a sweep, one wrong box drops or keeps the wrong points. Both look like data
How    A car's way is nearly straight within a second: what lies beside the line between the ones before and after, farther than
       any acceleration explains, is counted. Whole channels and scenes at a time
Source docs/method/pipeline.md#neighbours
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.sources.nuscenes.checks import Record, SceneFindings

MAX_ACCELERATION = 10.0
"""m/s²: full braking."""

POSITION_NOISE_M = 0.5
"""Localisation and annotation differ by so much from a smooth way; real drives by less than 0.1 m."""

MAX_TURN_ACCELERATION, ROTATION_NOISE_RAD = 2.0, 0.1
"""rad/s² and rad: the same of the car's rotation; a bump in the road is less."""

LONGEST_GAP_S = 1.5
"""Over a longer gap to a neighbour nothing is said: a car may turn around."""

AT_ONCE_S = 0.1
"""Files of different sensors that are so near in time see the car at nearly one place."""

SIZE_NOISE, SIZE_CHANGE = 0.02, 0.1
"""Where sizes stay the same within the first share along nearly all tracks, one that changes by more than the second is wrong."""

LEAST_VEHICLE_M, MAX_BOX_TURN = 2.5, np.radians(60)
"""Objects that long do not turn as far between two key frames; their front and back may be mixed up."""

LONGEST_TURN_S = 0.7
"""Key frames so far apart are compared for turns."""

Floats = NDArray[np.float64]


class Ways:
    """The ego poses of a scene's channels, each checked by itself and then all together.

    Args:
        found: takes what is found.
    """

    def __init__(self, found: SceneFindings) -> None:
        self._found = found
        self._times: list[NDArray[np.int64]] = []
        self._poses: list[Floats] = []
        self._tokens: list[Sequence[str]] = []

    def add(self, channel: str, tokens: Sequence[str], times_us: NDArray[np.int64], poses: Floats) -> None:
        """Check the poses of one channel, which are sound by themselves.

        Args:
            channel: sensor channel.
            tokens: token of each pose, for the texts.
            times_us: (n,) ascending.
            poses: (n, 7) translation in metres and rotation wxyz.
        """
        self._times.append(times_us)
        self._poses.append(poses)
        self._tokens.append(tokens)
        before_s, after_s = _gaps(times_us)
        beside_m = _beside(poses[:, :3], before_s, after_s)
        turned = _turned_aside(poses[:, 3:], before_s, after_s)
        spread = before_s * after_s / 2
        is_near = np.maximum(before_s, after_s) <= LONGEST_GAP_S
        is_off = beside_m > POSITION_NOISE_M + MAX_ACCELERATION * spread
        is_off = is_near & (is_off | (turned > ROTATION_NOISE_RAD + MAX_TURN_ACCELERATION * spread))
        if is_off.any():
            at = int(np.flatnonzero(is_off)[np.argmax(beside_m[is_off])])
            self._found.missing(
                f"{channel} files have an ego pose beside the way of the car",
                int(is_off.sum()),
                channel=channel,
                advice=f"ego_pose '{tokens[at + 1]}' lies {beside_m[at]:.2f} m and {np.degrees(turned[at]):.0f} degrees off the "
                "line between the poses before and after it. Check ego_pose.json",
            )

    def compare(self) -> None:
        """Compare the poses of different channels that are of nearly the same time."""
        times_us = np.concatenate([*self._times, np.empty(0, np.int64)])
        if len(self._times) < 2 or len(times_us) < 2:
            return
        poses = np.concatenate(self._poses)
        order = np.argsort(times_us, kind="stable")
        seconds = 1e-6 * np.diff(times_us[order])
        ordered = poses[order]
        metres = np.linalg.norm(np.diff(ordered[:, :3], axis=0), axis=1)
        radians = _angle(ordered[1:, 3:], ordered[:-1, 3:])
        speed = self._usual_speed()
        is_off = (metres > POSITION_NOISE_M + 2 * speed * seconds) | (radians > ROTATION_NOISE_RAD + seconds)
        is_off &= seconds < AT_ONCE_S
        if is_off.any():
            at = int(np.flatnonzero(is_off)[np.argmax(metres[is_off])])
            tokens = [token for of_channel in self._tokens for token in of_channel]
            one, other = (tokens[order[k]] for k in (at, at + 1))
            self._found.missing(
                "ego poses of two sensors at nearly the same time differ",
                int(is_off.sum()),
                advice=f"ego_pose '{one}' and '{other}' are {metres[at]:.2f} m and {np.degrees(radians[at]):.0f} degrees apart "
                f"in {1e3 * seconds[at]:.0f} ms. Check ego_pose.json",
            )

    def _usual_speed(self) -> float:
        """Return a speed in m/s that nine in ten steps of the car stay below; that of a motorway where no steps are known."""
        speeds = [
            np.linalg.norm(np.diff(poses[:, :3], axis=0), axis=1) / np.maximum(1e-6 * np.diff(times), 1e-3)
            for times, poses in zip(self._times, self._poses, strict=True)
            if len(times) > 1
        ]
        return float(np.percentile(np.concatenate(speeds), 90)) if speeds else 40.0


def check_tracks(found: SceneFindings, boxes: Sequence[Record], poses: Floats, size_m: Floats) -> None:
    """Check that boxes of one object keep their size, do not leave their track and do not turn at once.

    Args:
        found: takes what is found.
        boxes: rows of ``frames.boxes``.
        poses: (n, 7) centre in metres and rotation wxyz of each, sound by themselves.
        size_m: (n, 3) width, length, height.
    """
    number_of: dict[str, int] = {}
    track = np.array([number_of.setdefault(box["instance_token"], len(number_of)) for box in boxes])
    times_us = np.array([box["sample_timestamp_us"] for box in boxes], np.int64)
    order = np.lexsort((times_us, track))
    track, times_us, poses, size_m = track[order], times_us[order], poses[order], size_m[order]
    steps = np.diff(track) == 0
    if not steps.any():
        return
    tokens = [boxes[number]["annotation_token"] for number in order]
    _check_sizes(found, tokens, steps, size_m)
    seconds = 1e-6 * np.diff(times_us)
    before_s, after_s = seconds[:-1], seconds[1:]
    beside_m = _beside(poses[:, :3], before_s, after_s)
    is_off = beside_m > POSITION_NOISE_M + MAX_ACCELERATION * before_s * after_s / 2
    is_off &= steps[:-1] & steps[1:] & (np.minimum(before_s, after_s) > 0) & (np.maximum(before_s, after_s) <= LONGEST_GAP_S)
    if is_off.any():
        at = int(np.flatnonzero(is_off)[np.argmax(beside_m[is_off])])
        found.missing(
            "boxes leave the track of their object",
            int(is_off.sum()),
            advice=f"sample_annotation '{tokens[at + 1]}' lies {beside_m[at]:.1f} m off the line between the boxes before and "
            "after it. Check translation and instance_token in sample_annotation.json",
        )
    turn = _angle(poses[1:, 3:], poses[:-1, 3:])
    turn = np.minimum(turn, np.pi - turn)
    is_long = np.minimum(size_m[1:, 1], size_m[:-1, 1]) > LEAST_VEHICLE_M
    spins = steps & is_long & (seconds <= LONGEST_TURN_S) & (turn > MAX_BOX_TURN)
    if spins.any():
        at = int(np.flatnonzero(spins)[0])
        found.missing(
            f"long boxes turn by more than {np.degrees(MAX_BOX_TURN):.0f} degrees from one key frame to the next",
            int(spins.sum()),
            advice=f"sample_annotation '{tokens[at]}' and '{tokens[at + 1]}' are of one object. Check rotation in "
            "sample_annotation.json",
        )


def _check_sizes(found: SceneFindings, tokens: Sequence[str], steps: NDArray[np.bool_], size_m: Floats) -> None:
    with np.errstate(divide="ignore", invalid="ignore"):
        change = np.nan_to_num(np.abs(size_m[1:] / size_m[:-1] - 1), nan=0.0, posinf=np.inf).max(axis=1) * steps
    num_changed = int((change > SIZE_NOISE).sum())
    is_off = change > SIZE_CHANGE
    if is_off.any() and num_changed <= max(2, int(steps.sum()) // 10):
        at = int(is_off.argmax())
        found.missing(
            "boxes have another size than the one before of the same object",
            int(is_off.sum()),
            advice=f"sample_annotation '{tokens[at]}' has {size_m[at].tolist()} m, '{tokens[at + 1]}' {size_m[at + 1].tolist()} "
            "m. Check size in sample_annotation.json",
        )


def _gaps(times_us: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Return the seconds to the one before and to the one after, of all but the first and the last."""
    seconds = np.maximum(1e-6 * np.diff(times_us), 1e-6)
    return seconds[:-1], seconds[1:]


def _beside(points_m: Floats, before_s: Floats, after_s: Floats) -> Floats:
    """Return how far each point but the first and last lies from where its neighbours have it at its time, (n - 2,) m."""
    share = (before_s / np.maximum(before_s + after_s, 1e-6))[:, None]
    return np.asarray(np.linalg.norm(points_m[1:-1] - points_m[:-2] * (1 - share) - points_m[2:] * share, axis=1))


def _turned_aside(rotations: Floats, before_s: Floats, after_s: Floats) -> Floats:
    """Return by what angle each rotation but the first and last differs from that between its neighbours, (n - 2,) rad."""
    first, last = rotations[:-2], rotations[2:]
    share = (before_s / (before_s + after_s))[:, None]
    sign = np.where(np.einsum("ij,ij->i", first, last) < 0, -1.0, 1.0)[:, None]
    between = first * (1 - share) + sign * last * share
    between /= np.maximum(np.linalg.norm(between, axis=1, keepdims=True), 1e-9)
    return _angle(between, rotations[1:-1])


def _angle(one: Floats, other: Floats) -> Floats:
    """Return the angles between rows of unit quaternions, 0 to pi."""
    return np.asarray(2 * np.arccos(np.abs(np.einsum("ij,ij->i", one, other)).clip(0, 1)))
