"""The simulated drive that several benchmarks use: 20 s at nuScenes size, written once."""

from __future__ import annotations

from pathlib import Path

from pipeline.sources.synthetic import SyntheticParams, is_complete, write_world

AZIMUTH_STEPS = 1150
"""Gives about 34,700 returns a sweep in the simulated world, as nuScenes has."""


def simulated_world(data: Path) -> tuple[Path, SyntheticParams]:
    """Return root and parameters of the drive, writing it below a folder on first use (265 MB, 15 s)."""
    params = SyntheticParams(scenes=1, seconds=20.0, lidar_azimuth_steps=AZIMUTH_STEPS)
    root = data / "world-20s"
    if not is_complete(params, root):
        write_world(params, root)
    return root, params
