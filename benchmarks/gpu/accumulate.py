"""Claim: accumulation by CUDA gives the CPU's bits on a real GPU, and a window of 160 sweeps sooner.

Bits    a made-up scene whose points lie where the last bit decides, and every key frame of a simulated drive of nuScenes' size
Time    the projection of a key frame by the wall clock, points in memory; the points of a scene are sent once
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import stage_runs

from gpu import drive
from gpu.bench import Bench
from gpu.figure import Figure
from pipeline.kernels.engine import check_gpu, gpu_of_process
from pipeline.kernels.project_frames import ProjectedFrames, project_frames

ENGINES = ("numba", "cuda")


def figures(bench: Bench) -> Iterator[Figure]:
    """Compare and time both engines."""
    gpu = gpu_of_process()
    if not gpu.is_usable:
        yield Figure("accumulation by CUDA", why=gpu.says)
        return
    yield Figure(
        "made-up scene: does the GPU give other bits than the CPU",
        float(check_gpu(60 if gpu.is_simulated else 2000) is not None),
        limit=0,
    )
    drive.made(bench)
    yield from bench.attempt("a drive, by CUDA and by the CPU", lambda: _drive(bench))


def _drive(bench: Bench) -> Iterator[Figure]:
    runs = drive.opened(bench)
    unit, lidars = stage_runs.unit_and_sweeps(runs)
    p = runs.recipe.stages.accumulate_lidar
    frames = unit.keyframes[:1] if bench.is_small else unit.keyframes
    windows = lidars.windows(frames, 1 if bench.is_small else 160, scene=unit.scene)
    points = stage_runs.scene_points(unit, p, lidars.sweeps)
    height, width = unit.image_size()
    found: dict[str, ProjectedFrames] = {}

    def project(engine: str) -> None:
        found[engine] = project_frames(points, frames, windows, height=height, width=width, engine=engine)

    first_ms = {engine: _wall_ms(lambda engine=engine: project(engine)) for engine in ENGINES}
    different = int(np.count_nonzero(found["cuda"].steps != found["numba"].steps))
    different += int(np.count_nonzero(found["cuda"].num_measured != found["numba"].num_measured))
    yield Figure(f"{len(frames)} key frames of a drive: pixels and counts that differ from the CPU's", different, limit=0)
    if bench.is_small:
        return
    for engine in ENGINES:
        ms = float(np.median([_wall_ms(lambda engine=engine: project(engine)) for _ in range(5)]))
        sent = (
            f"the first time {(first_ms[engine] - ms):.0f} ms more: points are sent, kernels compiled"
            if engine == "cuda"
            else "one core"
        )
        yield Figure(f"projection of a key frame, {engine}, wall time", ms / len(frames), "ms", sent)


def _wall_ms(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return 1e3 * (time.perf_counter() - start)
