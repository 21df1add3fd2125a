"""Truth of every pixel: classes and instances agree with each other and with the tables, and scene flow with the exact world."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.sources.synthetic import SyntheticParams, write_world
from pipeline.sources.synthetic.camera.plain import pixel_rays
from pipeline.sources.synthetic.drive import make_drive
from pipeline.sources.synthetic.ground import on_ground
from pipeline.sources.synthetic.rays.raycast import cast_rays
from pipeline.sources.synthetic.rig import build_rig
from pipeline.sources.synthetic.truth.labels import SEMANTIC_CLASSES, scene_flow
from pipeline.sources.synthetic.world import make_world
from tests.conftest import NEEDS_DEVKIT

PARAMS = SyntheticParams(
    scenes=1, seconds=2.0, seed=1, image_size=(240, 135), lidar_azimuth_steps=90, traffic="town", layout="town", labels=True
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("labels")
    write_world(PARAMS, folder)
    return folder


def _stems(root: Path) -> list[Path]:
    return sorted(path.with_name(path.name.split(".")[0]) for path in (root / "truth" / "CAM_FRONT").glob("*.depth.png"))


def _read(stem: Path, kind: str) -> np.ndarray:
    return np.asarray(Image.open(stem.with_name(f"{stem.name}.{kind}.png")))


def test_labels_when_written_then_every_pixel_with_depth_has_a_class_and_instances_have_that_of_their_category(
    root: Path,
) -> None:
    seen = set()
    for stem in _stems(root):
        depth, semantic, instance = (_read(stem, kind) for kind in ("depth", "semantic", "instance"))
        assert semantic.dtype == np.uint8 and instance.dtype == np.uint16
        np.testing.assert_array_equal(depth > 0, semantic > 0)
        motion = json.loads(stem.with_name(f"{stem.name}.motion.json").read_text())
        assert {entry["instance"] for entry in motion} == set(np.unique(instance)) - {0}
        for entry in motion:
            assert set(np.unique(semantic[instance == entry["instance"]])) == {SEMANTIC_CLASSES.index(entry["category"])}
        seen |= set(np.unique(semantic).tolist())
    names = {SEMANTIC_CLASSES[index] for index in seen}
    assert {"vehicle.car", "human.pedestrian.adult", "flat.driveable_surface", "static.manmade", "static.vegetation"} <= names


def test_labels_when_the_devkit_has_the_box_then_instance_category_and_velocity_are_those_of_the_tables(root: Path) -> None:
    database = pytest.importorskip("nuscenes", reason=NEEDS_DEVKIT).NuScenes(
        version="v1.0-mini", dataroot=str(root), verbose=False
    )
    sample = database.sample[1]
    camera = database.get("sample_data", sample["data"]["CAM_FRONT"])
    entries = json.loads((root / "truth" / "CAM_FRONT" / f"{Path(camera['filename']).stem}.motion.json").read_text())
    boxes = {database.get("sample_annotation", token)["instance_token"]: token for token in sample["anns"]}
    common = [entry for entry in entries if entry["instance_token"] in boxes]
    assert len(common) >= 5
    for entry in common:
        annotation = database.get("sample_annotation", boxes[entry["instance_token"]])
        assert annotation["category_name"] == entry["category"]
        assert annotation["size"] == entry["size"]
        velocity = database.box_velocity(annotation["token"])
        if np.isfinite(velocity).all():
            assert np.linalg.norm(velocity) == pytest.approx(np.linalg.norm(entry["velocity_mps"]), abs=1.5)


@pytest.mark.parametrize("ground", ["flat", "graded"])
def test_scene_flow_when_compared_with_the_exact_world_a_moment_later_then_agrees_on_every_moving_thing(ground: str) -> None:
    """The surface point of each pixel, carried with its box of 20 ms before and after, moves as the flow says."""
    from pipeline.sources.synthetic.camera.plain import make_street_map, take_picture
    from pipeline.sources.synthetic.truth.labels import label_view

    params = PARAMS.model_copy(update={"seed": 3, "ground": ground})
    drive = make_drive(params, 0)
    world = make_world(params, drive, 0)
    drive = on_ground(drive, world)
    sensor = build_rig(("CAM_FRONT",), radars=(), image_size=params.image_size, calibration=None)["CAM_FRONT"]
    assert sensor.intrinsic is not None
    time_us = int(drive.sweep_us[11]) + 7_000
    pose, solids, street = drive.world_from_ego.at(time_us) @ sensor.ego_from_sensor, world.at(time_us), make_street_map(world)
    view = take_picture(
        solids, street, pose, sensor.intrinsic, image_size=params.image_size, is_night=False, rng=np.random.default_rng(0)
    )
    labels = label_view(view, world, solids, street, pose, sensor.intrinsic, scene="s", time_us=time_us)
    flow = scene_flow(view.depth_m, labels.instance, labels.motion, sensor.intrinsic)
    assert (flow[labels.instance == 0] == 0).all()
    rays = pixel_rays(sensor.intrinsic, image_size=params.image_size).reshape(*view.depth_m.shape, 3)
    num_moving = 0
    for entry in labels.motion:
        is_own = (labels.instance == entry["instance"]) & (view.depth_m < 200)
        actor = world.actors[entry["instance"] - 1]
        points = pose.apply(rays[is_own] * view.depth_m[is_own][:, None].astype(float))
        local = actor.world_from_box(world.route, time_us).inverse().apply(points)
        before, after = (actor.world_from_box(world.route, time_us + shift).apply(local) for shift in (-20_000, 20_000))
        expected = (after - before) / 0.04 @ pose.rotation
        np.testing.assert_allclose(flow[is_own], expected, atol=2e-3)
        num_moving += int(np.abs(expected).max() > 0.5)
    assert num_moving >= 2


def test_scene_flow_when_rays_are_cast_a_moment_later_then_the_surface_is_where_the_flow_says() -> None:
    """A pixel of a vehicle that drives along: its depth a fifth of a second later, from a camera that stands."""
    params = PARAMS.model_copy(update={"seed": 2})
    drive = make_drive(params, 0)
    world = make_world(params, drive, 0)
    time_us = int(drive.sweep_us[5])
    mover = next(
        n for n, actor in enumerate(world.actors) if actor.category == "vehicle.car" and np.hypot(*actor.velocity(world.route, time_us)[:2]) > 3
    )  # fmt: skip
    actor = world.actors[mover]
    velocity = actor.velocity(world.route, time_us)
    box = actor.world_from_box(world.route, time_us)
    ahead = box.rotation[:, 0]
    origin = box.translation_m + 12.0 * ahead + np.array([0.0, 0.0, 0.2])
    distances = []
    for shift in (0, 100_000):
        distance, hit = cast_rays(world.at(time_us + shift).primitives, origin, -ahead[None], limit=50.0)
        assert world.at(time_us + shift).owners[hit[0]] == mover
        distances.append(float(distance[0]))
    assert (distances[0] - distances[1]) / 0.1 == pytest.approx(float(velocity @ ahead), rel=0.05)
