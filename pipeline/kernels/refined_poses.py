"""Rows of sweeps and key frames on a smoothed trajectory, where that makes the map of the scene sharper.

Why    Rows are what every kernel takes its poses from: with other rows all of them place sensors alike
Rule   LiDAR poses are corrected by LiDAR poses alone, so that they are the same for every camera of the scene. A key frame's pose
       is corrected by the LiDAR poses around it and by its own. Smoothed poses are taken only if they make flat surfaces thinner
Source docs/method/pipeline.md#poses
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.geometry import Float64, quaternion_wxyz, rigid
from pipeline.kernels.sharpness import Thickness, sampled_sweeps, thickness
from pipeline.kernels.trajectory import Smoothed, smooth
from pipeline.pose_choice import Poses
from pipeline.poses import world_from_sensors
from pipeline.stage import RawReader

LEAST_GAIN = 0.002
"""Surfaces must get thinner by this share: less could be rounding, and would be decided otherwise on another machine."""

_TRANSLATION, _ROTATION = "world_from_ego_translation_m", "world_from_ego_rotation_wxyz"


@dataclass(frozen=True)
class RefinedSweeps:
    """What became of a scene's LiDAR poses.

    Attributes:
        sweeps: rows on the poses to use.
        is_applied: these are the smoothed ones.
        thickness: of the map on the poses as given, and smoothed.
        smoothed: what smoothing did to each row.
        files: that were read to measure the map.
        points: content of these files, so that nobody reads them again; whoever takes one removes it.
    """

    sweeps: list[dict[str, Any]]
    is_applied: bool
    thickness: Thickness
    smoothed: Smoothed
    files: tuple[str, ...]
    points: dict[str, NDArray[np.float32]] = field(default_factory=dict)

    def counts(self) -> dict[str, float]:
        """Return what the unit notes; a thickness that is not known is left out."""
        moved = self.smoothed.moved_m[~self._stays]
        known = {"surface_thickness_given_m": self.thickness.given_m, "surface_thickness_smoothed_m": self.thickness.other_m}
        return {
            "poses_smoothed": float(self.is_applied),
            "poses_beyond_bound": float(self.smoothed.is_beyond.sum()),
            "poses_alone": float(self.smoothed.is_alone.sum()),
            "pose_shift_m": float(moved.mean()) if len(moved) else 0.0,
            **{name: value for name, value in known.items() if np.isfinite(value)},
        }

    def words(self) -> str:
        """Return the end of the unit's line."""
        if self._stays.all():
            return "; poses as given: none has enough others near it in time to be smoothed, or all would move too far"
        given, other = 100 * self.thickness.given_m, 100 * self.thickness.other_m
        if not np.isfinite(given):
            return f"; poses as given: {self.thickness.num_cubes} flat places are too few to say whether smoothing helps"
        if not self.is_applied:
            return f"; poses as given: smoothed, surfaces would be {other:.2f} cm thick in place of {given:.2f}"
        stay = int(self._stays.sum())
        return f"; poses smoothed: surfaces {given:.2f} -> {other:.2f} cm thick" + (f", {stay} poses stay" if stay else "")

    @property
    def _stays(self) -> Any:
        return self.smoothed.is_beyond | self.smoothed.is_alone


def refine_sweeps(raw: RawReader, sweeps: Sequence[dict[str, Any]], choice: Poses) -> RefinedSweeps:
    """Smooth the poses of sweeps and look at whether the map gets sharper.

    Args:
        raw: reader of point files.
        sweeps: rows of ``frames.sweeps``, of one LiDAR or several.
        choice: how.

    Raises:
        SourceError: a file is missing or broken; names the file.
    """
    time_us, poses = _times_us(sweeps), _poses(sweeps)
    order = np.argsort(time_us, kind="stable")
    smoothed = smooth(time_us, poses, time_us[order], poses[order], **choice.model_dump())
    rows = _on_poses(sweeps, smoothed)
    looked_at = sampled_sweeps(len(sweeps))
    points = [raw.read_points(sweeps[number]["file"]) for number in looked_at]
    before, after = (world_from_sensors([of[number] for number in looked_at]) for of in (sweeps, rows))
    found = thickness(points, before, after)
    is_applied = bool(found.other_m <= (1.0 - LEAST_GAIN) * found.given_m)  # false for NaN
    files = tuple(sweeps[number]["file"] for number in looked_at)
    chosen = rows if is_applied else list(sweeps)
    return RefinedSweeps(chosen, is_applied, found, smoothed, files, dict(zip(files, points, strict=True)))


def refine_keyframes(
    keyframes: Sequence[dict[str, Any]], sweeps: Sequence[dict[str, Any]], choice: Poses
) -> list[dict[str, Any]]:
    """Return rows of a camera's key frames on the smoothed trajectory.

    Args:
        keyframes: rows of ``frames.keyframes`` of one camera.
        sweeps: rows of ``frames.sweeps`` on the poses as given.
        choice: how.
    """
    time_us, poses = _times_us(keyframes), _poses(keyframes)
    every_us, every = np.concatenate([_times_us(sweeps), time_us]), np.concatenate([_poses(sweeps), poses])
    order = np.argsort(every_us, kind="stable")
    return _on_poses(keyframes, smooth(time_us, poses, every_us[order], every[order], **choice.model_dump()))


def _on_poses(rows: Sequence[dict[str, Any]], smoothed: Smoothed) -> list[dict[str, Any]]:
    """Return rows with other ego poses; a row whose pose stays is the row that it was."""
    stays = smoothed.is_beyond | smoothed.is_alone
    rotation = quaternion_wxyz(smoothed.world_from_ego[:, :3, :3])
    return [
        row if stays[n] else {**row, _TRANSLATION: smoothed.world_from_ego[n, :3, 3].tolist(), _ROTATION: rotation[n].tolist()}
        for n, row in enumerate(rows)
    ]


def _times_us(rows: Sequence[dict[str, Any]]) -> NDArray[np.int64]:
    return np.array([row["timestamp_us"] for row in rows], np.int64)


def _poses(rows: Sequence[dict[str, Any]]) -> Float64:
    return rigid([row[_TRANSLATION] for row in rows], [row[_ROTATION] for row in rows])
