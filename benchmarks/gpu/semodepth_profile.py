"""Where the time of one frame in bfloat16 goes: kernels by their share, and how long the GPU waits for the host."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import semodepth_network
from torch.profiler import ProfilerActivity, profile

from gpu.bench import Bench
from gpu.figure import Figure
from gpu.semodepth import engine, size_of

FRAMES, SHOWN = 5, 12


def figures(bench: Bench) -> Iterator[Figure]:
    """Profile a few frames."""
    work = semodepth_network.work_of(
        size_of(bench),
        "forward",
        f"{engine(bench)} channels_last bf16",
        bench.device.type,
        base_channels=8 if bench.is_small else 64,
    )
    wall_ms, is_gpu = bench.latency_ms(work), bench.device.type == "cuda"
    frames = 1 if bench.is_small else FRAMES
    with profile(activities=[ProfilerActivity.CUDA if is_gpu else ProfilerActivity.CPU]) as profiled:
        for _ in range(frames):
            work()
        bench.wait()
    of_kernel = {event.key: _own_us(event, is_gpu=is_gpu) / 1e3 / frames for event in profiled.key_averages()}
    calls = sum(event.count for event in profiled.key_averages() if _own_us(event, is_gpu=is_gpu) > 0) / frames
    busy_ms = sum(of_kernel.values())
    yield Figure("one frame", wall_ms, "ms")
    yield Figure("of it the device computes", busy_ms, "ms", f"{calls:.0f} kernels; the rest waits for the host")
    for name in sorted(of_kernel, key=of_kernel.__getitem__, reverse=True)[:SHOWN]:
        if of_kernel[name] > 0:
            yield Figure(_short(name), of_kernel[name], "ms", f"{100 * of_kernel[name] / busy_ms:.0f} % of it")


def _own_us(event: Any, *, is_gpu: bool) -> float:
    if not is_gpu:
        return float(event.self_cpu_time_total)
    for name in ("self_device_time_total", "self_cuda_time_total"):  # torch renamed it
        if hasattr(event, name):
            return float(getattr(event, name))
    raise AttributeError("torch's profiler names the time on the device in a way that is not known here")


def _short(kernel: str, most: int = 70) -> str:
    name = kernel.replace("|", "/").replace("`", "'").removeprefix("void ")
    return name if len(name) <= most else f"{name[: most - 4]} ..."
