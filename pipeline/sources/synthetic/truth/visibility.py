"""How much of each road user the six cameras see, as the visibility levels of nuScenes have it.

From the camera that looks at it most directly, 12 x 12 rays are spread over each box. Of those that would meet the road user if
it were alone, the share counts that meet it before anything else and lie in the image of any of the six cameras.

Source docs/method/world.md#traffic.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipeline.sources.synthetic.rays.raycast import Primitives, cast_rays
from pipeline.sources.synthetic.rig import REFERENCE_SIZE_PX, Sensor
from pipeline.sources.synthetic.rigid import Floats, Pose
from pipeline.sources.synthetic.solids import Solids
from pipeline.sources.synthetic.vocabulary import VISIBILITIES

RAYS: Final = 12
LIMIT_M: Final = 200.0
_LEVELS: Final = (0.4, 0.6, 0.8)
_CORNERS: Final = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)])


def visibility_token(share: float) -> str:
    """Return the token of the visibility level of a visible share 0..1."""
    return VISIBILITIES[int(np.searchsorted(_LEVELS, share, side="right"))][0]


def visible_shares(
    solids: Solids, boxes: Mapping[int, tuple[Pose, tuple[float, float, float]]], world_from_ego: Pose, cameras: Sequence[Sensor]
) -> dict[int, float]:
    """Return the visible share 0..1 of actors, by their numbers, at one instant.

    boxes: pose and size w l h of each actor asked for; cameras: the six of the rig, with intrinsics at 1600 x 900. An actor
    whose shape no ray meets counts as not visible.
    """
    cast_from: dict[int, list[tuple[int, Floats]]] = {}
    world_from_camera = [world_from_ego @ camera.ego_from_sensor for camera in cameras]
    for number, (pose, size) in boxes.items():
        towards = [float(_unit(pose.translation_m - view.translation_m) @ view.rotation[:, 2]) for view in world_from_camera]
        best = int(np.argmax(towards))
        cast_from.setdefault(best, []).append((number, _rays_over(pose, size, world_from_camera[best].translation_m)))
    shares = {}
    for which, batch in cast_from.items():
        origin = world_from_camera[which].translation_m
        directions = np.concatenate([rays for _, rays in batch])
        _, hit = cast_rays(solids.primitives, origin, directions, limit=LIMIT_M)
        owner = np.where(hit >= 0, solids.owners[np.maximum(hit, 0)], -1).reshape(len(batch), -1)
        is_shown = _is_in_an_image(directions, cameras, world_from_camera).reshape(len(batch), -1)
        for k, (number, rays) in enumerate(batch):
            _, alone = cast_rays(_only(solids, number), origin, rays, limit=LIMIT_M)
            meets = alone > 0
            shares[number] = float((meets & is_shown[k] & (owner[k] == number)).sum() / max(int(meets.sum()), 1))
    return shares


def _unit(vector: Floats) -> Floats:
    """Return a vector of length 1."""
    unit: Floats = vector / np.linalg.norm(vector)
    return unit


def _rays_over(world_from_box: Pose, size_wlh_m: tuple[float, float, float], origin_m: Floats) -> Floats:
    """Return directions (144, 3) that fill the angles under which a box is seen from a place."""
    width, length, height = size_wlh_m
    corners = world_from_box.apply(_CORNERS * np.array([length, width, height])) - origin_m
    middle = world_from_box.translation_m - origin_m
    facing = np.arctan2(middle[1], middle[0])
    azimuth = (np.arctan2(corners[:, 1], corners[:, 0]) - facing + np.pi) % (2 * np.pi) - np.pi
    slope = corners[:, 2] / np.hypot(corners[:, 0], corners[:, 1])
    step = (np.arange(RAYS) + 0.5) / RAYS
    turns = facing + azimuth.min() + step * (azimuth.max() - azimuth.min())
    rises = slope.min() + step * (slope.max() - slope.min())
    turn, rise = (grid.reshape(-1) for grid in np.meshgrid(turns, rises))
    return np.stack([np.cos(turn), np.sin(turn), rise], axis=1)


def _is_in_an_image(directions: Floats, cameras: Sequence[Sensor], world_from_camera: Sequence[Pose]) -> NDArray[np.bool_]:
    """Return whether directions (n, 3), taken as far away, fall into the image of any camera."""
    is_in = np.zeros(len(directions), dtype=bool)
    for camera, view in zip(cameras, world_from_camera, strict=True):
        assert camera.intrinsic is not None
        seen = directions @ view.rotation
        image = seen @ camera.intrinsic.T
        uv = image[:, :2] / np.maximum(image[:, 2:], 1e-9)
        is_in |= (seen[:, 2] > 1e-6) & (uv >= 0).all(axis=1) & (uv < REFERENCE_SIZE_PX).all(axis=1)
    return is_in


def _only(solids: Solids, number: int) -> Primitives:
    """Return the primitives of one actor alone, far above any ground."""
    primitives = solids.primitives
    is_own = solids.owners[1:] == number
    ends = np.cumsum([len(primitives.boxes), len(primitives.cylinders), len(primitives.ellipsoids)])
    boxes, cylinders, ellipsoids, _ = np.split(is_own, ends)
    return Primitives(primitives.boxes[boxes], primitives.cylinders[cylinders], primitives.ellipsoids[ellipsoids], ground_m=-1e6)
