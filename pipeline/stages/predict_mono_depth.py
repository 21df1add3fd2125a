"""Predict every key frame with a monocular depth model, and keep its maps as they are.

Why    A network that knows what streets look like fills what LiDAR and radar leave open: cleaning compares returns with it,
       and it is a third input of the depth network. Prediction is slow and alignment fast, so they are two stages
Reads  images.encoded or the image files, frames (calibration, boxes), boxes of a source that labels images, truth/ of a
       simulated world, maps that another program wrote: what the model sees
Writes depth_mono_raw: value on the model's own grid and what it means, confidence and sky where the model has them
Source docs/method/mono-depth.md#image-size, #depth-anything-3
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from pipeline.geometry import rigid
from pipeline.kernels.boxes import PlacedBox
from pipeline.mono_depth.maps import map_key, open_maps
from pipeline.mono_depth.model import MonoDepthError, MonoDepthInput, MonoDepthMap, MonoDepthModel, Sight, check_map
from pipeline.mono_depth.plane import PlaneAndBoxes, labelled_boxes, world_boxes
from pipeline.mono_depth.truth import CorruptedTruth, Corruption
from pipeline.poses import intrinsic_of
from pipeline.stage import StageInput, StageParams, StageResult, StageSpec
from pipeline.stages.pack_truth import truth_file
from storage_schemas.catalog import BOXES, DEPTH_MONO_RAW, FRAMES, IMAGES, VALUE_KINDS
from storage_schemas.encoding import decode_depth
from storage_schemas.errors import SourceError
from storage_schemas.image_files import opened_image
from storage_schemas.layout import StoreLayout, UnitData

FAR_M = 80.0
"""``plane_and_boxes`` sees sky beyond this (docs/method/mono-depth.md#models-without-weights)."""


class Params(StageParams):
    """Which model, and its parameters; those of other models enter no fingerprint."""

    teacher: Literal["none", "plane_and_boxes", "truth", "dpt", "depth_anything_3", "depth_maps"] = Field(
        default="none",
        description=(
            "none: no monocular depth. dpt: MiDaS, DPT or Depth Anything 1/2 saved by transformers. depth_anything_3. Without "
            "weights: plane_and_boxes (flat road, annotated boxes), truth (simulated worlds: exact depth with errors added), "
            "depth_maps (maps that another program wrote, as DA3_depth_results of KITTI)"
        ),
    )
    weights: str | None = Field(
        default=None, description="dpt, depth_anything_3: local folder of the model; its bytes are fingerprinted, not its path"
    )
    short_side_px: int = Field(
        default=384,
        ge=14,
        description="all but depth_anything_3 and depth_maps: the image is resized to this on its shorter side, pixels",
    )
    multiple_px: int = Field(default=32, ge=1, le=1024, description="dpt: both sides are rounded to a multiple of this, pixels")
    da3_process_px: int = Field(
        default=504, ge=14, description="depth_anything_3: longest side that it resizes images to, pixels"
    )
    da3_output: Literal["focal", "metres", "relative"] = Field(
        default="focal",
        description=(
            "depth_anything_3: focal: DA3METRIC, metres = output x focal length in pixels of the resized image / 300; "
            "metres: DA3NESTED; relative: the others"
        ),
    )
    maps: str | None = Field(
        default=None,
        description=(
            "depth_maps: folder of <number>.npz, or of training/ and testing/ with them; the bytes of all of them are "
            "fingerprinted together, not the path"
        ),
    )
    maps_scale: Literal["as_is", "focal_300"] = Field(
        default="as_is",
        description=(
            "depth_maps: as_is: metres, as published; focal_300: output of DA3METRIC, metres = depth x focal length in pixels of "
            "the resized image / 300"
        ),
    )
    truth_output: Literal["inverse_relative", "metric"] = Field(
        default="inverse_relative", description="truth: what it gives; metric has a scale error but no shift"
    )
    truth_scale_spread: float = Field(default=0.3, ge=0.0, description="truth: deviation of the logarithm of a frame's scale")
    truth_shift_spread_per_m: float = Field(
        default=0.02, ge=0.0, description="truth: deviation of a frame's shift of inverse depth, 1/m; not for metric"
    )
    truth_noise: float = Field(default=0.05, ge=0.0, description="truth: deviation of the smooth relative noise of inverse depth")
    truth_noise_cells: int = Field(default=6, ge=1, le=1000, description="truth: cells of that noise along the shorter side")
    truth_gross: float = Field(
        default=0.0, ge=0.0, lt=1.0, description="truth: share of the image covered by patches of a wrong depth"
    )
    truth_seed: int = Field(default=0, ge=0, description="truth: of all its errors")

    @model_validator(mode="after")
    def _weights_where_needed(self) -> Params:
        if self.teacher in LEARNED and self.weights is None:
            raise ValueError(f"teacher {self.teacher} needs weights: the local folder of the model (nothing is downloaded)")
        if self.teacher == "depth_maps" and self.maps is None:
            raise ValueError("teacher depth_maps needs maps: the folder of the .npz files")
        return self


LEARNED = ("dpt", "depth_anything_3")
"""Models with weights; ``flows`` injects them."""

_TRUTH = ("output", "scale_spread", "shift_spread_per_m", "noise", "noise_cells", "gross", "seed")

RULES: dict[str, tuple[int, tuple[str, ...]]] = {
    "none": (1, ()),
    "plane_and_boxes": (1, ("short_side_px",)),
    "truth": (1, ("short_side_px", *(f"truth_{name}" for name in _TRUTH))),
    "dpt": (1, ("short_side_px", "multiple_px")),
    "depth_anything_3": (1, ("da3_process_px", "da3_output")),
    "depth_maps": (1, ("maps_scale",)),
}
"""A model's version, raised by hand when it computes something else from the same weights, and the params that it reads."""


def counted_params(p: Params, facts: Mapping[str, str]) -> dict[str, Any]:
    """Return the params that decide a unit: the model, its version, its own rules, and the digest of its weights or maps.

    Args:
        p: the params.
        facts: ``weights_sha256`` for a model with weights, ``maps_sha256`` for depth_maps (``pipeline.mono_depth.weights``).
    """
    version, param_names = RULES[p.teacher]
    counted = {"teacher": p.teacher, "teacher_version": version, **{name: getattr(p, name) for name in param_names}}
    needed = "weights_sha256" if p.teacher in LEARNED else "maps_sha256" if p.teacher == "depth_maps" else None
    return counted if needed is None else {**counted, needed: facts[needed]}


def kernel(unit: StageInput, p: Params) -> StageResult:
    """Predict all key frames of one scene and camera."""
    model = _model(unit, p)
    maps = []
    for number in range(len(unit.keyframes)):
        frame = _frame(unit, number, model.sees)
        maps.append(model.predict(frame))
        check_map(maps[-1], where=f"teacher {model.name}, frame {frame.frame_key}")
    _check_alike(maps, unit, model)
    shape = maps[0].value.shape
    arrays: dict[str, NDArray[Any]] = {
        "value": np.stack([depth_map.value for depth_map in maps]).astype(np.float16),
        "value_kind": np.array([VALUE_KINDS.index(depth_map.kind) for depth_map in maps], np.uint8),
        "timestamp_us": unit.timestamps_us(),
        **_optional(maps),
    }
    counts: dict[str, float] = {"frames": len(maps), "grid_y": shape[0], "grid_x": shape[1]}
    message = f"{len(maps)} frame{'s' if len(maps) != 1 else ''} by {model.name}, {shape[1]}x{shape[0]}, {maps[0].kind}"
    if num_not_finite := sum(depth_map.num_not_finite for depth_map in maps):
        counts["not_finite"] = num_not_finite
        message += f", {num_not_finite:,} NaN or infinite values taken as nothing predicted"
    return StageResult(
        UnitData(arrays=arrays),
        counts,
        message,
        dict(model.provenance()),
    )


def _check_alike(maps: list[MonoDepthMap], unit: StageInput, model: MonoDepthModel) -> None:
    """Refuse maps of one unit that differ in size or parts: a single array holds them all."""
    kinds = [(depth_map.value.shape, depth_map.confidence is None, depth_map.is_sky is None) for depth_map in maps]
    if (other := next((number for number, kind in enumerate(kinds) if kind != kinds[0]), None)) is not None:
        sizes = [
            f"{shape[1]}x{shape[0]}{'' if no_confidence else ' with confidence'}{'' if no_sky else ' with sky'}"
            for shape, no_confidence, no_sky in (kinds[0], kinds[other])
        ]
        raise MonoDepthError(
            f"teacher {model.name}: the map of {unit.keyframes[0]['sample_token']} is {sizes[0]}, that of "
            f"{unit.keyframes[other]['sample_token']} in the same scene {unit.scene} is {sizes[1]}; expected maps alike for "
            "images of one size. Make them again with the same program and options"
        )


def _optional(maps: list[MonoDepthMap]) -> dict[str, NDArray[Any]]:
    """Return confidence and sky if the model gives them."""
    arrays: dict[str, NDArray[Any]] = {}
    if confidence := [depth_map.confidence for depth_map in maps if depth_map.confidence is not None]:
        arrays["confidence"] = np.stack(confidence).astype(np.float16)
    if is_sky := [depth_map.is_sky for depth_map in maps if depth_map.is_sky is not None]:
        arrays["is_sky"] = np.stack(is_sky).astype(np.uint8)
    return arrays


def _model(unit: StageInput, p: Params) -> MonoDepthModel:
    if p.teacher == "plane_and_boxes":
        return PlaneAndBoxes(p.short_side_px, FAR_M)
    if p.teacher == "truth":
        corruption = Corruption(
            p.truth_scale_spread, p.truth_shift_spread_per_m, p.truth_noise, p.truth_noise_cells, p.truth_gross, p.truth_seed
        )
        return CorruptedTruth(p.short_side_px, p.truth_output, corruption)
    if p.teacher == "depth_maps" and p.maps is not None:
        split = str(unit.units["frames"].tables["scene"]["split"][0])
        keys = {
            f"{unit.scene}/{unit.camera}/{number}": map_key(
                split, row["sample_token"], f"{unit.scene}/{unit.camera}/{row['timestamp_us']}"
            )
            for number, row in enumerate(unit.keyframes)
        }
        images = {f"{unit.scene}/{unit.camera}/{number}": row["file"] for number, row in enumerate(unit.keyframes)}
        where = f"scene {unit.scene}, camera {unit.camera}"
        return open_maps(p.maps, keys, scale=p.maps_scale, where=where, images=images)
    if unit.depth_model is None:
        raise AssertionError(f"the runner gives a stage with teacher {p.teacher} its factory")
    return unit.depth_model()


def _frame(unit: StageInput, number: int, sees: frozenset[Sight]) -> MonoDepthInput:
    """Return one frame with what the model sees of it."""
    row = unit.keyframes[number]
    ego_from_cam = rigid(row["ego_from_cam_translation_m"], row["ego_from_cam_rotation_wxyz"])
    world_from_ego = rigid(row["world_from_ego_translation_m"], row["world_from_ego_rotation_wxyz"])
    boxes: tuple[PlacedBox, ...] = ()
    if "boxes" in sees and "boxes" in unit.units:  # these are labels of the image itself, so no pose is needed
        boxes, world_from_ego = labelled_boxes(unit.units["boxes"].tables, number, ego_from_cam), np.eye(4)
    elif "boxes" in sees:
        boxes = world_boxes(unit.units["frames"].tables, row["sample_index"])
    return MonoDepthInput(
        frame_key=f"{unit.scene}/{unit.camera}/{number}",
        height=row["height"],
        width=row["width"],
        intrinsic_px=intrinsic_of(row),
        ego_from_cam=ego_from_cam,
        world_from_ego=world_from_ego,
        image_u8=_image(unit, number) if "image" in sees else None,
        boxes=boxes,
        exact_m=_exact(unit, row["file"]) if "truth" in sees else None,
    )


def _image(unit: StageInput, number: int) -> NDArray[np.uint8]:
    row, images = unit.keyframes[number], unit.units["images"].arrays
    if "encoded" in images:
        content = images["encoded"][number, : images["num_bytes"][number]].tobytes()
    else:
        content = unit.raw.read_bytes(row["file"])
        unit.used_files.add(row["file"])
    return _decoded(content, "RGB", where=row["file"])


def _exact(unit: StageInput, image_file: str) -> NDArray[np.float32]:
    file = truth_file(image_file, "depth")
    try:
        content = unit.raw.read_bytes(file)
    except SourceError as error:
        raise MonoDepthError(
            f"teacher 'truth' finds no exact depth: {error}. Only a simulated world has it: set source.kind to synthetic, or "
            "stages.predict_mono_depth.teacher to another teacher"
        ) from error
    unit.used_files.add(file)
    return decode_depth(_decoded(content, None, where=file).astype(np.uint16))


def _decoded(content: bytes, mode: str | None, *, where: str) -> NDArray[Any]:
    with opened_image(content, what=f"image '{where}'", remedy="Copy it again, then run the same command") as image:
        return np.asarray(image if mode is None else image.convert(mode))


def _reads_of(p: Params) -> tuple[StoreLayout, ...]:
    """Return what a model sees; boxes are those that a source brings itself, since other boxes are projected later."""
    if p.teacher in LEARNED:
        return (FRAMES, IMAGES)
    return (FRAMES, BOXES) if p.teacher == "plane_and_boxes" else (FRAMES,)


STAGE = StageSpec(
    "predict_mono_depth",
    version=1,
    reads=(FRAMES, IMAGES, BOXES),
    optional=(BOXES,),
    writes=DEPTH_MONO_RAW,
    params=Params,
    kernel=kernel,
    is_wanted=lambda p: p.teacher != "none",
    counted=counted_params,
    reads_of=_reads_of,
)
