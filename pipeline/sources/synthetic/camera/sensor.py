"""What a real camera would see: the same rays as `plain`, lit by a sun that casts shadows or by lamps, then exposed.

Depth and surface are those of the ray through the pixel's centre at the time stamp, as in `plain`: blur, noise, drops and
mirror images change the picture only. A scene has one look (`scene_look`): its sun, clouds, haze, paint and exposure.
"""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipeline.sources.synthetic.actors import Material, Surface
from pipeline.sources.synthetic.camera.exposure import tone_curve
from pipeline.sources.synthetic.camera.noise_table import noise_table
from pipeline.sources.synthetic.camera.plain import MAX_DEPTH_M, View, pixel_rays
from pipeline.sources.synthetic.camera.scene_look import SceneLook
from pipeline.sources.synthetic.rays.raycast import cast_rays
from pipeline.sources.synthetic.rigid import Floats, Hits, Ints, Pose
from pipeline.sources.synthetic.solids import Solids

LATER_US: Final = 10_000
BAND: Final = 65_536
LANTERN: Final = 150.0
HEADLIGHT: Final = (42.0, 40.0, 36.0)
FRAYED_M: Final = 0.3
GRAIN_SIZE: Final = 1 << 18

# how far (m) and how strongly (0..1) things on the ground hide the sky from the ground beside them
_CONTACT: Final = {
    Material.BUILDING: (2.5, 0.45),
    Material.WALL: (1.2, 0.4),
    Material.HEDGE: (1.0, 0.5),
    Material.FENCE: (0.6, 0.2),
    Material.BARRIER: (0.7, 0.5),
    Material.CAR_BODY: (0.7, 0.85),
    Material.TRUCK: (0.9, 0.8),
    Material.TYRE: (0.3, 0.9),
    Material.PERSON: (0.5, 0.5),
    Material.TRUNK: (0.4, 0.5),
    Material.POLE: (0.3, 0.4),
    Material.CONE: (0.3, 0.5),
    Material.CYCLE: (0.4, 0.4),
}


def take_picture(
    solids: Solids,
    look: SceneLook,
    world_from_camera: Pose,
    intrinsic: Floats,
    *,
    image_size: tuple[int, int],
    later: Pose,
    actor_velocities_mps: Floats,
    ahead: Floats,
    rng: np.random.Generator,
    ground_m: float = 0.0,
) -> View:
    """Return the view of a camera at one instant; the world is given at that instant.

    `later` is the camera's pose 10 ms on and actor_velocities_mps (actors, 3) those of the owners of solids: they smear the
    picture over its exposure time. ahead (3,) is where the car's headlights point, in the world; ground_m is the height of
    the road under the car.
    """
    width, height = image_size
    directions = pixel_rays(intrinsic, image_size=image_size) @ world_from_camera.rotation.T
    depth, hit = cast_rays(solids.primitives, world_from_camera.translation_m, directions, limit=MAX_DEPTH_M)
    focal_px = float(intrinsic[0, 0])
    light, marks = _light(
        solids, look, world_from_camera, directions, depth, hit, focal_px=focal_px, ahead=ahead, ground_m=ground_m
    )
    light = _through_the_lens(
        light.reshape(height, width, 3),
        marks,
        solids,
        look,
        world_from_camera,
        intrinsic,
        directions,
        depth,
        hit,
        later=later,
        actor_velocities_mps=actor_velocities_mps,
        ground_m=ground_m,
    )
    image = _expose(light, look, rng)
    shape = (height, width)
    depth_m = np.where(np.isfinite(depth), depth, 0.0).astype(np.float32)
    return View(image, depth_m.reshape(shape), solids.surface_of(hit).reshape(shape), hit.reshape(shape))


def _light(
    solids: Solids,
    look: SceneLook,
    world_from_camera: Pose,
    directions: Floats,
    depth: Floats,
    hit: Hits,
    *,
    focal_px: float,
    ahead: Floats,
    ground_m: float,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the linear light (n, 3) of each ray, and marks (n,); see `sensor_shading_kernels.light_pixels`.

    Rays are taken in bands, so that what is known of a pixel stays in the processor's cache from kernel to kernel.
    """
    from pipeline.sources.synthetic.camera import sensor_shading_kernels as shading
    from pipeline.sources.synthetic.camera.sun_shadow_kernels import shadow_strips, sun_light

    world, table, weather = solids.primitives, noise_table(), look.weather
    origin = world_from_camera.translation_m
    shapes = (world.boxes, world.cylinders, world.ellipsoids)
    is_sunny = bool(weather.sun_colour.max() > 0)
    strips = shadow_strips(*shapes, weather.sun, origin) if is_sunny else None
    contact_low = origin[:2] - shading.CONTACT_CELLS * shading.CONTACT_CELL_M / 2
    contact = shading.contact_map(world.boxes, world.cylinders, *_contact_of(solids), *contact_low)
    lamps = _lamps(solids, look) if look.is_night else np.zeros((0, 10))
    lamps_low = origin[:2] - shading.LAMP_CELLS * shading.LAMP_CELL_M / 2
    lamps_near = shading.lamp_grid(lamps, *lamps_low)
    beam = np.array([*ahead, weather.headlights])
    light, marks = np.empty((len(depth), 3), np.float32), np.empty(len(depth), np.float32)
    for first in range(0, len(depth), BAND):
        part = slice(first, first + BAND)
        rays = (directions[part], depth[part], hit[part])
        surface = _paint(solids, look, origin, *rays, pixel_rad=1.0 / focal_px)
        sunlit = np.zeros(len(rays[1]), np.float32)
        if strips is not None:
            sunlit = sun_light(*strips, *shapes, solids.materials, weather.sun, table, origin, *rays, surface)
        shading.light_pixels(
            table,
            weather.sky,
            weather.sun_colour,
            weather.ambient,
            sunlit,
            contact,
            contact_low,
            lamps,
            lamps_near,
            lamps_low,
            beam,
            weather.haze_m,
            look.is_night,
            origin,
            ground_m,
            *rays,
            surface,
            solids.materials,
            light[part],
            marks[part],
        )
    return light, marks


def _paint(
    solids: Solids, look: SceneLook, origin: Floats, directions: Floats, depth: Floats, hit: Hits, *, pixel_rad: float
) -> NDArray[np.float32]:
    """Return what each ray shows, (n, 8): colour, normal, glow, gloss; see `sensor_shading_kernels`."""
    from pipeline.sources.synthetic.camera.facade_kernels import paint_facades
    from pipeline.sources.synthetic.camera.ground_texture_kernels import paint_ground
    from pipeline.sources.synthetic.camera.object_paint_kernels import paint_objects
    from pipeline.sources.synthetic.camera.vehicle_paint_kernels import paint_vehicles

    world, street, table = solids.primitives, look.street, noise_table()
    surface = np.zeros((len(depth), 8), np.float32)
    rays = (origin, directions, depth, hit, pixel_rad)
    first_slab = 1 + len(world.boxes) + len(world.cylinders) + len(world.ellipsoids)
    paint_ground(
        world.slabs,
        first_slab,
        solids.materials,
        table,
        street.grid,
        street.grid_low_m,
        street.points_m,
        street.tangents,
        street.s_m,
        look.road_marks,
        look.paint,
        look.road_half_m,
        look.weather.wetness,
        *rays,
        surface,
    )
    materials, colours, owners = solids.materials, solids.colours, solids.owners
    paint_facades(world.boxes, materials, colours, table, *rays, look.is_night, look.buried_m, surface)
    has_wheels = bool((materials == Material.TYRE).any())
    paints = _paints(solids)
    paint_vehicles(
        world.boxes, materials, colours, solids.surfaces, owners, table, has_wheels, paints, *rays, look.is_night, surface
    )
    paint_objects(
        world.boxes,
        world.cylinders,
        world.ellipsoids,
        materials,
        colours,
        owners,
        table,
        *rays,
        look.is_night,
        has_wheels,
        look.lamp_tint,
        surface,
    )
    return surface


def _through_the_lens(
    light: NDArray[np.float32],
    marks: NDArray[np.float32],
    solids: Solids,
    look: SceneLook,
    world_from_camera: Pose,
    intrinsic: Floats,
    directions: Floats,
    depth: Floats,
    hit: Hits,
    *,
    later: Pose,
    actor_velocities_mps: Floats,
    ground_m: float,
) -> NDArray[np.float32]:
    """Return the light (y, x, 3) with ragged leaves, mirror images on a wet road, motion blur and drops."""
    from pipeline.sources.synthetic.camera import optics_kernels as optics

    height, width = light.shape[:2]
    origin, rotation = world_from_camera.translation_m, world_from_camera.rotation
    camera = np.array([intrinsic[0, 0], intrinsic[1, 1], intrinsic[0, 2], intrinsic[1, 2]])
    optics.fray_leaves(light, marks, depth, FRAYED_M, camera[0])
    if look.weather.wetness > 0:
        light = optics.mirror_on_ground(light, noise_table(), marks, depth, directions, rotation, origin, ground_m, camera)
    motion = optics.pixel_motion(
        directions,
        depth,
        hit,
        solids.owners,
        np.ascontiguousarray(actor_velocities_mps, dtype=np.float64).reshape(-1, 3),
        origin,
        later.rotation,
        later.translation_m,
        LATER_US * 1e-6,
        camera,
        width,
        height,
    )
    light = optics.blur_by_motion(light, motion, look.exposure.seconds)
    if len(look.drops):
        optics.put_drops(light, look.drops * np.array([width, height, max(width / 1600.0, 0.3)]))
    return light


def _expose(light: NDArray[np.float32], look: SceneLook, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return the picture (y, x, 3) that auto exposure makes of light."""
    from pipeline.sources.synthetic.camera import optics_kernels as optics

    exposure, (height, width) = look.exposure, light.shape[:2]
    gain = exposure.gain_for(light)
    bloom = optics.scattered(light, gain, exposure.bloom, width / 1600.0)
    starts: Ints = rng.integers(GRAIN_SIZE - width, size=(height, 3))
    sensor = (exposure.colour_noise, exposure.shot, exposure.read)
    image: NDArray[np.uint8] = optics.develop(
        light, bloom, gain, exposure.saturation, exposure.balance, tone_curve(exposure), _grain(), starts, *sensor
    )
    return image


@cache
def _grain() -> NDArray[np.float32]:
    """Return normal numbers of which each row of a picture takes a piece of its own: drawing them anew costs more."""
    return np.random.default_rng(108).standard_normal(GRAIN_SIZE, dtype=np.float32)


def _contact_of(solids: Solids) -> tuple[Floats, Floats]:
    """Return how far (m) and how strongly each box and cylinder darkens the ground beside it."""
    count = len(solids.primitives.boxes) + len(solids.primitives.cylinders)
    by_material = np.array([_CONTACT.get(material, (1.0, 0.0)) for material in Material])
    found: Floats = by_material[solids.materials[1 : 1 + count]]
    return np.ascontiguousarray(found[:, 0]), np.ascontiguousarray(found[:, 1])


def _paints(solids: Solids) -> Floats:
    """Return the colour (owners, 3), linear, of the body of each owner of pieces; dark where it has none."""
    paints = np.full((max(int(solids.owners.max()), 0) + 1, 3), 0.02)
    is_body = (solids.owners >= 0) & np.isin(solids.materials, (Material.TRUCK, Material.CAR_BODY))
    paints[solids.owners[is_body]] = solids.colours[is_body] ** 2
    return paints


def _lamps(solids: Solids, look: SceneLook) -> Floats:
    """Return what lights its surroundings at night (k, 10): place, direction, colour, 1 for a headlight."""
    boxes = solids.primitives.boxes
    materials, surfaces = solids.materials[1 : len(boxes) + 1], solids.surfaces[1 : len(boxes) + 1]
    heads = boxes[materials == Material.LAMP]
    lanterns = np.zeros((len(heads), 10))
    lanterns[:, :3], lanterns[:, 5], lanterns[:, 6:9] = heads[:, :3], -1.0, LANTERN * look.lamp_tint
    cars = boxes[(materials == Material.CAR_BODY) & (surfaces != Surface.PARKED)]
    fronts = np.zeros((len(cars), 10))
    fronts[:, :2] = cars[:, :2] + cars[:, 6:8] * (cars[:, 3:4] + 0.1)
    fronts[:, 2], fronts[:, 3:5], fronts[:, 5] = cars[:, 2] + 0.1, cars[:, 6:8], -0.03
    fronts[:, 6:9], fronts[:, 9] = HEADLIGHT, 1.0
    return np.concatenate([lanterns, fronts])
