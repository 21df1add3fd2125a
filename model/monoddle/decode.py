"""Objects from the raw maps of the heads: the exact inverse of ``encode_objects``, whatever the view.

Nothing given is changed, so maps can be decoded again, with other thresholds or for a loss.

Source  docs/method/monoddle.md#decoding
Differs from the public code: boxes and centres go back through the inverse of the affine map that made the input, not through the
        ratio of the sizes, which differs from it by up to 2 pixels in height; so mirrored and zoomed views decode too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from model.data.objects import Objects
from model.data.rectified_camera import bearing_rad, unproject_pixels
from model.monoddle.affine_view import AffineView
from model.monoddle.heading import decode_heading, wrap_angle
from model.monoddle.heads import depth_m_of
from model.monoddle.network_config import NUM_HEADING_BINS, STRIDE, MonoDdleConfig

Float64 = NDArray[np.float64]

MIN_HEAT = 1e-4
"""Heat is kept this far from 0 and 1, in the loss and here."""

_READ_AT_PEAKS = ("offset_2d", "size_2d", "offset_3d", "depth", "size_3d", "heading")


class Peaks(NamedTuple):
    """The n hottest cells of each of b images.

    Attributes:
        heat: (b, n) float32, falling; 0 where a map has fewer peaks.
        class_index: (b, n) int64.
        cell_index: (b, n) int64 row * w + column.
    """

    heat: Tensor
    class_index: Tensor
    cell_index: Tensor


def heat_of(logit: Tensor) -> Tensor:
    """Return the heat (any shape) float32 of the heat map's logits, kept off 0 and 1."""
    return torch.sigmoid(logit.float()).clamp(MIN_HEAT, 1 - MIN_HEAT)


def find_peaks(heat: Tensor, max_objects: int) -> Peaks:
    """Find cells as hot as the hottest of the 3x3 around them.

    All cells of a plateau are peaks; classes do not suppress each other. The public code fails where there are fewer cells than
    wanted objects; here there are fewer peaks then.

    Args:
        heat: (b, classes, h, w).
        max_objects: peaks wanted, first per class, then of all classes.
    """
    is_peak = F.max_pool2d(heat, 3, stride=1, padding=1) == heat
    peaks = torch.where(is_peak, heat, 0.0).flatten(2)
    of_class, cells = peaks.topk(min(max_objects, peaks.shape[2]), dim=2)
    heat_of_peak, position = of_class.flatten(1).topk(min(max_objects, of_class[0].numel()), dim=1)
    return Peaks(heat_of_peak, position // of_class.shape[2], cells.flatten(1).gather(1, position))


@torch.no_grad()
def decode_objects(
    maps: Mapping[str, Tensor],
    views: Sequence[AffineView],
    *,
    projections: Float64,
    config: MonoDdleConfig,
    score_threshold: float = 0.2,
) -> list[Objects]:
    """Read the objects off the head maps of a batch.

    Args:
        maps: raw maps (b, channels, h, w) as the network gives them; one of dense uncertainty is not looked at.
        views: the b views that were the network's input.
        projections: (b, 3, 4) of the whole images, float64.
        config: of the network.
        score_threshold: peaks whose heat is lower are left out.

    Returns:
        For each image its objects, surest first: boxes in pixels of the whole image, not clipped to it; location and rotation in
        its camera frame, not mirrored, at the true scale. ``score`` is heat / e^s with s the log scale of the depth's error, as
        published: it ranks, can exceed 1, and is no probability. Truncation and occlusion are -1, not said.
    """
    peaks = find_peaks(heat_of(maps["heatmap"]), config.max_objects)
    is_kept = (peaks.heat >= score_threshold) & (peaks.heat > 0)
    cells = peaks.cell_index[:, None]
    read = {name: _read(maps[name], cells, is_kept) for name in _READ_AT_PEAKS}
    depth_m = _numpy(depth_m_of(_gather(maps["depth"][:, :1], cells))[:, 0][is_kept])
    image = np.nonzero(is_kept.cpu().numpy())[0]
    heat, class_index = _numpy(peaks.heat[is_kept]), peaks.class_index[is_kept].cpu().numpy()
    cell = peaks.cell_index[is_kept].cpu().numpy()
    columns = maps["heatmap"].shape[3]
    corner = np.stack([cell % columns, cell // columns], axis=1).astype(np.float64)

    image_from_input = np.stack([view.inverse for view in views])[image]
    projection = projections[image]
    is_flipped = np.array([view.is_flipped for view in views], dtype=np.bool_)[image]
    centre = _move(image_from_input, (corner + read["offset_3d"]) * STRIDE)
    alpha = _alpha(read["heading"])
    alpha = np.where(is_flipped, wrap_angle(np.pi - alpha), alpha)
    size = np.maximum(read["size_3d"] + np.array(config.mean_sizes_hwl_m)[class_index], 0.0)
    location = unproject_pixels(projection, centre, depth_m / np.array([view.scale for view in views])[image])
    location[:, 1] += size[:, 0] / 2  # from the centre to the bottom face; y points down
    unknown = np.full(len(image), -1, dtype=np.int64)
    objects = Objects(
        category=np.array(config.classes, dtype=np.str_)[class_index],
        truncation=unknown.astype(np.float64),
        occlusion=unknown,
        alpha_rad=alpha,
        box_px=_boxes(corner + read["offset_2d"], read["size_2d"], image_from_input),
        size_hwl_m=size,
        location_m=location,
        rotation_y_rad=wrap_angle(alpha + bearing_rad(projection, centre)),
        score=heat * np.exp(-read["depth"][:, 1]),
    )
    order = np.argsort(-objects.score, kind="stable")
    return [objects[order[image[order] == number]] for number in range(len(views))]


def _gather(values: Tensor, cells: Tensor) -> Tensor:
    """Return what maps (b, c, h, w) say at cells (b, 1, n): (b, c, n)."""
    return values.flatten(2).gather(2, cells.expand(-1, values.shape[1], -1))


def _read(values: Tensor, cells: Tensor, is_kept: Tensor) -> Float64:
    """Return what a map (b, c, h, w) says of the kept ones (b, n) of the peaks: (m, c) float64."""
    return _numpy(_gather(values, cells).transpose(1, 2)[is_kept])


def _numpy(values: Tensor) -> Float64:
    return values.double().cpu().numpy()


def _alpha(heading: Float64) -> Float64:
    """Return the observation angle (m,) of the surest bin and its residual, in the view."""
    surest = heading[:, :NUM_HEADING_BINS].argmax(axis=1)
    return decode_heading(surest, heading[np.arange(len(heading)), NUM_HEADING_BINS + surest])


def _boxes(centre: Float64, size: Float64, image_from_input: Float64) -> Float64:
    """Return the boxes (m, 4) of the whole image from centres and sizes (m, 2) in cells."""
    half: Float64 = np.maximum(size, 0.0) / 2  # an untrained network may say negative sizes
    ends = np.stack([_move(image_from_input, corner * STRIDE) for corner in (centre - half, centre + half)])
    return np.concatenate([ends.min(axis=0), ends.max(axis=0)], axis=1)


def _move(matrices: Float64, points_px: Float64) -> Float64:
    """Apply affine maps (m, 3, 3) to points (m, 2)."""
    return np.asarray(np.einsum("mij,mj->mi", matrices[:, :2, :2], points_px) + matrices[:, :2, 2])
