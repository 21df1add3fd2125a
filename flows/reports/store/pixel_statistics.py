"""What only the pixels can tell: errors against the truth, agreement with the single sweep, depth histograms.

Why    The lineage counts how much is measured, not how well
Reads  depth_single, depth_accumulated, depth_clean, depth_truth of sampled scenes, one frame at a time; radar counts
Writes PixelStatistics, in memory
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flows.reports.store.depth_errors import BeforeAfter, TruthComparison, compare_with_sweep, compare_with_truth
from flows.reports.store.facts import View, even_choice
from storage_schemas.awaited import counted
from storage_schemas.store import Store, StoredUnit

MAX_SCENES = 20
"""Scenes whose pixels are read; of more, this many are taken evenly."""

MAX_FRAMES = 400
"""Frames whose pixels are read; of more, every k-th: about half a minute for maps of 900x1600, and shares settle long before."""

DEPTH_LAYOUTS = ("depth_single", "depth_accumulated", "depth_clean", "depth_truth")
"""Stores with a depth map per frame, in the order of the report."""


@dataclass(frozen=True)
class FrameNumbers:
    """One frame's numbers, to find the worst.

    Attributes:
        view: scene and camera.
        frame: index along ``frame`` of the view's units.
        num_dropped: pixels that cleaning removed.
        gross_share: share of accumulated pixels that is grossly wrong; None where the truth is not known.
    """

    view: View
    frame: int
    num_dropped: int
    gross_share: float | None


@dataclass
class PixelStatistics:
    """Sums over the frames that were read.

    Attributes:
        num_scenes: scenes read, of ``num_scenes_there``.
        num_frames: frames read, of ``num_frames_there`` in these scenes.
        depth_counts: layout -> (65536,) int64, pixels by depth in steps of 1/256 m.
        truth: errors over all frames; None where no truth is known.
        truth_of_scene: scene -> errors over its frames, in total.
        sweep: disagreement with the single sweep, a proxy; None where the truth is known or nothing can be compared.
        sweep_of_scene: scene -> the same for one scene.
        frames: every frame read.
        radar_per_frame: (n,) radar returns of every frame of the sampled scenes.
    """

    num_scenes: int = 0
    num_scenes_there: int = 0
    num_frames: int = 0
    num_frames_there: int = 0
    depth_counts: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    truth: TruthComparison | None = None
    truth_of_scene: dict[str, BeforeAfter] = field(default_factory=dict)
    sweep: BeforeAfter | None = None
    sweep_of_scene: dict[str, BeforeAfter] = field(default_factory=dict)
    frames: list[FrameNumbers] = field(default_factory=list)
    radar_per_frame: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))


def measure_pixels(store: Store, views: Sequence[View]) -> PixelStatistics:
    """Read sampled frames one by one and add up their numbers; memory holds one frame at a time."""
    scenes = list(dict.fromkeys(view.scene for view in views))
    chosen = set(even_choice(scenes, MAX_SCENES))
    sampled = [view for view in views if view.scene in chosen]
    opened = {view.title: _open_maps(store, view) for view in sampled}
    every = [(view, frame) for view in sampled for frame in range(_num_frames(opened[view.title]))]
    statistics = PixelStatistics(len(chosen), len(scenes), 0, len(every))
    for view, frame in counted(even_choice(every, MAX_FRAMES), "pixels of frames are counted for the report"):
        maps = {layout: unit.array("depth_m", frame) for layout, unit in opened[view.title].items()}
        truth = opened[view.title].get("depth_truth")
        _add_frame(statistics, view, frame, maps, None if truth is None else truth.array("surface", frame))
    radar = [store.open_unit(view.units["radar_points"]).array("num_points") for view in sampled if "radar_points" in view.units]
    if radar:
        statistics.radar_per_frame = np.concatenate(radar).astype(np.int64)
    return statistics


def _open_maps(store: Store, view: View) -> dict[str, StoredUnit]:
    return {layout: store.open_unit(view.units[layout]) for layout in DEPTH_LAYOUTS if layout in view.units}


def _num_frames(maps: Mapping[str, StoredUnit]) -> int:
    return min((unit.shape("depth_m")[0] for unit in maps.values()), default=0)


def _add_frame(
    statistics: PixelStatistics, view: View, frame: int, maps: Mapping[str, NDArray[Any]], surface: NDArray[np.uint8] | None
) -> None:
    statistics.num_frames += 1
    for layout, steps in maps.items():
        counts = np.bincount(steps.ravel(), minlength=1 << 16)
        statistics.depth_counts[layout] = statistics.depth_counts.get(layout, 0) + counts
    before, after = maps.get("depth_accumulated"), maps.get("depth_clean")
    if before is None or after is None:
        return
    gross_share = None
    if "depth_truth" in maps:
        errors = compare_with_truth(before, after, maps["depth_truth"], surface)
        gross_share = errors.total.before.gross_share
        statistics.truth = errors if statistics.truth is None else statistics.truth + errors
        _add(statistics.truth_of_scene, view.scene, errors.total)
    elif "depth_single" in maps:
        difference = compare_with_sweep(before, after, maps["depth_single"])
        statistics.sweep = difference if statistics.sweep is None else statistics.sweep + difference
        _add(statistics.sweep_of_scene, view.scene, difference)
    statistics.frames.append(FrameNumbers(view, frame, int(np.count_nonzero((before > 0) & (after == 0))), gross_share))


def _add(groups: dict[str, BeforeAfter], name: str, counts: BeforeAfter) -> None:
    groups[name] = groups[name] + counts if name in groups else counts
