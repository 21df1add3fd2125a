"""A depth model that another program ran: the maps that it wrote, one .npz a frame.

Why    Depth maps of KITTI are published and exchanged in this form (``DA3_depth_results``), and the network that made them needs
       not be installed where they are used
Reads  <maps>/{training,testing}/<name>.npz, or <maps>/<name>.npz for what is not testing: depth float32 (grid_y, grid_x), and
       conf and sky if present; intrinsics and extrinsics are those of the program, and not read
Source docs/method/formats.md#da3-depth-results; docs/method/mono-depth.md#depth-anything-3. A frame is named by its KITTI number,
       by its image, or by its frame key
"""

from __future__ import annotations

import hashlib
import io
import math
import re
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.mono_depth.model import MonoDepthError, MonoDepthInput, MonoDepthMap, Sight
from storage_schemas.errors import RecipeError
from storage_schemas.regular_files import MAX_FILE_BYTES, read_regular
from storage_schemas.remote_path import is_url

MapsScale = Literal["as_is", "focal_300"]

FOCAL_PX = 300.0
"""Focal length that the depth of DA3METRIC is normalised to."""

FOLDER_OF_SPLIT = {"train": "training", "val": "training", "test": "testing", "": "training"}
"""KITTI numbers begin at 0 in both halves, so that maps of testing in one folder with the others would overwrite them."""

SUFFIX = ".npz"
_NO_IMAGES: Mapping[str, str] = MappingProxyType({})
_LARGEST_M = float(np.finfo(np.float16).max)
_LARGEST_STRETCH = math.log(1.5)  # grids in whole cells of a coarse stride differ in shape from the image by less
_KITTI_NUMBER = re.compile(r"[0-9]{6}")
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_NUM_NAMED = 3


def map_key(split: str, sample_token: str, frame_key: str) -> str:
    """Return where the map of a frame lies, without suffix: ``training/000123``, ``training/scene-0061_CAM_FRONT_1600``.

    Args:
        split: train, val, test, or empty.
        sample_token: name of the key frame; a KITTI number (six digits) names the file.
        frame_key: ``<scene>/<camera>/<timestamp_us>``; what a file name cannot hold becomes an underscore.
    """
    name = sample_token if _KITTI_NUMBER.fullmatch(sample_token) else _UNSAFE.sub("_", frame_key).lstrip(".")
    return f"{FOLDER_OF_SPLIT[split]}/{name}"


def map_files(folder: str) -> dict[str, Path]:
    """Return the maps in a folder and its two halves, by name below it.

    Raises:
        RecipeError: there is no such folder, or it holds no map.
    """
    if is_url(folder):
        raise RecipeError(
            f"depth maps '{folder}' are at a URL, and are read from a disk. Copy them, and set stages.predict_mono_depth.maps to "
            "their folder"
        )
    path = Path(folder).expanduser().absolute()
    if not path.is_dir():
        raise RecipeError(
            f"depth maps '{path}' do not exist. Set stages.predict_mono_depth.maps to the folder that holds <number>.npz, or "
            "training/ and testing/ with them"
        )
    halves = (path, *(path / name for name in dict.fromkeys(FOLDER_OF_SPLIT.values())))
    files = {str(file.relative_to(path)): file for half in halves for file in sorted(half.glob(f"*{SUFFIX}"))}
    if not files:
        raise RecipeError(
            f"depth maps '{path}': the folder holds no {SUFFIX} file, neither itself nor in training/ or testing/. Set "
            "stages.predict_mono_depth.maps to the folder that holds them"
        )
    return files


@dataclass
class DepthMaps:
    """Maps of the frames of one unit.

    Attributes:
        files: ``MonoDepthInput.frame_key`` -> file.
        scale: as_is: the depth is in metres; focal_300: metres = depth x focal length in pixels of the resized image / 300.
    """

    files: Mapping[str, Path]
    scale: MapsScale
    name: str = "depth_maps"
    sees: frozenset[Sight] = frozenset()
    _read: dict[str, str] = field(default_factory=dict, init=False)

    def predict(self, frame: MonoDepthInput) -> MonoDepthMap:
        """Return the map of a frame, metres.

        Raises:
            MonoDepthError: the file is not of this kind; names it, and what was expected.
        """
        file = self.files[frame.frame_key]
        parts = _parts_of(file)
        self._read[str(file)] = _digest_of(parts)
        _refuse_turned(file, parts["depth"].shape, (frame.height, frame.width))
        is_finite = np.isfinite(parts["depth"])
        depth = np.where(is_finite, parts["depth"], 0.0).astype(np.float32)
        if self.scale == "focal_300":
            depth = depth * np.float32(focal_at(frame.intrinsic_px, (frame.height, frame.width), depth.shape) / FOCAL_PX)
        if depth.max(initial=0) > _LARGEST_M:
            raise MonoDepthError(
                f"depth map '{file}' says up to {depth.max():g}, expected metres up to {_LARGEST_M:g}, the largest float16. "
                "Write depth in metres, and 0 where nothing is predicted"
            )
        confidence = np.nan_to_num(parts["conf"], posinf=0.0, neginf=0.0).astype(np.float32) if "conf" in parts else None
        is_sky = parts["sky"] > 0.5 if "sky" in parts else None
        return MonoDepthMap(depth, "metric", confidence, is_sky, num_not_finite=int(np.count_nonzero(~is_finite)))

    def provenance(self) -> Mapping[str, str]:
        """Return how many maps were read, and a digest of their content."""
        total = "".join(f"{Path(file).name} {digest}\n" for file, digest in sorted(self._read.items()))
        return {"maps": str(len(self._read)), "maps_sha256": hashlib.sha256(total.encode()).hexdigest()}


def open_maps(
    folder: str, keys: Mapping[str, str], *, scale: MapsScale, where: str, images: Mapping[str, str] = _NO_IMAGES
) -> DepthMaps:
    """Find the maps of a unit's frames.

    Args:
        folder: what the recipe names.
        keys: ``MonoDepthInput.frame_key`` -> ``map_key``.
        scale: what the numbers mean.
        where: scene and camera, for the error text.
        images: ``MonoDepthInput.frame_key`` -> image file, whose name without ending a map may have in place of its key.

    Raises:
        MonoDepthError: maps are missing; says how many, and names the first of them. A missing map never counts as empty.
    """
    root = Path(folder).expanduser().absolute()
    files: dict[str, Path] = {}
    for frame_key, key in keys.items():
        half, _, name = key.partition("/")
        names = [name, PurePosixPath(images[frame_key]).stem] if frame_key in images else [name]
        places = [root / above / f"{one}{SUFFIX}" for one in names for above in ((half,) if half == "testing" else (half, ""))]
        if (file := next((place for place in places if place.is_file()), None)) is not None:
            files[frame_key] = file
    if missing := [key for frame_key, key in keys.items() if frame_key not in files]:
        raise MonoDepthError(_missing_text(root, missing, num_frames=len(keys), where=where))
    return DepthMaps(files, scale)


def check_a_map(folder: str, image: tuple[int, int]) -> None:
    """Check the first map of a folder before a recipe is written for it.

    Args:
        folder: of maps, see ``map_files``.
        image: (rows, columns) of an image.

    Raises:
        MonoDepthError: it is not of this kind, or turned; names it, and what was expected.
    """
    file = next(iter(map_files(folder).values()))
    _refuse_turned(file, _parts_of(file)["depth"].shape, image)


def focal_at(intrinsic_px: NDArray[np.float64], image: tuple[int, ...], resized: tuple[int, ...]) -> float:
    """Return the focal length in pixels of the resized image: the mean of both axes, each by its own factor.

    Args:
        intrinsic_px: (3, 3) camera matrix of the full image.
        image: (rows, columns) of it.
        resized: (rows, columns) of the resized one.
    """
    fx, fy = intrinsic_px[0, 0] * resized[1] / image[1], intrinsic_px[1, 1] * resized[0] / image[0]
    return float((fx + fy) / 2)


def _missing_text(root: Path, missing: Sequence[str], *, num_frames: int, where: str) -> str:
    more = f" and {len(missing) - _NUM_NAMED} more" if len(missing) > _NUM_NAMED else ""
    files = ", ".join(f"{key}{SUFFIX}" for key in missing[:_NUM_NAMED])
    half, _, name = missing[0].partition("/")
    other = (
        "; maps of testing/ must lie in a folder of that name, since their numbers are those of other frames too"
        if half == "testing"
        else f" (or {name}{SUFFIX} in the folder itself)"
    )
    return (
        f"{where}: {len(missing)} of {num_frames} depth maps are not in '{root}': {files}{more}{other}. Make or copy them, or "
        "leave the frames out of the recipe's source"
    )


def _refuse_turned(file: Path, grid: tuple[int, ...], image: tuple[int, int]) -> None:
    """Refuse a map whose rows are the image's columns: spread over the image, it would be stretched beyond recognition."""
    straight, turned = (abs(math.log(columns / rows * image[0] / image[1])) for rows, columns in (grid, grid[::-1]))
    if turned < straight and straight > _LARGEST_STRETCH:
        raise MonoDepthError(
            f"depth map '{file}' has {grid[0]} rows and {grid[1]} columns, the image {image[0]} and {image[1]}: the map is "
            "turned. Write it again as (rows, columns), e.g. depth.T"
        )


def _parts_of(file: Path) -> dict[str, NDArray[Any]]:
    try:
        with np.load(io.BytesIO(read_regular(file)), allow_pickle=False) as archive:
            if sum(member.file_size for member in archive.zip.infolist()) > MAX_FILE_BYTES:  # zeros shrink a thousandfold
                raise ValueError(f"its arrays have more than {MAX_FILE_BYTES:,} bytes")
            parts = {name: np.asarray(archive[name]) for name in ("depth", "conf", "sky") if name in archive.files}
            arrays = ", ".join(archive.files) or "none"
    except (OSError, ValueError, EOFError, KeyError, AttributeError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        raise MonoDepthError(f"depth map '{file}' cannot be read: {error}. Copy or make it again") from error
    if "depth" not in parts or parts["depth"].ndim != 2 or parts["depth"].dtype.kind != "f":
        what = f"{parts['depth'].dtype} {parts['depth'].shape}" if "depth" in parts else f"no array 'depth' (arrays: {arrays})"
        is_stack = "depth" in parts and parts["depth"].ndim > 2 and parts["depth"].shape[0] == 1
        remedy = "Save depth[0] in place of depth, and the same of conf and sky" if is_stack else "Make it again"
        raise MonoDepthError(f"depth map '{file}' has {what}, expected depth float32 (rows, columns). {remedy}")
    return parts


def _digest_of(parts: Mapping[str, NDArray[Any]]) -> str:
    total = hashlib.sha256()
    for name, values in sorted(parts.items()):
        total.update(f"{name} {values.shape} {values.dtype} ".encode() + np.ascontiguousarray(values).tobytes())
    return total.hexdigest()
