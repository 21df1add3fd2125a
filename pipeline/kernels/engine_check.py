"""A made-up scene that shows whether two engines of the projection give the same bits.

Why    A product and a sum that a compiler fuses into one rounding change a result in its last bit. On most points that is not
       seen. Here the points lie on the borders between pixels, where the last bit decides; beside them is what a
       file can hold by mistake (NaN, infinity), and depths on both bounds
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.geometry import inverse, rigid
from pipeline.kernels.accumulate import FAR_M, NEAR_M, FrozenGroups, PointGroups, freeze, frustum_planes
from pipeline.kernels.engine_numba import Project

_HEIGHT, _WIDTH = 48, 80
_NUM_GROUPS = 6


class MadeUpScene(NamedTuple):
    """Everything that ``Project`` takes.

    Attributes:
        groups: points in six groups.
        chosen: (5,) int64 groups, not in order.
        matrices: (5, 3, 4) float32.
        planes: (5, 6, 4) float32.
        height: image rows.
        width: image columns.
    """

    groups: FrozenGroups
    chosen: NDArray[np.int64]
    matrices: NDArray[np.float32]
    planes: NDArray[np.float32]
    height: int
    width: int


def made_up_scene(points_of_group: int = 2000, *, seed: int = 0) -> MadeUpScene:
    """Return a scene of six groups, five of them chosen; the last one's frame is the camera's, so that its planes hold zeros.

    Args:
        points_of_group: points in each group.
        seed: of the random numbers.
    """
    rng = np.random.default_rng(seed)
    intrinsic = np.array([[63.3, 0.0, 41.1], [0.0, 63.7, 23.9], [0.0, 0.0, 1.0]])
    cam_from_group = [rigid(rng.uniform(-20, 20, 3), rng.normal(size=4)) for _ in range(_NUM_GROUPS - 1)] + [np.eye(4)]
    groups = PointGroups(np.empty((3, _NUM_GROUPS * points_of_group), np.float32))
    for number, pose in enumerate(cam_from_group):
        border = rng.integers([-3, -3], [_WIDTH + 4, _HEIGHT + 4], (points_of_group, 2))
        depth = np.exp(rng.uniform(np.log(0.5), np.log(400.0), points_of_group))
        depth[:6] = NEAR_M, np.nextafter(np.float32(NEAR_M), np.float32(2)), FAR_M, 255.99, 0.0, -5.0
        in_camera = depth[:, None] * np.column_stack([border, np.ones(points_of_group)]) @ np.linalg.inv(intrinsic).T
        from_cam = inverse(pose)
        local = in_camera @ from_cam[:3, :3].T + from_cam[:3, 3]
        local[6:9, number % 3] = np.nan, np.inf, -np.inf
        groups.add_sweep(rng.permutation(local).astype(np.float32), np.zeros((0, 3, 4)), np.zeros((0, 3)), sweep=number)
    chosen = np.array([5, 0, 3, 1, 4])
    matrices = np.stack([intrinsic @ cam_from_group[group][:3] for group in chosen])
    planes = frustum_planes(matrices, height=_HEIGHT, width=_WIDTH)
    return MadeUpScene(freeze(groups), chosen, matrices.astype(np.float32), planes, _HEIGHT, _WIDTH)


def difference_of(first: Project, second: Project, *, scene: MadeUpScene) -> str | None:
    """Say how two engines, opened with the scene's points and image size, differ on it; None if they agree in every bit.

    Each runs twice: the second result shows whether the first left values in a buffer.
    """
    num_pixels = scene.height * scene.width
    outs = np.zeros((2, 2, num_pixels), np.uint16)
    counts = [
        [engine(scene.chosen, scene.matrices, scene.planes, out) for out in of_engine]
        for engine, of_engine in zip((first, second), outs, strict=True)
    ]
    num_different = int(np.count_nonzero(outs != outs[0, 0]))
    if num_different or len({count for of_engine in counts for count in of_engine}) > 1:
        return (
            f"{num_different} of {3 * num_pixels} pixels of a made-up scene differ, and {counts[0]} and {counts[1]} were measured"
        )
    return None
