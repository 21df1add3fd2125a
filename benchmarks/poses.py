"""Claims: smoothing a trajectory takes 3 ms of CPU a key frame, measuring included, and brings jittered poses nearer to the true ones;
recorded trajectories have no such jitter.

Drives  the simulated 20 s drive, whose recorded poses are the true ones with independent errors of 1 cm and 0.03 degrees; and, where
        the shared data is there, the two recorded nuScenes drives (20 s), as they are and with the same errors put on. What is
        recorded is then taken for true: a fit that moves it takes real motion away, or an error that nobody knows
Cost    ``refine_sweeps`` and ``refine_keyframes`` for the whole scene, over its key frames: smoothing, reading the sweeps that are
        looked at, and measuring the map on both sets of poses; beside the readable twin of the smoothing
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace

import measure  # isort: skip  (before numpy: it limits the thread pools)
import numpy as np
from stage_runs import open_runs
from world import simulated_world

from pipeline.geometry import inverse, rigid
from pipeline.kernels.refined_poses import refine_keyframes, refine_sweeps
from pipeline.kernels.trajectory import exponential, logarithm, smooth
from pipeline.kernels.trajectory_twin import smooth_one
from pipeline.pose_choice import Poses
from pipeline.sources.synthetic.config import scene_names
from pipeline.sources.synthetic.drive import make_drive
from pipeline.sources.synthetic.simulate import JITTER_DEG, JITTER_M
from storage_schemas.layout import rows

SHARED = Path(os.environ.get("DEPTHMILL_SHARED", Path(__file__).resolve().parents[2] / "shared"))
RECORDED = SHARED / "data" / "nuscenes-trajectories" / "mini_val_scenes.json"
WINDOWS_S = (0.15, 0.25, 0.5)


def main() -> None:
    parser = measure.arguments(__doc__)
    parser.add_argument("--repeat", type=int, default=7)
    args = measure.parsed(parser, repeat=1)
    print(measure.machine())
    root, params = simulated_world(args.data, small=args.small)
    reader = open_runs((root, params), args.data / "store-poses", args.data).source.reader()
    tables = reader.scene_tables(scene_names(params)[0])
    sweeps = [row for row in rows(tables["sweeps"]) if row["channel"] == "LIDAR_TOP"]
    keyframes = rows(tables["keyframes"])
    _report_cost(args.repeat, reader, sweeps, keyframes)
    drive = make_drive(params, 0)
    times_us = np.array([row["timestamp_us"] for row in sweeps])
    true = np.stack([rigid(pose.translation_m, pose.quaternion) for pose in map(drive.world_from_ego.at, times_us.tolist())])
    print("| drive | poses | window | error, m | error, degrees |\n|---|---|---|---|---|")
    _report_errors("simulated", times_us, _poses(sweeps), true, what="jittered")
    if not RECORDED.is_file():
        print(f"no recorded drives: {RECORDED} is not there")
        return
    for record in json.loads(RECORDED.read_text()):
        times_us = np.array([pose["timestamp_us"] for pose in record["lidar_poses"]])
        recorded = rigid(
            *([pose[f"ego2global_{what}"] for pose in record["lidar_poses"]] for what in ("translation", "rotation"))
        )
        _report_errors(record["log"][:4], times_us, recorded, recorded, what="recorded")
        rng = np.random.default_rng(0)
        errors = rng.normal(0.0, 1.0, (len(recorded), 6)) * (
            [JITTER_M, JITTER_M, JITTER_M / 2] + [np.deg2rad(JITTER_DEG) / np.sqrt(3.0)] * 3
        )
        _report_errors(record["log"][:4], times_us, recorded @ exponential(errors), recorded, what="with the simulated jitter")


def _report_cost(repeat: int, reader, sweeps: list[dict], keyframes: list[dict]) -> None:
    def work():
        refined = refine_sweeps(reader, sweeps, Poses())
        refine_keyframes(keyframes, sweeps, Poses())
        return refined

    found = work()
    whole_ms = measure.cpu_ms(work, repeat=repeat)
    nothing = SimpleNamespace(read_points=lambda _: np.zeros((0, 5), np.float32))
    smooth_ms = measure.cpu_ms(lambda: refine_sweeps(nothing, sweeps, Poses()), repeat=repeat)
    times_us, poses = np.array([row["timestamp_us"] for row in sweeps]), _poses(sweeps)
    some = range(0, len(sweeps), 10)
    twin_ms = measure.cpu_ms(
        lambda: [smooth_one(times_us[k], poses[k], times_us, poses, **Poses().model_dump()) for k in some], repeat=repeat
    ) * (len(sweeps) / len(some))
    print(
        f"{len(sweeps)} sweeps, {len(keyframes)} key frames: {whole_ms / len(keyframes):.2f} ms CPU a key frame, of which smoothing "
        f"{smooth_ms / len(keyframes):.2f} ms; twin of the smoothing {twin_ms / len(keyframes):.2f} ms"
    )
    print(f"{found.thickness.num_cubes} flat places{found.words()}")


def _report_errors(drive: str, times_us: np.ndarray, given: np.ndarray, true: np.ndarray, *, what: str) -> None:
    print(f"| {drive} | {what} | none | {_off(given, true)} |")
    for window_s in WINDOWS_S:
        choice = Poses(half_window_s=window_s).model_dump()
        smoothed = smooth(times_us, given, times_us, given, **choice).world_from_ego
        print(f"| {drive} | {what} | {window_s} s | {_off(smoothed, true)} |")


def _off(poses: np.ndarray, true: np.ndarray) -> str:
    twist = logarithm(inverse(true) @ poses)
    metres, radians = (np.sqrt((part**2).sum(axis=1).mean()) for part in (twist[:, :3], twist[:, 3:]))
    return f"{metres:.4f} | {np.rad2deg(radians):.4f}"


def _poses(given: list[dict]) -> np.ndarray:
    return rigid([row["world_from_ego_translation_m"] for row in given], [row["world_from_ego_rotation_wxyz"] for row in given])


if __name__ == "__main__":
    main()
