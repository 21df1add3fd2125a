"""Key frames of painted boxes on a plain ground: what is there is a formula, and every class has a colour and a size of its own."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy.spatial import ConvexHull

from model.uvtr.batch import BoxTargets, KeyFrameBatch, boxes_of
from model.uvtr.bev_augment import RESTING, BevAugment
from model.uvtr.classes import CLASSES
from model.uvtr.network_config import UvtrConfig
from model.uvtr.objects import FrameObjects
from tests.model.mim4d.made_up_rig import cam_from_rig as camera_at
from tests.model.uvtr.made_up_objects import NO_RACKS

PAINTED = ("car", "truck", "pedestrian")
SIZE_WLH_M = {"car": (1.9, 4.5, 1.6), "truck": (2.6, 8.0, 3.2), "pedestrian": (0.7, 0.7, 1.8)}
COLOUR = {"car": (220, 60, 50), "truck": (60, 90, 230), "pedestrian": (240, 220, 60)}
YAWS_DEG = (0.0, -60.0, -120.0, 180.0, 120.0, 60.0)
GROUND_M = -1.8
"""Height of the plane below the cameras, in the rig frame."""


def painted_objects(seed: int) -> FrameObjects:
    """Return two to four objects of each of three classes, apart from each other, 6 to 22 m away."""
    rng = np.random.default_rng(seed)
    places: list[NDArray[np.float64]] = []
    labels: list[int] = []
    for name in PAINTED:
        for _ in range(int(rng.integers(1, 3))):
            while True:
                distance, bearing = rng.uniform(6, 20), rng.uniform(-np.pi, np.pi)
                place = distance * np.array([np.cos(bearing), np.sin(bearing)])
                if all(np.hypot(*(place - other)) > 6 for other in places):
                    break
            places.append(place)
            labels.append(CLASSES.index(name))
    sizes = np.array([SIZE_WLH_M[CLASSES[label]] for label in labels]) * rng.uniform(0.9, 1.1, (len(labels), 1))
    number = len(labels)
    return FrameObjects(
        centers_m=np.column_stack([np.array(places), GROUND_M + sizes[:, 2] / 2]),
        sizes_wlh_m=sizes,
        yaws_rad=rng.uniform(-np.pi, np.pi, number),
        velocities_mps=np.zeros((number, 2)),
        labels=np.array(labels, np.int64),
        num_points=np.full(number, 5, np.int64),
        attributes=np.full(number, "", np.str_),
        visibility=np.full(number, "v80-100", np.str_),
        instance_tokens=np.array([f"i{number}" for number in range(number)], np.str_),
        racks=NO_RACKS,
    )


def corners_of(objects: FrameObjects) -> NDArray[np.float64]:
    """Return the corners (n, 8, 3) of boxes in the rig frame."""
    signs = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) / 2
    along = signs[None] * objects.sizes_wlh_m[:, None, [1, 0, 2]]
    c, s = np.cos(objects.yaws_rad)[:, None], np.sin(objects.yaws_rad)[:, None]
    turned = np.stack([c * along[..., 0] - s * along[..., 1], s * along[..., 0] + c * along[..., 1], along[..., 2]], axis=-1)
    return turned + objects.centers_m[:, None]


def rig_cameras(image_px: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return six cameras around the rig (6, 4, 4) and their matrices (6, 3, 3), with fields of view of 75 degrees."""
    height, width = image_px
    focal = width / 2 / math.tan(math.radians(37.5))
    lens = torch.tensor([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1.0]])
    return torch.stack([camera_at(yaw) for yaw in YAWS_DEG]), lens.expand(6, 3, 3).contiguous()


def painted(objects: FrameObjects, cam_from_rig: torch.Tensor, lens: torch.Tensor, image_px: tuple[int, int]) -> torch.Tensor:
    """Return what a camera sees (h, w, 3) uint8: filled hulls of the boxes, the far ones first."""
    height, width = image_px
    image = Image.new("RGB", (width, height), (120, 130, 140))
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, height // 2, width, height), fill=(80, 80, 80))
    pose, matrix = cam_from_rig.double().numpy(), lens.double().numpy()
    for number in np.argsort(-np.hypot(*objects.centers_m[:, :2].T)):
        seen = corners_of(objects)[number] @ pose[:3, :3].T + pose[:3, 3]
        seen = seen[seen[:, 2] > 0.3]
        if len(seen) < 4:
            continue
        pixels = seen @ matrix.T
        pixels = pixels[:, :2] / pixels[:, 2:]
        hull = pixels[ConvexHull(pixels).vertices]
        draw.polygon([tuple(point) for point in hull], fill=COLOUR[CLASSES[objects.labels[number]]])
    return torch.from_numpy(np.asarray(image).copy())


def made_up_key_frame(seed: int, network: UvtrConfig, *, augment: BevAugment = RESTING, **changes: Any) -> KeyFrameBatch:
    """Return one key frame of painted boxes; frames before it are the same, and the rig stands still."""
    objects = changes.pop("objects", None) or painted_objects(seed)
    cameras, lenses = rig_cameras(network.input_px)
    images = torch.stack([painted(objects, pose, lens, network.input_px) for pose, lens in zip(cameras, lenses, strict=True)])
    frames = network.num_frames
    moved = torch.from_numpy(augment.cam_from_rig(cameras.double().numpy())).float()
    boxes = augment.boxes(boxes_of(objects))
    classes = torch.tensor([network.labels.index(label) for label in objects.labels], dtype=torch.int64)
    values: dict[str, Any] = {
        "frame_keys": (f"painted-{seed}/0",),
        "sample_tokens": (f"painted-{seed}",),
        "image_u8": images.expand(1, frames, *images.shape),
        "intrinsics": lenses.expand(1, frames, 6, 3, 3),
        "cam_from_rig": moved.expand(1, frames, 6, 4, 4),
        "world_from_rig": torch.eye(4).expand(1, frames, 4, 4),
        "time_s": -0.5 * torch.arange(frames, dtype=torch.float32)[None],
        "targets": BoxTargets(boxes, classes, torch.zeros(len(boxes), dtype=torch.int64)),
        "objects": [objects],
        "key_poses": np.eye(4)[None],
        **changes,
    }
    return KeyFrameBatch(**values)
