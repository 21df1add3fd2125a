from __future__ import annotations

import numpy as np
import pytest

from pipeline.plan import differences
from storage_schemas.lineage import Identity, SourceRef
from storage_schemas.store import Store

BASE = Identity(
    stage="clean_horizon", stage_version=1, layout="depth_clean", layout_version=1, scene="scene-0001", camera="CAM_FRONT",
    params={"near_m": 20.0, "floor_m": 10.0}, inputs={"depth_accumulated": "aa"}, source=SourceRef(release="r", digest="d"),
)  # fmt: skip


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"stage_version": 2}, ["stage version 1 -> 2"]),
        ({"layout_version": 3}, ["layout version 1 -> 3"]),
        ({"params": {"near_m": 25.0, "floor_m": 10.0}}, ["params near_m: 20.0 -> 25.0"]),
        ({"params": {"near_m": 25.0, "floor_m": 9.0}}, ["params floor_m: 10.0 -> 9.0", "params near_m: 20.0 -> 25.0"]),
        ({"inputs": {"depth_accumulated": "bb"}}, ["input depth_accumulated changed"]),
        ({"inputs": {"depth_accumulated": "aa", "depth_mono": "cc"}}, ["depth_mono added"]),
        ({"source": SourceRef(release="r", digest="e")}, ["source changed"]),
        ({}, []),
    ],
)
def test_differences_when_something_changed_then_says_what_in_words(change, words):
    assert differences(BASE, BASE.model_copy(update=change)) == words


def test_differences_when_manifest_inputs_change_then_counts_units_and_names_scenes():
    old = {f"depth_clean/scene-{k:04}/CAM_FRONT": "a" for k in range(5)} | {"frames/scene-0000/all": "x"}
    new = {f"depth_clean/scene-{k:04}/CAM_FRONT": "b" for k in range(1, 9)} | {"frames/scene-0000/all": "x"}
    found = differences(BASE.model_copy(update={"inputs": old}), BASE.model_copy(update={"inputs": new}))
    assert found == [
        "input depth_clean changed (4 units)",
        "scene-0005, scene-0006, scene-0007 and 1 more added",
        "scene-0000 removed",
    ]


def test_plan_when_index_is_new_then_worker_reads_one_scene_only(tiny_root, tmp_path):
    from pipeline.sources.nuscenes.config import NuScenesConfig
    from pipeline.sources.nuscenes.source import NuScenesSource

    source = NuScenesSource(NuScenesConfig(kind="nuscenes", root=str(tiny_root), version="v1.0-mini"), tmp_path)
    tables = source.reader().scene_tables("scene-0103")
    assert tables["scene"]["scene"] == ["scene-0103"]
    assert tables["scene"]["is_night"] == [True]
    assert tables["scene"]["split"] == ["val"]
    assert {"scene-0103" in file for file in tables["sweeps"]["file"]} == {True}


def test_release_without_annotations_when_run_then_nothing_moves_and_all_works(write_recipe, depthmill, tmp_path):
    """The official test set has empty annotation tables."""
    import json

    from tests.flows.test_cli import BARE
    from tests.tiny_nuscenes import write_tiny_nuscenes

    root = write_tiny_nuscenes(tmp_path / "data")
    for name in ("sample_annotation", "instance"):
        (root / "v1.0-mini" / f"{name}.json").write_text(json.dumps([]))
    for moving in ("keep", "drop", "carry"):
        code, text = depthmill("run", write_recipe(root, stages={"accumulate_lidar": {"moving": moving}}), *BARE)
        assert code == 0, text
    store = Store(tmp_path / "store")
    maps = [store.open_unit(path).array("depth_m") for path in store.units("depth_accumulated") if path.scene == "scene-0061"]
    assert len(maps) == 3
    assert np.array_equal(maps[0], maps[1])
    assert np.array_equal(maps[0], maps[2])


def test_differences_when_a_group_is_switched_on_or_changed_then_says_so_without_writing_it_out():
    votes = {"range_m": 80.0, "offsets": [1, 2], "far_rule": True}
    plain = BASE.model_copy(update={"stage": "accumulate_lidar", "params": {}})
    voted = plain.model_copy(update={"params": {"free_space": votes, "surface": "front", "behind_moving": "drop"}})
    assert differences(plain, voted) == [
        "params behind_moving: keep -> drop", "params free_space: off -> on", "params surface: nearest -> front"
    ]  # fmt: skip
    assert differences(voted, plain)[1] == "params free_space: on -> off"
    other = plain.model_copy(update={"params": voted.params | {"free_space": votes | {"range_m": 20.0}}})
    assert differences(voted, other) == ["params free_space.range_m: 80.0 -> 20.0"]
