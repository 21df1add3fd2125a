"""Drive through one scene, write the measurements of every sensor, and return the scene's table rows.

Writes below the database's root
  samples/, sweeps/       LIDAR_TOP `.pcd.bin`, radars `.pcd`, cameras `.jpg` (between key frames only where asked for)
  truth/<CAMERA>/         `<stem>.depth.png` 16-bit, metres x 256 truncated, 0 = none; `<stem>.surface.png`; where asked for
                          (`labels`) also `<stem>.semantic.png`, `<stem>.instance.png` and `<stem>.motion.json` of `truth.labels`
  maps/                   one drivable mask, white

The sensors measure from the true pose; the recorded pose is wrong by a centimetre or two, as in reality.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.sources.synthetic.actors import Surface
from pipeline.sources.synthetic.camera import plain as plain_camera
from pipeline.sources.synthetic.camera import scene_look
from pipeline.sources.synthetic.camera import sensor as sensor_camera
from pipeline.sources.synthetic.config import CAMERA_CHANNELS, SyntheticParams, scene_names
from pipeline.sources.synthetic.drive import Drive, make_drive, times_between
from pipeline.sources.synthetic.ground import on_ground
from pipeline.sources.synthetic.lidar import plain as plain_lidar
from pipeline.sources.synthetic.lidar import slots as lidar_slots
from pipeline.sources.synthetic.radar import cells as radar_cells
from pipeline.sources.synthetic.radar import plain as plain_radar
from pipeline.sources.synthetic.rig import LIDAR, REFERENCE_SIZE_PX, Sensor, build_rig
from pipeline.sources.synthetic.rigid import Floats, Ints, Pose, quaternion_from_yaw_pitch_roll, quaternion_product
from pipeline.sources.synthetic.rows import (
    BoxCounts,
    SceneTables,
    annotated_keys,
    annotation_rows,
    count_in_box,
    file_name,
    measurement_rows,
    merge_tables,
    scene_rows,
)
from pipeline.sources.synthetic.solids import Solids
from pipeline.sources.synthetic.town.motion import plan_of
from pipeline.sources.synthetic.town.road_users import RoadUser
from pipeline.sources.synthetic.truth.box_count_kernels import count_in_boxes
from pipeline.sources.synthetic.truth.labels import label_files, label_view, write_labels
from pipeline.sources.synthetic.truth.visibility import visible_shares
from pipeline.sources.synthetic.world import World, make_world
from storage_schemas.catalog import RADAR_CHANNELS
from storage_schemas.encoding import STEPS_PER_M

JITTER_M = 0.01
JITTER_DEG = 0.03
JPEG_QUALITY = 90
MAP_SIZE_PX = 64


def simulate_scene(params: SyntheticParams, index: int, root: Path) -> SceneTables:
    """Write the sensor files and the truth of scene `index` below `root`, and return its rows.

    Scenes share no file, so different scenes may be simulated by parallel processes.
    """
    name = scene_names(params.model_copy(update={"scenes": max(params.scenes, index + 1)}))[index]
    drive = make_drive(params, index)
    world = make_world(params, drive, index)
    drive = on_ground(drive, world)
    rig = build_rig(params.cameras, radars=params.radars, image_size=params.image_size, calibration=drive.calibration)
    tables = [scene_rows(name, drive, world, _description(params, world, index))]
    _write_map(root / tables[0]["map"][0]["filename"])

    key_points = _record_lidar(params, drive, world, rig[LIDAR], root, index)
    echoes_of = [_record_radar(params, drive, world, rig[channel], root, index) for channel in params.radars]
    key_echoes = [np.concatenate(echoes) for echoes in zip(*echoes_of, strict=True)]
    counts = [
        _count_points(world, int(drive.sweep_us[sweep]), points, echoes)
        for sweep, points, echoes in zip(drive.key_sweeps, key_points, key_echoes, strict=True)
    ]
    if params.traffic == "town":
        counts = _with_visibility(drive, world, counts)
    times: dict[str, tuple[int, Ints, Ints]] = {LIDAR: (60, drive.sweep_us, drive.key_sweeps)}
    for channel in params.radars:
        times[channel] = (_radar_seed(channel, 61, 80), drive.radar_us[channel], drive.key_radars[channel])
    for number, channel in enumerate(params.cameras):
        key_us = drive.camera_us[channel]
        between_us = times_between(key_us) if params.camera_sweeps else key_us[:0]
        for time_us, is_key, first_seed in ((key_us, True, 40), (between_us, False, 46)):
            seed = (params.seed, index, first_seed + number)
            _record_camera(params, name, drive, world, rig[channel], root, time_us=time_us, is_key=is_key, seed=seed)
        all_us = np.sort(np.concatenate([key_us, between_us]))
        times[channel] = (62 + number, all_us, np.searchsorted(all_us, key_us))
    for channel, (pose_seed, time_us, key_index) in times.items():
        recorded = _recorded_poses(params, drive, index, pose_seed, time_us=time_us, key_index=key_index, of=rig[channel])
        tables.append(
            measurement_rows(
                name,
                drive,
                rig[channel],
                recorded,
                time_us=time_us,
                key_index=key_index,
                image_size=params.image_size,
            )
        )
    return merge_tables([*tables, annotation_rows(name, drive, world, counts)])


def _recorded_poses(
    params: SyntheticParams, drive: Drive, index: int, seed: int, *, time_us: Ints, key_index: Ints, of: Sensor
) -> list[Pose]:
    """Return the recorded poses of a sensor's measurements; images between key frames do not change those of key images."""
    drawn_first = key_index if of.modality == "camera" else np.arange(len(time_us))
    drawn_then = np.setdiff1d(np.arange(len(time_us)), drawn_first)
    rng = np.random.default_rng((params.seed, index, seed))
    order = np.concatenate([drawn_first, drawn_then]).tolist()
    pose_of = {number: _jittered(drive.world_from_ego.at(int(time_us[number])), rng) for number in order}
    return [pose_of[number] for number in range(len(time_us))]


def _radar_seed(channel: str, first: int, others: int) -> int:
    """Return a radar's number in the seeds: RADAR_FRONT keeps the number from when it was the only radar."""
    number = RADAR_CHANNELS.index(channel)
    return others + number if number else first


def _description(params: SyntheticParams, world: World, index: int) -> str:
    """Return the scene's description; as in nuScenes the words Night and rain mark such scenes."""
    route = "along a recorded drive" if params.trajectories else "curving street"
    truck = "oncoming truck" if index % 2 == 0 else "truck ahead"
    text = f"simulated town, {route}, parked cars, pedestrians, {truck}"
    if params.traffic == "town":
        drives = f"car in town: {plan_of(params.seed, index)}" if params.motion == "town" else route
        text = f"simulated town, {drives}, parked rows, cyclists, pedestrians"
    if world.is_rain:
        text += ", rain"
    return f"Night, {text}" if world.is_night else text


def _record_lidar(params: SyntheticParams, drive: Drive, world: World, sensor: Sensor, root: Path, index: int) -> list[Floats]:
    """Write every sweep; return the key frames' points (n, 3) in the world frame."""
    key_points = []
    keys = set(drive.key_sweeps.tolist())
    for i, time_us in enumerate(drive.sweep_us.tolist()):
        points = _turn(params, drive, world, sensor, index, i)
        name = file_name(drive.log, sensor.channel, sensor.modality, time_us, is_key=i in keys)
        _write(root / name, points.tobytes())
        if i in keys:
            measured_m = points[:, :3].astype(np.float64)
            if params.lidar == "nuscenes":  # rows of the own car and of empty slots measure no box
                measured_m = measured_m[np.linalg.norm(measured_m, axis=1) > plain_lidar.RANGE_M[0]]
            world_from_lidar = drive.world_from_ego.at(time_us) @ sensor.ego_from_sensor
            key_points.append(world_from_lidar.apply(measured_m))
    return key_points


def _turn(params: SyntheticParams, drive: Drive, world: World, sensor: Sensor, index: int, number: int) -> NDArray[np.float32]:
    """Return the rows (n, 5) of one sweep's file."""
    time_us = int(drive.sweep_us[number])
    solids = world.at(time_us)
    if params.lidar == "plain":
        return plain_lidar.scan(
            solids,
            drive.world_from_ego.at(time_us) @ sensor.ego_from_sensor,
            azimuth_steps=params.lidar_azimuth_steps,
            rng=np.random.default_rng((params.seed, index, 20, number)),
            spray=params.spray,
            is_rain=world.is_rain,
        )
    times_us = np.linspace(time_us - lidar_slots.TURN_US, time_us, lidar_slots.NUM_SECTORS + 1).astype(np.int64)
    poses = tuple(drive.world_from_ego.at(int(t)) @ sensor.ego_from_sensor for t in times_us)
    return lidar_slots.scan(
        solids,
        lidar_slots.Turn(poses),
        actor_velocities_mps=world_velocities(world, time_us),
        azimuth_steps=params.lidar_azimuth_steps,
        laser_bias_m=lidar_slots.laser_biases(np.random.default_rng((params.seed, index, 106))),
        spray=params.spray,
        is_rain=world.is_rain,
        rng=np.random.default_rng((params.seed, index, 106, number)),
    )


def world_velocities(world: World, time_us: int) -> Floats:
    """Return the velocity (actors, 3) of every actor in the world frame, m/s."""
    return world.velocities_at(time_us)


def _record_radar(params: SyntheticParams, drive: Drive, world: World, sensor: Sensor, root: Path, index: int) -> list[Floats]:
    """Write every scan of one radar; return the key frames' points (n, 3) in the world frame, z NaN where it is unknown."""
    key_echoes: dict[int, Floats] = {}
    key_radars = drive.key_radars[sensor.channel]
    keys = set(key_radars.tolist())
    for i, time_us in enumerate(drive.radar_us[sensor.channel].tolist()):
        pose = drive.world_from_ego.at(time_us) @ sensor.ego_from_sensor
        points = _radar_scan(params, drive, world, sensor, index, i)
        name = file_name(drive.log, sensor.channel, sensor.modality, time_us, is_key=i in keys)
        _write(root / name, plain_radar.encode_pcd(points))
        if i in keys:
            echoes = pose.apply(np.stack([points["x"], points["y"], points["z"]], axis=1).astype(np.float64))
            if params.radar != "imaging":
                echoes[:, 2] = np.nan
            key_echoes[i] = echoes
    return [key_echoes[int(i)] for i in key_radars]


def _radar_scan(params: SyntheticParams, drive: Drive, world: World, sensor: Sensor, index: int, number: int) -> NDArray[np.void]:
    """Return the returns (n,) of one scan of one radar."""
    time_us = int(drive.radar_us[sensor.channel][number])
    before, now, after = (drive.world_from_ego.at(time_us + d) @ sensor.ego_from_sensor for d in (-9000, 0, 9000))
    velocity_mps = (after.translation_m - before.translation_m) / 0.018
    seed = _radar_seed(sensor.channel, 30, 70)
    if params.radar == "cells":
        ahead, then = before.rotation[:, 0], after.rotation[:, 0]
        return radar_cells.scan(
            world.at(time_us),
            now,
            sensor_velocity_mps=velocity_mps,
            actor_velocities_mps=world_velocities(world, time_us),
            rng=np.random.default_rng((params.seed, index, 105, seed, number)),
            yaw_rate_radps=float(ahead[0] * then[1] - ahead[1] * then[0]) / 0.018,
            is_rain=world.is_rain,
        )
    return plain_radar.scan(
        world.at(time_us),
        now,
        sensor_velocity_mps=velocity_mps,
        actor_velocities_mps=world.velocities_at(time_us),
        antenna=plain_radar.ANTENNAS[params.radar],
        rng=np.random.default_rng((params.seed, index, seed, number)),
    )


def _record_camera(
    params: SyntheticParams,
    name: str,
    drive: Drive,
    world: World,
    sensor: Sensor,
    root: Path,
    *,
    time_us: Ints,
    is_key: bool,
    seed: tuple[int, int, int],
) -> None:
    """Write the image, the exact depth, the surface classes and wanted labels of one camera at times (n,) of scene `name`."""
    from PIL import Image

    assert sensor.intrinsic is not None
    street = plain_camera.make_street_map(world)
    look = scene_look.make_scene_look(world, seed=seed[:2]) if params.camera == "sensor" else None
    for i, moment_us in enumerate(time_us.tolist()):
        solids, rng = world.at(moment_us), np.random.default_rng((*seed, i))
        view = _picture(params, drive, world, sensor, street, look, solids=solids, time_us=moment_us, rng=rng)
        image_path = root / file_name(drive.log, sensor.channel, sensor.modality, moment_us, is_key=is_key)
        truth = root / "truth" / sensor.channel / image_path.stem
        for folder in (image_path.parent, truth.parent):
            folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(view.image_u8).save(image_path, quality=JPEG_QUALITY)
        depth = _encode_depth(view.depth_m)
        Image.fromarray(depth).save(truth.with_name(f"{truth.name}.depth.png"), compress_level=1)
        Image.fromarray(view.surface).save(truth.with_name(f"{truth.name}.surface.png"), compress_level=1)
        if params.labels:
            pose = drive.world_from_ego.at(moment_us) @ sensor.ego_from_sensor
            labels = label_view(view, world, solids, street, pose, sensor.intrinsic, scene=name, time_us=moment_us)
            write_labels(labels, truth)
        else:
            for stale in label_files(truth):  # of another world that was in this folder
                stale.unlink(missing_ok=True)


def _picture(
    params: SyntheticParams,
    drive: Drive,
    world: World,
    sensor: Sensor,
    street: plain_camera.StreetMap,
    look: scene_look.SceneLook | None,
    *,
    solids: Solids,
    time_us: int,
    rng: np.random.Generator,
) -> plain_camera.View:
    """Return what one camera sees at a time, as a sensor would where the scene has a look."""
    assert sensor.intrinsic is not None
    ego = drive.world_from_ego.at(time_us)
    pose, ground_m = ego @ sensor.ego_from_sensor, float(ego.translation_m[2])
    size = params.image_size
    if look is None:
        night = world.is_night
        return plain_camera.take_picture(
            solids, street, pose, sensor.intrinsic, image_size=size, is_night=night, rng=rng, ground_m=ground_m
        )
    return sensor_camera.take_picture(
        solids,
        look,
        pose,
        sensor.intrinsic,
        image_size=size,
        later=drive.world_from_ego.at(time_us + sensor_camera.LATER_US) @ sensor.ego_from_sensor,
        actor_velocities_mps=world.velocities_at(time_us),
        ahead=ego.rotation[:, 0],
        rng=rng,
        ground_m=ground_m,
    )


def _encode_depth(depth_m: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Return metres as truncated uint16 steps of 1/256 m; 0 stays 0."""
    return (depth_m.astype(np.float64) * STEPS_PER_M).astype(np.uint16)


def _count_points(world: World, time_us: int, points_m: Floats, echoes_m: Floats) -> BoxCounts:
    """Return the points in each actor's box at a key frame; the unannotated truck has none."""
    if any(isinstance(actor, RoadUser) for actor in world.actors):
        boxes = world.boxes_at(time_us)
        return BoxCounts(count_in_boxes(points_m, boxes), count_in_boxes(echoes_m, boxes))
    count = np.zeros((2, len(world.actors)), dtype=np.int64)
    for number, actor in enumerate(world.actors):
        if actor.surface == Surface.UNANNOTATED:
            continue
        pose = actor.world_from_box(world.route, time_us)
        for kind, cloud in enumerate((points_m, echoes_m)):
            near = cloud[np.abs(cloud[:, :2] - pose.translation_m[:2]).max(axis=1) < 4.0]
            at_height = np.where(np.isnan(near[:, 2:]), pose.translation_m[2], near[:, 2:])
            count[kind, number] = count_in_box(np.hstack([near[:, :2], at_height]), pose, actor.size_wlh_m)
    return BoxCounts(count[0], count[1])


def _with_visibility(drive: Drive, world: World, counts: list[BoxCounts]) -> list[BoxCounts]:
    """Return the counts of all key frames with the visible share of every road user that is annotated there."""
    rig = build_rig(CAMERA_CHANNELS, radars=(), image_size=REFERENCE_SIZE_PX, calibration=drive.calibration)
    cameras = [rig[channel] for channel in CAMERA_CHANNELS]
    keys = [set(annotated_keys(actor, [int(c.lidar[n]) for c in counts])) for n, actor in enumerate(world.actors)]
    seen = []
    for k, (time_us, count) in enumerate(zip(drive.sweep_us[drive.key_sweeps].tolist(), counts, strict=True)):
        users = {number: world.actors[number] for number in range(len(keys)) if k in keys[number]}
        boxes = {number: (user.world_from_box(world.route, time_us), user.size_wlh_m) for number, user in users.items()}
        visible = visible_shares(world.at(time_us), boxes, drive.world_from_ego.at(time_us), cameras)
        seen.append(replace(count, visible=visible))
    return seen


def _jittered(pose: Pose, rng: np.random.Generator) -> Pose:
    """Return the pose as a localiser would record it, with a small error."""
    turn = np.deg2rad(rng.normal(0.0, JITTER_DEG, 3)) / np.sqrt(3.0)
    shift = rng.normal(0.0, JITTER_M, 3) * np.array([1.0, 1.0, 0.5])
    noise = quaternion_from_yaw_pitch_roll(turn[0], turn[1], turn[2])
    return Pose(quaternion_product(pose.quaternion, noise), pose.translation_m + shift)


def _write_map(path: Path) -> None:
    """Write a small mask on which everything is drivable; the devkit opens it when a map is asked for."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((MAP_SIZE_PX, MAP_SIZE_PX), 255, np.uint8)).save(path)


def _write(path: Path, content: bytes) -> None:
    """Write a file, making its folder where needed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
