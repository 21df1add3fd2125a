"""What every benchmark shares: its arguments, one thread, CPU time, the machine's name, and how fast its memory can be read.

Import this module first: it limits the thread pools of the numeric libraries before they start.
"""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[_name] = "1"


import argparse
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

DATA = Path(tempfile.gettempdir()) / "depthmill-benchmark"
"""Where benchmarks keep simulated data unless told otherwise."""


def arguments(description: str | None, *, data: Path = DATA) -> argparse.ArgumentParser:
    """Return a parser with what every benchmark understands: ``--data`` and ``--small``; add more options, then call `parsed`."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=data, help="folder where simulated data is kept between runs")
    parser.add_argument(
        "--small", action="store_true", help="all the steps and lines of a full run in seconds, to see that it runs; no figures"
    )
    return parser


def parsed(parser: argparse.ArgumentParser, **small: Any) -> argparse.Namespace:
    """Return the arguments of the command line, the data folder made.

    Args:
        parser: made by `arguments`.
        small: defaults that take the place of the usual ones with ``--small``; what is given on the command line still counts.
    """
    if parser.parse_known_args()[0].small:
        parser.set_defaults(**small)
        print("--small: the figures mean nothing", file=sys.stderr)
    args = parser.parse_args()
    args.data.mkdir(parents=True, exist_ok=True)
    return args


def cpu_ms(work: Callable[[], Any], *, repeat: int = 1) -> float:
    """Return the median CPU time of some work in ms; threads of this process are counted too."""
    times_ms = []
    for _ in range(repeat):
        start = time.process_time()
        work()
        times_ms.append(1e3 * (time.process_time() - start))
    return statistics.median(times_ms)


def machine() -> str:
    """Return CPU model, cores and versions in one line."""
    model = platform.processor() or "unknown CPU"
    info = Path("/proc/cpuinfo")
    if info.is_file():
        facts = dict(line.split(":", 1) for line in info.read_text().split("\n\n")[0].splitlines() if ":" in line)
        facts = {key.strip(): value.strip() for key, value in facts.items()}
        model = f"{facts.get('model name', model)} (family {facts.get('cpu family')}, model {facts.get('model')})"
    return f"{model}, {os.cpu_count()} cores, Python {platform.python_version()}, NumPy {np.__version__}"


def _fold(values):
    total = np.int64(0)
    for value in values:
        total ^= value
    return total


def read_gb_per_s(num_bytes: int = 200_000_000) -> float:
    """Return how many GB a second one core reads from memory: the best of ten passes over an array no cache holds."""
    from numba import njit  # here, because a bare GPU machine, which imports this file too, may lack it

    fold, values = njit(_fold), np.ones(num_bytes // 8, np.int64)
    fold(values)
    return num_bytes / 1e6 / min(cpu_ms(lambda: fold(values)) for _ in range(10))


def peak_rss_mb() -> float:
    """Return the peak memory of this process in MB; not ru_maxrss, which a child inherits from the process that started it."""
    status = Path("/proc/self/status")
    if status.is_file():
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM")) / 1e3
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if platform.system() == "Darwin" else 1e3)


def pixels_that_differ(measured: np.ndarray, expected: np.ndarray) -> str:
    """Say what share of the pixels valid in either map differ, and what share by more than one step of 1/256 m."""
    num_valid = np.count_nonzero((measured > 0) | (expected > 0))
    difference = np.abs(measured.astype(int) - expected)
    any_percent, more_percent = (100 * np.count_nonzero(difference > steps) / num_valid for steps in (0, 1))
    return f"{any_percent:.3f} % ({more_percent:.3f} % by > 1 step)"
