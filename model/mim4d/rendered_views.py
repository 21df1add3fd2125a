"""Pictures of what a network makes of clips: its input, what its volumes show to every camera, and a flight through one.

Why     a mean error does not say whether a road is flat or a car is where it should be; a picture does
Source  docs/method/mim4d.md#masking, #rays
Reads   single clips
Writes  into the folder of an evaluation: rendered_views.npz; the report is made of it, without the network
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.mim4d.batch import ClipBatch, ClipViews, views_of
from model.mim4d.clip_draws import clip_generator, draw_rays
from model.mim4d.composite import Rendered
from model.mim4d.config import RenderEvaluationConfig
from model.mim4d.evaluation import EVALUATION_EPOCH
from model.mim4d.flight import flight_poses, forward_camera
from model.mim4d.loss import DIRECT, RECONSTRUCT
from model.mim4d.net import Mim4d
from model.mim4d.rays import Rays, rays_through
from model.train.result_files import arrays_as_npz
from storage_schemas.awaited import counted
from storage_schemas.encoding import STEPS_PER_M
from storage_schemas.files import StoreFiles

VIEWS_FILE = "rendered_views.npz"

FLIGHT = "flight"
"""Prefix of the arrays of the fly-through."""

Arrays = dict[str, NDArray[Any]]

_MAX_STEPS = 65535


@torch.no_grad()
def rendered_views(
    network: Mim4d,
    clips: Iterable[ClipBatch],
    config: RenderEvaluationConfig,
    *,
    cameras: Sequence[str],
    seed: int,
    device: torch.device,
) -> Arrays:
    """Render the key frame of clips as every camera of it would see it, and fly through the first.

    The same patches are hidden as where rendered depth is measured. All distances are along the ray, in depth quanta of 1/256 m,
    0 where there is none; colours are red, green, blue, also of a network that learned them in another order.

    Args:
        network: in evaluation mode, on the device.
        clips: n single clips, all of the same cameras.
        config: rays are rendered as many pixels apart, in both directions, as makes a picture at most ``picture_width_px`` wide;
            the fly-through, by the camera that looks ahead, has ``flight_frames`` pictures, 0 = none.
        cameras: their names, m.
        seed: of the hidden patches.
        device: of the network.

    Returns:
        window_keys (n), cameras (m), step_px (), pixels of the image to one of a rendered picture. Of the key frames:
        image_u8 (n, m, h, w, 3); is_seen (n, m, patches down, patches across) bool; lidar_steps (n, m, h, w) all points that a
        camera sees; held_out_steps (n, m, h, w) those that no ray was trained on and that are measured. Of each volume,
        ``direct`` and, unless the network is of single frames, ``reconstruct``: <volume>_rgb_u8 (n, m, y, x, 3);
        <volume>_steps (n, m, y, x), 0 = the ray misses the box of voxels; <volume>_opacity_u8 (n, m, y, x) of 255;
        <volume>_held_out_steps (n, m, h, w), what is rendered where held_out_steps has a point. Of the flight: flight_rgb_u8
        (f, y, x, 3), flight_steps (f, y, x), flight_opacity_u8 (f, y, x). Empty without a clip.
    """
    rendered: list[Arrays] = []
    flight: Arrays = {}
    width_px, flight_frames = config.picture_width_px, config.flight_frames
    for raw in counted(clips, "pictures of clips are rendered"):
        batch = raw.to(device)
        of_clip, volume, views = _views_of_clip(network, batch, width_px=width_px, seed=seed)
        if not rendered and flight_frames:
            flight = _flight(network, volume, views, num_frames=flight_frames, width_px=width_px)
        rendered.append(of_clip)
    if not rendered:
        return {}
    stacked = {name: np.stack([arrays[name] for arrays in rendered]) for name in rendered[0]}
    step_px = _step_px(rendered[0]["image_u8"].shape[2], width_px)
    return {**stacked, "cameras": np.array(list(cameras)), "step_px": np.array(step_px), **flight}


def write_rendered_views(folder: Path, arrays: Arrays) -> None:
    """Write what ``rendered_views`` returned, in place of that of a former evaluation; nothing is left if it is empty.

    Raises:
        StoreError: the folder cannot be written.
    """
    files = StoreFiles(folder)
    if not arrays:
        files.remove(VIEWS_FILE)
        return
    files.put(VIEWS_FILE, arrays_as_npz(arrays))


def _views_of_clip(network: Mim4d, batch: ClipBatch, *, width_px: int, seed: int) -> tuple[Arrays, Tensor, ClipViews]:
    """Return the arrays of one clip, the volume of its key frame (1, C, Z, Y, X), and what the network read."""
    rays, is_seen = _held_out_rays(network, batch, seed=seed)
    views = views_of(batch)
    volumes = network.volumes(views, is_seen).float()
    volume_by_mode = {DIRECT: volumes[:, 0]}
    if network.temporal is not None:
        volume_by_mode[RECONSTRUCT] = network.reconstruct(volumes, views, [0])
    image = batch.image_u8[0, 0]
    arrays: Arrays = {
        "window_keys": np.array(batch.window_keys[0]),
        "image_u8": image.cpu().numpy(),
        "is_seen": _patches(is_seen, tuple(image.shape[:1])),
        "lidar_steps": _lidar_map(batch),
        "held_out_steps": _ray_map(rays, rays.depth_m, batch),
    }
    for name, volume in volume_by_mode.items():
        arrays |= _picture(network, volume, views.cam_from_rig[0, 0], views.intrinsics[0, 0], views, name, width_px=width_px)
        at_points = network.show(volume, rays.origin_m, rays.direction)
        arrays[f"{name}_held_out_steps"] = _ray_map(rays, at_points.depth_m * at_points.is_hit, batch)
    return arrays, volume_by_mode[DIRECT], views


def _held_out_rays(network: Mim4d, batch: ClipBatch, *, seed: int) -> tuple[Rays, Tensor | None]:
    """Return rays (1, r) to all held-out points of the key frame that can be measured, and the patches that are seen."""
    num_points = int((batch.is_held_out & (batch.point_frame == 0)).sum())
    render = network.config.render
    every = render.rays.model_copy(update={"rays_per_camera": max(num_points, 1)})
    config = network.config.model_copy(update={"render": render.model_copy(update={"rays": every})})
    generator = clip_generator(batch.window_keys[0], seed=seed, epoch=EVALUATION_EPOCH)
    draws = draw_rays(batch, config, targets=[(0,)], generators=[generator], of_points=batch.is_held_out)
    (rays,) = draws.rays
    is_wanted = rays.is_measured[0]
    return Rays(*(values[:, is_wanted] for values in vars(rays).values())), draws.is_seen


def _patches(is_seen: Tensor | None, num_cameras: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return the patches of the key frame; one that is seen where nothing is hidden."""
    if is_seen is None:
        return np.ones((*num_cameras, 1, 1), bool)
    patches: NDArray[np.bool_] = is_seen[0, 0].cpu().numpy()
    return patches


def _lidar_map(batch: ClipBatch) -> NDArray[np.uint16]:
    """Return the points of the key frame (m, h, w), each in the image of the camera that it was read from."""
    is_key = batch.point_frame == 0
    camera = batch.point_camera[is_key]
    cam_from_rig, intrinsics = batch.cam_from_rig[0, 0][camera], batch.intrinsics[0, 0][camera]
    in_cam = cam_from_rig[:, :3, :3] @ batch.points[is_key][:, :, None] + cam_from_rig[:, :3, 3:]
    uv_px = (intrinsics @ in_cam)[:, :2, 0] / in_cam[:, 2].clamp(min=1e-6)
    depth_m = in_cam[..., 0].norm(dim=-1)
    return _map(camera, uv_px, depth_m, depth_m, batch)


def _ray_map(rays: Rays, depth_m: Tensor, batch: ClipBatch) -> NDArray[np.uint16]:
    """Return distances along rays (1, r) as a map (m, h, w)."""
    return _map(rays.camera[0], rays.uv_px[0], depth_m[0], rays.depth_m[0], batch)


def _map(camera: Tensor, uv_px: Tensor, depth_m: Tensor, point_m: Tensor, batch: ClipBatch) -> NDArray[np.uint16]:
    """Return distances (n) in the pixels that they lie in (m, h, w); of two in one pixel, that of the nearer ``point_m`` (n)."""
    quanta = np.zeros(tuple(batch.image_u8.shape[2:5]), np.uint16)
    order = torch.argsort(point_m, descending=True)  # of several points written to one pixel, the last stays
    column, row = uv_px[order].floor().long().cpu().numpy().T
    is_inside = (row >= 0) & (row < quanta.shape[1]) & (column >= 0) & (column < quanta.shape[2])
    place = camera[order].cpu().numpy()[is_inside], row[is_inside], column[is_inside]
    quanta[place] = _quanta(depth_m[order])[is_inside]
    return quanta


def _flight(network: Mim4d, volume: Tensor, views: ClipViews, *, num_frames: int, width_px: int) -> Arrays:
    """Return the pictures of a flight through a volume."""
    poses = flight_poses(views.world_from_rig[0].double().cpu().numpy(), num_frames)
    cameras = views.cam_from_rig[0, 0].double().cpu().numpy()
    ahead = forward_camera(cameras)
    cam_from_key = torch.from_numpy(cameras[ahead] @ np.linalg.inv(poses)).to(volume)
    intrinsics = views.intrinsics[0, 0, ahead].expand(num_frames, 3, 3)
    return _picture(network, volume, cam_from_key, intrinsics, views, FLIGHT, width_px=width_px)


def _picture(
    network: Mim4d, volume: Tensor, cam_from_rig: Tensor, intrinsics: Tensor, views: ClipViews, name: str, *, width_px: int
) -> Arrays:
    """Return what a volume (1, C, Z, Y, X) shows to cameras (k, 4, 4) with matrices (k, 3, 3) of the clip's images."""
    uv_px, shape = _pixels(tuple(views.image.shape[-2:]), width_px)
    renderings = []
    for origin_m, direction in zip(
        *rays_through(uv_px.to(volume), cam_from_rig=cam_from_rig, intrinsics=intrinsics), strict=True
    ):
        renderings.append(network.show(volume, origin_m[None], direction[None]))
    seen = Rendered(*(torch.cat(values) for values in zip(*renderings, strict=True)))
    rgb = seen.rgb.flip(-1) if network.config.render.rays.rgb_order == "released_bgr" else seen.rgb
    return {
        f"{name}_rgb_u8": _bytes(rgb).reshape(-1, *shape, 3),
        f"{name}_steps": _quanta(seen.depth_m * seen.is_hit).reshape(-1, *shape),
        f"{name}_opacity_u8": _bytes(seen.opacity * seen.is_hit).reshape(-1, *shape),
    }


def _pixels(image_px: tuple[int, ...], width_px: int) -> tuple[Tensor, tuple[int, int]]:
    """Return the places (n, 2) of an image that are rendered, each in the middle of a square of pixels; and rows, columns."""
    height, width = image_px
    step = _step_px(width, width_px)
    rows, columns = max(height // step, 1), max(width // step, 1)
    v_px, u_px = torch.meshgrid((torch.arange(rows) + 0.5) * step, (torch.arange(columns) + 0.5) * step, indexing="ij")
    return torch.stack([u_px, v_px], dim=-1).flatten(0, 1), (rows, columns)


def _step_px(image_width_px: int, width_px: int) -> int:
    return -(-image_width_px // width_px)


def _quanta(depth_m: Tensor) -> NDArray[np.uint16]:
    """Return metres in depth quanta of 1/256 m; a depth below half a quantum becomes 1, because 0 means no depth."""
    quanta = (depth_m.float() * STEPS_PER_M).round().clamp(1, _MAX_STEPS).where(depth_m > 0, 0.0)
    return quanta.cpu().numpy().astype(np.uint16)


def _bytes(share: Tensor) -> NDArray[np.uint8]:
    values_u8: NDArray[np.uint8] = (share.clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
    return values_u8
