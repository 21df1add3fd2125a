"""What a pre-training leaves in its folder, read back; whatever is not there yet is None.

Reads training.json, steps.csv, evaluations.csv, evaluation/rendering.csv, evaluation/rendered_views.npz
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flows.reports.html.depth_pictures import Depth
from flows.reports.training.files import TrainingFiles, damaged_file, read_arrays, read_training
from model.mim4d.evaluation import RENDERING_FILE, read_rendering
from model.mim4d.family import Mim4dFamily
from model.mim4d.loss import MODES
from model.mim4d.ray_errors import ANY_RANGE, RenderRow
from model.mim4d.rendered_views import FLIGHT, VIEWS_FILE
from storage_schemas.encoding import decode_depth

STEP_COLUMNS = ("step", "epoch", "samples", *Mim4dFamily.loss_columns, "lr", "seconds")
EVALUATION_COLUMNS = ("step", *Mim4dFamily.evaluation_columns)


@dataclass(frozen=True)
class MeasuredAt:
    """One row of evaluations.csv, over all ranges.

    Attributes:
        step: optimiser step after which it was measured.
        volume: what was rendered.
        frames: all, key or history.
        pixels: all, masked or visible.
        abs_rel: relative error of depth, NaN without a ray.
        rgb_l1: difference of colour, NaN without a ray.
    """

    step: int
    volume: str
    frames: str
    pixels: str
    abs_rel: float
    rgb_l1: float


@dataclass(frozen=True)
class VolumeViews:
    """What a volume shows to k cameras, pixel by pixel.

    Attributes:
        rgb_u8: (k, y, x, 3), on black.
        depth_m: (k, y, x) along the ray, 0 = the ray misses the box of voxels.
        opacity: (k, y, x), 0 to 1, how much of the ray ends in the box.
    """

    rgb_u8: NDArray[np.uint8]
    depth_m: Depth
    opacity: Depth


@dataclass(frozen=True)
class RenderedClip:
    """The key frame of one clip, seen by m cameras.

    Attributes:
        key: of the clip.
        cameras: their names.
        image_u8: (m, h, w, 3) RGB.
        is_seen: (m, patches down, patches across) bool.
        lidar_m: (m, h, w) distance of LiDAR points from the camera, 0 = none.
        held_out_m: (m, h, w) of those that no ray was trained on and that are measured.
        step_px: pixels of the image to a pixel of a rendered picture.
        views_of_volume: by volume, what the cameras see of it.
        at_held_out_m: by volume, what is rendered (m, h, w) where ``held_out_m`` has a point.
    """

    key: str
    cameras: tuple[str, ...]
    image_u8: NDArray[np.uint8]
    is_seen: NDArray[np.bool_]
    lidar_m: Depth
    held_out_m: Depth
    step_px: int
    views_of_volume: Mapping[str, VolumeViews]
    at_held_out_m: Mapping[str, Depth]


@dataclass(frozen=True)
class RenderFiles(TrainingFiles[MeasuredAt]):
    """Everything in a training's folder that the page shows; None = the file is not there.

    Attributes:
        rendering: rendering.csv.
        clips: rendered_views.npz.
        flight: pictures of the fly-through in the same file, None if there are none.
    """

    rendering: list[RenderRow] | None
    clips: list[RenderedClip] | None
    flight: VolumeViews | None


def read_files(folder: Path) -> RenderFiles:
    """Read a training's folder; StoreError as ``read_training``."""
    common = read_training(folder, STEP_COLUMNS, EVALUATION_COLUMNS, _row, numbers=("step", "abs_rel", "rgb_l1"))
    evaluation = folder / "evaluation"
    rendering = read_rendering(evaluation) if (evaluation / RENDERING_FILE).is_file() else None
    clips, flight = read_clips(evaluation / VIEWS_FILE) if (evaluation / VIEWS_FILE).is_file() else (None, None)
    return RenderFiles(*common, rendering, clips, flight)


def read_clips(path: Path) -> tuple[list[RenderedClip], VolumeViews | None]:
    """Return what ``model.mim4d.rendered_views`` wrote: the clips, and the fly-through if there is one.

    Raises:
        StoreError: the file is damaged; names it.
    """
    arrays = read_arrays(path)
    try:
        keys, cameras = arrays["window_keys"], tuple(map(str, arrays["cameras"]))
        views_by_mode = {mode: _volume_views(arrays, mode) for mode in MODES if f"{mode}_steps" in arrays}
        depth = {name: decode_depth(arrays[name]) for name in ("lidar_steps", "held_out_steps")}
        at = {mode: decode_depth(arrays[f"{mode}_held_out_steps"]) for mode in views_by_mode}
        _check_shapes(arrays, views_by_mode, {**depth, **at})
        clips = [
            RenderedClip(
                str(key),
                cameras,
                arrays["image_u8"][n],
                arrays["is_seen"][n],
                depth["lidar_steps"][n],
                depth["held_out_steps"][n],
                int(arrays["step_px"]),
                {mode: VolumeViews(views.rgb_u8[n], views.depth_m[n], views.opacity[n]) for mode, views in views_by_mode.items()},
                {mode: depth_m[n] for mode, depth_m in at.items()},
            )
            for n, key in enumerate(keys)
        ]
        return clips, _volume_views(arrays, FLIGHT) if f"{FLIGHT}_steps" in arrays else None
    except KeyError as error:
        raise damaged_file(path, f"array {error} is missing") from error
    except ValueError as error:
        raise damaged_file(path, error) from error


def _volume_views(arrays: Mapping[str, NDArray[Any]], name: str) -> VolumeViews:
    opacity = arrays[f"{name}_opacity_u8"].astype(np.float32) / np.float32(255.0)
    return VolumeViews(arrays[f"{name}_rgb_u8"], decode_depth(arrays[f"{name}_steps"]), opacity)


def _check_shapes(
    arrays: Mapping[str, NDArray[Any]], views_by_mode: Mapping[str, VolumeViews], maps: Mapping[str, Depth]
) -> None:
    """Raise ValueError if the arrays are not of the same clips, cameras and pixels."""
    expected = (len(arrays["window_keys"]), len(arrays["cameras"]), *arrays["image_u8"].shape[2:4])
    for name, depth_m in maps.items():
        if depth_m.shape != expected:
            raise ValueError(f"{name} is of shape {depth_m.shape}, its clips, cameras and pixels are {expected}")
    for name, picture in views_by_mode.items():
        if not picture.rgb_u8.shape[:4] == picture.depth_m.shape == picture.opacity.shape or (
            picture.depth_m.shape[:2] != expected[:2]
        ):
            raise ValueError(f"{name} has depth of shape {picture.depth_m.shape}, its clips and cameras are {expected[:2]}")


def _row(row: Mapping[str, Any]) -> MeasuredAt | None:
    if row["range_m"] != ANY_RANGE:
        return None
    return MeasuredAt(int(row["step"]), row["volume"], row["frames"], row["pixels"], row["abs_rel"], row["rgb_l1"])
