"""The JSON schema of a recipe takes what a plan takes, and marks what a plan refuses."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import jsonschema
import pytest
import yaml

from flows.new_recipe.schema import SCHEMA_FILE, recipe_schema
from tests.conftest import REPOSITORY

RECIPES = sorted((REPOSITORY / "flows" / "recipes").glob("*.yaml"))


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    schema = recipe_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def faults(validator: jsonschema.Draft202012Validator, recipe: Mapping[str, Any]) -> list[str]:
    return [f"{'.'.join(map(str, error.path))}: {error.message}" for error in validator.iter_errors(recipe)]


@pytest.mark.parametrize("file", RECIPES, ids=lambda file: file.stem)
def test_recipe_when_it_is_one_of_ours_then_the_schema_takes_it(file, validator):
    assert faults(validator, yaml.safe_load(file.read_text())) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"stors": "x"}, "'stors' was unexpected"),
        ({"source": {"kind": "nuscene", "root": "x", "version": "y"}}, "source: "),
        ({"stages": {"clean_horizon": {"near": 20}}}, "stages.clean_horizon: Additional properties are not allowed ('near' was"),
        ({"stages": {"accumulate_lidar": {"moving": "dropped"}}}, "stages.accumulate_lidar.moving: 'dropped' is not one of"),
        ({"train": {"epoch": 3}}, "train: Additional properties are not allowed ('epoch' was unexpected)"),
        ({"train": {"family": "monodle"}}, "train.family: 'monodle' is not one of"),
        ({"train": {"family": "monoddle", "loss": {}}}, "train: Additional properties are not allowed ('loss' was unexpected)"),
        ({"train": {"family": "mim4d", "data": {"batch_size": 0}}}, "train.data.batch_size: 0 is less than the minimum of 1"),
        ({"retrain": {"margin": -1}}, "retrain.margin: -1 is less than the minimum of 0"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_recipe_when_a_key_is_wrong_then_the_schema_says_where(change, words, validator):
    sound = {"source": {"kind": "nuscenes", "root": "x", "version": "v1.0-mini"}, "store": "y"}
    assert faults(validator, sound) == []
    assert any(words in fault for fault in faults(validator, sound | change))


def test_variants_when_one_changes_nothing_then_the_schema_takes_null(validator):
    sound = {"source": {"kind": "nuscenes", "root": "x", "version": "v1.0-mini"}, "store": "y"}
    assert faults(validator, sound | {"ablation": {"variants": {"baseline": None, "+ depth": {"data.mono": True}}}}) == []


def test_init_when_it_wrote_a_recipe_then_its_first_line_names_a_schema_that_takes_it(tiny_root, depthmill, tmp_path):
    code, text = depthmill("init", tiny_root, "--out", tmp_path / "recipe.yaml")
    assert code == 0, text
    written = (tmp_path / "recipe.yaml").read_text()
    assert written.splitlines()[0] == f"# yaml-language-server: $schema={SCHEMA_FILE}"
    schema = json.loads((tmp_path / SCHEMA_FILE).read_text())
    assert faults(jsonschema.Draft202012Validator(schema), yaml.safe_load(written)) == []


def test_schema_when_printed_and_when_written_then_the_same(depthmill, tmp_path):
    code, printed = depthmill("schema")
    assert (code, json.loads(printed)["title"]) == (0, "Recipe of depthmill")
    out = tmp_path / "own.json"
    for _ in range(2):  # a former schema of ours is replaced
        code, text = depthmill("schema", "--out", out)
        expected = f"wrote {out}\nNext: let a recipe beside it begin with the line: # yaml-language-server: $schema=own.json\n"
        assert (code, text, out.read_text()) == (0, expected, printed)


def test_schema_when_another_file_has_its_name_then_it_is_kept(tiny_root, depthmill, tmp_path):
    other = tmp_path / SCHEMA_FILE
    other.write_text('{"title": "mine"}')
    says = f"error: '{other}' is there already and is no schema of depthmill. Move it away, or choose another --out\n"
    assert depthmill("schema", "--out", other) == (2, says)
    assert depthmill("init", tiny_root, "--out", tmp_path / "recipe.yaml") == (2, says)
    assert other.read_text() == '{"title": "mine"}' and not (tmp_path / "recipe.yaml").exists()
    code, text = depthmill("schema", "--out", tmp_path / "nowhere" / "a.json")
    assert (code, text) == (
        2,
        f"error: cannot write the schema '{tmp_path}/nowhere/a.json': No such file or directory. Choose another --out\n",
    )
