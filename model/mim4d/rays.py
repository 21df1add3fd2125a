"""Choosing the pixels of a frame that are rendered, and the rays through them.

Why     most rays go to what LiDAR measured, so that their length is known; pixels without a measurement fill up where a camera
        sees few points. Everything is in the target frame's own rig frame, each camera where it was when it took its picture.
Source  docs/method/mim4d.md#rays, #pitfalls
Differs from the public code: the points are those of the frame's own sweep, not of the key frame's (pitfall 8); hits and filler
        pixels go through the same matrices (7); colours are red, green, blue (9); any number of cameras, clips and points (17,
        18); points are dropped that no ray can reach, as they are outside the box of voxels or nearer than the renderer looks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from model.errors import InputError
from model.mim4d.render_config import RenderConfig
from model.mim4d.voxel_grid import VoxelGrid

NO_DEPTH = -1.0
"""Depth of a ray whose length is not known, in ``Rays.depth_m``."""


@dataclass(frozen=True)
class Rays:
    """Rays of one target frame of each clip, camera after camera, with what they should show; (b, r) = (clips, cameras * rays).

    A camera with fewer pixels to offer than were asked for has slots without a ray at the end of its part; these look along the
    camera's axis and are neither hidden nor measured.

    Attributes:
        origin_m: (b, r, 3) centre of the camera in the rig frame.
        direction: (b, r, 3) of length 1, in the rig frame.
        rgb: (b, r, 3) colour of the intact image, 0 to 1.
        depth_m: (b, r) distance along the ray, not along the camera's axis; ``NO_DEPTH`` where it is not known.
        uv_px: (b, r, 2) where the ray passes the image, column then row; the centre of the first pixel is 0.5.
        camera: (b, r) int64, number of the camera.
        is_masked: (b, r) bool, the network did not see the pixel.
        is_ray: (b, r) bool, the slot holds a ray.
    """

    origin_m: Tensor
    direction: Tensor
    rgb: Tensor
    depth_m: Tensor
    uv_px: Tensor
    camera: Tensor
    is_masked: Tensor
    is_ray: Tensor

    @property
    def is_measured(self) -> Tensor:
        """Return (b, r) bool: the ray's length is known."""
        return self.is_ray & (self.depth_m > 0)

    def to(self, device: torch.device | str) -> Rays:
        """Return the rays on a device."""
        return Rays(*(getattr(self, field.name).to(device, non_blocking=True) for field in fields(self)))


@dataclass(frozen=True)
class FrameViews:
    """What the m cameras of one frame of each of b clips saw.

    Attributes:
        images: intact images (b, m, 3, h, w), red, green, blue, 0 to 1; may be padded at the right and at the bottom.
        cam_from_rig: (b, m, 4, 4), each camera at its own time.
        intrinsics: (b, m, 3, 3) of the images as given, last row 0 0 1.
        is_seen: (b, m, rows, columns) bool, patches of the padded images that the network saw; None if it saw all.
        image_px: height and width of the images without padding; None if they are not padded.
    """

    images: Tensor
    cam_from_rig: Tensor
    intrinsics: Tensor
    is_seen: Tensor | None = None
    image_px: tuple[int, int] | None = None


@torch.no_grad()
def sample_rays(
    points_m: Tensor,
    views: FrameViews,
    *,
    grid: VoxelGrid,
    config: RenderConfig,
    generator: torch.Generator,
    is_point: Tensor | None = None,
) -> Rays:
    """Choose rays of one target frame of each clip: LiDAR hits at random, then pixels without depth.

    A point can be chosen if it is inside the box of voxels, between the two radii around the rig, in front of a camera and inside
    its image; whether something hides it is not asked.

    Args:
        points_m: LiDAR points of the frame (b, p, 3) in its rig frame.
        views: of the frame.
        grid: box of the voxels.
        config: numbers of rays, radii, the filler's grid, the nearest distance that is rendered, the order of colours.
        generator: random numbers are drawn on its device.
        is_point: (b, p) bool, the slot holds a point; None if all do. Points that are not finite are left out, too.

    Returns:
        ``config.rays.rays_per_camera`` rays for each camera.

    Raises:
        InputError: shapes do not fit together.
    """
    _check_shapes(points_m, is_point, views)
    images = views.images
    num_clips, num_cameras, _, height, width = images.shape
    inner_px = views.image_px or (height, width)
    with torch.autocast(images.device.type, enabled=False):
        points_m, cam_from_rig, intrinsics = points_m.float(), views.cam_from_rig.float(), views.intrinsics.float()
        uv_px, depth_m = _project(points_m, cam_from_rig, intrinsics)
        is_usable = _is_usable(points_m, grid, config)
        if is_point is not None:
            is_usable = is_usable & is_point
        is_hit = is_usable[:, None] & _is_inside(uv_px, inner_px) & (depth_m > config.near_m)
        filler_px = _filler_pixels(inner_px, config).to(uv_px)
        filler_px = filler_px.expand(num_clips, num_cameras, -1, 2)
        chosen, is_ray = _choose(is_hit, filler_px.shape[2], config.rays.rays_per_camera, generator)
        uv_px = _take(torch.cat([uv_px, filler_px], dim=2), chosen)
        depth_m = _take(torch.cat([depth_m, torch.full_like(filler_px[..., 0], NO_DEPTH)], dim=2)[..., None], chosen)[..., 0]
        principal_px = intrinsics[:, :, None, :2, 2].expand_as(uv_px)
        uv_px = torch.where(is_ray[..., None], uv_px, principal_px)
        origin_m, direction = rays_through(uv_px, cam_from_rig=cam_from_rig, intrinsics=intrinsics)
        rgb = _colours(images.float(), uv_px)
        if config.rays.rgb_order == "released_bgr":
            rgb = rgb.flip(-1)
        camera = torch.arange(num_cameras, device=images.device)[None, :, None].expand(chosen.shape)
        return Rays(
            origin_m=origin_m.flatten(1, 2),
            direction=direction.flatten(1, 2),
            rgb=torch.where(is_ray[..., None], rgb, 0.0).flatten(1, 2),
            depth_m=torch.where(is_ray, depth_m, NO_DEPTH).flatten(1, 2),
            uv_px=uv_px.flatten(1, 2),
            camera=camera.flatten(1, 2),
            is_masked=(is_ray & _is_in_hidden_patch(uv_px, views.is_seen, (height, width))).flatten(1, 2),
            is_ray=is_ray.flatten(1, 2),
        )


def rays_through(uv_px: Tensor, *, cam_from_rig: Tensor, intrinsics: Tensor) -> tuple[Tensor, Tensor]:
    """Return the rays from cameras through places in their images.

    Args:
        uv_px: (..., n, 2), column then row; the centre of the first pixel is 0.5.
        cam_from_rig: (..., 4, 4), rigid.
        intrinsics: (..., 3, 3), last row 0 0 1.

    Returns:
        The cameras' centres (..., n, 3) in metres and directions (..., n, 3) of length 1, both in the rig frame.
    """
    rig_from_cam = cam_from_rig[..., :3, :3].transpose(-1, -2)
    centre_m = -(rig_from_cam @ cam_from_rig[..., :3, 3:])[..., 0]
    in_cam = torch.cat([uv_px, torch.ones_like(uv_px[..., :1])], dim=-1) @ torch.linalg.inv(intrinsics).transpose(-1, -2)
    direction = torch.nn.functional.normalize(in_cam @ rig_from_cam.transpose(-1, -2), dim=-1)
    return centre_m[..., None, :].expand_as(direction), direction


def _project(points_m: Tensor, cam_from_rig: Tensor, intrinsics: Tensor) -> tuple[Tensor, Tensor]:
    """Return where cameras see points (b, m, p, 2) and how far from the camera's centre they are (b, m, p); -1 if behind it."""
    in_cam_m = points_m[:, None] @ cam_from_rig[..., :3, :3].transpose(-1, -2) + cam_from_rig[..., None, :3, 3]
    is_ahead = in_cam_m[..., 2] > 0
    homogeneous = in_cam_m @ intrinsics.transpose(-1, -2)
    uv_px = homogeneous[..., :2] / torch.where(is_ahead, homogeneous[..., 2], 1.0)[..., None]
    return uv_px, torch.where(is_ahead, in_cam_m.norm(dim=-1), NO_DEPTH)


def _is_usable(points_m: Tensor, grid: VoxelGrid, config: RenderConfig) -> Tensor:
    """Say which points (b, p) a ray can be rendered to; not those that are not finite."""
    radius_m: Tensor = points_m[..., :2].norm(dim=-1)
    is_between = (radius_m > config.rays.min_radius_m) & (radius_m < config.rays.max_radius_m)
    is_in_box: Tensor = (grid.to_unit(points_m).abs() < 1).all(dim=-1)
    return is_between & is_in_box


def _is_inside(uv_px: Tensor, image_px: tuple[int, int]) -> Tensor:
    """Say which places (..., 2) lie in an image."""
    u_px, v_px = uv_px.unbind(-1)
    return (u_px >= 0) & (u_px < image_px[1]) & (v_px >= 0) & (v_px < image_px[0])


def _filler_pixels(image_px: tuple[int, int], config: RenderConfig) -> Tensor:
    """Return the centres of the pixels (n, 2) that may be rendered without a depth."""
    stride, top = config.rays.filler_stride_px, math.ceil(config.rays.filler_top_fraction * image_px[0])
    rows, columns = torch.arange(top, image_px[0], stride), torch.arange(0, image_px[1], stride)
    v_px, u_px = torch.meshgrid(rows + 0.5, columns + 0.5, indexing="ij")
    return torch.stack([u_px, v_px], dim=-1).flatten(0, 1)


def _choose(is_hit: Tensor, num_filler: int, num_rays: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return which candidates (b, m, n), hits first and filler after them, each at most once; and which slots hold one."""
    num_hits = is_hit.shape[2]
    shape = (*is_hit.shape[:2], num_hits + num_filler)
    key = torch.rand(shape, generator=generator, device=generator.device).to(is_hit.device)
    key[..., num_hits:] += 1  # after any hit
    key[..., :num_hits].masked_fill_(~is_hit, math.inf)
    chosen = key.topk(min(num_rays, shape[2]), dim=-1, largest=False)
    missing = (0, num_rays - chosen.values.shape[2])
    pad = torch.nn.functional.pad
    return pad(chosen.indices, missing), pad(chosen.values, missing, value=math.inf).isfinite()


def _take(values: Tensor, index: Tensor) -> Tensor:
    """Return the rows (b, m, n, c) of values (b, m, k, c) at an index (b, m, n)."""
    return values.gather(2, index[..., None].expand(-1, -1, -1, values.shape[-1]))


def _colours(images: Tensor, uv_px: Tensor) -> Tensor:
    """Return the colours (b, m, n, 3) of the pixels that places (b, m, n, 2) lie in."""
    height, width = images.shape[-2:]
    column = uv_px[..., 0].long().clamp(0, width - 1)
    row = uv_px[..., 1].long().clamp(0, height - 1)
    return _take(images.flatten(3).transpose(2, 3), row * width + column)


def _is_in_hidden_patch(uv_px: Tensor, is_seen: Tensor | None, image_px: tuple[int, int]) -> Tensor:
    """Say which places (b, m, n, 2) lie in patches (b, m, rows, columns) that were hidden."""
    if is_seen is None:
        return torch.zeros(uv_px.shape[:-1], dtype=torch.bool, device=uv_px.device)
    num_rows, num_columns = is_seen.shape[-2:]
    column = (uv_px[..., 0] * (num_columns / image_px[1])).long().clamp(0, num_columns - 1)
    row = (uv_px[..., 1] * (num_rows / image_px[0])).long().clamp(0, num_rows - 1)
    return ~is_seen.flatten(2).gather(2, row * num_columns + column)


def _check_shapes(points_m: Tensor, is_point: Tensor | None, views: FrameViews) -> None:
    """Raise if shapes do not fit together."""
    images, is_seen, image_px = views.images, views.is_seen, views.image_px
    if images.ndim != 5 or images.shape[2] != 3:
        raise InputError(f"images of rays have shape {tuple(images.shape)}; expected (clips, cameras, 3, height, width)")
    num_clips, num_cameras, _, height, width = images.shape
    expected: dict[str, tuple[Tensor | None, tuple[int, ...]]] = {
        "points_m": (points_m, (num_clips, points_m.shape[1] if points_m.ndim > 1 else 0, 3)),
        "cam_from_rig": (views.cam_from_rig, (num_clips, num_cameras, 4, 4)),
        "intrinsics": (views.intrinsics, (num_clips, num_cameras, 3, 3)),
        "is_point": (is_point, tuple(points_m.shape[:2])),
    }
    for name, (values, shape) in expected.items():
        if values is not None and tuple(values.shape) != shape:
            raise InputError(
                f"{name} of rays has shape {tuple(values.shape)}; with images of {tuple(images.shape)} expected {shape}"
            )
    if is_seen is not None and (
        is_seen.ndim != 4
        or 0 in is_seen.shape
        or is_seen.shape[:2] != images.shape[:2]
        or height % is_seen.shape[2]
        or width % is_seen.shape[3]
    ):
        raise InputError(
            f"is_seen of rays has shape {tuple(is_seen.shape)}; with images of {tuple(images.shape)} expected "
            f"({num_clips}, {num_cameras}, rows, columns) of patches that divide {height} x {width} pixels"
        )
    if image_px is not None and not (0 < image_px[0] <= height and 0 < image_px[1] <= width):
        raise InputError(f"image_px of rays is {image_px}; expected a height and width within the padded {(height, width)}")
