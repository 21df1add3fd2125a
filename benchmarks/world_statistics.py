"""Claim: a town of the simulated world (`world: town`) measures as real drives do; the street (`world: street`) does not.

Table  every figure of tests/world_statistics, of real drives, of the street, and of a town of each seed. The bands are those of the
       tests in tests/pipeline/sources/synthetic; `!` marks a town outside its band. `-`: not measured, or not there
Real   shared/data of nuScenes; without it the column stays empty. How a car drives was measured on files that are not at hand
Cost   CPU of a 20 s scene with one camera of 1600x900, written, and of a sweep, a scan and a picture; all code compiled before
"""

from __future__ import annotations

import dataclasses
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import measure  # isort: skip  (before numpy: it limits the thread pools)
import numpy as np
from PIL import Image
from study_world import SHARED

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the repository's root: measures and bands are those of its tests

from pipeline.sources.synthetic import SyntheticParams, simulate, write_world
from pipeline.sources.synthetic.camera.plain import make_street_map
from pipeline.sources.synthetic.camera.scene_look import make_scene_look
from pipeline.sources.synthetic.drive import make_drive
from pipeline.sources.synthetic.ground import on_ground
from pipeline.sources.synthetic.rig import LIDAR, build_rig
from pipeline.sources.synthetic.world import make_world
from tests.pipeline.sources.synthetic import (
    test_town_boxes,
    test_town_camera,
    test_town_depth,
    test_town_lidar,
    test_town_motion,
    test_town_radar,
)
from tests.world_statistics import boxes, depth, images, lidar, motion, radar, sensor_frames

Band = tuple[float, float]
Figures = dict[str, float]

CAR_RANGES_M = ((0.0, 15.0), (15.0, 30.0), (30.0, 50.0))
PEDESTRIAN = "human.pedestrian"
NAN = float("nan")


class World(NamedTuple):
    """A column of the table: its heading, and what its world is made with."""

    heading: str
    name: str
    seed: int

    def params(self, **changes: object) -> SyntheticParams:
        """Return the parameters of a part's scenes."""
        return SyntheticParams.model_validate({"world": self.name, "seed": self.seed, **changes})


# depth -----------------------------------------------------------------------------------------------------------------------


def depth_bands() -> dict[str, Band]:
    bands = {name: band for name, (_, band) in test_town_depth.MEASURES.items()}
    for rows, (quantiles, off) in test_town_depth.ROWS.items():
        for q, value in zip((10, 50, 90), quantiles, strict=True):
            bands[_depth_name(rows, q)] = (value * (1 - off), value * (1 + off))
    return bands


def _depth_name(rows: tuple[float, float], quantile: int) -> str:
    return f"depth m, rows {rows[0]:g} to {rows[1]:g} H, q{quantile}"


def depth_figures(scenes: list[list[depth.Frame]]) -> Figures:
    figures = {name: test_town_depth._mean(measure_, scenes) for name, (measure_, _) in test_town_depth.MEASURES.items()}
    figures["mean absolute error of a table, m"] = test_town_depth._mean(lambda group: depth.table_score(group).mae_m, scenes)
    for rows in test_town_depth.ROWS:
        for q, value in zip((10, 50, 90), depth.depth_by_row(scenes, rows), strict=True):
            figures[_depth_name(rows, q)] = float(value)
    return figures


def depth_of(world: World, small: bool) -> Figures:
    number = 5 if small else 15
    return depth_figures(
        depth.simulated_scenes(world.params(scenes=60), num_scenes=number, shares=(0.25,) if small else (0.25, 0.8))
    )


def depth_of_real() -> Figures:
    return depth_figures(depth.real_scenes(SHARED / "data/nuscenes-five-frames"))


# radar -----------------------------------------------------------------------------------------------------------------------


def radar_bands() -> dict[str, Band]:
    states = {f"{name} {value}": band for name, values in test_town_radar.STATES.items() for value, band in values.items()}
    cars = {_car_name(reach): band for reach, band in zip(CAR_RANGES_M, test_town_radar.CARS, strict=True)}
    again = {_again_name(limit): band for limit, band in test_town_radar.PERSISTENCE.items()}
    return {
        **test_town_radar.BANDS,
        "neighbour_m": test_town_radar.NEIGHBOUR_M,
        **states,
        **test_town_radar.BESIDE,
        **cars,
        **again,
    }


def _car_name(reach_m: tuple[float, float]) -> str:
    return f"returns on a car {reach_m[0]:g} to {reach_m[1]:g} m"


def _again_name(limit_m: float) -> str:
    return f"found again within {limit_m:g} m"


def radar_figures(
    scans: Sequence[np.ndarray],
    beside: Sequence[sensor_frames.SensorFrame],
    annotated: Sequence[sensor_frames.SensorFrame],
    in_a_row: Sequence[sensor_frames.SensorFrame],
) -> Figures:
    figures = radar.of_scans(scans)
    for name, values in test_town_radar.STATES.items():
        shares = radar.state_shares(scans, name)
        figures |= {f"{name} {value}": shares.get(value, 0.0) for value in values}
    figures |= radar.beside_lidar(beside, np.random.default_rng(0))
    for reach, (mean, _, _) in zip(CAR_RANGES_M, radar.per_box(annotated, "vehicle.car", CAR_RANGES_M), strict=True):
        figures[_car_name(reach)] = mean
    ((figures["returns on a pedestrian 15 to 30 m"], _, _),) = radar.per_box(annotated, PEDESTRIAN, CAR_RANGES_M[1:2])
    return figures | {_again_name(limit): share for limit, share in radar.persistence(in_a_row).items()}


def radar_of(world: World, small: bool) -> Figures:
    params = world.params(scenes=10, seconds=1.5 if small else 5.5, image_size=(800, 450))
    scenes = [list(sensor_frames.simulated_frames(params, index)) for index in range(2 if small else 9)]
    frames = [frame for scene in scenes for frame in scene[::2]]
    return radar_figures([frame.radar for frame in frames], frames, frames, [frame for scene in scenes[:5] for frame in scene])


def radar_of_real() -> Figures:
    frames = sensor_frames.real_radar_frames(SHARED)
    drives = sensor_frames.real_frames(SHARED / "data/nuscenes-radar-scenes")
    return radar_figures([frame.radar for frame in frames], [frame for frame in frames if frame.rows is not None], drives, drives)


# LiDAR -----------------------------------------------------------------------------------------------------------------------


def lidar_bands() -> dict[str, Band]:
    noise = zip(("road_noise_q50", "road_noise_q90"), test_town_lidar.ROAD_NOISE_M, strict=True)
    of_rows = {**test_town_lidar.BANDS, **test_town_lidar.INTENSITY}
    return {**of_rows, **test_town_lidar.RINGS, **dict(noise), "airborne behind the car": test_town_lidar.AIRBORNE}


def lidar_figures(sweeps: Sequence[np.ndarray], with_rings: Sequence[np.ndarray]) -> Figures:
    """Return the figures of sweeps; intensity and rings are those of the sweeps that have them."""
    figures = lidar.of_sweeps(sweeps)
    if with_rings:
        figures |= {name: value for name, value in lidar.of_sweeps(with_rings).items() if name.startswith("intensity")}
        figures |= test_town_lidar.of_rings(lidar.near_share_of_rings(with_rings))
    if all(len(rows) % lidar.BEAMS == 0 for rows in sweeps):
        noise = np.median([lidar.road_noise_m(rows) for rows in sweeps], axis=0)
        figures["road_noise_q50"], figures["road_noise_q90"] = (float(value) for value in noise)
    figures["airborne behind the car"] = float(np.mean([lidar.airborne(rows)[1] for rows in sweeps]))
    return figures


def lidar_of(world: World, small: bool) -> Figures:
    params = world.params(scenes=10, seconds=1.5 if small else 5.5, image_size=(800, 450))
    dry = (0,) if small else (0, 1, 2, 4, 5, 6, 7, 9)
    frames = [frame for index in dry for frame in sensor_frames.simulated_frames(params, index, every=5)]
    sweeps = [frame.rows for frame in frames if frame.rows is not None]
    return lidar_figures(sweeps, sweeps)


def lidar_of_real() -> Figures:
    key_frame = sensor_frames.read_rows(next((SHARED / "data/nuscenes-keyframe/samples/LIDAR_TOP").glob("*.bin")))
    five = [frame.rows for frame in sensor_frames.real_frames(SHARED / "data/nuscenes-five-frames")]
    return lidar_figures([rows for rows in five if rows is not None], [key_frame])


# boxes and motion ------------------------------------------------------------------------------------------------------------


def boxes_bands() -> dict[str, Band]:
    return {**test_town_boxes.BANDS, **test_town_boxes.TARGETS}


def boxes_of(world: World, small: bool) -> Figures:
    params = world.params(scenes=8, seconds=2.0 if small else 20.0)
    return boxes.summary(boxes.simulated_frames(params, range(1 if small else 8), every=12))


def boxes_of_real() -> Figures:
    return boxes.summary(boxes.real_frames(SHARED))


def motion_bands() -> dict[str, Band]:
    return {**test_town_motion.BANDS, **test_town_motion.BANDS_AT_HAND}


def motion_of(world: World, small: bool) -> Figures:
    return motion.summary(motion.simulated_courses(world.params(scenes=40), range(8 if small else 40)))


def motion_of_real() -> Figures:
    """Return the figures of two drives; what two drives cannot show is left out."""
    figures = motion.summary(motion.real_courses(SHARED))
    return {name: value for name, value in figures.items() if name not in test_town_motion.BANDS}


# pictures --------------------------------------------------------------------------------------------------------------------


def images_bands() -> dict[str, Band]:
    tests = test_town_camera
    day = (tests.DAY_MEAN, tests.DAY_SD, tests.DAY_ENTROPY, tests.DAY_WHITE, tests.DAY_SATURATION)
    bands = dict(zip(("day mean", "day sd", "day entropy", "day white", "day saturation"), day, strict=True))
    bands |= {"night mean": tests.NIGHT_MEAN, "night entropy": tests.NIGHT_ENTROPY, "night black": tests.NIGHT_BLACK}
    for light, noise in (("day", tests.DAY_NOISE), ("night", tests.NIGHT_NOISE)):
        bands |= {_noise_name(light, greys): band for greys, band in zip(images.NOISE_GREYS, noise, strict=True)}
    return {**bands, "thumbnail correlation": tests.THUMBNAIL_CORRELATION}


def _noise_name(light: str, greys: tuple[int, int]) -> str:
    return f"{light} noise at grey {greys[0]} to {greys[1]}"


def images_figures(day: list[np.ndarray], night: list[np.ndarray], alike: list[np.ndarray]) -> Figures:
    """Return the figures of day and night pictures; `alike` are those of different day scenes."""
    figures: Figures = {}
    for light, pictures in (("day", day), ("night", night)):
        tones = dataclasses.asdict(test_town_camera._mean_tones(pictures))
        noise = np.array([images.noise_by_grey(picture) for picture in pictures])
        figures |= {f"{light} {name}": value for name, value in tones.items()}
        for greys, column in zip(images.NOISE_GREYS, noise.T, strict=True):
            figures[_noise_name(light, greys)] = float(np.nanmean(column)) if np.isfinite(column).any() else NAN
    return {**figures, "thumbnail correlation": float(images.thumbnail_correlations(alike).mean())}


def picture_of(params: SyntheticParams, index: int, key: int = 3) -> np.ndarray:
    """Return a picture of one scene as it is read from its file."""
    drive = make_drive(params, index)
    world = make_world(params, drive, index)
    drive = on_ground(drive, world)
    rig = build_rig(params.cameras, radars=params.radars, image_size=params.image_size, calibration=None)
    time_us = int(drive.camera_us["CAM_FRONT"][key])
    look = make_scene_look(world, seed=(params.seed, index)) if params.camera == "sensor" else None
    street = make_street_map(world)
    view = simulate._picture(
        params, drive, world, rig["CAM_FRONT"], street, look,
        solids=world.at(time_us), time_us=time_us, rng=np.random.default_rng(0),
    )  # fmt: skip
    return test_town_camera._as_written(view.image_u8)


def images_of(world: World, small: bool) -> Figures:
    size = (160, 90) if small else (800, 450)
    params = world.params(scenes=10, seconds=8.0, image_size=size)
    days, nights = test_town_camera.DAY_SCENES, test_town_camera.NIGHT_SCENES
    day, night = ([picture_of(params, index) for index in scenes[: 2 if small else None]] for scenes in (days, nights))
    return images_figures(day, night, day)


def images_of_real() -> Figures:
    tests = test_town_camera
    five = [np.asarray(Image.open(path)) for path in sorted((SHARED / tests.FIVE_FRAMES).iterdir())]
    drives = sorted((SHARED / tests.DRIVES).iterdir())
    day = [*five[:3], *(np.asarray(Image.open(drives[number])) for number in tests.DRIVE_PICTURES)]
    return images_figures(day, five[3:], [*day[:4], day[5]])


class Part(NamedTuple):
    """One sensor's or subject's figures: their bands, and how a world and the real drives are measured."""

    name: str
    bands: Callable[[], dict[str, Band]]
    of_world: Callable[[World, bool], Figures]
    of_real: Callable[[], Figures]


PARTS = (
    Part("depth", depth_bands, depth_of, depth_of_real),
    Part("radar", radar_bands, radar_of, radar_of_real),
    Part("lidar", lidar_bands, lidar_of, lidar_of_real),
    Part("boxes", boxes_bands, boxes_of, boxes_of_real),
    Part("motion", motion_bands, motion_of, motion_of_real),
    Part("images", images_bands, images_of, images_of_real),
)
# figures that have no band of their own and yet say how a town differs from real drives
UNBOUNDED = {
    "depth": ("mean absolute error of a table, m",),
    "radar": ("random_column", "returns on a pedestrian 15 to 30 m"),
    "images": ("night saturation", "night white"),
}


def written(value: float) -> str:
    """Return a figure with three digits, and a dash where there is none."""
    if not np.isfinite(value):
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def print_part(part: Part, columns: Sequence[tuple[str, Figures]], real: Figures) -> list[str]:
    """Print the rows of a part, and return what of a town lies outside its band."""
    bands, outside = part.bands(), []
    for name in [*bands, *UNBOUNDED.get(part.name, ())]:
        band = bands.get(name)
        cells = []
        for heading, figures in columns:
            value = figures.get(name, NAN)
            missed = heading.startswith("town") and band is not None and not band[0] <= value <= band[1]
            cells.append(written(value) + (" !" if missed else ""))
            if missed:
                outside.append(f"{part.name}: {name}, {heading}: {written(value)}, band {written(band[0])} to {written(band[1])}")
        limits = f"{written(band[0])} to {written(band[1])}" if band is not None else "-"
        print(f"| {part.name}: {name} | {written(real.get(name, NAN))} | {' | '.join(cells)} | {limits} |", flush=True)
    return outside


def print_table(worlds: Sequence[World], parts: Iterable[Part], *, small: bool, has_real: bool) -> None:
    print(f"\n| figure | real | {' | '.join(world.heading for world in worlds)} | band |")
    print(f"|---|{'---|' * (len(worlds) + 2)}")
    outside = []
    for part in parts:
        columns = [(world.heading, part.of_world(world, small)) for world in worlds]
        outside += print_part(part, columns, part.of_real() if has_real else {})
    print(f"\ntowns outside a band: {len(outside)}")
    for line in outside:
        print(f"  {line}")


def print_cost(worlds: Sequence[World], data: Path, *, small: bool) -> None:
    """Print the CPU time of a scene and of its parts; each world is written once in short, so that all code is compiled."""
    print("\n| CPU | " + " | ".join(world.heading for world in worlds) + " |\n|---|" + "---|" * len(worlds))
    rows: dict[str, list[str]] = {}
    for world in worlds:
        size = (160, 90) if small else (1600, 900)
        params = world.params(scenes=1, seconds=1.0 if small else 20.0, image_size=size)
        for seconds in (1.0, params.seconds):
            root = data / f"cost-{world.name}-{world.seed}"
            shutil.rmtree(root, ignore_errors=True)
            start = time.process_time()
            write_world(params.model_copy(update={"seconds": seconds}), root)
            scene_s = time.process_time() - start
            shutil.rmtree(root)
        rows.setdefault(f"scene of {params.seconds:g} s, one camera of {size[0]}x{size[1]}, s", []).append(f"{scene_s:.1f}")
        for name, ms in part_costs(params, repeat=2 if small else 15).items():
            rows.setdefault(f"{name}, ms", []).append(f"{ms:.1f}")
    for name, cells in rows.items():
        print(f"| {name} | {' | '.join(cells)} |")


def part_costs(params: SyntheticParams, *, repeat: int) -> dict[str, float]:
    """Return the median CPU ms of a sweep, a radar scan and a picture of scene 0, none written."""
    drive = make_drive(params, 0)
    world = make_world(params, drive, 0)
    drive = on_ground(drive, world)
    rig = build_rig(params.cameras, radars=params.radars, image_size=params.image_size, calibration=drive.calibration)
    look = make_scene_look(world, seed=(params.seed, 0)) if params.camera == "sensor" else None
    street = make_street_map(world)
    times = drive.camera_us["CAM_FRONT"]
    numbers = iter(range(10_000))

    def picture() -> None:
        time_us = int(times[next(numbers) % len(times)])
        simulate._picture(
            params, drive, world, rig["CAM_FRONT"], street, look,
            solids=world.at(time_us), time_us=time_us, rng=np.random.default_rng(0),
        )  # fmt: skip

    def sweep() -> None:
        simulate._turn(params, drive, world, rig[LIDAR], 0, next(numbers) % len(drive.sweep_us))

    def scan() -> None:
        simulate._radar_scan(params, drive, world, rig["RADAR_FRONT"], 0, next(numbers) % len(drive.radar_us["RADAR_FRONT"]))

    works = {"a LiDAR sweep": sweep, "a radar scan": scan, "a picture": picture}
    for work in works.values():
        work()
    return {name: measure.cpu_ms(work, repeat=repeat) for name, work in works.items()}


def main() -> None:
    parser = measure.arguments(__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1], help="seeds of the towns, a column each")
    parser.add_argument("--parts", nargs="+", default=[part.name for part in PARTS], choices=[part.name for part in PARTS])
    parser.add_argument("--without-cost", action="store_true", help="the table of figures alone")
    args = measure.parsed(parser, seeds=[0])
    worlds = [World("street", "street", 0), *(World(f"town, seed {seed}", "town", seed) for seed in args.seeds)]
    has_real = (SHARED / "data").is_dir()
    print(measure.machine())
    print(f"real data: {'as far as it is at hand' if has_real else f'none at {SHARED}, so its column is empty'}")
    print_table(worlds, [part for part in PARTS if part.name in args.parts], small=args.small, has_real=has_real)
    if not args.without_cost:
        print_cost(worlds[:2], args.data, small=args.small)


if __name__ == "__main__":
    main()
