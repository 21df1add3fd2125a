"""Random views of a frame: mirrored, scaled, cropped, the image and every depth together.

Rule   A view that scales the image by 1/a multiplies every depth by a and changes the intrinsics with the pixels, so that each
       pixel keeps its ray and the world is a times as large (docs/method/monoddle.md#scale-rule). A mirrored view is one of the
       mirrored world, so that focal lengths stay positive.
Pixels Pixel i covers [i, i + 1): the convention of the depth maps. Column u of a frame of width w is column w - u of the mirrored
       one, then u / a of the scaled one, then minus ``left_px`` of the crop.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from model.data.order import draw_generator
from model.semodepth.batch import Views
from model.semodepth.config import AugmentConfig


@dataclass(frozen=True)
class View:
    """One view.

    Attributes:
        is_flipped: mirrored left to right, before anything else.
        scale: a; the image is scaled by 1/a, depth by a.
        left_px: first column of the crop in the scaled image; negative = black columns before it.
        top_px: first row.
        keeps_mono: False = monocular depth is replaced by zeros, whether or not there is any.
    """

    is_flipped: bool
    scale: float
    left_px: int
    top_px: int
    keeps_mono: bool


def draw_view(config: AugmentConfig, *, height: int, width: int, seed: int, epoch: int, frame_key: str) -> View:
    """Draw the view of one frame: a pure function of (seed, epoch, frame key), whichever process reads the frame.

    Args:
        config: what may be drawn.
        height: rows of the frame.
        width: columns of the frame.
        seed: of the run.
        epoch: from 0.
        frame_key: of the frame.
    """
    flip, scaled, size, down, right, mono = draw_generator(frame_key, seed=seed, epoch=epoch).random(6)
    scale = 1.0
    if scaled < config.scale_probability:
        scale = float(np.float32(config.scale_min + size * (config.scale_max - config.scale_min)))
    rows, columns = config.crop_px or (height, width)
    return View(
        bool(flip < config.flip_probability),
        scale,
        _first_pixel(width / scale - columns, right),
        _first_pixel(height / scale - rows, down),
        not mono < config.mono_dropout,
    )


def stack_views(views: Sequence[View], *, height: int, width: int) -> Views:
    """Stack the views of a batch, each (height, width)."""
    return Views(
        torch.tensor([view.is_flipped for view in views]),
        torch.tensor([view.scale for view in views], dtype=torch.float32),
        torch.tensor([view.left_px for view in views], dtype=torch.float32),
        torch.tensor([view.top_px for view in views], dtype=torch.float32),
        height,
        width,
        any(view.scale != 1.0 for view in views),
        any(view.left_px != 0 or view.top_px != 0 for view in views),
    )


def view_intrinsics(intrinsics: Tensor, views: Views, *, width: int) -> Tensor:
    """Return the camera matrices (b, 3, 3) of views, from those of the frames of a width."""
    of_views = intrinsics.clone()
    of_views[:, 0, 2] = torch.where(views.is_flipped, width - of_views[:, 0, 2], of_views[:, 0, 2])
    of_views[:, 0, 1] = torch.where(views.is_flipped, -of_views[:, 0, 1], of_views[:, 0, 1])  # a skew mirrors too
    of_views[:, :2] /= views.scale[:, None, None]
    of_views[:, 0, 2] -= views.left_px
    of_views[:, 1, 2] -= views.top_px
    return of_views


def view_points(row: Tensor, column: Tensor, sample: Tensor, views: Views, *, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return where pixels of the frames lie in their views.

    Args:
        row: (n,) pixel rows.
        column: (n,) pixel columns.
        sample: (n,) int64 number of each pixel's frame.
        views: of the batch.
        width: columns of a frame.

    Returns:
        Row and column (n,) int64 in the view, and (n,) bool whether they are inside it.
    """
    column = torch.where(views.is_flipped[sample], width - 1 - column, column)
    scale = views.scale[sample]
    x = torch.floor((column + 0.5) / scale - views.left_px[sample]).long()
    y = torch.floor((row + 0.5) / scale - views.top_px[sample]).long()
    return y, x, (x >= 0) & (x < views.width) & (y >= 0) & (y < views.height)


def view_nearest(values: Tensor, views: Views) -> Tensor:
    """Look at maps (b, h, w, ...) without mixing pixels: each pixel of the view shows the one below its centre, 0 outside."""
    height, width = values.shape[1:3]
    if not (views.is_scaled or views.is_moved) and (height, width) == (views.height, views.width):
        return _mirrored(values, views.is_flipped)
    x, y = _source_px(views, width)
    column, row = torch.floor(x).long(), torch.floor(y).long()
    inside = ((row >= 0) & (row < height))[:, :, None] & ((column >= 0) & (column < width))[:, None, :]
    frame = torch.arange(len(values), device=values.device)[:, None, None]
    shown_values = values[frame, row.clamp(0, height - 1)[:, :, None], column.clamp(0, width - 1)[:, None, :]]
    return shown_values * inside.reshape(*inside.shape, *(1,) * (values.ndim - 3)).to(values.dtype)


def view_image(image_u8: Tensor, views: Views) -> Tensor:
    """Look at images (b, h, w, 3) uint8: exact where nothing is scaled, bilinear otherwise; black outside."""
    if not views.is_scaled:
        return view_nearest(image_u8, views)
    height, width = image_u8.shape[1:3]
    x, y = _source_px(views, width)
    shape = (len(image_u8), views.height, views.width)
    grid = torch.stack([(2 * x / width - 1)[:, None, :].expand(shape), (2 * y / height - 1)[:, :, None].expand(shape)], dim=-1)
    planes = image_u8.permute(0, 3, 1, 2).float()
    interpolated = torch.nn.functional.grid_sample(planes, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return interpolated.round_().clamp_(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def _mirrored(values: Tensor, is_flipped: Tensor) -> Tensor:
    """Return maps (b, h, w, ...) of which some are mirrored left to right; a tenth of the time of a look-up of every pixel."""
    mirrored = values.flip(2)
    if values.is_cuda:  # asking the GPU which frames are flipped would wait for it
        return torch.where(is_flipped.view(-1, *(1,) * (values.ndim - 1)), mirrored, values)
    for frame in torch.nonzero(~is_flipped).flatten().tolist():
        mirrored[frame] = values[frame]
    return mirrored


def _source_px(views: Views, width: int) -> tuple[Tensor, Tensor]:
    """Return the frame's coordinates of the centres of a view's columns (b, width) and rows (b, height)."""
    device = views.scale.device
    x = (torch.arange(views.width, device=device) + 0.5 + views.left_px[:, None]) * views.scale[:, None]
    y = (torch.arange(views.height, device=device) + 0.5 + views.top_px[:, None]) * views.scale[:, None]
    return torch.where(views.is_flipped[:, None], width - x, x), y


def _first_pixel(slack: float, draw: float) -> int:
    """Place a crop uniformly in an image larger than it by ``slack`` pixels, or the image in the crop if it is smaller."""
    low, high = min(0, int(np.floor(slack))), max(0, int(np.floor(slack)))
    return low + int(draw * (high - low + 1))
