"""LiDAR sweeps of a nuScenes-format data set: plain float32 (.bin) or .pcd, and the checks that tell a wrong file from a sweep.

Why    A file of 4 columns read as 5 is a cloud of points, only not of the street. A file cut at the border of a disk block is a
       whole number of points. Both give depth maps that look like depth maps
Cost   benchmarks/RESULTS.md; a sweep of nuScenes passes with one comparison of its rings and two passes over its values
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from pipeline.sources.pcd import is_pcd, read_pcd
from pipeline.sources.point_checks import FARTHEST_M, refuse_absurd, refuse_without_xyz
from storage_schemas.errors import SourceError
from storage_schemas.regular_files import read_regular
from storage_schemas.remote_path import DataPath

LIDAR_COLUMNS = 5
"""float32 columns of a nuScenes .pcd.bin: x, y, z, intensity, ring."""

OTHER_COLUMNS = (4, 6, 7, 8, 3)
"""Numbers of columns that a .bin of another data set may have, the likely ones first."""

LEAST_RINGS, MOST_RINGS = 8, 256
"""A pattern in the ring column that is shorter or longer is no spinning LiDAR's order of lasers."""

RING_SAMPLE = 1024
"""Values of the ring column that are tested for whole numbers: of wrong columns, nearly every value is none."""

SHORT_SHARE, LONG_SHARE, ALIKE_SHARE = 0.9, 1.9, 0.02
"""Where all other sweeps of a sensor differ from the median by at most the last, one below the first is cut short, and one above
the second is written twice."""

SHORTEST_SHARE = 0.05
"""The first and the last sweep of a recording may be a part of a turn; below this share, the file is cut."""

BLOCK_BYTES = 4096
"""Copies and downloads that stop leave a whole number of these."""

_RADAR_STATES = ("invalid_state", "dyn_prop", "ambig_state")

_NOT_SUPPORTED = (".npy", ".npz", ".ply", ".las", ".laz", ".txt", ".csv", ".xyz", ".h5", ".parquet", ".feather")


def lidar_points(content: bytes, *, columns: int | None, where: str) -> NDArray[np.float32]:
    """Return a sweep as (n, 3 or more) float32: x, y, z in metres in the sensor frame, then further columns of a .bin.

    Args:
        content: the whole file.
        columns: float32 a point of a .bin; None = 5, and a file that cannot have 5 is refused.
        where: the file's path, whose ending says the format.

    Raises:
        SourceError: the format cannot be read, or the content is no whole LiDAR sweep.
    """
    if where.lower().endswith(_NOT_SUPPORTED) or content.startswith(b"\x93NUMPY"):
        raise SourceError(
            f"LiDAR file '{where}' has a format that is not supported; expected .bin or .pcd.bin (float32, little-endian, x, y, "
            "z first) or .pcd. Convert the files, and name them so in sample_data.json"
        )
    if where.lower().endswith(".pcd") or is_pcd(content):
        return _points_of_pcd(content, where)
    points = _points_of_bin(content, columns, where)
    refuse_absurd([points[:, axis] for axis in range(3)], where, values=points.reshape(-1))
    if points.shape[1] >= LIDAR_COLUMNS:
        _check_rings(points, where, is_told=columns is not None)
    return points


def refuse_short_file(sizes: Mapping[str, int], *, root: DataPath) -> None:
    """Raise SourceError if one sweep is much shorter than all others of its sensor, whose sizes are nearly equal.

    A file cut at the border of a disk block may be a whole number of points and of rounds of lasers. The first and the last
    sweep of a recording may really be shorter, so they are refused only at such a border, or if next to nothing is left.

    Args:
        sizes: file -> bytes, of one sensor and scene, in time order.
        root: folder that the files lie in.
    """
    values = np.array(list(sizes.values()))
    usual = float(np.median(values)) if len(values) > 2 else 0.0
    if not usual:
        return
    if (np.abs(values - usual) > ALIKE_SHARE * usual).sum() > max(1, len(values) // 10):
        return
    if (values > LONG_SHARE * usual).any():
        file = list(sizes)[int(values.argmax())]
        raise SourceError(
            f"LiDAR file '{root / file}' has {sizes[file]} bytes, but the other {len(sizes) - 1} sweeps of its sensor in this "
            f"scene have about {usual:.0f}. It is written twice, or another file; fetch it again"
        )
    is_suspect = values < SHORT_SHARE * usual
    is_certain = (values % BLOCK_BYTES == 0) | (values < SHORTEST_SHARE * usual)
    is_suspect[:1] &= is_certain[:1]
    is_suspect[-1:] &= is_certain[-1:]
    if is_suspect.any():
        file = list(sizes)[int(is_suspect.argmax())]
        raise SourceError(
            f"LiDAR file '{root / file}' has {sizes[file]} bytes, but the other {len(sizes) - 1} sweeps of its sensor in this "
            f"scene have about {usual:.0f}. It is cut short; fetch it again. If the sensor gave no more, leave the scene out "
            "(recipe key scenes)"
        )


def likely_columns(content: bytes) -> int | None:
    """Return how many float32 a point a .bin has that cannot have 5; None if no number fits.

    With the right number, distances of x, y, z have both signs and what follows (intensity, ring, time) has none. With a wrong
    one, every column holds a mixture.
    """
    for columns in OTHER_COLUMNS:
        if len(content) % (4 * columns) == 0:
            points = np.frombuffer(content, "<f4").reshape(-1, columns)
            xyz, others = points[:, :3], points[:, 3:]
            with np.errstate(invalid="ignore"):
                if (xyz < 0).any() and (np.abs(xyz) < FARTHEST_M).mean() > 0.5 and not (others < 0).any():
                    return columns
    return None


def columns_to_tell(file: DataPath) -> int | None:
    """Return the number of columns that a recipe must give for files like this .bin; None if 5 will do, or none is found."""
    content = read_regular(file)
    try:
        lidar_points(content, columns=None, where=str(file))
    except SourceError:
        return likely_columns(content)
    return None


def _points_of_pcd(content: bytes, where: str) -> NDArray[np.float32]:
    """Return x, y and z of a .pcd (n, 3); what else it has nobody reads."""
    columns = read_pcd(content, where=where)
    refuse_without_xyz(columns, where)
    if states := [name for name in _RADAR_STATES if name in columns]:
        raise SourceError(
            f"LiDAR file '{where}' has the field '{states[0]}', which radar files have: it is another sensor's file. Fetch it "
            "again"
        )
    xyz = [columns[axis] for axis in "xyz"]
    with np.errstate(over="ignore"):
        points = np.stack([axis.astype(np.float32, copy=False) for axis in xyz], axis=1)
    refuse_absurd(xyz, where, values=points.reshape(-1))
    return points


def _points_of_bin(content: bytes, columns: int | None, where: str) -> NDArray[np.float32]:
    num_columns = LIDAR_COLUMNS if columns is None else columns
    if len(content) % (4 * num_columns):
        likely = likely_columns(content)
        raise SourceError(
            f"point file '{where}' has {len(content)} bytes, expected a multiple of {4 * num_columns} ({num_columns} float32 a "
            "point). "
            + (
                "It is cut short, or has another number of columns: fetch it again, or set source.lidar_columns in the recipe"
                if likely in (None, num_columns)
                else f"It looks like {likely} columns: set source.lidar_columns: {likely} in the recipe. If it has "
                f"{num_columns}, it is cut short: fetch it again"
            )
        )
    return np.frombuffer(content, dtype="<f4").reshape(-1, num_columns)


def _check_rings(points: NDArray[np.float32], where: str, *, is_told: bool) -> None:
    """Check column 4, the ring: whole numbers; and where lasers fire in turn, no cut within a round and no hole.

    Sets whose ring column says nothing (0 everywhere, any order) pass. A sample of the values is looked at, not each.

    Args:
        points: (n, 5 or more) the sweep.
        where: the file's path.
        is_told: the recipe gives the number of columns, so column 4 may be anything.
    """
    ring = points[:, LIDAR_COLUMNS - 1]
    period = _round_of(ring)
    if period:
        top = int(ring[:period].argmax())  # a hole as long as a round has a 0 in its place
        goes_on = np.array_equal(ring[-period:], ring[-2 * period : -period])
        if goes_on and ring[-1] == ring[(len(ring) - 1) % period] and (ring[top::period] == ring[top]).all():
            if len(ring) % period:
                raise _cut_in_a_round(where, len(ring), period)
            return
        _refuse_hole(points, period, where)
    sample = ring[:: max(1, len(ring) // RING_SAMPLE)]
    is_odd = np.rint(sample) != sample
    if is_told or not is_odd.any() or not (points[:, 3:LIDAR_COLUMNS] < 0).any():
        return
    likely = likely_columns(points.tobytes())
    raise SourceError(
        f"point file '{where}': column 4, the ring, holds {sample[is_odd][0]:.6g}, expected whole numbers; and columns 3 and 4 "
        "have negative values. The file probably has another number of columns than 5 (x, y, z, intensity, ring). "
        + (f"It looks like {likely}: set" if likely is not None else "Set")
        + f" source.lidar_columns: {likely or '<number>'} in the recipe, or 5 if it is 5 and column 4 is no ring"
    )


def _round_of(ring: NDArray[np.float32]) -> int:
    """Return after how many points the ring column begins again, 0 if it does not go round at the start of the file."""
    again = np.flatnonzero(ring[1 : MOST_RINGS + 1] == ring[0])
    period = int(again[0]) + 1 if len(again) else 0
    goes_round = (
        period >= LEAST_RINGS and 3 * period <= len(ring) and np.array_equal(ring[period : 3 * period], ring[: 2 * period])
    )
    return period if goes_round else 0


def _cut_in_a_round(where: str, num_points: int, period: int) -> SourceError:
    return SourceError(
        f"point file '{where}' has {num_points} points, and its rings go round in {period}: {num_points % period} points stand "
        f"after the last whole round, expected none. It is cut short; fetch it again"
    )


def _refuse_hole(points: NDArray[np.float32], period: int, where: str) -> None:
    """Refuse a sweep whose rings go round, but for zeros that last longer than a round: a lost block or end of the file."""
    used = np.flatnonzero(np.concatenate([[True], points.any(axis=1), [True]]))
    lengths = np.diff(used) - 1
    at = int(lengths.argmax())
    if lengths[at] > period:
        raise SourceError(
            f"point file '{where}': its rings go round in {period}, but after {used[at]} points only zeros follow "
            f"({lengths[at]} points). The file was not copied whole; fetch it again"
        )
