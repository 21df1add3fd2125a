"""The simulated drives that several benchmarks use: 20 s at nuScenes size unless something else is asked for, written once."""

from __future__ import annotations

import os
from pathlib import Path

from pipeline.sources.synthetic import SyntheticParams, is_complete, write_world
from pipeline.sources.synthetic.config import CAMERA_CHANNELS

AZIMUTH_STEPS = 1150
"""Gives about 34,700 returns a sweep in the simulated world, as nuScenes has."""

SMALL_AZIMUTH_STEPS = 100
SMALL_IMAGE = (320, 180)
SMALL_SECONDS = 3.0
"""Gives six key frames, of which a manifest keeps five: enough for a batch of four."""


def simulated_world(
    data: Path, *, small: bool = False, seconds: float | None = None, scenes: int = 1, num_cameras: int = 1
) -> tuple[Path, SyntheticParams]:
    """Return root and parameters of a world, writing it below a folder on first use (20 s, one camera: 265 MB, 15 s).

    Args:
        data: folder that keeps worlds between runs.
        small: images of 320x180 and 3,000 returns a sweep: written in half a second, for ``--small``.
        seconds: length of a scene; 20 s, or 3 s if small, unless given.
        scenes: number of scenes, simulated on all cores.
        num_cameras: the front camera and as many of its neighbours, clockwise.
    """
    length = seconds if seconds is not None else SMALL_SECONDS if small else 20.0
    params = SyntheticParams(
        scenes=scenes,
        seconds=length,
        cameras=CAMERA_CHANNELS[:num_cameras],
        lidar_azimuth_steps=SMALL_AZIMUTH_STEPS if small else AZIMUTH_STEPS,
        image_size=SMALL_IMAGE if small else SyntheticParams.model_fields["image_size"].default,
    )
    parts = [f"world-{length:g}s", *([f"{scenes}-scenes"] if scenes > 1 else []), *(["small"] if small else [])]
    root = data / "-".join([*parts, *([f"{num_cameras}-cameras"] if num_cameras > 1 else [])])
    if not is_complete(params, root):
        write_world(params, root, num_workers=os.cpu_count() or 1)
    return root, params
