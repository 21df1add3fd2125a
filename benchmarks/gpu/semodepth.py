"""Claim: SemoDepth sees a frame of 900x1600 in at most the published 26.8 ms in bfloat16, and trains with the published batch.

Network  38.1 M parameters, default options, random weights, channels last, 80 radar returns a frame
Latency  wall time of ``predict``, the frame on the device, the device waited for
Beside   26.8 ms, published in arXiv 2605.11840 for a card of its own
"""

from __future__ import annotations

from collections.abc import Iterator

import semodepth_network

from gpu.bench import Bench
from gpu.figure import Figure

PUBLISHED_MS = 26.8
WAYS = {
    "float32, nothing rounded (as measured and predicted)": "channels_last exact",
    "float32, convolutions in TF32 (torch's default)": "channels_last",
    "bfloat16 autocast": "channels_last bf16",
    "bfloat16 autocast, contiguous memory": "bf16",
}
BATCH = 12


def figures(bench: Bench) -> Iterator[Figure]:
    """Measure one frame, then a training step."""
    for name, way in list(WAYS.items())[:: 2 if bench.is_small else 1]:
        yield from bench.attempt(f"one frame, {name}", lambda name=name, way=way: _forward(bench, name, way))
    for name, way in (("bfloat16", "channels_last bf16"), ("float32", "channels_last"))[: 1 if bench.is_small else 2]:
        yield from bench.attempt(f"training step, {name}", lambda name=name, way=way: _step(bench, name, way))


def engine(bench: Bench) -> str:
    """Return the scan engine that is measured: what a user gets on a GPU; a rehearsal takes the CPU's."""
    return "auto" if bench.is_gpu else "numba"


def size_of(bench: Bench) -> str:
    """Return the name of the image size."""
    return "64x96" if bench.is_small else "900x1600"


def _forward(bench: Bench, name: str, way: str) -> Iterator[Figure]:
    work = semodepth_network.work_of(
        size_of(bench), "forward", f"{engine(bench)} {way}", bench.device.type, base_channels=8 if bench.is_small else 64
    )
    yield Figure(f"one frame, {name}", bench.latency_ms(work), "ms", f"published {PUBLISHED_MS} ms" if "bf16" in way else "")
    if bench.is_gpu:
        yield Figure(f"one frame, {name}, peak memory", bench.peak_gb(work), "GB")


def _step(bench: Bench, name: str, way: str) -> Iterator[Figure]:
    batch = 2 if bench.is_small else BATCH
    work = semodepth_network.work_of(
        size_of(bench),
        "training step",
        f"{engine(bench)} {way}",
        bench.device.type,
        batch=batch,
        base_channels=8 if bench.is_small else 64,
    )
    yield Figure(f"training step, batch {batch}, {name}", bench.latency_ms(work, most=5, seconds=6.0), "ms")
    if bench.is_gpu:
        yield Figure(f"training step, batch {batch}, {name}, peak memory", bench.peak_gb(work), "GB")
