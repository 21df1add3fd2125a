"""The LiDAR points of a key frame as truth of depth: where each is in its camera's image, and how deep.

Units   depth is measured along the optical axis, metres, as the network's own depth bins are; rendered depth goes along the ray
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from model.mim4d.batch import ClipBatch
from model.mim4d.network_config import Mim4dConfig


class DepthPoints(NamedTuple):
    """n points of the key frame of a single clip.

    Attributes:
        camera: (n) int64, the one that the point was read from.
        uv_px: (n, 2) column, then row; the middle of the first pixel is at 0.5.
        depth_m: (n) float32 along the optical axis.
    """

    camera: Tensor
    uv_px: Tensor
    depth_m: Tensor


def depth_points(batch: ClipBatch, config: Mim4dConfig, *, held_out: bool) -> DepthPoints:
    """Return the points of the key frame that a network of this configuration could tell the depth of.

    Those are in the image of the camera that they were read from, not nearer than the renderer looks and the depth bins begin,
    and nearer than these end.

    Args:
        batch: a single clip.
        config: of the network.
        held_out: the points that no ray was trained on, or the others.
    """
    is_chosen = (batch.point_frame == 0) & (batch.is_held_out == held_out)
    camera = batch.point_camera[is_chosen]
    cam_from_rig = batch.cam_from_rig[0, 0, camera].double()
    in_cam_m = (cam_from_rig[:, :3, :3] @ batch.points[is_chosen].double()[..., None])[..., 0] + cam_from_rig[:, :3, 3]
    depth_m = in_cam_m[:, 2]
    is_usable = (depth_m >= max(config.lift.near_m, config.render.near_m)) & (depth_m < config.lift.far_m)
    on_plane = (batch.intrinsics[0, 0, camera].double() @ in_cam_m[..., None])[..., 0]
    uv_px = on_plane[:, :2] / torch.where(is_usable, depth_m, 1.0)[:, None]
    height, width = batch.image_u8.shape[3:5]
    is_usable &= (uv_px >= 0).all(dim=1) & (uv_px[:, 0] < width) & (uv_px[:, 1] < height)
    return DepthPoints(camera[is_usable], uv_px[is_usable].float(), depth_m[is_usable].float())


def features_at(level: Tensor, points: DepthPoints, *, image_px: tuple[int, int]) -> Tensor:
    """Return the features (n, channels) of a map (m, channels, y, x) at points, interpolated between cells.

    A 1x1 convolution of them is the same as its result interpolated.
    """
    height, width = image_px
    at = points.uv_px / points.uv_px.new_tensor([width, height]) * 2.0 - 1.0
    features = level.new_zeros(len(at), level.shape[1])
    for camera, map_of_camera in enumerate(level):
        is_in_camera = points.camera == camera
        looked = F.grid_sample(map_of_camera[None], at[is_in_camera][None, None], padding_mode="border", align_corners=False)
        features[is_in_camera] = looked[0, :, 0].T
    return features
