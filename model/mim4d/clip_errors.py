"""How well each kind of volume shows each clip: what two evaluations are paired by.

Why     Clips differ far more from each other than two networks do; a sum over all cannot say whether a difference is chance
Writes  clips.csv, beside the tables of ``render_evaluation``: a row for each clip, volume and kind of frame
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from model.mim4d.ray_errors import ANY_RANGE, VOLUMES, RayErrors
from model.train.result_files import read_rows

CLIPS_FILE = "clips.csv"

_FRAMES = ("all", "key")


class ClipRow(NamedTuple):
    """How well one kind of volume shows one clip.

    Attributes:
        window_key: ``<scene>/<time of the newest frame, us>``.
        volume: one of ``ray_errors.VOLUMES``.
        frames: rendered frames: all, or the key frame.
        num_rays: rays to held-out points.
        abs_rel: mean over them of the error over the distance; NaN without any.
        delta1: share of them whose ratio to the truth, or its inverse, is below 1.25; NaN without any.
        num_hidden: rays in hidden patches whose colour was compared.
        hidden_rgb_l1: mean absolute difference of their colours, 0 to 1; NaN without any.
    """

    window_key: str
    volume: str
    frames: str
    num_rays: int
    abs_rel: float
    delta1: float
    num_hidden: int
    hidden_rgb_l1: float


def clip_rows(window_key: str, by_volume: Mapping[str, RayErrors]) -> Iterator[ClipRow]:
    """Yield the rows of one clip, from its errors by volume; what was not rendered has none."""
    for volume in VOLUMES:
        rows = {} if volume not in by_volume else {row[1:4]: row for row in by_volume[volume].rows(volume)}
        for frames in _FRAMES:
            whole, hidden = rows.get((frames, "all", ANY_RANGE)), rows.get((frames, "masked", ANY_RANGE))
            if whole is not None:
                num_hidden, rgb_l1 = (0, float("nan")) if hidden is None else (hidden.num_colours, hidden.rgb_l1)
                yield ClipRow(window_key, volume, frames, whole.num_rays, whole.abs_rel, whole.delta1, num_hidden, rgb_l1)


def read_clip_rows(folder: Path) -> list[ClipRow]:
    """Return the rows of clips.csv.

    Raises:
        StoreError: the file is missing or damaged; names it.
    """
    path = folder / CLIPS_FILE
    return read_rows(ClipRow, path, missing=f"'{path}' is missing, so clips cannot be paired. Run depthmill evaluate")
