from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import pytest

from pipeline.assessment import variants
from pipeline.recipe import parse_recipe
from pipeline.stages import accumulate_lidar, clean_horizon
from storage_schemas.errors import RecipeError

SOURCE = {"kind": "nuscenes", "root": "/data", "version": "v1.0-mini"}


def recipe(**stages: Any) -> Any:
    return parse_recipe({"source": SOURCE, "store": "/store", "stages": stages}, where="test")


@pytest.fixture
def with_additions(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Two params of the accumulation stand for additions, whatever additions there are."""
    later: Mapping[str, Any] = MappingProxyType({"neighbors": "sweeps", "movable": (), "num_sweeps": 160, "moving_mps": 0.5})
    monkeypatch.setattr(accumulate_lidar.Params, "added_later", later)
    monkeypatch.setattr(clean_horizon.Params, "added_later", MappingProxyType({"floor_m": 10.0}))


def test_additions_when_the_recipe_has_its_defaults_then_there_are_none():
    assert variants.additions_of(recipe()) == ()
    assert variants.published(recipe()) == recipe()


def test_additions_when_what_data_there_is_was_chosen_then_it_is_none():
    assert variants.additions_of(recipe(accumulate_lidar={"neighbors": "keyframes", "movable": ["robot"]})) == ()


def test_additions_when_some_are_on_then_each_can_be_left_out_or_stand_alone(with_additions):
    changed = recipe(accumulate_lidar={"num_sweeps": 80, "moving_mps": 1.0, "moving": "keep"}, clean_horizon={"floor_m": 5.0})
    assert variants.additions_of(changed) == ("num_sweeps", "moving_mps", "floor_m")
    published = variants.published(changed)
    assert published.stages.accumulate_lidar == accumulate_lidar.Params(moving="keep")
    assert published.stages.clean_horizon == clean_horizon.Params()
    assert variants.additions_of(variants.without(changed, "moving_mps")) == ("num_sweeps", "floor_m")
    assert variants.additions_of(variants.only(changed, "floor_m")) == ("floor_m",)


def test_additions_when_one_needs_another_then_they_go_and_come_together(with_additions, monkeypatch):
    monkeypatch.setattr(variants, "NEEDS", {"moving_mps": "num_sweeps"})
    changed = recipe(accumulate_lidar={"num_sweeps": 80, "moving_mps": 1.0})
    assert variants.additions_of(variants.without(changed, "num_sweeps")) == ()
    assert variants.additions_of(variants.only(changed, "moving_mps")) == ("num_sweeps", "moving_mps")


def test_additions_when_one_stores_what_another_tells_then_goes_with_it_and_is_none_itself(with_additions, monkeypatch):
    monkeypatch.setattr(variants, "NO_DEPTH", frozenset({"moving_mps"}))
    monkeypatch.setattr(variants, "NEEDS", {"moving_mps": "num_sweeps"})
    changed = recipe(accumulate_lidar={"num_sweeps": 80, "moving_mps": 1.0}, clean_horizon={"floor_m": 5.0})
    assert variants.additions_of(changed) == ("num_sweeps", "floor_m")
    assert variants.without(changed, "num_sweeps").stages.accumulate_lidar.moving_mps == 0.5
    assert variants.without(changed, "floor_m").stages.accumulate_lidar.moving_mps == 1.0


def test_variants_when_the_rest_is_refused_then_says_why(with_additions, monkeypatch):
    def refuse(values: Any) -> Any:
        return clean_horizon.Params(window_px=2)

    monkeypatch.setattr(accumulate_lidar.Params, "model_validate", refuse)
    with pytest.raises(
        RecipeError, match="with no other additions than none cannot be assessed: stages.accumulate_lidar: .*must be odd"
    ):
        variants.published(recipe(accumulate_lidar={"num_sweeps": 80}))


def test_names_when_the_stages_are_looked_at_then_every_addition_has_a_published_default():
    class Nothing:
        added_later: ClassVar[Mapping[str, Any]] = {}

    for stage in variants.STAGES_WITH_ADDITIONS:
        for name, default in getattr(stage.params, "added_later", Nothing.added_later).items():
            assert getattr(stage.params(), name) == default, name
