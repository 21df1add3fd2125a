"""Take the LiDAR sweeps of a scene into memory once, with the points on moving objects dropped or set aside.

The moving filter does not depend on the image that points are projected into later. So it acts while points are read: a point is
tested once, against the few moving boxes of its own sweep. The same holds for returns of the own car, and for returns that other
sweeps see through.
"""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.free_space_choice import FreeSpace
from pipeline.geometry import inverse
from pipeline.kernels.accumulate import FrozenGroups, PointGroups, freeze
from pipeline.kernels.boxes import PlacedBoxes, SceneBoxes
from pipeline.kernels.range_table import RangeTable, TableMaker
from pipeline.kernels.take_in import close_gaps, pack_beyond
from pipeline.poses import world_from_sensors
from pipeline.stage import RawReader, SweepComparer

Moving = Literal["keep", "drop", "carry"]

BOX_TIME_TOLERANCE_US = 250_000
"""A carried object is placed at an image at most half a key-frame interval outside the time it is annotated in."""


@dataclass(frozen=True)
class ReturnCounts:
    """How many returns were read, and what became of them.

    Attributes:
        read: in the files.
        own_car: dropped as the own car's.
        in_boxes: in a moving box, dropped or carried.
        free_space: dropped because other sweeps see through them.
    """

    read: int = 0
    own_car: int = 0
    in_boxes: int = 0
    free_space: int = 0


@dataclass(frozen=True)
class ScenePoints:
    """LiDAR points of chosen sweeps of one scene.

    Attributes:
        groups: points in rigid groups, ``groups.sweep`` counts within the chosen sweeps.
        instances: instance token of each carried object, by its number in ``groups.instance``.
        world_from_sensor: (num_sweeps, 4, 4) float64.
        boxes: the moving boxes, None for ``keep``.
        files: files that were read.
        counts: returns that were read, and dropped by each filter.
    """

    groups: FrozenGroups
    instances: tuple[str, ...]
    world_from_sensor: NDArray[np.float64]
    boxes: SceneBoxes | None
    files: tuple[str, ...]
    counts: ReturnCounts = ReturnCounts()


def read_scene_points(
    raw: RawReader,
    sweeps: Sequence[dict[str, Any]],
    boxes: SceneBoxes | None,
    *,
    moving: Moving,
    own_car_m: float = 0.0,
    free_space: FreeSpace | None = None,
    read_before: MutableMapping[str, NDArray[np.float32]] | None = None,
) -> ScenePoints:
    """Read sweeps and sort their points into groups.

    Args:
        raw: reader of point files.
        sweeps: rows of ``frames.sweeps``.
        boxes: moving boxes of the scene; may be None for ``keep``.
        moving: ``keep`` every point, ``drop`` those inside moving boxes, or ``carry`` them in the frame of their box.
        own_car_m: returns nearer to the sensor than this, in metres, are dropped.
        free_space: how other sweeps vote on returns; of ``sweeps``, no others. None: they do not.
        read_before: points of files that were read already; they are taken out.

    Raises:
        SourceError: a file is missing, broken or cut short; names the file.
    """
    groups = PointGroups(np.empty((3, 0), np.float32))
    numbers: dict[str, int] = {}
    carried: list[tuple[int, int, NDArray[np.float32]]] = []
    poses = world_from_sensors(sweeps)
    placed = boxes.moving_at_sweeps(sweeps) if boxes is not None and moving != "keep" else None
    boxes_from_sensor, half_size_m = _boxes_from_sensor(placed, poses)
    tables: dict[int, RangeTable] = {}
    maker, beyond = TableMaker(), np.empty((0, 3), np.float32)
    num_read = num_own = num_boxed = 0
    for number, sweep in enumerate(sweeps):
        known = read_before.pop(sweep["file"], None) if read_before else None
        points = raw.read_points(sweep["file"]) if known is None else known
        num_read += len(points)
        if free_space is not None:
            tables[number] = maker.table_of(points)  # of all returns: behind the own car and other cars a sweep sees nothing
        if own_car_m > 0:
            if len(beyond) < len(points):
                beyond = np.empty((len(points) + len(points) // 20, 3), np.float32)
            left = pack_beyond(points, np.float32(own_car_m), beyond)
            num_own += len(points) - left
            points = beyond[:left]
        _reserve(groups, len(points), sweeps_left=len(sweeps) - number)
        before = groups.num_points
        of_sweep = placed.of_moment(number) if placed is not None else slice(0)
        inside = groups.add_sweep(points, boxes_from_sensor[of_sweep], half_size_m[of_sweep], sweep=number)
        num_boxed += len(points) - (groups.num_points - before)
        if moving == "carry" and placed is not None:
            for k, instance in enumerate(placed.instances[of_sweep]):
                at = np.flatnonzero(inside == k)
                if len(at):
                    box = boxes_from_sensor[of_sweep][k]
                    local = points[at, :3].astype(np.float64) @ box[:, :3].T + box[:, 3]
                    carried.append((numbers.setdefault(instance, len(numbers)), number, local.astype(np.float32)))
    refuse_cut_sweeps(raw, sweeps)
    _reserve(groups, sum(len(points) for _, _, points in carried), sweeps_left=1)
    for instance_number, number, local in carried:
        groups.add_sweep(local, boxes_from_sensor[:0], half_size_m[:0], sweep=number, instance=instance_number)
    frozen = freeze(groups)
    num_free = 0
    if free_space is not None:
        frozen, num_free = _without_seen_through(frozen, tables, sweeps, poses, free_space)
    counts = ReturnCounts(num_read, num_own, num_boxed, num_free)
    return ScenePoints(frozen, tuple(numbers), poses, boxes, tuple(sweep["file"] for sweep in sweeps), counts)


def _without_seen_through(
    groups: FrozenGroups,
    tables: dict[int, RangeTable],
    sweeps: Sequence[dict[str, Any]],
    world_from_sensor: NDArray[np.float64],
    choice: FreeSpace,
) -> tuple[FrozenGroups, int]:
    """Return the groups without the static returns that other sweeps see through, and how many these were.

    Blocks keep their bounds, which then are wider than need be: culling stays right. Nobody votes on carried objects: they move.
    """
    from pipeline.kernels.free_space import vote

    num_points = int(groups.block_start[-1])
    static = np.flatnonzero(groups.instance < 0)  # the group of sweep k is number k; carried ones follow
    columns_of = np.stack([groups.block_start[groups.first_block[static + side]] for side in (0, 1)], axis=1)
    votes = vote(groups.xyz_m, columns_of, tables, sweeps, world_from_sensor, choice)
    num_carried = num_points - len(votes.free)
    free = np.concatenate([votes.free, np.zeros(num_carried, np.uint8)]) if num_carried else votes.free
    for values in (*groups.xyz_m[:, :num_points], free):
        close_gaps(values, votes.dropped)
    starts = groups.block_start - np.searchsorted(votes.dropped, groups.block_start)
    left = num_points - len(votes.dropped)
    return replace(groups, block_start=starts, free_votes=free[:left]), len(votes.dropped)


def refuse_cut_sweeps(raw: RawReader, sweeps: Sequence[dict[str, Any]]) -> None:
    """Raise SourceError if one of the sweeps, all read before, is cut short, where the reader can tell by the others."""
    if isinstance(raw, SweepComparer):
        for channel in dict.fromkeys(sweep["channel"] for sweep in sweeps):
            raw.refuse_cut_sweeps([sweep["file"] for sweep in sweeps if sweep["channel"] == channel])


def _boxes_from_sensor(
    placed: PlacedBoxes | None, world_from_sensor: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (n, 3, 4) transforms from the sensor at each box's moment into the box, and (n, 3) half extents."""
    if placed is None:
        return np.zeros((0, 3, 4)), np.zeros((0, 3))
    moment = np.repeat(np.arange(len(world_from_sensor)), np.diff(placed.first))
    return np.ascontiguousarray((inverse(placed.world_from_box) @ world_from_sensor[moment])[:, :3]), placed.half_size_m


def _reserve(groups: PointGroups, count: int, *, sweeps_left: int) -> None:
    """Make room for ``count`` more points, assuming that the remaining sweeps are as large; unused room is never written."""
    if groups.num_points + count > groups.xyz_m.shape[1]:
        grown = np.empty((3, groups.num_points + int(1.05 * count * sweeps_left) + 1), np.float32)
        grown[:, : groups.num_points] = groups.xyz_m[:, : groups.num_points]
        groups.xyz_m = grown
