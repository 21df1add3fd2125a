from __future__ import annotations

import pytest

from tests.model.mim4d.made_up_clips import small_network
from tests.model.monoddle.made_up_detection_training import small_detection_config
from tests.model.train.empty_process import launch
from tests.model.train.made_up_training import small_config

DISTILL = {"form": "laplace", "weight": 0.5}


def groups(family: str, accumulate: int) -> dict[str, object]:
    if family == "semodepth":
        return small_config(accumulate=accumulate).model_dump(mode="json")
    if family == "monoddle":
        changes = {"network": {"uncertainty": True}, "data": {"mono": True}, "distill": DISTILL}
        return small_detection_config(accumulate=accumulate, **changes).model_dump(mode="json")
    network = small_network(num_frames=2).model_dump(mode="json")
    return {
        "family": "mim4d",
        "accumulate": accumulate,
        "network": network,
        "data": {"held_out_share": 0.3},
        "learning_rate": 1e-3,
    }


@pytest.mark.slow
@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("family", ["semodepth", "monoddle"])
def test_two_processes_when_one_has_nothing_to_learn_from_then_their_weights_stay_equal(
    tiny_store, tiny_kitti_store, family, accumulate
):
    store = tiny_kitti_store if family == "monoddle" else tiny_store
    assert launch(str(store), groups(family, accumulate), num_steps=2) == 0.0


@pytest.mark.slow
@pytest.mark.parametrize("accumulate", [1, 3])
def test_two_processes_when_one_has_clips_without_points_then_their_weights_stay_equal(tmp_path, tiny_root, accumulate):
    from flows.run.bare_loop import BareLoop
    from flows.run.making import make_units
    from flows.run.opening import open_recipe
    from flows.settings import Settings
    from pipeline.recipe import parse_recipe

    recipe = {
        "source": {"kind": "nuscenes", "root": str(tiny_root), "version": "v1.0-mini"},
        "store": str(tmp_path / "store"),
        "stages": {"index_windows": {"enabled": True, "num_frames": 2}, "build_manifest": {"drop_last_keyframe": False}},
    }
    opened = open_recipe(parse_recipe(recipe, where="test"), Settings(workers=1, cache_dir=tmp_path / "cache"))
    assert make_units(opened, BareLoop(), report=False).num_failed == 0
    assert launch(str(tmp_path / "store"), groups("mim4d", accumulate), num_steps=2) == 0.0
