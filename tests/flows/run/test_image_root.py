from __future__ import annotations

from flows.run.opening import open_recipe
from flows.run.training import machine_of
from flows.settings import Settings
from pipeline.recipe import parse_recipe


def test_machine_when_the_recipe_leaves_the_root_of_a_world_to_its_source_then_networks_read_files_there(tmp_path):
    recipe = parse_recipe({"source": {"kind": "synthetic", "scenes": 1}, "store": str(tmp_path / "store")}, where="test")
    opened = open_recipe(recipe, Settings(cache_dir=tmp_path / "cache"))
    assert recipe.source.root is None
    root = machine_of(opened).image_root
    assert root == str(opened.source.root)
    assert root.startswith(str(tmp_path / "cache"))
