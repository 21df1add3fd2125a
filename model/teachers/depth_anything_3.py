"""Depth Anything 3, from a local folder, if its package is installed.

Source docs/method/mono-depth.md#depth-anything-3. DA3METRIC gives depth for a focal length of 300 pixels: metres = output x f /
       300, with f in pixels of the *resized* image, the mean of both axes. DA3NESTED gives metres, the others depth up to a scale
Checked with a stand-in for the package only: neither it nor its weights were at hand
"""

from __future__ import annotations

import importlib
import importlib.metadata
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from model.devices import network_device
from model.teachers.learned_map import LearnedMap, TeacherLoadError

FOCAL_PX = 300.0
"""Focal length that DA3METRIC's output is normalised to."""


class DepthAnything3Teacher:
    """The network; it stays on its device.

    Args:
        folder: local folder of the model.
        process_px: longest side that the package resizes images to, pixels.
        output: what its numbers mean: focal (DA3METRIC), metres (DA3NESTED), relative (the others).
        accelerator: auto, cpu or cuda.

    Raises:
        TeacherLoadError: the package is missing, or the folder holds no such model.
        DeviceError: cuda was asked for, and there is none.
    """

    def __init__(self, folder: str, *, process_px: int, output: Literal["focal", "metres", "relative"], accelerator: str) -> None:
        self._process_px, self._output = process_px, output
        self._device = network_device(accelerator)
        try:
            api = importlib.import_module("depth_anything_3.api")
        except ImportError as error:
            raise TeacherLoadError(
                f"teacher depth_anything_3 needs the package depth-anything-3, which cannot be imported here ({error}). It "
                "pins old versions of other packages: run pip install --no-deps depth-anything-3, then what it asks for at "
                "import, or choose teacher dpt"
            ) from error
        path = Path(folder).expanduser()
        try:
            self._model: Any = api.DepthAnything3.from_pretrained(str(path)).to(self._device).eval()
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise TeacherLoadError(
                f"teacher weights '{path}' cannot be loaded by depth-anything-3: {type(error).__name__}: {error}. Give the "
                "folder of one of its checkpoints, with config.json and model.safetensors"
            ) from error

    def predict(self, image_u8: NDArray[np.uint8], intrinsic_px: NDArray[np.float64]) -> LearnedMap:
        """Return the map of one image.

        Args:
            image_u8: (height, width, 3) RGB.
            intrinsic_px: (3, 3) camera matrix of that image.
        """
        prediction = self._model.inference(  # one image a call: the package takes several for views of one scene
            [image_u8], process_res=self._process_px, process_res_method="upper_bound_resize"
        )
        depth = np.asarray(prediction.depth[0], np.float32)
        if self._output == "focal":
            depth = depth * np.float32(focal_at(intrinsic_px, image_u8.shape[:2], depth.shape) / FOCAL_PX)
        confidence = None if prediction.conf is None else np.asarray(prediction.conf[0], np.float32)
        is_sky = None if prediction.sky is None else np.asarray(prediction.sky[0]) > 0.5
        return LearnedMap(depth, "relative" if self._output == "relative" else "metric", confidence, is_sky)

    def provenance(self) -> dict[str, str]:
        """Return versions and device."""
        versions = {"torch": importlib.metadata.version("torch")}
        try:
            versions["depth-anything-3"] = importlib.metadata.version("depth-anything-3")
        except importlib.metadata.PackageNotFoundError:
            versions["depth-anything-3"] = "not installed as a package"
        return {**versions, "teacher_device": str(self._device)}


def focal_at(intrinsic_px: NDArray[np.float64], image: tuple[int, ...], resized: tuple[int, ...]) -> float:
    """Return the focal length in pixels of the resized image: the mean of both axes, each by its own factor.

    Args:
        intrinsic_px: (3, 3) camera matrix of the full image.
        image: (rows, columns) of it.
        resized: (rows, columns) of the resized one.
    """
    fx, fy = intrinsic_px[0, 0] * resized[1] / image[1], intrinsic_px[1, 1] * resized[0] / image[0]
    return float((fx + fy) / 2)
