"""Whether ``torch.compile`` makes SemoDepth faster at 900x1600 in bfloat16; the same frames as without it."""

from __future__ import annotations

import time
from collections.abc import Iterator

import semodepth_network

from gpu.bench import Bench
from gpu.figure import Figure
from gpu.semodepth import engine, size_of


def figures(bench: Bench) -> Iterator[Figure]:
    """Measure one frame without it and with it, then a training step."""
    for work in ("forward",) if bench.is_small else ("forward", "training step"):
        for way in ("channels_last bf16", "channels_last bf16 compile"):
            what = f"{work}, torch.compile {'on' if 'compile' in way else 'off'}"
            yield from bench.attempt(what, lambda work=work, way=way, what=what: _timed(bench, work, way, what))


def _timed(bench: Bench, name: str, way: str, what: str) -> Iterator[Figure]:
    batch = 1 if name == "forward" else 2
    work = semodepth_network.work_of(
        size_of(bench), name, f"{engine(bench)} {way}", bench.device.type, batch=batch, base_channels=8 if bench.is_small else 64,
        compiler="inductor" if bench.is_gpu else "eager",
    )  # fmt: skip
    start = time.perf_counter()
    work()
    bench.wait()
    first_s = time.perf_counter() - start
    yield Figure(f"{what}, batch {batch}", bench.latency_ms(work, most=20), "ms", f"first call {first_s:.1f} s")
