"""Claim: SemoDepth runs and trains on a CPU at the speed of its convolutions; the scan is no longer what costs.

Network  38.1 M parameters, default options, random weights, one image with 80 radar returns
Ways     the readable scan and the numba scan; channels-last memory; bfloat16 autocast. Each in a process of its own
Time     wall seconds on all cores (two here), median; memory is the peak of the process
GPU      if there is one: latency in bfloat16, peak memory, a training step, for each usable scan engine
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

THREADS = os.cpu_count() or 1
if "--child" in sys.argv:  # all cores: the threads must be asked for before torch starts
    os.environ["OMP_NUM_THREADS"] = str(THREADS)

import torch

from model.blocks.full_precision import full_precision
from model.blocks.selective_scan import engine_choices, forced_engine
from model.semodepth.loss import composite_loss
from model.semodepth.net import SemoDepth
from model.semodepth.network_config import SemoDepthConfig

SIZES = {"64x96": (64, 96), "288x512": (288, 512), "900x1600": (900, 1600)}
WAYS = ("twin", "numba", "numba channels_last", "numba channels_last bf16")


def main() -> None:
    import measure

    parser = measure.arguments(__doc__)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=["288x512", "900x1600"])
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--no-train", action="store_true", help="forward only")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = measure.parsed(parser, sizes=["64x96"], repeat=1)
    if args.child:
        print(json.dumps(_measure(**json.loads(args.child))))
        return
    print(f"{measure.machine()}, torch {torch.__version__}, {THREADS} threads")
    print("| size | work | way | s | peak MB |\n|---|---|---|---|---|")
    for size in args.sizes:
        for work in ("forward",) if args.no_train or size == "900x1600" else ("forward", "training step"):
            for way in WAYS:
                measured = _in_child(size=size, work=work, way=way, device="cpu", repeat=args.repeat)
                print(f"| {size} | {work} | {way} | {measured['seconds']:.2f} | {measured['peak_mb']:.0f} |", flush=True)
    if not torch.cuda.is_available():
        print("no GPU here: the GPU rows are missing")
        return
    print(torch.cuda.get_device_name())
    for choice in engine_choices(torch.device("cuda")):
        for work in ("forward", "training step"):
            if choice.is_usable and choice.engine != "twin":
                way = f"{choice.engine} channels_last bf16"
                measured = _in_child(size="900x1600", work=work, way=way, device="cuda", repeat=20)
                print(f"| 900x1600 | {work} | {way} | {measured['seconds']:.4f} | {measured['peak_mb']:.0f} |", flush=True)


def _in_child(**what: Any) -> dict[str, float]:
    command = [sys.executable, __file__, "--child", json.dumps(what)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def _measure(size: str, work: str, way: str, device: str, repeat: int) -> dict[str, float]:
    seconds = _seconds(work_of(size, work, way, device), device, repeat)
    if device == "cuda":
        return {"seconds": seconds, "peak_mb": torch.cuda.max_memory_allocated() / 1e6}
    import measure

    return {"seconds": seconds, "peak_mb": measure.peak_rss_mb()}


def work_of(
    size: str, work: str, way: str, device: str, *, batch: int = 1, base_channels: int = 64, compiler: str = "inductor"
) -> Callable[[], object]:
    """Return a call that predicts random frames, or makes a training step of them.

    Args:
        size: of SIZES.
        work: forward or training step.
        way: a scan engine or auto, then any of channels_last, bf16 (autocast), exact (nothing is rounded to TF32) and compile.
        device: cpu or cuda.
        batch: frames.
        base_channels: of the network; 64 is the published one.
        compiler: backend of torch.compile.
    """
    torch.manual_seed(0)
    height, width = SIZES[size]
    engine, *options = way.split()
    network = SemoDepth(SemoDepthConfig(base_channels=base_channels)).to(device)
    if "channels_last" in options:
        network = network.to(memory_format=torch.channels_last)
    if "compile" in options:
        network.compile(backend=compiler)
    image, radar, target = made_up_frames(batch, height, width, device=device)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)

    def step() -> None:
        losses = composite_loss(network(image, radar), target, target, space=network.depth_space)
        assert losses is not None
        optimizer.zero_grad()
        losses.loss.backward()
        optimizer.step()

    def forward() -> None:
        network.predict(image, radar)

    def run() -> None:
        exact = full_precision(device) if "exact" in options else nullcontext()
        with exact, forced_engine(engine), torch.autocast(device, torch.bfloat16, enabled="bf16" in options):
            (step if work == "training step" else forward)()

    return run


def made_up_frames(
    batch: int, height: int, width: int, *, device: str = "cpu"
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return random images (batch, height, width, 3), radar maps of 80 returns and dense targets, metres."""
    image = torch.randint(0, 256, (batch, height, width, 3), dtype=torch.uint8, device=device)
    radar = torch.zeros(batch, height, width, device=device)
    for one in radar:
        one[torch.randint(0, height, (80,)), torch.randint(0, width, (80,))] = torch.rand(80, device=device) * 100 + 1
    return image, radar, torch.rand(batch, height, width, device=device) * 100 + 1


def _seconds(work: Callable[[], None], device: str, repeat: int) -> float:
    times_s = []
    for _ in range(repeat + 1):
        start = time.perf_counter()
        work()
        if device == "cuda":
            torch.cuda.synchronize()
        times_s.append(time.perf_counter() - start)
    return statistics.median(times_s[1:])  # the first one compiles


if __name__ == "__main__":
    main()
