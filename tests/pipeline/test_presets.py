"""Presets: they fill what a recipe leaves out, change no name of a unit, and keep what the recipe sets."""

from __future__ import annotations

import pytest

from pipeline.presets import PRESETS, filled, keys_set_by
from pipeline.recipe import Recipe, parse_recipe
from storage_schemas.errors import RecipeError

WORLD = {"source": {"kind": "synthetic", "root": "/tmp/world"}, "store": "/tmp/store"}


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
