"""Cars that could stand on a street, and maps of a network that says exactly what it was asked for."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from model.data.objects import Objects
from model.data.rectified_camera import bearing_rad, project_points, unproject_pixels
from model.monoddle.batch import TargetTensors
from model.monoddle.heading import wrap_angle
from model.monoddle.network_config import NUM_HEADING_BINS, MonoDdleConfig

KITTI_P2 = np.array(
    [[721.5377, 0.0, 609.5593, 44.85728], [0.0, 721.5377, 172.854, 0.2163791], [0.0, 0.0, 1.0, 0.002745884]], dtype=np.float64
)
TINY = MonoDdleConfig(dla_widths=(8, 8, 16, 16, 24, 32), head_width=16, input_px=(96, 320), max_objects=50, uncertainty=True)


def made_up_cars(
    count: int, *, image_px: tuple[int, int], seed: int, category: str = "Car", p2: np.ndarray = KITTI_P2
) -> Objects:
    """Cars whose centres are at random pixels and depths, unoccluded, boxes not around the centre; all of them can be learned."""
    rng = np.random.default_rng(seed)
    height, width = image_px
    depth = rng.uniform(3, 64, count)
    centre_px = np.stack([rng.uniform(0.02, 0.98, count) * width, rng.uniform(0.05, 0.95, count) * height], axis=1)
    size = np.stack([rng.uniform(1.3, 2.0, count), rng.uniform(1.4, 1.9, count), rng.uniform(3.2, 4.8, count)], axis=1)
    location = unproject_pixels(p2, centre_px, depth)
    location[:, 1] += size[:, 0] / 2
    rotation = rng.uniform(-np.pi, np.pi, count)
    box_size = np.stack([rng.uniform(10, 200, count), rng.uniform(26, 120, count)], axis=1)
    corner = centre_px - box_size * rng.uniform(0.3, 0.7, (count, 2))
    return Objects(
        np.full(count, category),
        np.zeros(count),
        np.zeros(count, np.int64),
        wrap_angle(rotation - bearing_rad(p2, centre_px)),
        np.concatenate([corner, corner + box_size], axis=1),
        size,
        location,
        rotation,
        np.zeros(count),
    )


def centres_px(objects: Objects, p2: np.ndarray = KITTI_P2) -> np.ndarray:
    """Where the centres of boxes are seen in the whole image (n, 2)."""
    return project_points(p2, objects.location_m - np.array([0, 0.5, 0]) * objects.size_hwl_m[:, :1])


def in_cells_of_their_own(objects: Objects, *, cell_px: float, p2: np.ndarray = KITTI_P2) -> Objects:
    """Leave out objects whose centres are nearer to another's than a cell on both axes: one cell can tell of one object only."""
    centre = centres_px(objects, p2)
    near = (np.abs(centre[:, None] - centre) < cell_px).all(axis=2)
    return objects[~np.triu(near, k=1).any(axis=0)]


def perfect_maps(targets: TargetTensors, config: MonoDdleConfig) -> dict[str, Tensor]:
    """Raw maps that say what targets ask for; the log scale of the depth is 0.01 times the slot, so that slots rank as they stand."""
    batch, slots = targets.cell_index.shape
    height, width = config.grid_px
    maps = {name: torch.zeros(batch, channels, height * width) for name, channels in CHANNELS.items()}
    share = 1 / (targets.depth_m.double() + 1) - 1e-6
    heading = torch.zeros(batch, slots, 2 * NUM_HEADING_BINS)
    heading.scatter_(2, targets.heading_bin[..., None], 10.0)
    heading.scatter_(2, NUM_HEADING_BINS + targets.heading_bin[..., None], targets.heading_rad[..., None])
    said = {
        "offset_2d": targets.offset_2d,
        "size_2d": targets.size_2d,
        "offset_3d": targets.offset_3d,
        "depth": torch.stack([torch.log(share / (1 - share)).float(), 0.01 * torch.arange(slots).expand(batch, -1)], dim=2),
        "size_3d": targets.size_3d_m,
        "heading": heading,
    }
    for name, values in said.items():
        for sample in range(batch):
            filled = targets.is_object[sample]
            maps[name][sample][:, targets.cell_index[sample][filled]] = values[sample][filled].T
    found = {name: values.unflatten(2, (height, width)) for name, values in maps.items()}
    return {"heatmap": torch.logit(targets.heatmap.clamp(1e-6, 1 - 1e-6)), **found}


CHANNELS = {"offset_2d": 2, "size_2d": 2, "offset_3d": 2, "depth": 2, "size_3d": 3, "heading": 2 * NUM_HEADING_BINS}
