"""The recipe: what is to be made, from what, by which rules. Everything in it is fingerprinted, nothing else is.

Where and how fast (cache, workers, orchestrator) are settings (flows/settings.py) and never change a result.
"""

from __future__ import annotations

import difflib
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pipeline.ablation_choices import AblationChoices
from pipeline.sources import SourceConfig
from pipeline.sources.kitti_object_files import CAMERA as KITTI_CAMERA
from pipeline.stage import StageParams
from pipeline.stages.accumulate_lidar import Params as AccumulateLidarParams
from pipeline.stages.align_mono_depth import Params as AlignMonoDepthParams
from pipeline.stages.build_manifest import Params as BuildManifestParams
from pipeline.stages.clean_horizon import Params as CleanHorizonParams
from pipeline.stages.index_camera_sweeps import Params as IndexCameraSweepsParams
from pipeline.stages.index_frames import Params as IndexFramesParams
from pipeline.stages.index_windows import Params as IndexWindowsParams
from pipeline.stages.interpolate_depth import Params as InterpolateDepthParams
from pipeline.stages.pack_boxes import Params as PackBoxesParams
from pipeline.stages.pack_depth import Params as PackDepthParams
from pipeline.stages.pack_images import Params as PackImagesParams
from pipeline.stages.pack_interpolated import Params as PackInterpolatedParams
from pipeline.stages.pack_radar import Params as PackRadarParams
from pipeline.stages.pack_truth import Params as PackTruthParams
from pipeline.stages.predict_mono_depth import Params as PredictMonoDepthParams
from pipeline.stages.project_boxes import Params as ProjectBoxesParams
from pipeline.stages.project_lidar import Params as ProjectLidarParams
from pipeline.stages.project_radar import Params as ProjectRadarParams
from storage_schemas.errors import RecipeError

_NOT_YAML = (yaml.YAMLError, ValueError, OverflowError, RecursionError)
"""What PyYAML raises; the last three for a date like 2026-13-45, a number too large, and brackets without end."""

_KINDS = ("nuscenes", "synthetic", "zju_4dradarcam", "kitti_object")
_CUT_FROM_LISTS = ("zju_4dradarcam", "kitti_object")
_WITH_CAMERA_SWEEPS = ("nuscenes", "synthetic")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class StageChoices(_Frozen):
    """``stages:`` of a recipe: the params of every stage, defaults where nothing is said."""

    index_frames: IndexFramesParams = Field(default_factory=IndexFramesParams)
    index_camera_sweeps: IndexCameraSweepsParams = Field(default_factory=IndexCameraSweepsParams)
    index_windows: IndexWindowsParams = Field(default_factory=IndexWindowsParams)
    pack_images: PackImagesParams = Field(default_factory=PackImagesParams)
    project_radar: ProjectRadarParams = Field(default_factory=ProjectRadarParams)
    project_lidar: ProjectLidarParams = Field(default_factory=ProjectLidarParams)
    predict_mono_depth: PredictMonoDepthParams = Field(default_factory=PredictMonoDepthParams)
    align_mono_depth: AlignMonoDepthParams = Field(default_factory=AlignMonoDepthParams)
    accumulate_lidar: AccumulateLidarParams = Field(default_factory=AccumulateLidarParams)
    clean_horizon: CleanHorizonParams = Field(default_factory=CleanHorizonParams)
    interpolate_depth: InterpolateDepthParams = Field(default_factory=InterpolateDepthParams)
    pack_radar: PackRadarParams = Field(default_factory=PackRadarParams)
    pack_depth: PackDepthParams = Field(default_factory=PackDepthParams)
    pack_interpolated: PackInterpolatedParams = Field(default_factory=PackInterpolatedParams)
    pack_boxes: PackBoxesParams = Field(default_factory=PackBoxesParams)
    project_boxes: ProjectBoxesParams = Field(default_factory=ProjectBoxesParams)
    pack_truth: PackTruthParams = Field(default_factory=PackTruthParams)
    build_manifest: BuildManifestParams = Field(default_factory=BuildManifestParams)

    def params_of(self, stage: str) -> StageParams:
        """Return the params of a stage by its name."""
        found: StageParams = getattr(self, stage)
        return found


class Recipe(_Frozen):
    """A whole recipe file."""

    source: SourceConfig
    store: str = Field(description="path or fsspec URL of the store")
    cameras: tuple[str, ...] = Field(default=("CAM_FRONT",), min_length=1, description="camera channels")
    scenes: tuple[str, ...] | None = Field(default=None, description="scene names to use; all when left out")
    stages: StageChoices = Field(default_factory=StageChoices)
    train: dict[str, Any] = Field(
        default_factory=dict, description="what depthmill train makes of the manifest; checked by model/families.py"
    )
    ablation: AblationChoices = Field(
        default_factory=AblationChoices, description="variants of train: that depthmill ablate compares"
    )

    @model_validator(mode="before")
    @classmethod
    def _simulate_the_sensors_asked_for(cls, data: Any) -> Any:
        source = data.get("source") if isinstance(data, dict) else None
        if not isinstance(source, dict) or source.get("kind") != "synthetic":
            return data
        asked_for = {key: data[key] for key in ("cameras",) if key in data}
        stages = data.get("stages")
        radar = stages.get("project_radar") if isinstance(stages, dict) else None
        if isinstance(radar, dict) and "channels" in radar:
            asked_for["radars"] = radar["channels"]
        return {**data, "source": {**asked_for, **source}}

    @model_validator(mode="before")
    @classmethod
    def _take_windows_of_the_cameras_there_are(cls, data: Any) -> Any:
        """Ask for windows of the recipe's cameras where it names none for them; runs after ``_take_the_camera_there_is``."""
        stages = data.get("stages") if isinstance(data, dict) else None
        windows = stages.get("index_windows") if isinstance(stages, dict) else None
        if not (isinstance(stages, dict) and isinstance(windows, dict) and windows.get("enabled")):
            return data
        cameras = data.get("cameras", cls.model_fields["cameras"].default)
        return {**data, "stages": {**stages, "index_windows": {"cameras": cameras, **windows}}}

    @model_validator(mode="before")
    @classmethod
    def _index_the_camera_sweeps_asked_for(cls, data: Any) -> Any:
        source, stages = (data.get("source"), data.get("stages")) if isinstance(data, dict) else (None, None)
        windows = stages.get("index_windows") if isinstance(stages, dict) else None
        if not (isinstance(source, dict) and source.get("kind") in _WITH_CAMERA_SWEEPS and isinstance(windows, dict)):
            return data
        if not (windows.get("enabled") and windows.get("frames") == "sweep"):
            return data
        return {**data, "source": {"camera_sweeps": True, **source}}

    @model_validator(mode="after")
    def _refuse_windows_of_sweeps_without_any(self) -> Recipe:
        windows = self.stages.index_windows
        if windows.enabled and windows.frames == "sweep" and not getattr(self.source, "camera_sweeps", False):
            if self.source.kind in _WITH_CAMERA_SWEEPS:
                step = "set source.camera_sweeps to true or leave it out"
            else:
                step = f"take a source that has them ({', '.join(_WITH_CAMERA_SWEEPS)})"
            raise ValueError(
                f"stages.index_windows.frames is sweep, but source.kind {self.source.kind} gives no images between key frames; "
                f"{step}, or set stages.index_windows.frames to key"
            )
        return self

    @model_validator(mode="before")
    @classmethod
    def _take_the_camera_there_is(cls, data: Any) -> Any:
        """Take CAM_2 of a KITTI object set, whose only camera it is, where the recipe names none."""
        source = data.get("source") if isinstance(data, dict) else None
        is_kitti = isinstance(source, dict) and source.get("kind") == "kitti_object"
        return {"cameras": (KITTI_CAMERA,), **data} if is_kitti else data

    @model_validator(mode="before")
    @classmethod
    def _keep_the_last_frame_of_given_maps(cls, data: Any) -> Any:
        """Leave no frame out of a set whose scenes are cut from its lists: leaving the last one out is a rule of nuScenes."""
        source, stages = (data.get("source"), data.get("stages", {})) if isinstance(data, dict) else (None, None)
        if not (isinstance(source, dict) and source.get("kind") in _CUT_FROM_LISTS and isinstance(stages, dict)):
            return data
        build = stages.get("build_manifest", {})
        if not isinstance(build, dict):
            return data
        return {**data, "stages": {**stages, "build_manifest": {"drop_last_keyframe": False, **build}}}


def load_recipe(path: str | Path, *, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe file.

    Args:
        path: YAML file.
        overrides: ``key.key=value`` changes, e.g. ``stages.clean_horizon.near_m=25``; values are YAML.

    Raises:
        RecipeError: the file is missing, is not YAML, or does not fit the schema; names the key and a likely correction.
    """
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise RecipeError(f"recipe '{file}' does not exist. Write one with depthmill init, or run depthmill demo") from error
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"recipe '{file}' cannot be read: {error}") from error
    try:
        data = yaml.safe_load(text)
    except _NOT_YAML as error:
        raise RecipeError(f"recipe '{file}' is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(data, dict):
        raise RecipeError(f"recipe '{file}' is empty or not a mapping; expected the keys source and store")
    for override in overrides:
        _apply(data, override)
    return parse_recipe(data, where=str(file))


def parse_recipe(data: dict[str, Any], *, where: str) -> Recipe:
    """Check recipe data against the schema; RecipeError lists every mistake, one a line."""
    try:
        return Recipe.model_validate(data)
    except ValidationError as error:
        lines = [_explain(dict(one)) for one in error.errors()]
        raise RecipeError("\n".join(f"recipe '{where}': {line}" for line in lines)) from error


def _apply(data: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    if not equals:
        raise RecipeError(f"override '{override}' is not of the form key.key=value, e.g. stages.clean_horizon.near_m=25")
    *parents, last = key.split(".")
    for parent in parents:
        data = data.setdefault(parent, {})
        if not isinstance(data, dict):
            raise RecipeError(f"override '{override}': '{parent}' is a value, not a group of keys")
    try:
        data[last] = yaml.safe_load(value)
    except _NOT_YAML as error:
        raise RecipeError(f"override {override!r}: the value is not valid YAML: {' '.join(str(error).split())}") from error


def _explain(error: dict[str, Any]) -> str:
    location = [str(part) for part in error["loc"] if part not in _KINDS]
    key, value = ".".join(location) or "recipe", error.get("input")
    if error["type"] == "extra_forbidden":
        known = _keys_at(location[:-1], error["loc"])
        near = difflib.get_close_matches(location[-1], known, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"expected one of: {', '.join(known)}"
        return f"unknown key '{key}'; {hint}"
    if error["type"] == "missing":
        return f"key '{key}' is missing"
    if error["type"].startswith("union_tag"):
        return (
            f"source.kind is {value.get('kind')!r}, expected one of: {', '.join(_KINDS)}"
            if isinstance(value, dict)
            else "source must be a group of keys"
        )
    message = str(error["msg"]).removeprefix("Value error, ")
    return f"{key} is {value!r}: {message}" if location else message  # keys that do not go together name themselves


def _keys_at(location: Sequence[str], full: Sequence[Any]) -> list[str]:
    """Return the keys that exist at a place of the schema."""
    model: Any = Recipe
    for part in location:
        annotation = model.model_fields[part].annotation
        if part == "source":
            kinds = {member.model_fields["kind"].annotation.__args__[0]: member for member in typing.get_args(annotation)}
            annotation = kinds[next(tag for tag in full if tag in kinds)]
        model = annotation
    return list(model.model_fields)
