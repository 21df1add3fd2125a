"""Two simulated drives and all that a recipe makes of them: what accumulation, the loader and the training work on.

Made on the CPU, once, below the data folder. It is begun first, beside the parts that use the GPU, where there are cores enough.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

import stage_runs
import world

from gpu.figure import Figure
from pipeline.run import run_manifest
from pipeline.sources.synthetic import version_name
from pipeline.sources.synthetic.config import scene_names
from storage_schemas.manifest import Manifest, open_manifest

if TYPE_CHECKING:
    from gpu.bench import Bench

SECONDS = 20.0
"""Of a drive, as in nuScenes: 40 key frames, windows of 160 sweeps."""


def figures(bench: Bench) -> Iterator[Figure]:
    """Make the drives, if they are not there."""
    yield Figure("frames to train and to measure on", len(made(bench).rows()))


def opened(bench: Bench) -> stage_runs.StageRuns:
    """Return the recipe over both drives, one to train on and one to measure on."""
    seconds = world.SMALL_SECONDS if bench.is_small else SECONDS
    root, params = world.simulated_world(bench.data, small=bench.is_small, seconds=seconds, scenes=2)
    trained, measured = scene_names(params)
    splits = root / version_name(params) / "splits.json"  # the release's own, because the devkit may not be installed
    splits.write_text(json.dumps({"train": [trained], "val": [measured]}))
    return stage_runs.open_runs((root, params), bench.data / f"store{'-small' if bench.is_small else ''}", bench.data)


def made(bench: Bench) -> Manifest:
    """Make what is missing; return the manifest of all of it."""
    runs = opened(bench)
    for request in runs.requests():
        stage_runs.run_whole(request)
    for result in run_manifest(runs.plan, runs.recipe, runs.store, runs.source.reader(), []):
        if result.status != "OK":
            raise RuntimeError(f"{result.stage}: {result.message}")
    return open_manifest(runs.store, runs.plan.manifest.path.fingerprint)
