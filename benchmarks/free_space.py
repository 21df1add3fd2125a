"""Claim: own car, range tables and votes of 28 sweeps cost at most 13 ms of CPU a key frame, once for all cameras of a scene.

World  a simulated 20 s drive at nuScenes size: 390 sweeps of about 34,700 points, 10 of them a key frame
Theirs the readable way in NumPy (`pipeline.kernels.free_space_twin`): every offset on every return, float64; some sweeps only
Ours   what reading the scene's points takes with `own_car_m` and `free_space` on, less what it takes with both off
Floor  bytes: each return read once for each of six scouts (12 B), each range table written once and read three times
Truth  the simulator's rays, cast again along each return: shares of good and of airborne returns that were dropped
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import measure  # isort: skip  (before numpy: it limits the thread pools)
import numpy as np
from stage_runs import StageRuns, open_runs, points_ms, unit_and_sweeps, worker_peak_mb
from world import simulated_world

from pipeline.free_space_choice import FreeSpace
from pipeline.kernels import free_space_twin as twin
from pipeline.kernels.free_space import vote, voters_of
from pipeline.kernels.range_table import TableMaker
from pipeline.sources.synthetic import SyntheticParams
from pipeline.sources.synthetic.actors import Surface
from pipeline.sources.synthetic.drive import make_drive
from pipeline.sources.synthetic.rays.raycast import cast_rays
from pipeline.sources.synthetic.rig import LIDAR, build_rig
from pipeline.sources.synthetic.world import make_world
from pipeline.stages.accumulate_lidar import scene_points

OWN_CAR_M = 2.5
GOOD_WITHIN_M = 0.15
"""A return that lies so near to its ray's first surface is good; the scanner's noise is 0.02 m."""


class Scene(NamedTuple):
    """Returns of a scene before the votes, planar, and what votes on them."""

    xyz: np.ndarray
    columns_of: np.ndarray
    files: list[np.ndarray]
    sweeps: list[dict[str, Any]]
    world_from_sensor: np.ndarray
    num_keyframes: int


def main() -> None:
    parser = measure.arguments(__doc__)
    parser.add_argument("--repeat", type=int, default=5, help="runs of ours; the median counts")
    parser.add_argument("--sweeps", type=int, default=2, help="sweeps voted on the readable way, about 1 s each")
    args = measure.parsed(parser, repeat=1, sweeps=1)
    world = simulated_world(args.data, small=args.small)
    print(measure.machine())
    gb_per_s = measure.read_gb_per_s()
    print(f"memory read by one core: {gb_per_s:.1f} GB/s")
    with tempfile.TemporaryDirectory(dir=args.data) as folder:
        _compare(world, Path(folder), args, gb_per_s)


def _compare(world: tuple[Path, SyntheticParams], folder: Path, args: argparse.Namespace, gb_per_s: float) -> None:
    runs = {name: _open(stage, world, folder / name, args.data) for name, stage in _recipes().items()}
    for one in runs.values():
        one.run_stages("index_frames")
    spent = {name: points_ms(one, args.repeat) for name, one in runs.items()}
    for name, ms in spent.items():
        print(f"  reading the points, {name:20s} {ms:7.2f} ms CPU a key frame; {ms - spent['both_off']:+.2f}")
    peaks = {name: worker_peak_mb(runs[name]) for name in ("both_off", "both_on")}
    print(f"  peak of a worker: {peaks['both_off']:.0f} MB with both off, {peaks['both_on']:.0f} MB with both on")
    scene = _scene_of(runs["own_car_m"])
    _print_parts(scene, args, gb_per_s)
    _print_truth(scene, world[1])


def _recipes() -> dict[str, dict[str, Any]]:
    own, votes = {"own_car_m": OWN_CAR_M}, {"free_space": {}}
    return {"both_off": {}, "own_car_m": own, "free_space": votes, "both_on": {**own, **votes}}


def _open(stage: Mapping[str, Any], world: tuple[Path, SyntheticParams], store: Path, data: Path) -> StageRuns:
    return open_runs(world, store, data, stages={"accumulate_lidar": {"moving": "drop", **stage}})


def _scene_of(runs: StageRuns) -> Scene:
    unit, lidars = unit_and_sweeps(runs)
    points = scene_points(unit, runs.recipe.stages.accumulate_lidar, lidars.sweeps)
    groups = points.groups
    columns_of = np.stack([groups.block_start[groups.first_block[:-1]], groups.block_start[groups.first_block[1:]]], axis=1)
    files = [unit.raw.read_points(sweep["file"]) for sweep in lidars.sweeps]
    return Scene(groups.xyz_m, columns_of, files, lidars.sweeps, points.world_from_sensor, len(unit.keyframes))


def _print_parts(scene: Scene, args: argparse.Namespace, gb_per_s: float) -> None:
    """Say what tables and votes take, beside the readable way, and how far the two agree."""
    choice, maker = FreeSpace(), TableMaker()
    tables = {}

    def make_tables() -> None:
        tables.update({number: maker.table_of(points) for number, points in enumerate(scene.files)})

    rest = (tables, scene.sweeps, scene.world_from_sensor, choice)
    make_tables()
    tables_ms = measure.cpu_ms(make_tables, repeat=args.repeat) / scene.num_keyframes
    votes_ms = measure.cpu_ms(lambda: vote(scene.xyz, scene.columns_of, *rest), repeat=args.repeat) / scene.num_keyframes
    bytes_of_tables = sum(table.steps.nbytes for table in tables.values())
    num_points = int(scene.columns_of[-1, 1])
    floor_mb = (12 * 2 * len(choice.scouts) * num_points + 4 * bytes_of_tables) / scene.num_keyframes / 1e6
    print(
        f"  range tables      {tables_ms:8.2f} ms; {bytes_of_tables / len(tables) / 1e3:.0f} kB a sweep, {bytes_of_tables / 1e6:.0f} MB a scene"
    )
    print(f"  votes             {votes_ms:8.2f} ms; floor of both {floor_mb / gb_per_s:.2f} ms = {floor_mb:.1f} MB")
    asked = np.linspace(0, len(scene.sweeps) - 1, args.sweeps + 2).astype(int)[1:-1]
    found: list[np.ndarray] = []
    voters = sorted({voter for voter, sweep, _ in voters_of(scene.sweeps, choice.offsets) if sweep in asked})
    seen: dict[int, twin.Seen] = {}
    seen_ms = measure.cpu_ms(lambda: seen.update({number: twin.seen_by(scene.files[number]) for number in voters})) / len(voters)
    counts_ms = measure.cpu_ms(lambda: found.extend(_twin_counts(scene, asked, seen, choice))) / len(asked)
    readable_ms = (seen_ms + counts_ms) * len(scene.sweeps) / scene.num_keyframes
    print(f"  the readable way  {readable_ms:8.0f} ms a key frame; ratio {readable_ms / (tables_ms + votes_ms):.0f}x")
    votes = vote(scene.xyz, scene.columns_of, *rest)
    of_asked = np.concatenate([np.arange(*scene.columns_of[number]) for number in asked])
    counts = np.concatenate(found, axis=1)
    dropped = np.isin(of_asked, votes.dropped)
    print(
        f"  returns of {len(of_asked)} for which the two differ: in free votes {np.count_nonzero(votes.free[of_asked] != counts[0])}, "
        f"in being dropped {np.count_nonzero(dropped != twin.is_dropped(counts, choice))} of {np.count_nonzero(dropped)}"
    )


def _twin_counts(scene: Scene, asked: np.ndarray, seen: Mapping[int, twin.Seen], choice: FreeSpace) -> list[np.ndarray]:
    """Return the readable counts of some sweeps."""
    points = [
        scene.xyz[:, slice(*columns)].T.astype(np.float64) if number in asked else np.zeros((0, 3))
        for number, columns in enumerate(scene.columns_of)
    ]
    counts = twin.count_votes(points, seen, scene.sweeps, scene.world_from_sensor, choice)
    return [counts[number] for number in asked]


def _print_truth(scene: Scene, params: SyntheticParams, *, every: int = 5) -> None:
    """Say which share of good and of airborne returns is dropped, in every fifth sweep."""
    maker = TableMaker()
    tables = {number: maker.table_of(points) for number, points in enumerate(scene.files)}
    dropped = np.zeros(scene.columns_of[-1, 1], bool)
    dropped[vote(scene.xyz, scene.columns_of, tables, scene.sweeps, scene.world_from_sensor, FreeSpace()).dropped] = True
    kinds: dict[str, list[np.ndarray]] = {"good": [], "airborne": [], "of the mover that nobody annotated": []}
    drive = make_drive(params, 0)
    world = make_world(params, drive, 0)
    rig = build_rig(params.cameras, radars=params.radars, image_size=params.image_size, calibration=drive.calibration)
    for number in range(0, len(scene.sweeps), every):
        of_sweep = slice(*scene.columns_of[number])
        points = scene.xyz[:, of_sweep].T.astype(np.float64)
        range_m = np.linalg.norm(points, axis=1)
        time_us = int(drive.sweep_us[number])
        pose = drive.world_from_ego.at(time_us) @ rig[LIDAR].ego_from_sensor
        solids = world.at(time_us)
        directions = (points / range_m[:, None]) @ pose.rotation.T
        true_m, hit = cast_rays(solids.primitives, pose.translation_m, directions, limit=100.0)
        surface = solids.surface_of(hit)
        is_on_it = np.abs(range_m - true_m) < GOOD_WITHIN_M
        is_kind = (
            is_on_it & np.isin(surface, (Surface.STATIC, Surface.PARKED)),
            range_m < true_m - GOOD_WITHIN_M,
            is_on_it & (surface == Surface.UNANNOTATED),
        )
        for name, one in zip(kinds, is_kind, strict=True):
            kinds[name].append(dropped[of_sweep][one])
    shares = {name: np.concatenate(parts) for name, parts in kinds.items()}
    for name, one in shares.items():
        print(f"  returns {name}: {len(one)}, dropped {100 * one.mean() if len(one) else 0:.3f} %")
    total = sum(int(one.sum()) for one in shares.values())
    print(f"  of what was dropped, good: {100 * int(shares['good'].sum()) / max(1, total):.1f} %")


if __name__ == "__main__":
    main()
