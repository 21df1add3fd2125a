"""Every stage: our own, and those that packages outside bring, in the order that they run.

Why    A stage costs one file and one line here; its place follows from what it reads and writes
How    ``pipeline.stages`` itself imports nothing, so that a plug-in stage can use what stands beside our own stages
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pipeline.stage import StageParams, StageSpec
from pipeline.stage_order import StageOrderError, in_order
from pipeline.stages import (
    accumulate_lidar,
    align_mono_depth,
    build_manifest,
    clean_horizon,
    index_camera_sweeps,
    index_frames,
    index_objects,
    index_windows,
    interpolate_depth,
    pack_boxes,
    pack_depth,
    pack_images,
    pack_interpolated,
    pack_radar,
    pack_truth,
    predict_mono_depth,
    project_boxes,
    project_lidar,
    project_radar,
)
from storage_schemas.catalog import find_layout
from storage_schemas.plug_ins import PlugIn, PlugInError, broken_plug_ins, loaded_plug_ins

OUR_STAGES: tuple[StageSpec[Any], ...] = (
    index_frames.STAGE,
    index_camera_sweeps.STAGE,
    index_windows.STAGE,
    index_objects.STAGE,
    pack_images.STAGE,
    project_radar.STAGE,
    project_lidar.STAGE,
    pack_radar.STAGE,
    pack_depth.STAGE,
    pack_interpolated.STAGE,
    pack_boxes.STAGE,
    predict_mono_depth.STAGE,
    align_mono_depth.STAGE,
    project_boxes.STAGE,
    accumulate_lidar.STAGE,
    clean_horizon.STAGE,
    interpolate_depth.STAGE,
    pack_truth.STAGE,
    build_manifest.STAGE,
)
"""Our own stages; where several orders are possible, they run in this one."""


def stages_with_plug_ins() -> tuple[tuple[StageSpec[Any], ...], dict[str, str]]:
    """Return all stages in running order, and why installed plug-in stages are not among them, by name.

    Raises:
        StageOrderError: our own stages cannot be put in order.
        PlugInError: a package brings the name of one of our own stages, or two packages bring the same.
    """
    stages, broken = in_order(OUR_STAGES), broken_plug_ins("depthmill.stages")
    names = frozenset(stage.name for stage in OUR_STAGES)
    for name, (plug_in, stage) in loaded_plug_ins("depthmill.stages", own=names).items():
        try:
            stages = in_order((*stages, _checked(plug_in, stage)))
        except (PlugInError, StageOrderError) as error:
            broken[name] = (
                f"plug-in '{name}' (depthmill.stages) of package {plug_in.package} {plug_in.version} cannot be used: {error}"
            )
    return stages, broken


def _checked(plug_in: PlugIn, stage: Any) -> StageSpec[Any]:
    if not isinstance(stage, StageSpec):
        raise PlugInError(f"{plug_in.entry.value} is {type(stage).__name__}, expected StageSpec")
    if not (isinstance(stage.params, type) and issubclass(stage.params, StageParams)):
        raise PlugInError(f"the params of stage '{stage.name}' are {stage.params!r}, expected a class derived from StageParams")
    if stage.name != plug_in.name:
        raise PlugInError(f"{plug_in.entry.value} is a stage of the name '{stage.name}', expected '{plug_in.name}'")
    if stage.per == "dataset":
        raise PlugInError(f"layout '{stage.writes.name}' is per data set, expected scene or camera")
    if stage.per == "scene" and (of_camera := [layout.name for layout in stage.reads if layout.per == "camera"]):
        raise PlugInError(f"it makes one unit a scene and reads '{of_camera[0]}', of which there is one a camera")
    registered = find_layout(stage.writes.name)
    if registered != stage.writes:
        raise PlugInError(f"layout '{stage.writes.name}' is another than the store of that name. Give it a name of its own")
    return replace(stage, plug_in=plug_in)


STAGES, BROKEN_STAGES = stages_with_plug_ins()
"""All stages in running order; and why installed plug-in stages are not among them, by name."""

_BY_NAME = {stage.name: stage for stage in STAGES}


def stage_named(name: str) -> StageSpec[Any]:
    """Return a stage by name; KeyError for an unknown one."""
    return _BY_NAME[name]
