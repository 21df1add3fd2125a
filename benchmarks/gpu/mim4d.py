"""Claim: a full-size MIM4D step takes the memory that was counted, and about the time that was computed from the counts.

Step    one clip of 3 frames of 6 cameras, 480 x 800, 4 renderings of 12,288 rays, AdamW, random weights
Beside  ``benchmarks/mim4d_step.py``: what is kept for the backward pass, weights, gradients and moments; time for an H200
"""

from __future__ import annotations

from collections.abc import Iterator

import mim4d_step

from gpu.bench import Bench
from gpu.figure import Figure
from model.mim4d.network_config import Mim4dConfig

WAYS = (
    ("bfloat16, recompute", True, True, "computed 17.3 GB", "computed for an H200: 230 ms"),
    ("float32", False, False, "computed 41.6 GB, 40.6 of it kept", "computed for an H200: 390 ms"),
    ("bfloat16", True, False, "computed 30.6 GB", "computed for an H200: 190 ms"),
    ("float32, recompute", False, True, "computed 28.2 GB", "computed for an H200: 430 ms"),
)


def figures(bench: Bench) -> Iterator[Figure]:
    """Make steps each way, the smallest in memory first."""
    for name, is_half, recompute, memory, time in WAYS[: 2 if bench.is_small else None]:
        yield from bench.attempt(
            f"a step, {name}",
            lambda name=name, is_half=is_half, recompute=recompute, beside=(memory, time): _step(
                bench, name, is_half, recompute, beside
            ),
        )


def _step(bench: Bench, name: str, is_half: bool, recompute: bool, beside: tuple[str, str]) -> Iterator[Figure]:
    config = mim4d_step.SMALL if bench.is_small else Mim4dConfig()
    config = config.model_copy(update={"render": config.render.model_copy(update={"recompute": recompute})})
    cameras, rays = (1, 8) if bench.is_small else (mim4d_step.CAMERAS, mim4d_step.CAMERAS * config.render.rays.rays_per_camera)
    step = mim4d_step.step_of(config, cameras=cameras, rays=rays, device=bench.device, is_half=is_half)
    yield Figure(f"a step, {name}", bench.latency_ms(step, most=5, seconds=5.0), "ms", beside[1])
    if bench.is_gpu:
        yield Figure(f"a step, {name}, peak memory", bench.peak_gb(step), "GB", beside[0])
