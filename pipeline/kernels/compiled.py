"""Whether this machine has compiled the kernels already, which the first run waits for."""

from __future__ import annotations

from pathlib import Path

from pipeline.kernels import accumulate


def are_compiled() -> bool:
    """Say whether numba has kept machine code of the accumulating kernels, which every run of LiDAR data needs."""
    source = Path(accumulate.__file__)
    cache = Path(accumulate.project_nearest.stats.cache_path or "")
    try:
        written = [index.stat().st_mtime for index in cache.glob(f"{source.stem}.*.nbi")]
    except OSError:
        return False
    return max(written, default=0.0) >= source.stat().st_mtime
