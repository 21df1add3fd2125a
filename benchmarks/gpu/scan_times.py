"""Claim: the Triton scan is near what reading and writing its arrays once takes.

Sizes   batch 2, 512 channels, 16 states; lengths 1450 and 5700 are the two global scans at 900x1600
Beside  the twin, a torch loop over time; Mamba's own kernel where it is installed
Floor   arrays read and written once, at the speed of a copy on this card, measured here
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import selective_scan
import torch
from torch import Tensor

from gpu.bench import Bench
from gpu.figure import Figure
from model.blocks.selective_scan import engine_choices

PASSES = {"forward": 4, "forward + backward": 11}


def figures(bench: Bench) -> Iterator[Figure]:
    """Time every engine that can be used, the fast ones first."""
    speed = copy_gb_per_s(bench)
    yield Figure("copy on the device, read and written", speed, "GB/s")
    usable = [choice.engine for choice in engine_choices(bench.device) if choice.is_usable and choice.engine != "numba"]
    for length in (9,) if bench.is_small else (1450, 5700):
        drawn = [
            x.to(bench.device) for x in selective_scan.tensors(length, channels=8 if bench.is_small else selective_scan.CHANNELS)
        ]
        for engine in usable:
            for name, work in (("forward", selective_scan.run), ("forward + backward", selective_scan.train)):
                what = f"{engine}, length {length}, {name}"
                floor = PASSES[name] * drawn[0].numel() * 4 / 1e6 / speed
                yield from bench.attempt(
                    what,
                    lambda work=work, engine=engine, what=what, floor=floor, drawn=drawn: _timed(
                        bench, work, engine, drawn, what, floor
                    ),
                )


def _timed(
    bench: Bench, work: Callable[[list[Tensor], str], object], engine: str, drawn: list[Tensor], what: str, floor: float
) -> Iterator[Figure]:
    with torch.set_grad_enabled("backward" in what):
        yield Figure(what, bench.kernels_ms(lambda: work(drawn, engine)), "ms", f"floor {floor:.3g} ms")
        if bench.is_gpu:
            yield Figure(f"{what}, memory beside its inputs", 1e3 * bench.peak_gb(lambda: work(drawn, engine), above=True), "MB")


def copy_gb_per_s(bench: Bench) -> float:
    """Return the speed of a copy on the device, counting what is read and what is written."""
    num_bytes = 2**20 if bench.is_small else 2**31
    source = torch.zeros(num_bytes, dtype=torch.uint8, device=bench.device)
    target = torch.empty_like(source)
    return 2 * num_bytes / 1e6 / bench.kernels_ms(lambda: target.copy_(source), most=10)
