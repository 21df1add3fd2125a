"""Checks of points that hold for every sensor and file format: coordinates that no sensor gives.

Why    Points of another format, of zeros or of NaN give depth maps that are empty or wrong, in silence
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from storage_schemas.errors import SourceError

LEAST_SHARE = 0.02
"""Organised clouds have NaN where nothing came back; of a sweep with fewer finite points than this share, nothing is left."""

AT_SENSOR_M = 1e-3
"""A return as near as this comes from within the sensor."""

FARTHEST_M = 1e5
"""No LiDAR and no radar of a car measures as far: a larger coordinate is no measurement, or not in the sensor frame."""


def refuse_without_xyz(columns: Mapping[str, NDArray[Any]], where: str) -> None:
    """Raise SourceError unless a .pcd has the fields x, y and z with one value each."""
    if missing := [axis for axis in "xyz" if axis not in columns or columns[axis].ndim != 1]:
        raise SourceError(
            f"point file '{where}' lacks field '{missing[0]}' (COUNT 1); its fields: {', '.join(columns) or 'none'}. Rename the "
            "fields of its header to x, y and z, in metres in the sensor frame"
        )


def refuse_far(xyz: Sequence[NDArray[Any]], where: str, *, values: NDArray[Any] | None = None) -> bool:
    """Raise SourceError if a point is farther than any sensor measures.

    Args:
        xyz: x, y and z, (n,) each.
        where: the file's path.
        values: (m,) contiguous, holds all of them at least; where its length as a vector is small, nothing else is looked at.

    Returns:
        Whether all values were small and finite, so that nothing else was looked at.
    """
    everything = np.concatenate(xyz).astype(np.float64, copy=False) if values is None else values
    if not len(everything) or np.dot(everything, everything) < FARTHEST_M**2:  # one fast pass; NaN fails it
        return True
    for name, axis in zip("xyz", xyz, strict=True):
        far = np.isfinite(axis) & (np.abs(axis) >= FARTHEST_M)
        if far.any():
            raise SourceError(
                f"point file '{where}': {int(far.sum())} of {len(axis)} points have a coordinate {name} like {axis[far][0]:.4g} "
                f"m, expected less than {FARTHEST_M:g} m from the sensor. The file is damaged, of another format, or not in the "
                "sensor frame; fetch it again, or convert it"
            )
    return False


def refuse_absurd(xyz: Sequence[NDArray[Any]], where: str, *, values: NDArray[Any] | None = None) -> None:
    """Raise SourceError as ``refuse_far`` does, and if no point has finite coordinates, or all are 0."""
    num_points = len(xyz[0])
    sample = xyz[0][:: max(1, num_points // 100)]
    if num_points and (np.abs(sample) < AT_SENSOR_M).mean() > 0.9:
        num_away = int(np.any([~(np.abs(axis) < AT_SENSOR_M) for axis in xyz], axis=0).sum())
        if num_away <= LEAST_SHARE * num_points:
            raise SourceError(
                f"point file '{where}': all {f'but {num_away} ' if num_away else ''}of its {num_points} points lie at 0, 0, 0. "
                "The file was not copied whole, or the sensor saw nothing; fetch it again, or leave the scene out (recipe key "
                "scenes)"
            )
    if refuse_far(xyz, where, values=values):
        return
    num_finite = int((np.isfinite(xyz[0]) & np.isfinite(xyz[1]) & np.isfinite(xyz[2])).sum())
    if num_finite <= LEAST_SHARE * len(xyz[0]):
        raise SourceError(
            f"point file '{where}': {num_finite or 'none'} of its {len(xyz[0])} points {'have' if num_finite else 'has'} finite "
            "coordinates x, y, z. The file is damaged or of another format; fetch it again from where the data set comes from"
        )
