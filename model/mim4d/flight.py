"""Where a virtual rig goes when a volume is flown through: first where the vehicle came from, then once around its own place.

Why     a volume may look right from where it was made and wrong from a step aside, which only a picture from there shows
Source  the path is ours; nothing published names one
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation, Slerp

Float64 = NDArray[np.float64]

LONGEST_DRIVE_M = 10.0
"""Metres of the vehicle's own path that are flown; the key frame's cameras hardly saw what lies farther back."""

SHORTEST_DRIVE_M = 0.3
"""A vehicle that moved less, metres, counts as standing: the whole flight is the loop."""

ASIDE_M = 1.5
"""Half the width of the loop, metres: it stays within a lane's width."""

AHEAD_M = 2.0
"""Half the length of the loop, metres; all of it is ahead of the rig."""

LOOK_AT_M = 12.0
"""The loop looks at a point this many metres ahead of the rig, so that near things move against far ones."""


def flight_poses(world_from_rig: Float64, num_frames: int) -> Float64:
    """Return where the rig is in each picture of a flight.

    The first half goes along the vehicle's own path through the frames of the clip, at constant speed, and arrives at the key
    frame; the second half is a level loop from there, forward and to both sides, that comes back. If the vehicle stood still, or
    the clip is of a single frame, all of it is the loop.

    Args:
        world_from_rig: (T, 4, 4) rigid, metres, x ahead and y to the left; the newest frame, the key frame, first.
        num_frames: pictures of the flight.

    Returns:
        (num_frames, 4, 4) from the rig of each picture to the rig frame of the key frame; the last one is the identity.
    """
    key_from_rig = np.linalg.inv(world_from_rig[0]) @ world_from_rig
    behind_m = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(key_from_rig[:, :3, 3], axis=0), axis=1))])
    num_drive = num_frames // 2 if behind_m[-1] >= SHORTEST_DRIVE_M else 0
    longest_m = min(float(behind_m[-1]), LONGEST_DRIVE_M)
    drive = _along_path(key_from_rig, behind_m, np.linspace(longest_m, 0.0, num_drive))
    turn = 2 * np.pi * np.arange(1, num_frames - num_drive + 1) / max(num_frames - num_drive, 1)
    return np.concatenate([drive, _loop(turn)])


def forward_camera(cam_from_rig: Float64) -> int:
    """Return which of the cameras (m, 4, 4) looks ahead most: along x of the rig frame."""
    return int(np.argmax(cam_from_rig[:, 2, 0]))


def _along_path(key_from_rig: Float64, behind_m: Float64, wanted_m: Float64) -> Float64:
    """Return poses (n, 4, 4) ``wanted_m`` (n) back on the path through poses (T, 4, 4) that are ``behind_m`` (T) back; metres."""
    moved = np.concatenate([[True], np.diff(behind_m) > 0])  # a place has one pose: the newest
    behind_m, poses = behind_m[moved], key_from_rig[moved]
    poses_back = np.tile(np.eye(4), (len(wanted_m), 1, 1))
    if len(wanted_m):
        poses_back[:, :3, :3] = Slerp(behind_m, Rotation.from_matrix(poses[:, :3, :3]))(wanted_m).as_matrix()
        poses_back[:, :3, 3] = np.stack([np.interp(wanted_m, behind_m, poses[:, axis, 3]) for axis in range(3)], axis=-1)
    return poses_back


def _loop(turn: Float64) -> Float64:
    """Return poses (n, 4, 4) at angles (n) of the loop; the rig's own place at 0 and at 2 pi."""
    ahead_m, left_m = AHEAD_M * (1.0 - np.cos(turn)), ASIDE_M * np.sin(turn)
    yaw = np.arctan2(-left_m, LOOK_AT_M - ahead_m)
    poses = np.tile(np.eye(4), (len(turn), 1, 1))
    poses[:, 0, 0], poses[:, 0, 1] = np.cos(yaw), -np.sin(yaw)
    poses[:, 1, 0], poses[:, 1, 1] = np.sin(yaw), np.cos(yaw)
    poses[:, 0, 3], poses[:, 1, 3] = ahead_m, left_m
    return poses
