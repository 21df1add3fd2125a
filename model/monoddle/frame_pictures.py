"""The pictures of an evaluation: which frames are kept while a split goes by, and what is kept of them."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.monoddle.detection_frames import Detected, picture_of, stacked_pictures
from model.monoddle.frame_error import ErrorRule, FrameError
from model.monoddle.precision.overlap_pairs import AveragePrecisionError
from model.train.kept_frames import KeptFrames

Picture = dict[str, NDArray[Any]]


class FramePictures:
    """Keeps the frames that are wanted as pictures.

    Args:
        rule: when a detection is right.
        named: keys of frames that are kept in any case.
        worst: how many of the largest error.
        spread: how many spread evenly over the split.
    """

    def __init__(self, rule: ErrorRule, *, named: tuple[str, ...] = (), worst: int = 0, spread: int = 0) -> None:
        self._rule = rule
        self._kept: KeptFrames[Picture] = KeptFrames(named=named, worst=worst, spread=spread)

    def offer(self, detected: Detected, i: int) -> None:
        """Look at one annotated frame of a batch, and keep it if it is wanted."""

        @cache
        def error() -> FrameError:
            try:
                return self._rule.error_of(detected.batch.objects[i], detected.detections[i])
            except AveragePrecisionError:  # no finite number: the precision of all frames says so, with the frame
                return FrameError(0, 0, 0.0)

        def picture() -> Picture:
            values = {"num_missed": error().num_missed, "num_false": error().num_false, "depth_error_m": error().depth_m}
            measured = {name: np.array(value) for name, value in values.items()}
            return {**picture_of(detected, i), **measured, "error_of": np.array(self._rule.words)}

        self._kept.offer(detected.batch.frame_keys[i], error=lambda: error().for_order, make=picture)

    def stacked(self) -> dict[str, NDArray[Any]]:
        """Return the arrays of pictures.npz; none where no frame was kept."""
        chosen = self._kept.chosen()
        if not chosen:
            return {}
        pictures = [{**kept.picture, "reasons": np.array("+".join(kept.reasons))} for kept in chosen]
        return stacked_pictures([kept.key for kept in chosen], pictures)
