"""A depth model that knows the road is flat and where the annotated boxes are: metric depth without a network.

Why    The whole path from recipe to network can be tried on any data set with calibration and boxes, without weights
Source docs/method/mono-depth.md#models-without-weights. Rays are intersected with boxes; the reference fills a box's hull with
       its mean depth
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.geometry import inverse, rigid
from pipeline.kernels.boxes import PlacedBox
from pipeline.mono_depth.model import MonoDepthInput, MonoDepthMap, Sight
from pipeline.resample import short_side_grid
from storage_schemas.layout import Columns, rows


@dataclass(frozen=True)
class PlaneAndBoxes:
    """Ground plane z = 0 of the ego frame, annotated boxes on it, sky above the horizon.

    Attributes:
        short_side_px: pixels of the shorter side of its grid.
        far_m: metres; beyond it is sky.
    """

    short_side_px: int
    far_m: float
    name: str = "plane_and_boxes"
    sees: frozenset[Sight] = frozenset({"boxes"})

    def predict(self, frame: MonoDepthInput) -> MonoDepthMap:
        """Return metres along the optical axis; ``far_m`` and sky where a ray hits neither ground nor box."""
        rows, columns = short_side_grid(frame.height, frame.width, self.short_side_px)
        rays_cam = _rays(frame, rows, columns)
        in_ego = rays_cam @ frame.ego_from_cam[:3, :3].T
        with np.errstate(divide="ignore"):
            depth = -frame.ego_from_cam[2, 3] / in_ego[..., 2]  # rays have z = 1 in the camera frame, so length is depth
        depth[~((in_ego[..., 2] < 0) & (depth > 0))] = np.inf
        world_from_cam = frame.world_from_ego @ frame.ego_from_cam
        for box in frame.boxes:
            np.minimum(depth, box_depth(rays_cam, inverse(box.world_from_box) @ world_from_cam, box), out=depth)
        is_sky = depth > self.far_m
        return MonoDepthMap(np.where(is_sky, self.far_m, depth).astype(np.float32), "metric", is_sky=is_sky)

    def provenance(self) -> Mapping[str, str]:
        """Return nothing: the model uses no code beyond this package."""
        return {}


def labelled_boxes(tables: Mapping[str, Columns], frame: int, ego_from_cam: NDArray[np.float64]) -> tuple[PlacedBox, ...]:
    """Return the objects of one frame of a boxes unit, placed in the ego frame; those without a place in space are left out.

    Args:
        tables: ``boxes`` and ``calibration`` of the unit; boxes stand upright in the frame of the labels.
        frame: the frame.
        ego_from_cam: (4, 4) calibration. The frame of the labels is that of the camera moved by K^-1 P[:, 3].
    """
    projection = np.array(tables["calibration"]["projection_px"][frame], np.float64).reshape(3, 4)
    cam_from_label_m = np.linalg.solve(projection[:, :3], projection[:, 3])
    placed = []
    for number, row in enumerate(rows(tables["boxes"])):
        if row["frame"] != frame or min(row["height_m"], row["width_m"], row["length_m"]) <= 0:
            continue
        cosine, sine = np.cos(row["rotation_y_rad"]), np.sin(row["rotation_y_rad"])
        cam_from_box = np.eye(4)
        forward, left, up = [cosine, 0.0, -sine], [sine, 0.0, cosine], [0.0, -1.0, 0.0]
        cam_from_box[:3, :3] = np.stack([forward, left, up], axis=1)
        cam_from_box[:3, 3] = np.array([row["x_m"], row["y_m"] - row["height_m"] / 2, row["z_m"]]) + cam_from_label_m
        half_size_m = np.array([row["length_m"], row["width_m"], row["height_m"]]) / 2
        placed.append(PlacedBox(row["instance_token"] or str(number), ego_from_cam @ cam_from_box, half_size_m))
    return tuple(placed)


def world_boxes(tables: Mapping[str, Columns], sample_index: int) -> tuple[PlacedBox, ...]:
    """Return the annotated boxes of a key frame of a frames unit; the image is some ten milliseconds away from them."""
    placed = []
    for box in rows(tables["boxes"]):
        if box["sample_index"] == sample_index:
            width, length, height = box["size_wlh_m"]
            pose = rigid(box["center_m"], box["world_from_box_wxyz"])
            placed.append(PlacedBox(box["instance_token"], pose, np.array([length, width, height]) / 2))
    return tuple(placed)


def _rays(frame: MonoDepthInput, rows: int, columns: int) -> NDArray[np.float64]:
    """Return (rows, columns, 3) directions of the cells' centres in the camera frame, z = 1."""
    u = (np.arange(columns) + 0.5) * frame.width / columns
    v = (np.arange(rows) + 0.5) * frame.height / rows
    pixels = np.stack([*np.meshgrid(u, v), np.ones((rows, columns))], axis=-1)
    rays = pixels @ np.linalg.inv(frame.intrinsic_px).T
    return np.asarray(rays / rays[..., 2:])


def box_depth(rays_cam: NDArray[np.float64], box_from_cam: NDArray[np.float64], box: PlacedBox) -> NDArray[np.float64]:
    """Return where rays enter a box, metres along the optical axis; infinite where they miss it or start inside it.

    Args:
        rays_cam: (..., 3) directions in the camera frame, z = 1.
        box_from_cam: (4, 4) transform from the camera to the box frame.
        box: half sizes along its own axes.
    """
    direction, start = rays_cam @ box_from_cam[:3, :3].T, box_from_cam[:3, 3]
    with np.errstate(divide="ignore", invalid="ignore"):  # parallel to a face: +-inf, or NaN exactly in its plane
        near, far = ((side * box.half_size_m - start) / direction for side in (-1.0, 1.0))
    enter, leave = np.fmin(near, far).max(axis=-1), np.fmax(near, far).min(axis=-1)
    return np.where((enter <= leave) & (enter > 0), enter, np.inf)
