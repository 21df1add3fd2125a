"""What a real camera would see: the same rays as `camera`, lit by a sun that casts shadows or by lamps, then exposed.

Depth and surface are those of the ray through the pixel's centre at the time stamp, as in `camera`: blur, noise, drops and
mirror images change the picture only. A scene has one look (`SceneLook`): its sun, clouds, haze, paint and exposure.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.sources.synthetic.actors import Material, Surface
from pipeline.sources.synthetic.camera import MAX_DEPTH_M, StreetMap, View, make_street_map, pixel_rays
from pipeline.sources.synthetic.exposure import Exposure, draw_exposure, tone_curve
from pipeline.sources.synthetic.ground import BURIED_M
from pipeline.sources.synthetic.raycast import cast_rays
from pipeline.sources.synthetic.rigid import Floats, Hits, Pose
from pipeline.sources.synthetic.solids import Solids
from pipeline.sources.synthetic.surface_patterns import noise_table
from pipeline.sources.synthetic.town.streets import KERB_LEFT_M
from pipeline.sources.synthetic.weather_light import Weather, draw_weather
from pipeline.sources.synthetic.world import World

CAMERA_STREAM = 107
LATER_US = 10_000
OLD_KERB_LEFT_M = 5.85
LANTERN = 150.0
FRAYED_M = 0.3
LAMP_TINTS = ((1.0, 0.62, 0.28), (1.0, 0.78, 0.5), (0.95, 0.95, 1.0), (0.85, 0.95, 0.9))

# how far (m) and how strongly (0..1) things on the ground hide the sky from the ground beside them
_CONTACT = {
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


@dataclass(frozen=True)
class SceneLook:
    """What all pictures of a scene share: its street, light and weather, exposure, and what is painted on the road.

    crossings_m (k,) and junctions_m (j, 2: middle, half length) are places along the driven street; paint (5,) are numbers
    0..1; drops (d, 3) on the lens: column and row as a share of the image, radius in pixels of a picture 1600 wide;
    road_half_m is half the driven street's width, buried_m how far houses go on below the ground, lamp_tint (3,) the
    lanterns' colour.
    """

    street: StreetMap
    weather: Weather
    exposure: Exposure
    crossings_m: Floats
    junctions_m: Floats
    paint: Floats
    drops: Floats
    is_night: bool
    road_half_m: float
    buried_m: float
    lamp_tint: Floats


def make_scene_look(world: World, *, seed: tuple[int, int]) -> SceneLook:
    """Return the look of scene seed[1] of the world with seed seed[0]."""
    rng = np.random.default_rng((*seed, CAMERA_STREAM))
    first, last = float(world.route.s_m[0]), float(world.route.s_m[-1])
    junctions = _junctions(world)
    beside = (junctions[:, :1] + np.array([[-1.0, 1.0]]) * (junctions[:, 1:] + 4.2)).reshape(-1)
    between = first + np.cumsum(rng.uniform(60.0, 200.0, 12))
    clear = np.abs(between[:, None] - junctions[None, :, 0]).min(axis=1, initial=np.inf) > 30.0
    crossings = np.concatenate([beside[rng.uniform(size=len(beside)) < 0.6], between[clear]])
    tint = LAMP_TINTS[int(rng.integers(len(LAMP_TINTS)))]
    drops = np.zeros((0, 3))
    paint = rng.uniform(size=5)
    weather = draw_weather(rng, is_night=world.is_night, is_rain=world.is_rain)
    exposure = draw_exposure(rng, is_night=world.is_night, is_rain=world.is_rain)
    if world.is_rain:
        count = int(rng.integers(12, 40))
        drops = np.stack([rng.uniform(size=count), rng.uniform(size=count), 4.0 + rng.exponential(6.0, count)], axis=1)
    has_slabs = bool(world.ground.pieces)
    return SceneLook(
        make_street_map(world),
        weather,
        exposure,
        crossings[crossings < last],
        junctions,
        paint,
        drops,
        is_night=world.is_night,
        road_half_m=KERB_LEFT_M if has_slabs else OLD_KERB_LEFT_M,
        buried_m=BURIED_M if has_slabs else 0.0,
        lamp_tint=np.array(tint),
    )


def _junctions(world: World) -> Floats:
    """Return (j, 2) middle and half length, metres along the driven street, of where other streets meet it."""
    driven = world.streets[0].middle
    places = []
    for street in world.streets[1:]:
        gaps = ((driven.points_m - street.middle.points_m[0]) ** 2).sum(axis=1)
        if not street.is_open and gaps.min() < 9.0:
            places.append((float(driven.s_m[int(gaps.argmin())]), street.half_m + 0.8))
    return np.array(places).reshape(-1, 2)


def take_picture(
    solids: Solids,
    look: SceneLook,
    world_from_camera: Pose,
    intrinsic: Floats,
    *,
    image_size: tuple[int, int],
    later: Pose,
    actor_velocities_mps: Floats,
    rng: np.random.Generator,
    ground_m: float = 0.0,
) -> View:
    """Return the view of a camera at one instant; the world is given at that instant.

    `later` is the camera's pose 10 ms on and actor_velocities_mps (actors, 3) those of the owners of solids: they smear the
    picture over its exposure time. ground_m is the height of the road under the car.
    """
    from pipeline.sources.synthetic import optics_kernels as optics

    width, height = image_size
    directions = pixel_rays(intrinsic, image_size=image_size) @ world_from_camera.rotation.T
    origin = world_from_camera.translation_m
    depth, hit = cast_rays(solids.primitives, origin, directions, limit=MAX_DEPTH_M)
    camera = np.array([intrinsic[0, 0], intrinsic[1, 1], intrinsic[0, 2], intrinsic[1, 2]])
    table, exposure = noise_table(), look.exposure
    surface = _paint(solids, look, origin, directions, depth, hit, pixel_rad=1.0 / camera[0])
    light = _light(solids, look, world_from_camera, directions, depth, hit, surface, ground_m=ground_m).reshape(height, width, 3)
    light = optics.fray_leaves(light, surface, depth, FRAYED_M, camera[0])
    if look.weather.wetness > 0:
        light = optics.mirror_on_ground(
            light, table, surface, depth, directions, world_from_camera.rotation, origin, ground_m, camera
        )
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
    light = optics.blur_by_motion(light, motion, exposure.seconds)
    scale = width / 1600.0
    if len(look.drops):
        optics.put_drops(light, look.drops * np.array([width, height, max(scale, 0.3)]))
    gain = exposure.gain_for(light)
    optics.add_bloom(light, gain, exposure.bloom, scale)
    image = optics.develop(
        light,
        gain,
        exposure.saturation,
        tone_curve(exposure),
        rng.standard_normal((height, width), dtype=np.float32),
        exposure.colour_noise * rng.standard_normal(((height + 1) // 2, (width + 1) // 2, 2), dtype=np.float32),
        exposure.shot,
        exposure.read,
    )
    shape = (height, width)
    depth_m = np.where(np.isfinite(depth), depth, 0.0).astype(np.float32)
    return View(image, depth_m.reshape(shape), solids.surface_of(hit).reshape(shape), hit.reshape(shape))


def _paint(
    solids: Solids, look: SceneLook, origin: Floats, directions: Floats, depth: Floats, hit: Hits, *, pixel_rad: float
) -> NDArray[np.float32]:
    """Return what each ray shows, (n, 10): colour, normal, light of its own, gloss; see `sensor_shading_kernels`."""
    from pipeline.sources.synthetic.facade_kernels import paint_facades
    from pipeline.sources.synthetic.ground_texture_kernels import paint_ground
    from pipeline.sources.synthetic.object_paint_kernels import paint_objects
    from pipeline.sources.synthetic.vehicle_paint_kernels import paint_vehicles

    world, street, table = solids.primitives, look.street, noise_table()
    surface = np.zeros((len(depth), 10), np.float32)
    rays = (origin, directions, depth, hit, pixel_rad)
    count = len(world.boxes) + len(world.cylinders) + len(world.ellipsoids)
    paint_ground(
        world.slabs,
        count + 1,
        solids.materials,
        table,
        street.grid,
        street.grid_low_m,
        street.points_m,
        street.tangents,
        street.s_m,
        look.crossings_m,
        look.junctions_m,
        look.paint,
        look.road_half_m,
        look.weather.wetness,
        *rays,
        surface,
    )
    paint_facades(world.boxes, solids.materials, solids.colours, table, *rays, look.is_night, look.buried_m, surface)
    has_wheels = bool((solids.materials == Material.TYRE).any())
    vehicle = (world.boxes, solids.materials, solids.colours, solids.surfaces, solids.owners, table, has_wheels)
    paint_vehicles(*vehicle, *rays, look.is_night, surface)
    objects = (world.boxes, world.cylinders, world.ellipsoids, solids.materials, solids.colours, solids.owners, table)
    paint_objects(*objects, *rays, look.is_night, has_wheels, look.lamp_tint, surface)
    return surface


def _light(
    solids: Solids,
    look: SceneLook,
    world_from_camera: Pose,
    directions: Floats,
    depth: Floats,
    hit: Hits,
    surface: NDArray[np.float32],
    *,
    ground_m: float,
) -> NDArray[np.float32]:
    """Return the linear light (n, 3) of each ray."""
    from pipeline.sources.synthetic import sensor_shading_kernels as shading
    from pipeline.sources.synthetic.sun_shadow_kernels import sun_light

    world, table, weather = solids.primitives, noise_table(), look.weather
    origin = world_from_camera.translation_m
    if weather.sun_colour.max() > 0:
        solid = (world.boxes, world.cylinders, world.ellipsoids, solids.materials)
        sunlit = sun_light(*solid, weather.sun, table, origin, directions, depth, hit, surface)
    else:
        sunlit = np.zeros(len(depth), np.float32)
    contact_low = origin[:2] - shading.CONTACT_CELLS * shading.CONTACT_CELL_M / 2
    kinds = solids.materials[1 : 1 + len(world.boxes) + len(world.cylinders)]
    reach = np.array([_CONTACT.get(Material(m), (1.0, 0.0))[0] for m in range(len(Material))])[kinds]
    dark = np.array([_CONTACT.get(Material(m), (1.0, 0.0))[1] for m in range(len(Material))])[kinds]
    contact = shading.contact_map(world.boxes, world.cylinders, reach, dark, *contact_low)
    lamps = _lamps(solids, look) if look.is_night else np.zeros((0, 10))
    lamps_low = origin[:2] - shading.LAMP_CELLS * shading.LAMP_CELL_M / 2
    ahead = world_from_camera.rotation[:, 2] if look.is_night else np.zeros(3)
    return shading.light_pixels(
        table,
        weather.sky,
        weather.sun_colour,
        sunlit,
        contact,
        contact_low,
        lamps,
        shading.lamp_grid(lamps, *lamps_low),
        lamps_low,
        np.array([*ahead, weather.headlights]),
        weather.haze_m,
        look.is_night,
        origin,
        ground_m,
        directions,
        depth,
        hit,
        surface,
        solids.materials,
    )


def _lamps(solids: Solids, look: SceneLook) -> Floats:
    """Return what lights its surroundings at night (k, 10): place, direction, colour, 1 for a headlight."""
    boxes = solids.primitives.boxes
    materials = solids.materials[1 : len(boxes) + 1]
    heads = boxes[materials == Material.LAMP]
    count = len(heads)
    lanterns = np.zeros((count, 10))
    lanterns[:, :3], lanterns[:, 5], lanterns[:, 6:9] = heads[:, :3], -1.0, LANTERN * look.lamp_tint
    is_driving = (materials == Material.CAR_BODY) & (solids.surfaces[1 : len(boxes) + 1] != Surface.PARKED)
    cars = boxes[is_driving]
    fronts = np.zeros((len(cars), 10))
    fronts[:, 0] = cars[:, 0] + cars[:, 6] * (cars[:, 3] + 0.1)
    fronts[:, 1] = cars[:, 1] + cars[:, 7] * (cars[:, 3] + 0.1)
    fronts[:, 2], fronts[:, 3:5], fronts[:, 5] = cars[:, 2] + 0.1, cars[:, 6:8], -0.03
    fronts[:, 6:9], fronts[:, 9] = np.array([42.0, 40.0, 36.0]), 1.0
    return np.concatenate([lanterns, fronts])
