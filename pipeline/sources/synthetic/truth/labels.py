"""Truth of every pixel besides depth: what it is, whose it is, and how that moves (`labels: true`).

Reads  first hits of a picture, the world at its time
Writes `<stem>.semantic.png` 8-bit, `<stem>.instance.png` 16-bit, `<stem>.motion.json`, all of the image's size

Semantic classes are the indices of nuScenes-lidarseg (`SEMANTIC_CLASSES`), 0 where there is nothing (sky). An instance is a
number that a road user keeps in all images of a scene, 0 for what stands as part of the town. The motion file lists the visible
instances with the token that their instance has in the tables, if it has a box anywhere, or none where it is left out on purpose.

Source docs/method/world.md#labels.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pipeline.sources.synthetic.actors import Material, Surface
from pipeline.sources.synthetic.camera.plain import StreetMap, View
from pipeline.sources.synthetic.rigid import Floats, Pose
from pipeline.sources.synthetic.solids import Solids
from pipeline.sources.synthetic.vocabulary import token_of
from pipeline.sources.synthetic.world import World

SEMANTIC_CLASSES: Final = (
    "noise",
    "animal",
    "human.pedestrian.adult",
    "human.pedestrian.child",
    "human.pedestrian.construction_worker",
    "human.pedestrian.personal_mobility",
    "human.pedestrian.police_officer",
    "human.pedestrian.stroller",
    "human.pedestrian.wheelchair",
    "movable_object.barrier",
    "movable_object.debris",
    "movable_object.pushable_pullable",
    "movable_object.trafficcone",
    "static_object.bicycle_rack",
    "vehicle.bicycle",
    "vehicle.bus.bendy",
    "vehicle.bus.rigid",
    "vehicle.car",
    "vehicle.construction",
    "vehicle.emergency.ambulance",
    "vehicle.emergency.police",
    "vehicle.motorcycle",
    "vehicle.trailer",
    "vehicle.truck",
    "flat.driveable_surface",
    "flat.other",
    "flat.sidewalk",
    "flat.terrain",
    "static.manmade",
    "static.other",
    "static.vegetation",
    "vehicle.ego",
)
"""Names by index, as in nuScenes-lidarseg."""

_BY_NAME: Final = {name: index for index, name in enumerate(SEMANTIC_CLASSES)}
_OF_MATERIAL: Final[Mapping[Material, str]] = {
    Material.ASPHALT: "flat.driveable_surface",
    Material.CROSSING: "flat.driveable_surface",
    Material.PAVEMENT: "flat.sidewalk",
    Material.KERB: "flat.sidewalk",
    Material.CROWN: "static.vegetation",
    Material.TRUNK: "static.vegetation",
    Material.HEDGE: "static.vegetation",
    Material.OWN_CAR: "vehicle.ego",
}
# metres from the middle of the road: carriageway, pavement, and what is beyond
_BANDS_M: Final = (5.95, 10.0)
_BAND_CLASSES: Final = ("flat.driveable_surface", "flat.sidewalk", "flat.terrain")


@dataclass(frozen=True)
class PixelLabels:
    """semantic (y, x) of `SEMANTIC_CLASSES`, instance (y, x), and the motion of the visible instances as in the file."""

    semantic: NDArray[np.uint8]
    instance: NDArray[np.uint16]
    motion: list[dict[str, Any]]


def label_view(
    view: View,
    world: World,
    solids: Solids,
    street: StreetMap,
    world_from_camera: Pose,
    intrinsic: Floats,
    *,
    scene: str,
    time_us: int,
) -> PixelLabels:
    """Return the labels of a picture taken of `solids`, the world at its time."""
    from pipeline.sources.synthetic.truth.labels_kernels import label_pixels

    category = np.array([_BY_NAME[actor.category] for actor in world.actors] or [0], dtype=np.uint8)
    table = np.full(len(Material), _BY_NAME["static.manmade"], dtype=np.uint8)
    for material, name in _OF_MATERIAL.items():
        table[material] = _BY_NAME[name]
    owned = solids.owners >= 0
    semantic, instance = label_pixels(
        view.hit,
        view.depth_m,
        world_from_camera.translation_m,
        world_from_camera.rotation,
        intrinsic,
        np.where(owned, category[np.maximum(solids.owners, 0)], table[solids.materials]),
        ~owned & (solids.materials == Material.GROUND),
        solids.owners,
        street.grid,
        street.grid_low_m,
        street.points_m,
        street.tangents,
        street.s_m,
        np.array(_BANDS_M),
        np.array([_BY_NAME[name] for name in _BAND_CLASSES], dtype=np.uint8),
    )
    numbers = [number - 1 for number in np.flatnonzero(np.bincount(instance.reshape(-1))).tolist() if number > 0]
    motion = [_motion_of(world, number, world_from_camera, scene=scene, time_us=time_us) for number in numbers]
    return PixelLabels(semantic, instance, motion)


def _motion_of(world: World, number: int, world_from_camera: Pose, *, scene: str, time_us: int) -> dict[str, Any]:
    """Return an instance's entry of the motion file: its box in the camera frame, and how it moves over the ground."""
    actor = world.actors[number]
    camera_from_world = world_from_camera.rotation.T
    box = world_from_camera.inverse() @ actor.world_from_box(world.route, time_us)
    turning = np.array([0.0, 0.0, actor.yaw_rate(world.route, time_us)])
    is_annotated = actor.surface != Surface.UNANNOTATED
    return {
        "instance": number + 1,
        "instance_token": token_of(scene, "instance", actor.name) if is_annotated else None,
        "category": actor.category,
        "attribute": actor.attribute_at(world.route, time_us),
        "translation": box.translation_m.tolist(),
        "rotation": box.quaternion.tolist(),
        "size": list(actor.size_wlh_m),
        "velocity_mps": (camera_from_world @ actor.velocity(world.route, time_us)).tolist(),
        "angular_velocity_radps": (camera_from_world @ turning).tolist(),
    }


def label_files(stem: Path) -> tuple[Path, Path, Path]:
    """Return the paths of semantic classes, instances and motion beside the exact depth; `stem` is theirs without ending."""
    semantic, instance, motion = (stem.with_name(f"{stem.name}.{end}") for end in ("semantic.png", "instance.png", "motion.json"))
    return semantic, instance, motion


def write_labels(labels: PixelLabels, stem: Path) -> None:
    """Write the three files of an image, `label_files(stem)`."""
    from PIL import Image

    semantic, instance, motion = label_files(stem)
    Image.fromarray(labels.semantic).save(semantic, compress_level=1)
    Image.fromarray(labels.instance).save(instance, compress_level=1)
    motion.write_text(json.dumps(labels.motion))


def scene_flow(
    depth_m: NDArray[np.floating[Any]], instance: NDArray[np.integer[Any]], motion: Sequence[Mapping[str, Any]], intrinsic: Floats
) -> NDArray[np.float32]:
    """Return the velocity (y, x, 3) m/s over the ground of every pixel's surface, in the camera frame x right, y down, z ahead.

    depth_m and instance (y, x) are the exact depth, 0 = none, and the instances of one image, motion the entries of its motion
    file, intrinsic (3, 3) that of this image. A point p of an instance with middle c moves with v + w x (p - c). What belongs to
    no instance stands, and has 0, as has the sky. The camera's own motion is not in it: take that from the poses.
    """
    height, width = depth_m.shape
    flow = np.zeros((height, width, 3), dtype=np.float32)
    for entry in motion:
        v, u = np.nonzero((instance == entry["instance"]) & (depth_m > 0))
        rays = np.stack([(u + 0.5 - intrinsic[0, 2]) / intrinsic[0, 0], (v + 0.5 - intrinsic[1, 2]) / intrinsic[1, 1]], axis=1)
        points = np.concatenate([rays, np.ones((len(u), 1))], axis=1) * depth_m[v, u].astype(np.float64)[:, None]
        turning = np.cross(np.asarray(entry["angular_velocity_radps"]), points - np.asarray(entry["translation"]))
        flow[v, u] = np.asarray(entry["velocity_mps"]) + turning
    return flow
