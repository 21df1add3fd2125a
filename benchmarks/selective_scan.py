"""Claim: on one CPU thread the numba scan is 9 times faster forward, and 8 times forward and backward, than readable torch.

Inputs   random, batch 2, 512 channels, 16 states; lengths 1450 and 5700 are the two global scans at 900x1600
Theirs   the twin: a torch loop over time with exp and products taken outside the loop, backward by autograd (no indexing)
Ours     the numba engine, softplus, skip and gate included on both sides
Memory   growth of the process's peak while it runs, each way in a process of its own
Floor    u, delta, z read and y written once; backward: four read, three written
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys

import measure  # isort: skip  (before numpy and torch: it limits the thread pools)
import torch
from torch import Tensor

from model.blocks.selective_scan import selective_scan

BATCH, CHANNELS, STATES = 2, 512, 16


def main() -> None:
    parser = measure.arguments(__doc__)
    parser.add_argument("--lengths", type=int, nargs="+", default=[1450, 5700])
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)  # the child process: engine, length
    args = measure.parsed(parser, lengths=[50], repeat=1)
    torch.set_num_threads(1)
    if args.memory_of:
        engine, length = args.memory_of.split(",")
        print(json.dumps(_memory_mb(engine, int(length))))
        return
    print(f"{measure.machine()}, torch {torch.__version__}, one thread")
    speed = measure.read_gb_per_s()
    print(
        "| length | | twin ms | numba ms | ratio | floor ms | twin MB | numba MB | ratio |\n|---|---|---|---|---|---|---|---|---|"
    )
    for length in args.lengths:
        drawn = tensors(length)
        memory = {engine: _memory_in_child(engine, length) for engine in ("twin", "numba")}
        for word, is_training, passes in (("forward", False, 4), ("forward + backward", True, 11)):
            ms = {engine: _cpu_ms(drawn, engine, is_training, args.repeat) for engine in ("twin", "numba")}
            mb = {engine: memory[engine][word] for engine in memory}
            floor = passes * BATCH * length * CHANNELS * 4 / 1e6 / speed
            print(
                f"| {length} | {word} | {ms['twin']:.0f} | {ms['numba']:.1f} | **{ms['twin'] / ms['numba']:.1f}x** | {floor:.2f} "
                f"| {mb['twin']:.0f} | {mb['numba']:.0f} | {mb['twin'] / max(mb['numba'], 0.1):.1f}x |"
            )
        exact = run([x.double() for x in drawn], "twin")
        errors = {engine: float((run(drawn, engine) - exact).abs().max() / exact.abs().max()) for engine in ("twin", "numba")}
        print(f"length {length}: largest error against float64, relative to the largest output: {errors}")


def tensors(length: int, *, batch: int = BATCH, channels: int = CHANNELS, states: int = STATES) -> list[Tensor]:
    """Return u, delta, a, b, c, d, z and the bias of delta, random, on the CPU."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    u, delta, z = draw(batch, length, channels), draw(batch, length, channels) - 3, draw(batch, length, channels)
    b, c = draw(batch, length, states), draw(batch, length, states)
    a = -torch.arange(1.0, states + 1).repeat(channels, 1)
    return [u, delta, a, b, c, draw(channels), z, draw(channels)]


def run(drawn: list[Tensor], engine: str) -> Tensor:
    """Scan forward."""
    u, delta, a, b, c, d, z, bias = drawn
    return selective_scan(u, delta, a, b, c, d=d, z=z, delta_bias=bias, engine=engine)


def train(drawn: list[Tensor], engine: str) -> None:
    """Scan forward and backward."""
    leaves = [x.detach().requires_grad_() for x in drawn]
    run(leaves, engine).sum().backward()


def _cpu_ms(drawn: list[Tensor], engine: str, is_training: bool, repeat: int) -> float:
    work = train if is_training else run
    work(drawn, engine)
    return measure.cpu_ms(lambda: work(drawn, engine), repeat=repeat)


def _memory_in_child(engine: str, length: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--memory-of", f"{engine},{length}"]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _memory_mb(engine: str, length: int) -> dict[str, float]:
    train(tensors(3), engine)  # compile first
    drawn, growth_mb = tensors(length), {}
    for way, work in (("forward", run), ("forward + backward", train)):
        before = measure.peak_rss_mb()
        work(drawn, engine)
        growth_mb[way] = max(measure.peak_rss_mb() - before, 0.0)
    growth_mb["forward + backward"] += growth_mb["forward"]  # the peak of a process only grows, so the two growths add up
    return growth_mb


if __name__ == "__main__":
    main()
