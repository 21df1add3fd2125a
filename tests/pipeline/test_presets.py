"""Presets: they fill what a recipe leaves out, change no name of a unit, and keep what the recipe sets."""

from __future__ import annotations

import pytest

from pipeline.presets import PRESETS, filled, keys_set_by
from pipeline.recipe import Recipe, parse_recipe, wanted_files
from storage_schemas.errors import RecipeError

WORLD = {"source": {"kind": "synthetic", "root": "world"}, "store": "store"}


def recipe_with(**keys: object) -> Recipe:
    return parse_recipe({**WORLD, **keys}, where="test")


def test_recipe_when_its_preset_is_published_then_the_one_without_a_preset():
    assert recipe_with(preset="published").stages == recipe_with().stages


def test_recipe_when_it_has_a_preset_then_its_own_keys_go_before_it():
    data = {"stages": {"clean_horizon": {"near_m": 12.0}}}
    assert filled(data, {"stages": {"clean_horizon": {"near_m": 20.0, "floor_m": 5.0}, "other": {"a": 1}}}) == {
        "stages": {"clean_horizon": {"near_m": 12.0, "floor_m": 5.0}, "other": {"a": 1}}
    }


def test_preset_when_a_group_is_null_in_the_recipe_then_it_stays_null():
    assert filled({"group": None}, {"group": {"a": 1}}) == {"group": None}


def test_preset_when_unknown_then_the_error_names_those_there_are():
    with pytest.raises(RecipeError, match="preset is 'surfaces': Input should be 'published' or 'surface'"):
        recipe_with(preset="surfaces")


def test_keys_of_a_preset_when_asked_for_then_those_of_the_stage():
    assert keys_set_by("published", stage="accumulate_lidar") == frozenset()
    assert keys_set_by("surface", stage="accumulate_lidar") == set(PRESETS["surface"]["stages"]["accumulate_lidar"])


@pytest.mark.parametrize("value", [False, True, 3, [], "none"])
@pytest.mark.parametrize(
    ("stage", "group"), [("accumulate_lidar", "free_space"), ("accumulate_lidar", "poses"), ("clean_horizon", "occluded")]
)
def test_optional_group_when_it_is_no_group_then_the_error_says_how_it_is_switched(stage, group, value):
    with pytest.raises(RecipeError, match=r"expected a group of keys, \{\} for its defaults, or null to switch it off$"):
        recipe_with(preset="surface", stages={stage: {group: value}})
    assert getattr(getattr(recipe_with(preset="surface", stages={stage: {group: None}}).stages, stage), group) is None


def test_stage_when_its_keys_are_left_out_below_its_name_then_the_error_says_what_to_write():
    with pytest.raises(RecipeError, match=r"accumulate_lidar is None: expected a group of keys, \{\} for its defaults$"):
        recipe_with(stages={"accumulate_lidar": None})


def test_preset_when_its_surface_is_set_back_then_the_remedies_of_the_error_work():
    with pytest.raises(RecipeError, match="Set surface: front, or least_front_share: 0"):
        recipe_with(preset="surface", stages={"accumulate_lidar": {"surface": "nearest"}})
    assert recipe_with(preset="surface", stages={"accumulate_lidar": {"surface": "nearest", "least_front_share": 0}})
    with pytest.raises(RecipeError, match="preset: published and leave them out"):
        recipe_with(preset="surface", stages={"accumulate_lidar": {"precision": "reference"}})
    assert recipe_with(preset="published", stages={"accumulate_lidar": {"precision": "reference"}})


def test_own_car_when_yes_then_refused_instead_of_taken_for_a_metre():
    with pytest.raises(RecipeError, match="own_car_m is true: expected a number"):
        recipe_with(stages={"accumulate_lidar": {"own_car_m": True}})


def test_window_of_one_sweep_when_nothing_votes_then_sweeps_between_key_frames_are_not_needed():
    one = {"num_sweeps": 1}
    assert wanted_files(recipe_with(stages={"accumulate_lidar": one})).of_channel["LIDAR_TOP"] == "keyframes"
    assert wanted_files(recipe_with(preset="surface", stages={"accumulate_lidar": one})).of_channel["LIDAR_TOP"] == "all"
