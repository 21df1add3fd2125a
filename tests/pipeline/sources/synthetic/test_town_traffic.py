"""Who is on the streets of a town: nobody overlaps, nobody is driven over, and what the tables say of them is true."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.processes import ProcessPool
from pipeline.sources.synthetic import SyntheticParams, write_world
from pipeline.sources.synthetic.actors import Material, Surface
from pipeline.sources.synthetic.config import CAMERA_CHANNELS
from pipeline.sources.synthetic.drive import Drive, make_drive
from pipeline.sources.synthetic.ground import on_ground
from pipeline.sources.synthetic.rays.raycast import Primitives
from pipeline.sources.synthetic.rig import build_rig
from pipeline.sources.synthetic.rows import count_in_box
from pipeline.sources.synthetic.solids import Piece, gather
from pipeline.sources.synthetic.town.road_users import RoadUser
from pipeline.sources.synthetic.town.spacing import overlaps, rectangles
from pipeline.sources.synthetic.town.spacing_kernels import meets_any, meets_in_time
from pipeline.sources.synthetic.truth.box_count_kernels import count_in_boxes
from pipeline.sources.synthetic.truth.visibility import visibility_token, visible_shares
from pipeline.sources.synthetic.world import World, make_world
from storage_schemas.catalog import RADAR_CHANNELS
from tests.conftest import NEEDS_DEVKIT

TOWN = SyntheticParams(scenes=3, world="town", seconds=12.0)
STREET = SyntheticParams(scenes=3, traffic="town", seconds=12.0)
EGO_FRONT_M, EGO_REAR_M, EGO_HALF_M = 3.6, -0.9, 0.87


def _made(params: SyntheticParams, index: int) -> tuple[Drive, World]:
    drive = make_drive(params, index)
    world = make_world(params, drive, index)
    return on_ground(drive, world), world


@pytest.fixture(scope="module", params=["town", "street", "turn"])
def made(request: pytest.FixtureRequest) -> tuple[Drive, World]:
    """A scene of a town, one of a street with a town's traffic, and one that turns a corner."""
    return {"town": lambda: _made(TOWN, 1), "street": lambda: _made(STREET, 0), "turn": lambda: _made(TOWN, 3)}[request.param]()


def _outlines(world: World, time_us: int) -> tuple[list[int], np.ndarray]:
    numbers = [n for n, actor in enumerate(world.actors) if actor.is_present(world.route, time_us)]
    users = [world.actors[n] for n in numbers]
    rows = [
        rectangles(np.array([[*user.xy_yaw(world.route, time_us)[:2], 0.0, user.xy_yaw(world.route, time_us)[2]]]), *user.size_wlh_m[:2])[0]
        for user in users
    ]  # fmt: skip
    return numbers, np.array(rows)


def test_boxes_when_looked_at_all_the_time_then_no_two_overlap(made: tuple[Drive, World]) -> None:
    drive, world = made
    for time_us in drive.sweep_us[:: len(drive.sweep_us) // 12].tolist():
        _, rows = _outlines(world, time_us)
        shrunk = rows - np.array([0.0, 0.0, 0.01, 0.01, 0.0])
        meet = overlaps(shrunk[:, None], shrunk[None])
        np.fill_diagonal(meet, val=False)
        assert not meet.any()


def test_ego_vehicle_when_it_drives_then_nobody_is_in_its_way(made: tuple[Drive, World]) -> None:
    drive, world = made
    for time_us in drive.sweep_us[:: len(drive.sweep_us) // 40].tolist():
        pose = drive.world_from_ego.at(time_us)
        ahead = pose.rotation[:2, 0] / np.hypot(*pose.rotation[:2, 0])
        middle = pose.translation_m[:2] + ahead * (EGO_FRONT_M + EGO_REAR_M) / 2
        own = np.array([*middle, (EGO_FRONT_M - EGO_REAR_M) / 2, EGO_HALF_M, np.arctan2(ahead[1], ahead[0])])
        _, rows = _outlines(world, time_us)
        assert not overlaps(own[None], rows).any()


def test_boxes_when_the_town_is_built_then_no_house_tree_or_pole_stands_in_one(made: tuple[Drive, World]) -> None:
    drive, world = made
    still = [actor for actor in world.actors if isinstance(actor, RoadUser) and actor.is_standing]
    rows = np.concatenate([rectangles(user.places, *user.size_wlh_m[:2]) for user in still])
    height = np.array([user.places[0, 2] for user in still])
    for piece in world.standing:
        if piece.shape == "cylinder":
            x, y, radius, low, _ = piece.numbers
            meets = overlaps(np.array([x, y, radius, radius, 0.0]), rows) & (low < height + 0.5)
        elif piece.shape == "box" and piece.numbers[5] > 0.4:
            x, y, z, half_x, half_y, half_z, cosine, sine = piece.numbers
            meets = overlaps(np.array([x, y, half_x, half_y, np.arctan2(sine, cosine)]), rows)
            meets &= (z - half_z < height + 1.0) & (z + half_z > height + 0.3)
        else:
            continue
        assert not meets.any()


def test_solids_when_placed_from_arrays_then_are_those_gathered_piece_by_piece(made: tuple[Drive, World]) -> None:
    drive, world = made
    time_us = int(drive.sweep_us[30]) + 12_345
    pieces = list(world.standing)
    for number, actor in enumerate(world.actors):
        assert isinstance(actor, RoadUser)
        if not actor.is_present(world.route, time_us):
            continue
        x, y, z, yaw = actor.place_at(time_us)
        c, s = float(np.cos(yaw)), float(np.sin(yaw))
        for part in actor.parts:
            px, py, *rest = part.numbers
            rest = [rest[0], rest[1] + z, rest[2] + z] if part.shape == "cylinder" else [rest[0] + z, *rest[1:]]
            numbers = (x + c * px - s * py, y + s * px + c * py, *rest, *((c, s) if part.shape == "box" else ()))
            pieces.append(Piece(part.shape, numbers, part.material, part.colour or actor.colour, actor.surface, number))
    expected, found = gather(pieces, ground_m=world.ground.plane_m), world.at(time_us)
    for name in ("boxes", "cylinders", "ellipsoids", "slabs"):
        np.testing.assert_allclose(getattr(found.primitives, name), getattr(expected.primitives, name), atol=1e-9)
    for name in ("materials", "colours", "surfaces", "owners"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


def test_velocities_and_boxes_when_asked_for_all_at_once_then_are_those_of_each(made: tuple[Drive, World]) -> None:
    drive, world = made
    time_us = int(drive.sweep_us[20]) + 3_000
    velocities, boxes = world.velocities_at(time_us), world.boxes_at(time_us)
    rng = np.random.default_rng(0)
    cloud = np.concatenate([rng.normal(boxes[:, :3], 1.0) for _ in range(20)])
    cloud[::7, 2] = np.nan
    counts = count_in_boxes(cloud, boxes)
    assert counts.sum() > 100
    for number, actor in enumerate(world.actors):
        np.testing.assert_allclose(velocities[number], actor.velocity(world.route, time_us), atol=1e-9)
        if actor.is_present(world.route, time_us) and actor.surface != Surface.UNANNOTATED:
            pose = actor.world_from_box(world.route, time_us)
            np.testing.assert_allclose(boxes[number, :3], pose.translation_m, atol=1e-9)
            at_height = np.where(np.isnan(cloud), pose.translation_m, cloud)
            assert counts[number] == count_in_box(at_height, pose, actor.size_wlh_m)
        else:
            assert counts[number] == 0


@pytest.mark.parametrize("seed", range(3))
def test_overlap_kernels_when_given_random_rectangles_then_agree_with_the_plain_twin(seed: int) -> None:
    rng = np.random.default_rng(seed)

    def some(*shape: int) -> np.ndarray:
        place, size = rng.uniform(-10, 10, (*shape, 2)), rng.uniform(0.2, 3.0, (*shape, 2))
        return np.concatenate([place, size, rng.uniform(-4, 4, (*shape, 1))], axis=-1)

    for _ in range(60):
        wanted, taken, moving = some(5), some(2), some(1, 5)
        assert meets_any(wanted, taken) == overlaps(wanted[:, None], taken[None]).any()
        assert meets_in_time(wanted, moving) == overlaps(wanted[None], moving).any()
        assert meets_in_time(wanted[:1], moving) == overlaps(wanted[:1][None], moving).any()


def test_attributes_when_time_goes_on_then_follow_what_each_one_does() -> None:
    drive, world = _made(TOWN.model_copy(update={"seconds": 20.0, "scenes": 6}), 5)
    of: dict[str, set[str | None]] = {}
    changing = 0
    for actor in world.actors:
        seen = [actor.attribute_at(world.route, int(t)) for t in drive.sweep_us[::20] if actor.is_present(world.route, int(t))]
        of.setdefault(actor.category, set()).update(seen)
        changing += len(set(seen)) > 1
        if actor.category.startswith(("movable", "static")):
            assert set(seen) <= {None}
        if isinstance(actor, RoadUser) and actor.is_parked:
            assert set(seen) == {"vehicle.parked"} or actor.category in ("vehicle.bicycle", "vehicle.motorcycle")
    assert changing >= 2
    assert {"vehicle.parked", "vehicle.moving"} <= of["vehicle.car"]
    assert of["human.pedestrian.adult"] == {"pedestrian.standing", "pedestrian.moving"}


def test_visibility_when_a_wall_hides_half_of_a_car_then_half_of_it_is_visible() -> None:
    params = SyntheticParams(scenes=1, traffic="town")
    drive, world = _made(params, 0)
    cameras = [build_rig(CAMERA_CHANNELS, radars=(), image_size=(1600, 900), calibration=None)[name] for name in CAMERA_CHANNELS]
    ego = drive.world_from_ego.at(int(drive.sweep_us[0]))
    flat = ego.rotation[:2, 0]
    cosine, sine = (flat / np.hypot(*flat)).tolist()

    def place(x: float, y: float) -> tuple[float, float]:
        return ego.translation_m[0] + cosine * x - sine * y, ego.translation_m[1] + sine * x + cosine * y

    car = Piece(
        "box", (*place(20.0, 0.0), 0.8, 2.2, 0.9, 0.8, cosine, sine), Material.CAR_BODY, (1.0, 1.0, 1.0), Surface.MOVING, 0
    )
    shares = []
    for middle in (None, 0.6 * 0.5, -3.0):
        pieces = [car]
        if middle is not None:
            hidden = place(10.0, middle + 0.0)
            pieces.append(Piece("box", (*hidden, 1.0, 0.05, 0.3, 1.5, cosine, sine), Material.BUILDING, (1.0, 1.0, 1.0)))
        from pipeline.sources.synthetic.rigid import Pose, quaternion_from_yaw_pitch_roll

        box = Pose(quaternion_from_yaw_pitch_roll(np.arctan2(sine, cosine), 0.0, 0.0), np.array([*place(20.0, 0.0), 0.8]))
        shares.append(visible_shares(gather(pieces), {0: (box, (1.8, 4.4, 1.6))}, ego, cameras)[0])
    assert shares[0] == 1.0 and shares[2] == 1.0
    assert 0.25 < shares[1] < 0.75
    assert [visibility_token(share) for share in (0.0, 0.39, 0.4, 0.6, 0.79, 0.8, 1.0)] == ["1", "1", "2", "3", "3", "4", "4"]


SMALL = {"scenes": 1, "seconds": 1.0, "image_size": (64, 36), "lidar_azimuth_steps": 60, "seed": 7}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny town with six cameras, five radars, images between key frames, and labels."""
    folder = tmp_path_factory.mktemp("whole")
    write_world(
        SyntheticParams(**SMALL, world="town", cameras=CAMERA_CHANNELS, radars=RADAR_CHANNELS, camera_sweeps=True), folder
    )
    return folder


@pytest.mark.slow
def test_whole_town_when_the_devkit_loads_it_then_every_file_is_there_and_each_annotation_is_complete(whole: Path) -> None:
    data_classes = pytest.importorskip("nuscenes.utils.data_classes", reason=NEEDS_DEVKIT)
    database = pytest.importorskip("nuscenes").NuScenes(version="v1.0-mini", dataroot=str(whole), verbose=False)
    assert set(database.sample[0]["data"]) == {"LIDAR_TOP", *CAMERA_CHANNELS, *RADAR_CHANNELS}
    for record in database.sample_data:
        assert (whole / record["filename"]).is_file()
        if record["sensor_modality"] == "radar":
            data_classes.RadarPointCloud.from_file(str(whole / record["filename"]))
        if record["sensor_modality"] == "camera":
            stem = Path(record["filename"]).stem
            for kind in ("depth.png", "surface.png", "semantic.png", "instance.png", "motion.json"):
                assert (whole / "truth" / record["channel"] / f"{stem}.{kind}").is_file()
    assert len(database.sample_annotation) > 25
    assert {row["visibility_token"] for row in database.sample_annotation} >= {"1", "4"}
    for annotation in database.sample_annotation:
        database.get_box(annotation["token"])
        wanted = 0 if annotation["category_name"].startswith(("movable", "static")) else 1
        assert len(annotation["attribute_tokens"]) == wanted
        kind = annotation["category_name"].split(".")[0]
        for token in annotation["attribute_tokens"]:
            name = database.get("attribute", token)["name"]
            assert name.startswith({"human": ("pedestrian",), "vehicle": ("vehicle", "cycle")}[kind])
    for instance in database.instance:
        chain = [database.get("sample_annotation", instance["first_annotation_token"])]
        while chain[-1]["next"]:
            chain.append(database.get("sample_annotation", chain[-1]["next"]))
        assert len(chain) == instance["nbr_annotations"]
        assert chain[-1]["token"] == instance["last_annotation_token"]


@pytest.mark.slow
def test_whole_town_when_written_by_another_process_then_is_the_same_to_the_byte(whole: Path, tmp_path: Path) -> None:
    params = SyntheticParams(**SMALL, world="town", cameras=CAMERA_CHANNELS, radars=RADAR_CHANNELS, camera_sweeps=True)
    with ProcessPool(1) as pool:
        pool.run(write_world, params, tmp_path)
    names = [path.relative_to(whole) for path in whole.rglob("*") if path.is_file()]
    assert len(names) > 100
    for name in names:
        assert (tmp_path / name).read_bytes() == (whole / name).read_bytes(), name


def test_tracks_when_a_road_user_is_hidden_for_long_then_has_no_box_there_and_keeps_its_instance() -> None:
    from pipeline.sources.synthetic.rows import annotated_keys

    _, world = _made(STREET, 0)
    user = next(actor for actor in world.actors if actor.surface != Surface.UNANNOTATED)
    assert annotated_keys(user, [0, 0, 3, 0, 0, 0, 1, 0]) == [1, 2, 3, 5, 6, 7]
    assert annotated_keys(user, [0, 0, 0]) == []


def test_town_traffic_when_primitives_are_counted_then_a_ray_has_not_too_many_to_meet() -> None:
    _, world = _made(TOWN, 0)
    solids = world.at(int(world.actors[0].time_us[0]) + 3_000_000)
    assert isinstance(solids.primitives, Primitives)
    assert len(solids.primitives) < 9_000
    assert len(world.actors) < 400


@pytest.mark.parametrize(("seed", "index"), [(15, 45), (26, 18)])
def test_vehicles_when_they_drive_then_none_brakes_or_speeds_up_faster_than_a_car_can(seed: int, index: int) -> None:
    """In the first scene a car drives on the ego vehicle's track, in the second some come round corners towards it."""
    params = SyntheticParams(world="town", seed=seed, seconds=12.0, scenes=index + 1)
    for user in make_world(params, make_drive(params, index), index).actors:
        assert isinstance(user, RoadUser)
        if user.is_standing or not user.category.startswith("vehicle"):
            continue
        seconds = np.diff(user.time_us) * 1e-6
        speed = np.hypot(*(np.diff(user.places[:, :2], axis=0) / seconds[:, None]).T)
        first, last = user.present_us or (user.time_us[0], user.time_us[-1])
        is_there = (user.time_us[:-2] > first) & (user.time_us[2:] < last)
        assert np.abs(np.diff(speed) / seconds[1:])[is_there].max(initial=0.0) < 7.0, user.name
