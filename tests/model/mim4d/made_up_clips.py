"""Clips of a chequered plane and coloured spheres; colour and depth are formulas (docs/method/mim4d.md#tiny-configuration)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from model.mim4d.batch import ClipBatch
from model.mim4d.network_config import Mim4dConfig
from tests.model.mim4d.made_up_rig import cam_from_rig as camera_at

GROUND_M = -1.84
"""Height of the plane in the rig frame; the rig drives on it without rolling."""

YAWS_DEG = (0.0, -55.0, 55.0, 180.0, 110.0, -110.0)
STEP_S = 0.1
SQUARE_M = 4.0
"""Side of the plane's squares: some voxels of the tiny configuration, or no volume could show them."""

FAR_M = 60.0
SKY = (0.55, 0.7, 0.95)


@dataclass(frozen=True)
class World:
    """Spheres (s) as they are at the newest frame, in its rig frame, and how they move."""

    centre_m: Tensor
    velocity_m_s: Tensor
    radius_m: Tensor
    colour: Tensor
    plane: Tensor
    """(2, 3) colours of the squares."""


def make_world(seed: int, *, num_spheres: int = 14, num_moving: int = 3, speed_m_s: float = 5.0) -> World:
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator)

    radius = 0.7 + 1.6 * draw(num_spheres)
    distance, bearing = 5.0 + 17.0 * draw(num_spheres), 2 * math.pi * draw(num_spheres)
    height = GROUND_M + radius
    centre = torch.stack([distance * bearing.cos(), distance * bearing.sin(), height], dim=-1)
    heading = 2 * math.pi * draw(num_spheres)
    velocity = speed_m_s * torch.stack([heading.cos(), heading.sin(), torch.zeros(num_spheres)], dim=-1)
    velocity[num_moving:] = 0.0
    plane = torch.tensor([[0.25, 0.25, 0.25], [0.6, 0.58, 0.5]]) + 0.1 * (draw(2, 3) - 0.5)
    return World(centre, velocity, radius, draw(num_spheres, 3), plane)


def cast(world: World, origin_m: Tensor, direction: Tensor, *, time_s: float) -> tuple[Tensor, Tensor]:
    """Return how far rays (n, 3) of the world go, infinity if nowhere, and the colours (n, 3) that they meet."""
    down = direction[:, 2]
    to_plane = torch.where(down < -1e-6, (GROUND_M - origin_m[:, 2]) / down, torch.inf)
    to_plane = torch.where((to_plane > 0) & (to_plane < FAR_M), to_plane, torch.inf)
    at = origin_m + to_plane.nan_to_num(posinf=0.0)[:, None] * direction
    square = ((at[:, 0] / SQUARE_M).floor() + (at[:, 1] / SQUARE_M).floor()).long() % 2
    away = origin_m[:, None] - (world.centre_m + time_s * world.velocity_m_s)
    along = (away * direction[:, None]).sum(dim=-1)
    root = along.square() - away.square().sum(dim=-1) + world.radius_m.square()
    to_sphere = torch.where(root > 0, -along - root.clamp(min=0).sqrt(), torch.inf)
    nearest, which = torch.where(to_sphere > 0, to_sphere, torch.inf).min(dim=1)
    distance = torch.minimum(nearest, to_plane)
    colour = torch.where((nearest < to_plane)[:, None], world.colour[which], world.plane[square])
    return distance, torch.where(distance.isfinite()[:, None], colour, torch.tensor(SKY))


def make_clip(
    seed: int,
    *,
    num_frames: int = 3,
    image_px: tuple[int, int] = (96, 160),
    yaws_deg: Sequence[float] = YAWS_DEG,
    elevations: int = 28,
    azimuths: int = 360,
    held_out: float = 0.2,
    world: World | None = None,
    scene: str | None = None,
) -> ClipBatch:
    """One clip; the rig drives 0.4 to 1 m a frame and turns a little."""
    world = make_world(seed) if world is None else world
    generator = torch.Generator().manual_seed(seed + 1_000_000)
    step_m, yaw_rad = 0.4 + 0.6 * torch.rand((), generator=generator), 0.04 * (torch.rand((), generator=generator) - 0.5)
    height, width = image_px
    focal_px = width / 2 / math.tan(math.radians(37.5))
    intrinsics = torch.tensor([[focal_px, 0.0, width / 2], [0.0, focal_px, height / 2], [0.0, 0.0, 1.0]])
    cameras = torch.stack(
        [camera_at(yaw, (0.4 * math.cos(math.radians(yaw)), 0.4 * math.sin(math.radians(yaw)), -0.2)) for yaw in yaws_deg]
    )
    poses, images, points, frames = [], [], [], []
    for frame in range(num_frames):
        world_from_rig = pose(-frame * float(step_m), -frame * float(yaw_rad))
        time_s = -frame * STEP_S
        poses.append(world_from_rig)
        images.append(torch.stack([_image(world, world_from_rig, one, intrinsics, image_px, time_s) for one in cameras]))
        sweep = _sweep(world, world_from_rig, elevations, azimuths, time_s)
        points.append(sweep)
        frames.append(torch.full((len(sweep),), frame))
    point = torch.cat(points)
    return ClipBatch(
        window_keys=(f"{scene or f'world-{seed}'}/{seed}",),
        image_u8=torch.stack(images)[None],
        intrinsics=intrinsics.expand(1, num_frames, len(yaws_deg), 3, 3).contiguous(),
        cam_from_rig=cameras.expand(1, num_frames, len(yaws_deg), 4, 4).contiguous(),
        world_from_rig=torch.stack(poses)[None],
        time_s=-STEP_S * torch.arange(num_frames, dtype=torch.float32)[None],
        points=point,
        point_window=torch.zeros(len(point), dtype=torch.int64),
        point_frame=torch.cat(frames),
        point_camera=torch.zeros(len(point), dtype=torch.int64),
        is_held_out=torch.rand(len(point), generator=generator) < held_out,
    )


def small_clip(seed: int, **options: Any) -> ClipBatch:
    """One of three cameras and 32 x 64 pixels, made in a hundredth of a second."""
    small: dict[str, Any] = {"image_px": (32, 64), "yaws_deg": (0.0, 120.0, -120.0), "elevations": 14, "azimuths": 90}
    return make_clip(seed, **{**small, **options})


def joined(clips: Sequence[ClipBatch]) -> ClipBatch:
    """Return clips as one batch."""
    values: dict[str, Any] = {}
    for field in fields(ClipBatch):
        parts = [getattr(clip, field.name) for clip in clips]
        if field.name == "window_keys":
            values[field.name] = tuple(key for part in parts for key in part)
        elif field.name == "point_window":
            values[field.name] = torch.cat([part + number for number, part in enumerate(parts)])
        else:
            values[field.name] = torch.cat(parts)
    return ClipBatch(**values)


def pose(ahead_m: float, yaw_rad: float) -> Tensor:
    """Return world_from_rig of a rig that stands so far ahead and is turned left by so much."""
    c, s = math.cos(yaw_rad), math.sin(yaw_rad)
    return torch.tensor([[c, -s, 0.0, ahead_m], [s, c, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]])


def _image(
    world: World, world_from_rig: Tensor, cam_from_rig: Tensor, intrinsics: Tensor, image_px: tuple[int, int], time_s: float
) -> Tensor:
    height, width = image_px
    v, u = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    in_cam = torch.stack([u, v, torch.ones_like(u)], dim=-1).view(-1, 3) @ torch.linalg.inv(intrinsics).T
    world_from_cam = world_from_rig @ torch.linalg.inv(cam_from_rig)
    direction = torch.nn.functional.normalize(in_cam @ world_from_cam[:3, :3].T, dim=-1)
    _, colour = cast(world, world_from_cam[:3, 3].expand_as(direction), direction, time_s=time_s)
    return (colour * 255).round().to(torch.uint8).view(height, width, 3)


def _sweep(world: World, world_from_rig: Tensor, elevations: int, azimuths: int, time_s: float) -> Tensor:
    """Return the returns of a LiDAR in the rig's origin (n, 3), in the rig frame."""
    elevation = torch.deg2rad(torch.linspace(-25.0, 6.0, elevations))[:, None]
    azimuth = torch.arange(azimuths)[None] * (2 * math.pi / azimuths)
    level = elevation.cos()
    direction = torch.stack(
        [level * azimuth.cos(), level * azimuth.sin(), elevation.sin().expand(elevations, azimuths)], dim=-1
    ).view(-1, 3)
    distance, _ = cast(world, world_from_rig[:3, 3].expand_as(direction), direction @ world_from_rig[:3, :3].T, time_s=time_s)
    return (distance[:, None] * direction)[distance.isfinite()]


def small_network(**changes: Any) -> Mim4dConfig:
    """Return options of a network for ``small_clip`` whose step takes a tenth of a second."""
    settings: dict[str, Any] = {
        "input_px": (32, 64),
        "backbone": {"name": "convnext_mini", "layer_scale": 0.1},
        "lift": {
            "channels": 16,
            "num_depth_bins": 8,
            "far_m": 32.0,
            "low_m": (-25.6, -25.6, -5.0),
            "high_m": (25.6, 25.6, 3.0),
            "num_voxels_zyx": (5, 8, 8),
            "volume_channels": 8,
            "norm_groups": 4,
        },
        "temporal": {"embed_channels": 16, "short_hidden": 16, "long_hidden": 16},
        "render": {
            "num_coarse": 8,
            "num_fine": 4,
            "hidden": 8,
            "num_geometry": 4,
            "sdf_layers": 3,
            "rgb_layers": 2,
            "rays": {"rays_per_camera": 8},
        },
    }
    for key, value in changes.items():
        settings[key] = {**settings.get(key, {}), **value} if isinstance(value, dict) else value
    if settings["backbone"]["name"].startswith("resnet"):
        settings["backbone"].pop("layer_scale", None)
    return Mim4dConfig.model_validate(settings)
