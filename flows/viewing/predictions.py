"""A folder of predictions beside the frames they belong to: depth maps, or objects, of depthmill or of another program.

Reads  <folder>/depth/<scene>/<camera>/<timestamp_us>.png   uint16, 1/256 m, as ``depthmill predict`` writes it; 0 = nothing
       <folder>/data/<frame>.txt                            KITTI result files; <frame> as ``depthmill predict`` names them
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flows.viewing.frame_content import Boxes, Float64
from flows.viewing.kitti_boxes import boxes_of_camera
from storage_schemas.errors import RecipeError, SourceError
from storage_schemas.image_files import opened_image
from storage_schemas.kitti_text import LABEL_COLUMNS, parse_labels
from storage_schemas.public_files import decode_png

LEAST_SCORE = 0.2
"""A detection below it is not drawn: KITTI's result files hold a tail of boxes that no one means."""


class Predictions:
    """Predictions of frames, looked up by frame.

    Args:
        folder: that ``depthmill predict --out`` wrote.

    Raises:
        RecipeError: the folder holds neither depth nor objects.
    """

    def __init__(self, folder: Path) -> None:
        self._depth, self._data = folder / "depth", folder / "data"
        if not (self._depth.is_dir() or self._data.is_dir()):
            what = "is a checkpoint or a training" if folder.is_file() or (folder / "best.pt").exists() else "holds neither"
            raise RecipeError(
                f"--predictions '{folder}' {what}; expected a folder with depth/ or data/. "
                "Make one with: depthmill predict CHECKPOINT RECIPE --split val --out predictions"
            )

    def has(self, row: dict[str, Any]) -> bool:
        """Say whether a manifest's row has a prediction."""
        return self._depth_file(row).is_file() or self._objects_file(row) is not None

    def depth(self, row: dict[str, Any]) -> NDArray[np.uint16] | None:
        """Return the predicted map (y, x) of a manifest's row in quanta of 1/256 m; None if this frame has none.

        Raises:
            SourceError: the file is no 16-bit grey PNG of the image's size.
        """
        file = self._depth_file(row)
        if not file.is_file():
            return None
        content, what, size = file.read_bytes(), f"prediction '{file}'", (row["width"], row["height"])
        with opened_image(content, what=what, remedy="Predict this split again", format_words="a PNG") as image:
            if image.size != size:
                raise SourceError(
                    f"{what} is {image.width}x{image.height}, and its image is {size[0]}x{size[1]}. Predictions cover every "
                    "pixel of an image: scale them to its size, or give those of this recipe"
                )
        return decode_png(content, height=size[1], width=size[0], where=what)

    def objects(self, row: dict[str, Any], projection_px: Float64, scene_from_cam: Float64) -> Boxes | None:
        """Return the predicted objects of a manifest's row; None if this frame has no file.

        Raises:
            SourceError: a line of the file is broken.
        """
        file = self._objects_file(row)
        if file is None:
            return None
        lines = [line.split() for line in file.read_text(errors="replace").splitlines() if line.strip()]
        for number, words in enumerate(lines, 1):
            if len(words) != len(LABEL_COLUMNS) + 2:
                raise SourceError(
                    f"'{file}' line {number} has {len(words)} fields, expected {len(LABEL_COLUMNS) + 2}: KITTI's and a score. "
                    "Write the file again"
                )
        try:
            scores = [float(words[-1]) for words in lines]
        except ValueError as error:
            raise SourceError(f"'{file}': a score is no number ({error}). Write the file again") from error
        sure = [k for k, score in enumerate(scores) if score >= LEAST_SCORE]
        text = "\n".join(" ".join(lines[k][:-1]) for k in sure).encode()
        objects = parse_labels(text, where=str(file))
        return boxes_of_camera(objects, projection_px, scene_from_cam, [scores[k] for k in sure])

    def _depth_file(self, row: dict[str, Any]) -> Path:
        return self._depth / f"{row['frame_key']}.png"

    def _objects_file(self, row: dict[str, Any]) -> Path | None:
        names = (row["frame_key"].replace("/", "_"), row["sample_token"])
        return next((file for name in names if name and (file := self._data / f"{name}.txt").is_file()), None)
