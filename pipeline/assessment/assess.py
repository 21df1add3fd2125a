"""Measure the maps of a recipe on sampled key frames, beside those of other recipes on the same frames.

Reads  stored units or, where they are missing, raw files; exact depth or held-out sweeps
Writes FrameErrors, one for each frame, recipe and store
Source docs/method/pipeline.md#measuring-supervision
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline.assessment.groups import range_labels, removed_labels, row_labels, surface_labels
from pipeline.assessment.held_out_sweep import held_out_reference
from pipeline.assessment.point_readers import PointReader
from pipeline.assessment.scene_maps import SceneMaps
from pipeline.kernels.depth_errors import NO_GROUP, Groups, Labels, measure_map
from pipeline.plan import Plan
from pipeline.recipe import Recipe
from pipeline.stage import RawReader
from pipeline.stages import accumulate_lidar
from pipeline.types import ALL
from storage_schemas.catalog import DEPTH_ACCUMULATED, DEPTH_CLEAN, DEPTH_TRUTH
from storage_schemas.errors import RecipeError
from storage_schemas.store import Store

Against = Literal["truth", "sweep"]
T = TypeVar("T")

GOLDEN_SECTION = 0.6180339887498949
"""Multiples of it, without their whole part, fill the numbers from 0 to 1 evenly."""


@dataclass(frozen=True)
class Contender:
    """A recipe that is measured, by the name it has in tables."""

    name: str
    recipe: Recipe
    plan: Plan


@dataclass(frozen=True)
class Frame:
    """One key frame of one camera; ``number`` counts within the scene and camera."""

    scene: str
    camera: str
    number: int


@dataclass(frozen=True)
class FrameErrors:
    """Errors of one map.

    Attributes:
        frame: which.
        file: the image's file below the source's root.
        timestamp_us: of the image.
        is_night: the scene was recorded at night.
        contender: name of the recipe.
        layout: the store.
        groups: counts by grouping and group.
        steps: (height, width) uint16 the map.
        reference: (height, width) uint16 what it was compared with.
        against: what that is: 0 in exact depth is the sky.
    """

    frame: Frame
    file: str
    timestamp_us: int
    is_night: bool
    contender: str
    layout: str
    groups: Groups
    steps: NDArray[np.uint16]
    reference: NDArray[np.uint16]
    against: Against


def reference_kind(plan: Plan, chosen: Against | None) -> Against:
    """Return what maps are compared with: exact depth where all scenes have it, else held-out sweeps, or what was chosen.

    Raises:
        RecipeError: exact depth was chosen and is not known, or the recipe accumulates no LiDAR.
    """
    of_scene: dict[str, set[str]] = {}
    for item in plan.items:
        if item.identity.scene != ALL:
            of_scene.setdefault(item.identity.scene, set()).add(item.identity.layout)
    if not any(DEPTH_ACCUMULATED.name in layouts for layouts in of_scene.values()):
        raise RecipeError(
            "the recipe accumulates no LiDAR: no chosen scene has the channel of stages.accumulate_lidar.lidar, or another stage "
            "provides the depth. Assess a recipe whose scenes have LiDAR sweeps"
        )
    has_truth = all(DEPTH_TRUTH.name in layouts for layouts in of_scene.values())
    if chosen == "truth" and not has_truth:
        raise RecipeError("--reference truth: the exact depth of these scenes is not known. Use --reference sweep")
    return chosen or ("truth" if has_truth else "sweep")


def sampled_frames(plan: Plan, raw: RawReader, scenes: Sequence[str], *, most: int) -> list[Frame]:
    """Return key frames of the scenes that accumulate LiDAR; of more than ``most``, so many, spread evenly.

    Raises:
        RecipeError: a scene is not in the plan, or there are no frames.
    """
    views = [(item.identity.scene, item.identity.camera) for item in plan.items if item.identity.layout == DEPTH_ACCUMULATED.name]
    known = list(dict.fromkeys(scene for scene, _ in views))
    if strange := [name for name in scenes if name not in known]:
        raise RecipeError(f"--scenes: scene '{strange[0]}' is not among those with accumulated depth: {_some(known)}")
    chosen = _even([view for view in views if not scenes or view[0] in scenes], most)  # tables of few scenes are read
    cameras = {scene: list(raw.scene_tables(scene)["keyframes"]["camera"]) for scene in dict.fromkeys(name for name, _ in chosen)}
    frames = [Frame(scene, camera, k) for scene, camera in chosen for k in range(cameras[scene].count(camera))]
    if not frames:
        raise RecipeError("the chosen scenes have no key frame of the recipe's cameras. Choose others with --scenes")
    return _even(frames, most)


def _even(values: list[T], most: int) -> list[T]:
    """Return at most so many values: one of each of as many equal stretches, at a place that moves on by the golden section.

    A fixed place would always be, say, the first frame of a scene where stretches are as long as scenes.
    """
    if len(values) <= most:
        return values
    step = len(values) / most
    return [values[int((k + k * GOLDEN_SECTION % 1) * step)] for k in range(most)]


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def assess_frames(
    contenders: Sequence[Contender],
    frames: Sequence[Frame],
    store: Store,
    raw: RawReader,
    *,
    against: Against,
    neighbours: int = 0,
) -> Iterator[list[FrameErrors]]:
    """Measure every contender on every frame; what the first one removed is a group of each other one.

    Args:
        contenders: recipes of the same source.
        frames: scene by scene.
        store: where units are read.
        raw: reader of the source.
        against: exact depth, or the key sweep held out.
        neighbours: with held-out sweeps: as many on either side of the key sweep are held out, too.

    Yields:
        For each frame one record a contender and store.

    Raises:
        DepthmillError: a file or unit is missing or broken.
    """
    scene, points, shared = "", PointReader(raw), dict[Any, Any]()
    makers: dict[tuple[str, str], SceneMaps] = {}
    for frame in frames:
        if frame.scene != scene:
            scene, points, makers, shared = frame.scene, PointReader(raw), {}, {}
        of_frame = []
        for contender in contenders:
            key = (contender.name, frame.camera)
            if key not in makers:
                makers[key] = SceneMaps(contender.plan, contender.recipe, store, points, scene=frame.scene, camera=frame.camera)
            of_frame.append(makers[key])
        of_frame_alone = against == "sweep"  # what was made without a held-out sweep is of no use to the next frame
        kept = {} if of_frame_alone else shared
        yield _frame_errors(contenders, of_frame, frame, points, against=against, neighbours=neighbours, shared=kept)


def _frame_errors(
    contenders: Sequence[Contender],
    makers: Sequence[SceneMaps],
    frame: Frame,
    points: PointReader,
    *,
    against: Against,
    neighbours: int,
    shared: dict[Any, Any],
) -> list[FrameErrors]:
    tables = makers[0].frame_tables(frame.number)
    held: frozenset[str] = frozenset()
    kinds: tuple[Labels, ...]
    if against == "truth":
        truth = makers[0].arrays(frame.number, (DEPTH_TRUTH.name,), shared=shared)[DEPTH_TRUTH.name]
        reference, kinds = truth["depth_m"], (surface_labels(truth["surface"]),)
    else:
        params = contenders[0].recipe.stages.params_of(accumulate_lidar.STAGE)
        of_sweep = held_out_reference(points, tables, params, scene=frame.scene, neighbours=neighbours)
        reference, kinds, held = of_sweep.steps, of_sweep.groups, of_sweep.held
    is_sky = against == "truth"  # where the reference is 0
    labels = [range_labels(reference, zero_is_sky=is_sky), row_labels(reference.shape), *kinds]
    maps = [_maps(maker, frame, against, held, shared) for maker in makers]
    return [
        FrameErrors(
            frame,
            str(tables["keyframes"]["file"][0]),
            int(tables["keyframes"]["timestamp_us"][0]),
            bool(tables["scene"]["is_night"][0]),
            contender.name,
            layout,
            measure_map(steps, reference, [*labels, *_removed(maps[0], layout, steps, kinds, by=contender)], zero_is_sky=is_sky),
            steps,
            reference,
            against,
        )
        for contender, of_contender in zip(contenders, maps, strict=True)
        for layout, steps in of_contender.items()
    ]


def _maps(
    maker: SceneMaps, frame: Frame, against: Against, held: frozenset[str], shared: dict[Any, Any]
) -> Mapping[str, NDArray[np.uint16]]:
    layouts = tuple(name for name in maker.layouts if against == "truth" or not maker.is_of_key_sweep(name))
    return {name: arrays["depth_m"] for name, arrays in maker.arrays(frame.number, layouts, shared=shared, held=held).items()}


def _removed(
    first: Mapping[str, NDArray[Any]], layout: str, steps: NDArray[np.uint16], kinds: Sequence[Labels], *, by: Contender
) -> list[Labels]:
    """Return the pixels of a map that the assessed recipe lacks, in all and by each kind of group."""
    if layout not in first or layout not in (DEPTH_ACCUMULATED.name, DEPTH_CLEAN.name) or first[layout] is steps:
        return []
    removed = removed_labels(steps, first[layout], by=by.name)
    is_removed = removed.label != NO_GROUP
    return [
        removed,
        *(Labels(f"removed, {kind.grouping}", kind.names, np.where(is_removed, kind.label, NO_GROUP)) for kind in kinds),
    ]
