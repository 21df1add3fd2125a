"""What a camera sees: a shaded image, the exact depth of every pixel, and the kind of surface behind it.

Depth is z in the camera frame, metres, along the ray through the pixel's centre (column + 0.5, row + 0.5); 0 where
a ray hits nothing nearer than `MAX_DEPTH_M`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipeline.sources.synthetic.rays.raycast import cast_rays
from pipeline.sources.synthetic.rigid import Floats, Hits, Ints, Pose
from pipeline.sources.synthetic.route import nearest_vertex_grid
from pipeline.sources.synthetic.solids import Solids
from pipeline.sources.synthetic.world import World

MAX_DEPTH_M: Final = 255.9


@dataclass(frozen=True)
class View:
    """One picture: image_u8 (y, x, 3) RGB, depth_m (y, x) metres, surface (y, x) of `Surface`, and hit (y, x) of `cast_rays`."""

    image_u8: NDArray[np.uint8]
    depth_m: NDArray[np.float32]
    surface: NDArray[np.uint8]
    hit: Hits


@dataclass(frozen=True)
class StreetMap:
    """Arrays that give the shader the place of the road markings: see `route.nearest_vertex_grid`."""

    grid: Ints
    grid_low_m: Floats
    points_m: Floats
    tangents: Floats
    s_m: Floats


def make_street_map(world: World) -> StreetMap:
    """Return the street's coordinates in the form the shader reads."""
    grid, low = nearest_vertex_grid(world.route)
    return StreetMap(grid, low, world.route.points_m, world.route.tangents, world.route.s_m)


def pixel_rays(intrinsic: Floats, *, image_size: tuple[int, int]) -> Floats:
    """Return directions (height * width, 3) in the camera frame with z = 1, row by row, through pixel centres."""
    width, height = image_size
    x = (np.arange(width) + 0.5 - intrinsic[0, 2]) / intrinsic[0, 0]
    y = (np.arange(height) + 0.5 - intrinsic[1, 2]) / intrinsic[1, 1]
    xs, ys = np.meshgrid(x, y)
    directions: Floats = np.stack([xs, ys, np.ones_like(xs)], axis=-1).reshape(-1, 3)
    return directions


def take_picture(
    solids: Solids,
    street: StreetMap,
    world_from_camera: Pose,
    intrinsic: Floats,
    *,
    image_size: tuple[int, int],
    is_night: bool,
    rng: np.random.Generator,
    ground_m: float = 0.0,
) -> View:
    """Return the view of a camera at one instant; the world is given at that instant, ground_m is the road's height there."""
    from pipeline.sources.synthetic.camera.shading_kernels import shade

    width, height = image_size
    directions = pixel_rays(intrinsic, image_size=image_size) @ world_from_camera.rotation.T
    depth, hit = cast_rays(solids.primitives, world_from_camera.translation_m, directions, limit=MAX_DEPTH_M)
    image = shade(
        solids.primitives.boxes,
        solids.primitives.cylinders,
        solids.primitives.ellipsoids,
        solids.materials,
        solids.colours,
        street.grid,
        street.grid_low_m,
        street.points_m,
        street.tangents,
        street.s_m,
        world_from_camera.translation_m,
        world_from_camera.rotation[:, 2].copy(),
        directions,
        depth,
        hit,
        is_night,
        int(rng.integers(1 << 30)),
        ground_m,
    )
    shape = (height, width)
    depth_m = np.where(np.isfinite(depth), depth, 0.0).astype(np.float32)
    return View(
        image.reshape(height, width, 3), depth_m.reshape(shape), solids.surface_of(hit).reshape(shape), hit.reshape(shape)
    )
