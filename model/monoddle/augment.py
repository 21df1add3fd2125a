"""Random views for a detector: mirrored, zoomed, moved; pixels, boxes and a teacher's depth follow one ``AffineView``.

Source  docs/method/monoddle.md#random-views; defaults are the published ones
"""

from __future__ import annotations

import numpy as np
from pydantic import Field

from model.data.order import draw_generator
from model.monoddle.affine_view import AffineView, centred_view
from storage_schemas.frozen_config import FrozenConfig


class DetectionAugmentConfig(FrozenConfig):
    """What may be drawn. A crop here is any other window than the whole image: a larger one shrinks what is in it."""

    flip_probability: float = Field(default=0.5, ge=0.0, le=1.0, description="share of samples mirrored left to right")
    crop_probability: float = Field(default=0.5, ge=0.0, le=1.0, description="share of samples zoomed and moved")
    scale_spread: float = Field(
        default=0.4,
        ge=0.0,
        lt=1.0,
        description="standard deviation of a around 1, and how far from 1 it may be; the image is scaled by 1/a, depth by a",
    )
    shift_spread: float = Field(
        default=0.1,
        ge=0.0,
        lt=0.5,
        description="standard deviation of the window's shift, share of the image's size on each axis; never more than twice it",
    )


def draw_detection_view(
    config: DetectionAugmentConfig,
    image_px: tuple[int, int],
    *,
    input_px: tuple[int, int],
    seed: int,
    epoch: int,
    frame_key: str,
) -> AffineView:
    """Draw the view of one frame: a pure function of (seed, epoch, frame key), whichever process reads the frame.

    Args:
        config: what may be drawn.
        image_px: rows and columns of the whole image.
        input_px: rows and columns that the network sees.
        seed: of the run.
        epoch: from 0.
        frame_key: of the frame.
    """
    generator = draw_generator(frame_key, seed=seed, epoch=epoch)
    flip, crop = generator.random(2)
    zoom, down, right = generator.standard_normal(3)
    is_flipped = bool(flip < config.flip_probability)
    if not crop < config.crop_probability:
        return centred_view(image_px, input_px, is_flipped=is_flipped)
    return centred_view(
        image_px,
        input_px,
        is_flipped=is_flipped,
        scale=1.0 + _within(config.scale_spread * zoom, config.scale_spread),
        shift_px=(
            image_px[0] * _within(config.shift_spread * down, 2 * config.shift_spread),
            image_px[1] * _within(config.shift_spread * right, 2 * config.shift_spread),
        ),
    )


def _within(value: float, bound: float) -> float:
    return float(np.clip(value, -bound, bound))
