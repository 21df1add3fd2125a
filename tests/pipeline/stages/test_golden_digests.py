"""A stage whose results change must raise its version: otherwise stores would call old units up to date.

After a wanted change: raise STAGE.version, then run ``DEPTHMILL_RECORD=1 pytest tests/pipeline/stages/test_golden_digests.py``.
"""

from __future__ import annotations

import hashlib
import json
import os

import numpy as np
import pytest

from pipeline.capability import is_provided
from pipeline.recipe import parse_recipe
from pipeline.sources import open_source
from pipeline.stage import StageInput
from pipeline.stage_list import STAGES
from storage_schemas.layout import UnitData
from tests.conftest import REPOSITORY

GOLDEN = REPOSITORY / "tests" / "golden" / "tiny_stage_digests.json"
CASES = {
    "default": {},
    "carry": {"accumulate_lidar": {"moving": "carry"}},
    "keep_reference": {"accumulate_lidar": {"moving": "keep", "precision": "reference"}},
    "interpolate_and_sweeps": {
        "interpolate_depth": {"of": "depth_clean", "max_depth_ratio": 1.5, "max_points": 300},
        "project_radar": {"past_sweeps": 1, "future_sweeps": 1, "target_motion": "doppler"},
    },
    "plane_and_boxes": {
        "predict_mono_depth": {"teacher": "plane_and_boxes"},
        "clean_horizon": {"near_m": 60, "mono_disagree_m": 2},
    },
    "windows": {"index_windows": {"enabled": True, "num_frames": 2}},
    "windows_of_sweeps": {"index_windows": {"enabled": True, "num_frames": 2, "frames": "sweep"}},
    "reclean": {"clean_horizon": {"near_m": 60, "min_neighbors": 4, "floor_m": 2, "upper_fraction": 0.9}},
}


def digest_of(data: UnitData) -> str:
    total = hashlib.sha256()
    for name in sorted(data.arrays):
        values = data.arrays[name]
        if values.dtype.kind == "f":
            values = np.round(values.astype(np.float64), 6)  # the last bit of a float64 sum may differ between machines
        total.update(f"{name} {values.shape} {data.arrays[name].dtype}".encode() + np.ascontiguousarray(values).tobytes())
    total.update(json.dumps({name: data.tables[name] for name in sorted(data.tables)}, sort_keys=True, default=str).encode())
    return total.hexdigest()


def run_stages(tiny_root, cache, stages) -> dict[str, str]:
    recipe = parse_recipe(
        {"source": {"kind": "nuscenes", "root": str(tiny_root), "version": "v1.0-mini"}, "store": "unused", "stages": stages},
        where="test",
    )
    raw = open_source(recipe.source, cache).reader()
    units: dict[str, UnitData] = {}
    found = {}
    shared: dict = {}
    for stage in STAGES:
        if stage.per == "dataset" or stage.needs == "truth" or is_provided(stage.needs):
            continue
        if stage.needs == "camera_sweeps" and not recipe.source.camera_sweeps:
            continue
        is_fed = all(one.name in units for one in stage.reads if one not in stage.optional)
        if not (is_fed and stage.is_wanted(recipe.stages.params_of(stage))):
            continue
        camera = "all" if stage.per == "scene" else "CAM_FRONT"
        unit = StageInput(
            "scene-0103", camera, {one.name: units[one.name] for one in stage.reads if one.name in units}, raw, shared
        )
        units[stage.writes.name] = stage.kernel(unit, recipe.stages.params_of(stage)).data
        found[stage.name] = digest_of(units[stage.writes.name])
    return found


@pytest.mark.parametrize("case", CASES)
def test_results_when_changed_then_stage_version_must_rise(case, tiny_root, tmp_path):
    golden = json.loads(GOLDEN.read_text()) if GOLDEN.is_file() else {}
    versions = {stage.name: stage.version for stage in STAGES}
    found = {
        name: {"version": versions[name], "digest": digest}
        for name, digest in run_stages(tiny_root, tmp_path, CASES[case]).items()
    }
    if os.environ.get("DEPTHMILL_RECORD"):
        GOLDEN.write_text(json.dumps({**golden, case: found}, indent=1) + "\n")
        return
    for name, now in found.items():
        then = golden[case][name]
        assert now == then, f"{name}: results or version changed; raise STAGE.version by one, then record the digests anew"
