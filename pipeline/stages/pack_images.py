"""Pack the camera's own image files into the store, byte for byte, or note where they are.

Why    A loader that streams from an object store wants large objects, and a run must be able to tell which pixels it used
Reads  frames (file names), image files
Writes images.encoded (frame, byte), images.num_bytes, images.files with a digest per file
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline.stage import StageInput, StageParams, StageResult, StageSpec
from pipeline.wanted_files import Wanted
from storage_schemas.catalog import FRAMES, IMAGES
from storage_schemas.errors import SourceError
from storage_schemas.image_files import check_pixels, opened_image, refuse_deep_pixels
from storage_schemas.layout import UnitData

HOLE_BYTES = 1024
"""No image of a camera has as many zeros in a row within its compressed pixels; a lost block of a disk leaves 4,096."""


class Params(StageParams):
    """Copy or refer."""

    mode: Literal["bytes", "reference"] = Field(
        default="bytes",
        description=(
            "bytes: the store holds the image files and needs the source no more; reference: it holds path, size and digest only"
        ),
    )


def check_image(content: bytes, *, height: int, width: int, where: str) -> None:
    """Check that bytes are an image of the expected size whose pixels can be decoded.

    Raises:
        SourceError: not an image, cut short, damaged, of more than 8 bits a grey value, or of another size.
    """
    what, remedy = f"image '{where}'", "Copy it again, then run the same command"
    with opened_image(content, what=what, remedy=remedy) as image:
        size = (image.height, image.width)
        refuse_deep_pixels(image, what=what)
        if image.format == "JPEG" and b"\xff\xd9" not in content.rstrip(b"\0")[-64:]:
            raise SourceError(f"{what} is cut short: it has no end-of-image mark. {remedy}")
    if size != (height, width):
        raise SourceError(
            f"image '{where}' is {size[1]}x{size[0]}, sample_data.json says {width}x{height}. "
            "Correct width and height in sample_data.json, or copy the right file"
        )
    check_pixels(content, what=what, remedy=f"{remedy}. If the original has the fault, too, encode it anew from what it shows")


def kernel(unit: StageInput, p: Params) -> StageResult:
    """Pack the images of one scene and camera."""
    contents = []
    for keyframe in unit.keyframes:
        content = unit.raw.read_bytes(keyframe["file"])
        check_image(content, height=keyframe["height"], width=keyframe["width"], where=keyframe["file"])
        unit.used_files.add(keyframe["file"])
        contents.append(content)
    sizes = [len(content) for content in contents]
    num_holes = sum(bytes(HOLE_BYTES) in content.rstrip(b"\0") for content in contents)
    arrays: dict[str, NDArray[Any]] = {"num_bytes": np.array(sizes, np.int32), "timestamp_us": unit.timestamps_us()}
    if p.mode == "bytes":
        encoded = np.zeros((len(contents), max(sizes)), np.uint8)
        for frame, content in enumerate(contents):
            encoded[frame, : len(content)] = np.frombuffer(content, np.uint8)
        arrays["encoded"] = encoded
    table = {
        "file": [keyframe["file"] for keyframe in unit.keyframes],
        "num_bytes": sizes,
        "sha256": [hashlib.sha256(content).hexdigest() for content in contents],
    }
    return StageResult(
        UnitData(arrays=arrays, tables={"files": table}),
        {"frames": len(contents), "bytes": float(sum(sizes)), **({"images_with_holes": float(num_holes)} if num_holes else {})},
        f"{len(contents)} images, {sum(sizes) / 1e6:.1f} MB {'packed' if p.mode == 'bytes' else 'referenced'}",
    )


def _files_of(_: Params, cameras: Sequence[str]) -> dict[str, Wanted]:
    return dict.fromkeys(cameras, "keyframes")


STAGE = StageSpec("pack_images", version=1, reads=(FRAMES,), writes=IMAGES, params=Params, kernel=kernel, files_of=_files_of)
