"""How fast frames reach the device, and which share of a training step waits for them.

Frames  a simulated drive at 1600x900, image, dense and sparse target, radar; in batches of 4, through page-locked memory
Waits   1 less the time of a step on a batch that is there already, over the time of a step that takes the next one
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator

import torch

from gpu import drive
from gpu.bench import Bench
from gpu.figure import Figure
from model.data.ordered_loader import Placement
from model.semodepth.batch import Batch
from model.semodepth.config import DataConfig
from model.semodepth.data import FrameLoader
from model.semodepth.dense import dense_batch
from model.semodepth.loss import composite_loss
from model.semodepth.net import SemoDepth
from model.semodepth.network_config import SemoDepthConfig
from storage_schemas.manifest import Manifest

BATCH = 4


def figures(bench: Bench) -> Iterator[Figure]:
    """Measure with few and with many reading processes."""
    manifest = drive.made(bench)
    cores = len(os.sched_getaffinity(0))
    for workers in (0,) if bench.is_small else sorted({2, min(8, cores), min(14, cores)}):
        yield from bench.attempt(f"{workers} reading processes", lambda workers=workers: _measured(bench, manifest, workers))


def _measured(bench: Bench, manifest: Manifest, workers: int) -> Iterator[Figure]:
    what = f"{workers} reading processes of {os.cpu_count()} cores"
    config = DataConfig(batch_size=2 if bench.is_small else BATCH)
    kept: list[Batch] = []
    step = step_of(bench)
    with FrameLoader(
        manifest, config, placement=Placement(num_workers=workers, pin_memory=bench.device.type == "cuda")
    ) as loader:

        def epoch(use: Callable[[Batch], object]) -> float:
            """Return the seconds a batch of an epoch; the device is waited for at the end."""
            loader.set_epoch(0)
            start, count = time.perf_counter(), 0
            for batch in loader:
                use(batch.to(bench.device, non_blocking=True))
                count += 1
            bench.wait()
            return (time.perf_counter() - start) / count

        def middle(use: Callable[[Batch], object]) -> float:
            epochs = [epoch(use) for _ in range(1 if bench.is_small else 6)]
            return sorted(epochs[1:] or epochs)[len(epochs[1:]) // 2]  # the first one starts processes and fills caches

        epoch(lambda batch: kept.append(batch) if not kept else None)
        seconds = middle(lambda batch: dense_batch(batch, max_depth_m=120.0))
        yield Figure(f"{what}: maps on the device", config.batch_size / seconds, "frames/s")
        kept_batch = kept[0]
        there_ms = bench.latency_ms(lambda: step(kept_batch), most=10)
        read_ms = 1e3 * middle(step)
        yield Figure(
            f"{what}: a step, batch {config.batch_size}, bfloat16", read_ms, "ms", f"{there_ms:.1f} ms on a batch that is there"
        )
        yield Figure(f"{what}: share of the step that waits", 100 * max(0.0, 1 - there_ms / read_ms), "%")


def step_of(bench: Bench) -> Callable[[Batch], None]:
    """Return what makes a training step of a batch on the device."""
    torch.manual_seed(0)
    network = SemoDepth(SemoDepthConfig(base_channels=8 if bench.is_small else 64)).to(
        bench.device, memory_format=torch.channels_last
    )  # type: ignore[call-overload]
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)

    def step(batch: Batch) -> None:
        dense = dense_batch(batch, max_depth_m=network.config.max_depth_m)
        with torch.autocast(bench.device.type, torch.bfloat16):
            normalized = network(dense.image_u8, dense.radar_m)
        losses = composite_loss(normalized, dense.target_m, dense.sparse_m, space=network.depth_space)
        assert losses is not None
        optimizer.zero_grad()
        losses.loss.backward()
        optimizer.step()

    return step
