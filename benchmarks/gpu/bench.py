"""Where a part runs, and how it is timed there.

Clocks  A GPU works behind the host's back. ``latency_ms`` waits for it before and after each call: what a user waits for, with the
        time that the host takes to start kernels. ``kernels_ms`` reads the GPU's own clock around calls that are queued behind a
        large write, so that neither starts nor a warm cache count; it is for single operations.
Errors  ``attempt`` keeps what one measurement throws, out of memory too, from the rest of the part
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from gpu.figure import Figure, in_one_line

FLUSH_BYTES = 256 * 2**20
"""More than any GPU's second-level cache."""


@dataclass(frozen=True)
class Bench:
    """Where a part runs.

    Attributes:
        device: the GPU; the CPU in a rehearsal.
        is_small: sizes that take seconds, whose figures mean nothing.
        data: folder for what is written, kept between parts.
        ends_at: when the part's time is over, by ``time.monotonic``.
    """

    device: torch.device
    is_small: bool
    data: Path
    ends_at: float

    @property
    def is_gpu(self) -> bool:
        """Say whether this is no rehearsal on a CPU."""
        return self.device.type == "cuda"

    @property
    def seconds_left(self) -> float:
        """Return how much of the part's time is left."""
        return self.ends_at - time.monotonic()

    def wait(self) -> None:
        """Wait until the device has done all that it was given."""
        if self.is_gpu:
            torch.cuda.synchronize(self.device)

    def latency_ms(self, work: Callable[[], Any], *, most: int = 50, seconds: float = 2.0) -> float:
        """Return the median wall time of a call, the device waited for; a few calls before are not counted."""
        return statistics.median(self._repeated(lambda: self._one_latency_ms(work), most=most, seconds=seconds))

    def kernels_ms(self, work: Callable[[], Any], *, most: int = 50, seconds: float = 1.0) -> float:
        """Return the median time of a call by the GPU's clock, caches cold; on a CPU the wall time."""
        if not self.is_gpu:
            return self.latency_ms(work, most=most, seconds=seconds)
        flush = torch.empty(FLUSH_BYTES, dtype=torch.uint8, device=self.device)

        def one_ms() -> float:
            first, last = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            flush.zero_()
            first.record()
            work()
            last.record()
            torch.cuda.synchronize(self.device)
            return first.elapsed_time(last)

        return statistics.median(self._repeated(one_ms, most=most, seconds=seconds))

    def _one_latency_ms(self, work: Callable[[], Any]) -> float:
        self.wait()
        start = time.perf_counter()
        work()
        self.wait()
        return 1e3 * (time.perf_counter() - start)

    def _repeated(self, one_ms: Callable[[], float], *, most: int, seconds: float) -> list[float]:
        if self.is_small:
            return [one_ms()]
        for _ in range(3):  # compiles, chooses algorithms, takes memory
            first = time.perf_counter()
            one_ms()
            took = time.perf_counter() - first
        return [one_ms() for _ in range(max(3, min(most, int(seconds / max(took, 1e-6)))))]

    def peak_gb(self, work: Callable[[], Any], *, above: bool = False) -> float:
        """Return the most memory that tensors held during a call, on the GPU; NaN on a CPU, where nobody counts it.

        Args:
            work: the call.
            above: less what they held before.
        """
        if not self.is_gpu:
            work()
            return float("nan")
        self.give_back()
        torch.cuda.reset_peak_memory_stats(self.device)
        before = torch.cuda.memory_allocated(self.device) if above else 0
        work()
        self.wait()
        return (torch.cuda.max_memory_allocated(self.device) - before) / 1e9

    def give_back(self) -> None:
        """Free what nothing refers to any more."""
        gc.collect()
        if self.is_gpu:
            torch.cuda.empty_cache()

    def attempt(self, what: str, work: Callable[[], Iterable[Figure]]) -> Iterator[Figure]:
        """Yield the figures of one measurement; if it fails, a figure that says why, and the part goes on.

        Raises:
            Exception: the GPU itself has failed, so that nothing after it can work; it is the error of the measurement.
        """
        failed = ""
        try:
            yield from work()
        except Exception as error:  # anything may go wrong on a machine that nobody has seen
            failed = in_one_line(error)
            if isinstance(error, torch.cuda.OutOfMemoryError):
                failed = f"out of memory: {failed}"
            self._fail_if_lost(error)
        if failed:  # outside, where the error and the tensors of its frames are gone
            self.give_back()
            yield Figure(what, why=failed)

    def _fail_if_lost(self, error: Exception) -> None:
        try:
            self.wait()
        except Exception:
            raise error from None
