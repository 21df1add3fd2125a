"""MiDaS, DPT and Depth Anything 1 or 2, from a local folder that transformers saved.

Source docs/method/mono-depth.md#image-size: the image on a short side of 384, both sides multiples of 32, inverse relative depth.
       Depth Anything has patches of 14 pixels: short_side_px 518, multiple_px 14. Its metric versions say so in their config.json
Reads  config.json, the weights, and preprocessor_config.json (mean and deviation of colours)
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from model.devices import network_device
from model.teachers.learned_map import LearnedMap, TeacherLoadError
from storage_schemas.install_command import install_command
from storage_schemas.regular_files import read_text


class DptTeacher:
    """A depth network of transformers; it stays on its device.

    Args:
        folder: local folder of the model.
        short_side_px: the image is resized to this on its shorter side, pixels.
        multiple_px: both sides are rounded to a multiple of this, pixels.
        accelerator: auto, cpu or cuda.

    Raises:
        TeacherLoadError: transformers is missing, the folder holds no such model, or sizes do not fit its patches.
        DeviceError: cuda was asked for, and there is none.
    """

    def __init__(self, folder: str, *, short_side_px: int, multiple_px: int, accelerator: str) -> None:
        self._short_side_px, self._multiple_px = short_side_px, multiple_px
        self._device = network_device(accelerator)
        transformers = _import_transformers()
        path = Path(folder).expanduser()
        try:
            config = transformers.AutoConfig.from_pretrained(path, local_files_only=True)
            self._kind = _kind_of(config, path)
            _check_patches(config, path, multiple_px)
            model = transformers.AutoModelForDepthEstimation.from_pretrained(path, local_files_only=True, dtype=torch.float32)
        except (OSError, ValueError, KeyError, RuntimeError) as error:  # what transformers raises for files that do not fit
            if isinstance(error, TeacherLoadError):
                raise
            raise TeacherLoadError(
                f"teacher weights '{path}' cannot be loaded: {type(error).__name__}: {error}. Give a folder that "
                "transformers' save_pretrained wrote, with config.json and model.safetensors"
            ) from error
        self._mean, self._deviation = _colours(path)
        self._model: Any = model.to(self._device).eval()

    @torch.inference_mode()
    def predict(self, image_u8: NDArray[np.uint8]) -> LearnedMap:
        """Return the map of one image (height, width, 3) RGB, at the size that the network was shown."""
        rows, columns = shown_size(*image_u8.shape[:2], short_side_px=self._short_side_px, multiple_px=self._multiple_px)
        resized = np.asarray(Image.fromarray(image_u8).resize((columns, rows), Image.Resampling.BICUBIC))
        colours = (resized.astype(np.float32) / 255.0 - self._mean) / self._deviation
        pixels = torch.from_numpy(colours).permute(2, 0, 1)[None].contiguous().to(self._device)
        with _patch_grid(self._model, rows, columns):
            predicted = self._model(pixel_values=pixels).predicted_depth
        return LearnedMap(predicted[0].float().cpu().numpy(), self._kind)  # type: ignore[arg-type]  # of _kind_of

    def provenance(self) -> dict[str, str]:
        """Return versions and device."""
        versions = {name: importlib.metadata.version(name) for name in ("torch", "transformers")}
        return {**versions, "teacher_device": str(self._device)}


def shown_size(height: int, width: int, *, short_side_px: int, multiple_px: int) -> tuple[int, int]:
    """Return (rows, columns) of the image as the network is shown it: nearest multiples, at least one of them."""
    scale = short_side_px / min(height, width)
    rows, columns = (max(1, round(side * scale / multiple_px)) * multiple_px for side in (height, width))
    return rows, columns


def _import_transformers() -> Any:
    try:
        transformers = importlib.import_module("transformers")
    except ImportError as error:
        raise TeacherLoadError(
            f"teacher dpt needs transformers, which is not installed here. Run: {install_command('mono')}"
        ) from error
    transformers.logging.disable_progress_bar()  # depthmill prints its own lines
    return transformers


def _kind_of(config: Any, path: Path) -> str:
    if config.model_type == "dpt":
        return "inverse_relative"
    if config.model_type == "depth_anything":
        return "metric" if config.depth_estimation_type == "metric" else "inverse_relative"
    raise TeacherLoadError(
        f"teacher weights '{path}' are a model of type '{config.model_type}', expected dpt (MiDaS 3, DPT) or depth_anything "
        "(1, 2). Choose such a model, or teacher depth_anything_3"
    )


def _check_patches(config: Any, path: Path, multiple_px: int) -> None:
    patch = getattr(config.backbone_config if config.backbone_config is not None else config, "patch_size", None)
    if isinstance(patch, int) and multiple_px % patch:
        raise TeacherLoadError(
            f"teacher weights '{path}' look at patches of {patch} pixels, stages.predict_mono_depth.multiple_px "
            f"is {multiple_px}. Set it to a multiple of {patch}"
            + (", and short_side_px to 518, which Depth Anything was trained at" if patch == 14 else "")
        )


def _colours(path: Path) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return mean and deviation of each colour, of values between 0 and 1; nothing is guessed."""
    file = path / "preprocessor_config.json"
    try:
        settings = json.loads(read_text(file))
        mean, deviation = (np.array(settings[name], np.float32) for name in ("image_mean", "image_std"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TeacherLoadError(
            f"teacher weights '{path}': image_mean and image_std cannot be read from preprocessor_config.json ({error}). Copy "
            "that file from where the weights are from: every model has its own colours"
        ) from error
    return mean, deviation


class _patch_grid:  # noqa: N801  # a context manager, named as one
    """Give a DPT model the grid of its patches: without it the model takes every image for a square.

    Why  transformers passes rows and columns of patches on for models with a separate backbone only.
    """

    def __init__(self, model: Any, rows: int, columns: int) -> None:
        self._model, self._rows, self._columns = model, rows, columns
        self._hook: Any = None

    def __enter__(self) -> None:
        config = self._model.config
        if config.model_type == "dpt" and (config.backbone_config is None or config.is_hybrid):
            patch = config.patch_size
            grid = (self._rows // patch, self._columns // patch)
            self._hook = self._model.neck.register_forward_pre_hook(lambda module, inputs: (inputs[0], *grid))

    def __exit__(self, *exc: object) -> None:
        if self._hook is not None:
            self._hook.remove()
