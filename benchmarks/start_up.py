"""Claim: a small run waits for no Prefect, and "done in N s" is what its user waited, from the return key to the prompt.

World     a simulated one of a few scenes, made before; every stage, report included, into an empty store
Timed     whole processes, wall time, median of some runs; and the time that each printed
Ways      the bare loop, the default without a configured API; a flow of Prefect with a server of its own (``--prefect``)
"""

from __future__ import annotations

import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import measure  # isort: skip  (before numpy: it limits the thread pools)
import yaml

WAYS = {"bare loop": ("--no-prefect",), "no option, no API configured": (), "Prefect with a server of its own": ("--prefect",)}


def main() -> None:
    parser = measure.arguments(__doc__)
    parser.add_argument("--repeat", type=int, default=3)
    args = measure.parsed(parser, repeat=1)
    world, folder = (args.data / "start-up-world").absolute(), Path(tempfile.mkdtemp(dir=args.data.absolute()))
    try:
        recipe = folder / "recipe.yaml"
        seconds = 2 if args.small else 4
        source = {"kind": "synthetic", "scenes": 2, "seconds": seconds, "root": str(world)}
        recipe.write_text(yaml.safe_dump({"source": source, "store": str(folder / "store")}))
        print(measure.machine())
        _run(recipe, ("--no-prefect",), folder)  # simulates the world, compiles kernels
        for way, options in WAYS.items():
            runs = [_run(recipe, options, folder) for _ in range(args.repeat)]
            waited, printed, cpu = (
                statistics.median(values) for values in zip(*((one[0], one[1], one[2]) for one in runs), strict=True)
            )
            print(
                f"{way}: {waited:.1f} s from the start of the process to its end, {printed:.1f} s printed, {cpu:.1f} s CPU, {runs[0][3]} units"
            )
    finally:
        shutil.rmtree(folder)


def _run(recipe: Path, options: tuple[str, ...], folder: Path) -> tuple[float, float, float, int]:
    """Return the seconds that a run took, those that it printed, its CPU time with all that it started, and its units."""
    shutil.rmtree(folder / "store", ignore_errors=True)
    environment = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    environment |= {
        "DEPTHMILL_CACHE_DIR": str(folder / "cache"),
        "DEPTHMILL_WORKERS": "2",
        "PREFECT_HOME": str(folder / "prefect"),
    }
    command = [sys.executable, "-c", "from flows.cli import main; main()", "run", str(recipe), *options]
    before, start = os.times(), time.perf_counter()
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True)
    waited, after = time.perf_counter() - start, os.times()
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}: {done.stdout}{done.stderr}")
    said = re.search(r"(?m)^done: (\d+) ok in ([\d.]+) (s|min)\.", done.stdout)
    assert said is not None, done.stdout
    printed = float(said[2]) * (60 if said[3] == "min" else 1)
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return waited, printed, cpu, int(said[1])


if __name__ == "__main__":
    main()
