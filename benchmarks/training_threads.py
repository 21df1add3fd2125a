"""Claim: a training on one thread is equal to the bit on any machine, and two at once do not stall each other.

Measured  the fastest and the middle step of a small SemoDepth training, alone and two at once, by threads and by how OpenMP waits
Beside    the last loss of each, which is the same where the weights are
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time

WAYS = {"spinning": {"OMP_WAIT_POLICY": "ACTIVE"}, "sleeping": {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"}}


def child(threads: int, steps: int, size: tuple[int, int]) -> None:
    """Train on random images and print the seconds of each step and the last loss; runs in a process of its own."""
    import torch

    from model.semodepth.config import SemoDepthTrainConfig
    from model.semodepth.net import SemoDepth
    from model.semodepth.network_config import SemoDepthConfig
    from model.train.repeatable import repeatable

    with repeatable(SemoDepthTrainConfig(cpu_threads=threads), "cpu"):
        torch.manual_seed(0)
        network = SemoDepth(SemoDepthConfig(base_channels=16, input_downscale=3)).to(memory_format=torch.channels_last).train()
        optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
        height, width = size
        image = torch.randint(0, 256, (4, height, width, 3), dtype=torch.uint8)
        radar = (
            torch.zeros(4, height * width).scatter_(1, torch.randint(0, height * width, (4, 60)), 20.0).reshape(4, height, width)
        )
        seconds, loss = [], torch.zeros(())
        for _ in range(steps + 1):
            start = time.perf_counter()
            loss = (network(image, radar, None) - 0.5).abs().mean()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            seconds.append(time.perf_counter() - start)
    print(json.dumps({"seconds": sorted(seconds[1:]), "loss": loss.item()}))


def measured(threads: int, *, way: str, at_once: int, steps: int, small: bool) -> list[dict[str, object]]:
    """Return what each of several trainings at once says."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    command = [sys.executable, __file__, "--child", str(threads), str(steps), "small" if small else "full"]
    processes = [
        subprocess.Popen(command, env={**environment, **WAYS[way]}, stdout=subprocess.PIPE, text=True) for _ in range(at_once)
    ]
    return [json.loads(process.communicate()[0].splitlines()[-1]) for process in processes]


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        threads, steps, size = sys.argv[2:5]
        child(int(threads), int(steps), (90, 160) if size == "small" else (450, 800))
        return
    import measure

    parser: argparse.ArgumentParser = measure.arguments(__doc__)
    parser.add_argument("--steps", type=int, default=12)
    args = measure.parsed(parser)
    print(f"{measure.machine()}\n")
    print("| threads | waiting | trainings at once | fastest step s | middle step s | last loss |")
    print("|---|---|---|---|---|---|")
    steps = 2 if args.small else args.steps
    rows = [(1, "sleeping"), (2, "spinning"), (2, "sleeping")] + ([] if args.small else [(4, "spinning"), (4, "sleeping")])
    for threads, way in rows:
        for at_once in (1, 2):
            found = measured(threads, way=way, at_once=at_once, steps=steps, small=args.small)
            first = " / ".join(f"{one['seconds'][0]:.2f}" for one in found)
            middle = " / ".join(f"{one['seconds'][len(one['seconds']) // 2]:.2f}" for one in found)
            losses = ", ".join(sorted({f"{one['loss']:.9f}" for one in found}))
            print(f"| {threads} | {way} | {at_once} | {first} | {middle} | {losses} |", flush=True)


if __name__ == "__main__":
    main()
