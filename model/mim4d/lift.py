"""Bring what the cameras of a frame see into the voxels around the vehicle: each voxel is sampled, or each cell is splatted.

Why     a voxel gets, from each camera that sees it, the features at its pixel times how probable its depth is there. Most voxels
        are seen by one camera of six, so only pairs of a voxel and a camera that sees it are computed, camera after camera and
        level after level, and backward looks up again instead of keeping what was found: neither pass holds a row for each
        camera, voxel and level (docs/method/mim4d.md#pitfalls, 21). ``weighted_rows`` is that look-up.
Reads   maps (b, t, m, channels, h, w) of t frames and m cameras; matrices of each camera at its own time
Writes  volumes (b, t, channels, z, y, x) float32, each in its frame's rig frame
Source  docs/method/mim4d.md#lift-by-sampling, #lift-by-splatting, #volume-squeeze
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from model.errors import InputError
from model.mim4d.depth_head import DepthBins
from model.mim4d.voxel_grid import VoxelGrid
from model.mim4d.weighted_rows import weighted_rows

NormKind = Literal["gn", "bn"]
GridAlign = Literal["consistent", "released"]
"""consistent: voxels, cells and bins have their values in their middle. released: voxels at their lower corners, bins and cells
as nodes of an ``align_corners`` grid, which shifts them by up to half a cell; for parity only (docs/method/mim4d.md#pitfalls, 10
and 11)."""


@dataclass(frozen=True)
class Cameras:
    """Where the cameras of each frame stand, and how they see.

    Attributes:
        cam_from_rig: (b, t, m, 4, 4) rig frame of frame t to each camera, metres; each camera at its own time.
        intrinsics: (b, t, m, 3, 3) of the images as fed, pixels; the middle of the first pixel is at 0.5; last row 0, 0, 1.
        image_px: height and width of the images as fed, pixels.
    """

    cam_from_rig: Tensor
    intrinsics: Tensor
    image_px: tuple[int, int]

    def __post_init__(self) -> None:
        poses_shape, matrices_shape = tuple(self.cam_from_rig.shape), tuple(self.intrinsics.shape)
        if len(poses_shape) != 5 or poses_shape[3:] != (4, 4) or matrices_shape != (*poses_shape[:3], 3, 3):
            raise InputError(
                f"cam_from_rig is {poses_shape} and intrinsics {matrices_shape}, expected (b, t, m, 4, 4) and (b, t, m, 3, 3)"
            )

    @property
    def views(self) -> tuple[int, int, int]:
        """Return the number of clips, of frames and of cameras."""
        batch, frames, cameras = self.cam_from_rig.shape[:3]
        return batch, frames, cameras


class _Seen(NamedTuple):
    """Pairs of a voxel and the camera that sees it."""

    voxel: Tensor
    """(p) int64: frame times number of voxels, plus voxel."""
    frame: Tensor
    """(p) int64"""
    u_px: Tensor
    v_px: Tensor
    depth_m: Tensor


def lift_by_sampling(
    features: Sequence[Tensor],
    probabilities: Sequence[Tensor],
    cameras: Cameras,
    *,
    grid: VoxelGrid,
    bins: DepthBins,
    strides: Sequence[int],
    align: GridAlign = "consistent",
) -> Tensor:
    """Ask for every voxel what the cameras show at its pixel, weighted with how probable its depth is there.

    A camera sees a voxel whose middle is in its image and between the ends of the depth bins; cameras and levels are summed. Near
    the border, where a cell has no neighbour, its own value counts.

    Args:
        features: per level (b, t, m, channels, h, w).
        probabilities: per level (b, t, m, num_bins, h, w), over the same cells.
        cameras: of these maps.
        grid: the voxels, in each frame's rig frame.
        bins: of ``probabilities``.
        strides: per level, image pixels per cell.
        align: where values stand.

    Returns:
        (b, t, channels, z, y, x) float32; 0 where no camera sees; channels lie last in memory.

    Raises:
        InputError: maps, cameras, strides and bins do not fit together.
    """
    _check_maps(features, probabilities, cameras, bins=bins, strides=strides)
    device = features[0].device
    positions = (grid.centres_m if align == "consistent" else grid.lower_corners_m)(device=device).flatten(0, 2)
    # taken apart at once: the gradient of a camera taken alone would be as large as that of all of them
    tables = [_camera_first(feature).permute(0, 1, 3, 4, 2).contiguous().unbind(0) for feature in features]
    chances = [_camera_first(probability).contiguous().unbind(0) for probability in probabilities]
    image_from_rig = _camera_first(_product(cameras.intrinsics.float(), cameras.cam_from_rig[..., :3, :].float()))
    volume = _empty_volume(features[0], grid)
    for camera, matrices in enumerate(image_from_rig):
        seen = _seen_voxels(positions, matrices, image_px=cameras.image_px, bins=bins)
        if seen.voxel.numel() == 0:
            continue
        for table, chance, stride in zip(tables, chances, strides, strict=True):
            y, x = _map_places(seen, table[camera].shape[1:3], stride=stride, image_px=cameras.image_px, align=align)
            rows = checkpoint(
                _look_up,
                table[camera],
                chance[camera],
                seen,
                y,
                x,
                bins=bins,
                align=align,
                use_reentrant=False,
                preserve_rng_state=False,
            )
            _add_rows(volume, seen.voxel, rows)
    return _as_volume(volume, cameras, grid)


def lift_by_splatting(
    feature: Tensor,
    probability: Tensor,
    cameras: Cameras,
    *,
    grid: VoxelGrid,
    bins: DepthBins,
    stride: int,
    align: GridAlign = "consistent",
) -> Tensor:
    """Send every cell's features to the voxels along its ray, each share as large as the probability of that depth.

    Args:
        feature: (b, t, m, channels, h, w) of one level.
        probability: (b, t, m, num_bins, h, w) over the same cells.
        cameras: of these maps.
        grid: the voxels, in each frame's rig frame.
        bins: of ``probability``.
        stride: image pixels per cell.
        align: where values stand. ``released`` also rounds towards zero, so that the first voxels get what is just outside.

    Returns:
        (b, t, channels, z, y, x) float32; what falls outside of the grid is lost; channels lie last in memory.

    Raises:
        InputError: maps, cameras and bins do not fit together.
    """
    _check_maps([feature], [probability], cameras, bins=bins, strides=[stride])
    tables = _camera_first(feature).permute(0, 1, 3, 4, 2).contiguous().unbind(0)
    chances = _camera_first(probability).unbind(0)
    size = tables[0].shape[1:3]
    origins, rays = _cell_rays(cameras, size, stride=stride, align=align)
    depths_m = (bins.centres_m if align == "consistent" else bins.near_ends_m)(device=feature.device)
    volume = _empty_volume(feature, grid)
    num_cells = size[0] * size[1]
    for camera, (table, chance) in enumerate(zip(tables, chances, strict=True)):
        points = origins[camera][:, None, None] + depths_m[:, None, None] * rays[camera][:, None]
        place, voxel = _voxels_of(points, grid, align=align)  # places in (frame, bin, cell)
        if place.numel() == 0:
            continue
        cell = place // (bins.num_bins * num_cells) * num_cells + place % num_cells
        weights = chance.flatten().index_select(0, place)
        _add_rows(volume, voxel, weighted_rows(table.flatten(0, -2), cell[:, None], weights[:, None]))
    return _as_volume(volume, cameras, grid)


def _check_maps(
    features: Sequence[Tensor],
    probabilities: Sequence[Tensor],
    cameras: Cameras,
    *,
    bins: DepthBins,
    strides: Sequence[int],
) -> None:
    if not len(features) == len(probabilities) == len(strides) or not features:
        raise InputError(
            f"{len(features)} feature maps, {len(probabilities)} depth maps and {len(strides)} strides were given, expected "
            "one of each per level"
        )
    for feature, probability, stride in zip(features, probabilities, strides, strict=True):
        cells = tuple(-(-side // stride) for side in cameras.image_px)
        for name, maps, channels in (("feature", feature, feature.shape[3:4]), ("depth", probability, (bins.num_bins,))):
            expected = (*cameras.views, *channels, *cells)
            if tuple(maps.shape) != expected:
                raise InputError(
                    f"the {name} map at stride {stride} is {tuple(maps.shape)}, expected {expected} (clips, frames, cameras, "
                    "channels, height, width) for these cameras and bins"
                )


def _camera_first(maps: Tensor) -> Tensor:
    """Bring (b, t, m, ...) to (m, b t, ...) float32."""
    return maps.flatten(0, 1).transpose(0, 1).float()


def _product(left: Tensor, right: Tensor) -> Tensor:
    """Multiply matrices by plain sums: autocast and the matrix units of a GPU would round to some bits, which is some pixels."""
    return (left[..., :, :, None] * right[..., None, :, :]).sum(-2)


def _empty_volume(feature: Tensor, grid: VoxelGrid) -> Tensor:
    batch, frames, _, channels = feature.shape[:4]
    return torch.zeros(batch * frames * grid.num_voxels, channels, device=feature.device)


def _as_volume(rows: Tensor, cameras: Cameras, grid: VoxelGrid) -> Tensor:
    batch, frames, _ = cameras.views
    return rows.view(batch, frames, *grid.shape_zyx, -1).permute(0, 1, 5, 2, 3, 4)


def _seen_voxels(positions: Tensor, image_from_rig: Tensor, *, image_px: tuple[int, int], bins: DepthBins) -> _Seen:
    """Find the voxels (v, 3) that one camera sees in each frame; its matrices are (frames, 3, 4)."""
    projected = _product(positions[None], image_from_rig[:, :, :3].transpose(1, 2)) + image_from_rig[:, None, :, 3]
    depth = projected[..., 2]
    u, v = (projected[..., axis] / depth.where(depth > 0, depth.new_ones(())) for axis in (0, 1))
    height, width = image_px
    is_seen = (depth > bins.near_m) & (depth < bins.far_m) & (u > 0) & (u < width) & (v > 0) & (v < height)
    voxel = is_seen.flatten().nonzero()[:, 0]
    return _Seen(voxel, voxel // len(positions), *(values.flatten()[voxel] for values in (u, v, depth)))


def _map_places(
    seen: _Seen, size: Sequence[int], *, stride: int, image_px: tuple[int, int], align: GridAlign
) -> tuple[Tensor, Tensor]:
    """Return where on a map of height and width ``size`` the pixels are, in cells: the middle of the first is 0."""
    places = []
    for pixels, cells, side in zip((seen.v_px, seen.u_px), size, image_px, strict=True):
        if align == "released":
            places.append(pixels / side * (cells - 1))
        else:
            places.append((pixels / stride - 0.5).clamp(0, cells - 1))
    y, x = places
    return y, x


def _neighbours(place: Tensor, count: int) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Return the nodes on both sides of places in [0, count - 1], each with its weight."""
    low = place.long().clamp(max=max(0, count - 2))
    share = place - low
    return (low, 1.0 - share), ((low + 1).clamp(max=count - 1), share)


def _look_up(table: Tensor, chance: Tensor, seen: _Seen, y: Tensor, x: Tensor, *, bins: DepthBins, align: GridAlign) -> Tensor:
    """Return per pair (p, channels) what a map (frames, h, w, channels) shows, times the probability of the depth there."""
    _, height, width, _ = table.shape
    if align == "released":
        depth = (seen.depth_m - bins.near_m) / (bins.far_m - bins.near_m) * (bins.num_bins - 1)
    else:
        depth = ((seen.depth_m - bins.near_m) / bins.bin_m - 0.5).clamp(0, bins.num_bins - 1)
    corners = [(row, down, column, right) for row, down in _neighbours(y, height) for column, right in _neighbours(x, width)]
    cell = torch.stack([row * width + column for row, _, column, _ in corners], dim=1)
    weight = torch.stack([down * right for _, down, _, right in corners], dim=1)
    flat = chance.flatten()
    probability = weight.new_zeros(())
    for depth_bin, share in _neighbours(depth, bins.num_bins):
        place = (seen.frame * bins.num_bins + depth_bin)[:, None] * (height * width) + cell
        probability = probability + share[:, None] * flat.index_select(0, place.flatten()).view_as(place)
    weight = weight * (weight * probability).sum(dim=1, keepdim=True)
    return weighted_rows(table.flatten(0, -2), seen.frame[:, None] * (height * width) + cell, weight)


def _add_rows(volume: Tensor, voxels: Tensor, rows: Tensor) -> None:
    """Add rows (p, channels) to voxels of a volume (voxels, channels); ``index_add_`` would keep the rows for backward."""
    volume.scatter_add_(0, voxels[:, None].expand_as(rows), rows)


def _cell_rays(cameras: Cameras, size: Sequence[int], *, stride: int, align: GridAlign) -> tuple[Tensor, Tensor]:
    """Return where cameras stand (m, b t, 3) and where a metre of depth leads in each cell (m, b t, h w, 3), in the rig frame."""
    height, width = size
    device = cameras.intrinsics.device
    within = 0.5 if align == "consistent" else 0.0
    v, u = ((torch.arange(count, dtype=torch.float64, device=device) + within) * stride for count in (height, width))
    pixels = torch.stack(
        (u.expand(height, width), v[:, None].expand(height, width), torch.ones_like(u).expand(height, width)), -1
    )
    rig_from_cam = torch.linalg.inv(cameras.cam_from_rig.double())
    rig_from_pixel = _product(rig_from_cam[..., :3, :3], torch.linalg.inv(cameras.intrinsics.double()))
    rays = _product(pixels.view(-1, 3).expand(*cameras.views, -1, 3), rig_from_pixel.transpose(-1, -2))
    return _camera_first(rig_from_cam[..., :3, 3]), _camera_first(rays)


def _voxels_of(points_m: Tensor, grid: VoxelGrid, *, align: GridAlign) -> tuple[Tensor, Tensor]:
    """Return which points (frames, bins, cells, 3), counted flat, are in the grid, and in which voxel, counted over frames."""
    low, size = (points_m.new_tensor(values) for values in (grid.low_m, grid.voxel_m))
    index = (points_m - low) / size
    index = index.floor() if align == "consistent" else index.trunc()
    inside = ((index >= 0) & (index < points_m.new_tensor(grid.shape_xyz))).all(dim=-1)
    place = inside.flatten().nonzero()[:, 0]
    x, y, z = index.flatten(0, 2)[place].long().unbind(dim=-1)
    num_z, num_y, num_x = grid.shape_zyx
    frame = place // (points_m.shape[1] * points_m.shape[2])
    return place, ((frame * num_z + z) * num_y + y) * num_x + x


class RenderConv(nn.Module):
    """Squeeze a lifted volume to the few channels that are warped, decoded and rendered: a 3x3x3 convolution, a norm, ReLU.

    The public batch norm takes its statistics over all frames, so in training a frame that is withheld from the decoder still
    reaches it through them (docs/method/mim4d.md#pitfalls, 6). Group norm sees one frame at a time.
    """

    def __init__(self, channels_in: int, channels: int, *, norm: NormKind = "gn", num_groups: int = 8) -> None:
        """Make it with fresh weights.

        Args:
            channels_in: of a lifted volume.
            channels: of the volume that comes out.
            norm: gn keeps frames apart; bn is the released one, and leaks between them in training.
            num_groups: of gn.

        Raises:
            InputError: the channels cannot be divided into ``num_groups`` groups.
        """
        super().__init__()
        if norm == "gn" and channels % num_groups:
            raise InputError(
                f"{channels} volume channels do not fall into {num_groups} groups of one norm; choose a number that divides them"
            )
        self.conv = nn.Conv3d(channels_in, channels, 3, padding=1, bias=False)
        self.norm: nn.Module = nn.GroupNorm(num_groups, channels) if norm == "gn" else nn.BatchNorm3d(channels)

    def forward(self, volumes: Tensor) -> Tensor:
        """Map volumes (b, t, channels_in, z, y, x) to (b, t, channels, z, y, x), contiguous."""
        batch, frames = volumes.shape[:2]
        squeezed = F.relu(self.norm(self.conv(volumes.flatten(0, 1)))).contiguous()
        return squeezed.view(batch, frames, *squeezed.shape[1:])
