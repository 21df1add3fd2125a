"""The published rows of the real drives: what the published recipe gives with the key sweep held out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.assessment.assess import Contender, assess_frames, sampled_frames
from pipeline.kernels.depth_errors import ErrorCounts, Groups, add_groups
from pipeline.plan import make_plan
from pipeline.recipe import parse_recipe
from pipeline.sources import open_source
from storage_schemas.store import Store

pytestmark = pytest.mark.real_data


def measured(root: Path, folder: Path, **choices: Any) -> tuple[ErrorCounts, Groups]:
    data = {"source": {"kind": "nuscenes", "root": str(root), "version": "v1.0-mini"}, "store": str(folder / "store")}
    recipe = parse_recipe({**data, "stages": {"accumulate_lidar": {"moving": "drop"}}}, where="test")
    source = open_source(recipe.source, folder / "cache")
    plan, store, raw = make_plan(recipe, source, Store(recipe.store)), Store(recipe.store), source.reader()
    groups: Groups = {}
    frames = sampled_frames(plan, raw, (), most=999)
    for of_frame in assess_frames([Contender("it", recipe, plan)], frames, store, raw, against="sweep", **choices):
        groups = add_groups(groups, of_frame[-1].groups)
    return groups["all", "all"].plain, groups


def test_kitti_when_the_key_sweep_is_held_out_then_gives_the_published_row(shared, tmp_path):
    counts, groups = measured(shared / "data/kitti0001-as-nuscenes", tmp_path)
    assert 100 * counts.coverage == pytest.approx(57.8, abs=0.1)
    assert 100 * counts.near_share == pytest.approx(1.48, abs=0.1)
    assert 100 * counts.far_share == pytest.approx(0.060, abs=0.005)
    assert counts.signed_m == pytest.approx(-0.60, abs=0.01)
    assert counts.mae_m == pytest.approx(0.651, abs=0.005)
    assert 100 * counts.bad_near_share == pytest.approx(24.9, abs=0.5)
    assert groups["class", "vehicle.car"].plain.compared > 1000


def test_aimotive_when_the_key_sweep_and_its_neighbours_are_held_out_then_gives_about_the_published_row(shared, tmp_path):
    counts, _ = measured(shared / "data/aimotive-as-nuscenes", tmp_path, neighbours=1)
    assert 100 * counts.coverage == pytest.approx(11, abs=0.5)
    assert 100 * counts.near_share == pytest.approx(14.3, abs=1.2)  # the window that hides what lies behind is not published
    assert 100 * counts.far_share == pytest.approx(8.7, abs=0.6)
    assert counts.mae_m == pytest.approx(1.85, abs=0.1)
