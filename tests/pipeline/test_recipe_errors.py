"""What a recipe says wrongly is said in the words of a recipe, not in those of Python."""

from __future__ import annotations

import pytest

from pipeline.recipe import load_recipe
from storage_schemas.errors import RecipeError

SOURCE = "source: {kind: nuscenes, root: /data, version: v1.0-mini}\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("store: /s\non: 1\n", "the key True is no text: YAML reads it as true or false. Put it in quotes"),
        ("store: /s\n~: 1\n", "the key None is no text: YAML reads it as nothing"),
        ("store: /s\n2026-01-01: 1\n", "the key 2026-01-01 is no text: YAML reads it as a date"),
        (
            "store: /s\nstages: {clean_horizon: {7: 1}}\n",
            "the key 7 of stages.clean_horizon is no text: YAML reads it as a number",
        ),
        ("store: /s\ncameras: CAM_FRONT\n", "cameras is 'CAM_FRONT': expected a list, e.g. [a, b]"),
        ("store: /s\ncameras: {CAM_FRONT: 1}\n", "cameras is {'CAM_FRONT': 1}: expected a list"),
        ("store: https://user:secret@host/s\n", "no store can be written to https://. Write a path, or the URL"),
        ("store: dir://x\n", "no store can be written to dir://"),
        ("store: ~no-such-user/x\n", "there is no such user, so that ~ stands for nothing"),
        ("store: /s\nscenes: []\n", "scenes is []: name at least one, or leave the key out to take all"),
        ("store: /s\ncameras: []\n", "cameras is []: name at least one, or leave the key out"),
        ("store: ZIP://a.zip\n", "no store can be written to zip://"),
        ("store: MEMORY://x\n", "what lies in memory is gone when the command ends"),
        ("store: s3://\n", "it names no bucket. Write s3://bucket/folder"),
        ("store: s3:///s\n", "it names no bucket. Write s3://bucket/s"),
        ("store: $HOME/s\n", "a recipe does not read $HOME from the environment. Write the path out, or ~ for home"),
        ("store: /s\nscenes: [no]\n", "scenes.0 is False: expected a text. Put it in quotes"),
        ("store: /s\nscenes: [2026-01-01]\n", "scenes.0 is 2026-01-01: expected a text. Put it in quotes"),
        ("store: s3:/bucket/s\n", "a URL has two slashes after the colon. Write s3://bucket/s"),
        ("store: S3://bucket/s\n", "the scheme of a URL is written in small letters. Write s3://bucket/s"),
    ],
)
def test_recipe_when_a_key_or_the_store_is_wrong_then_the_error_says_what_to_write(tmp_path, text, said):
    path = tmp_path / "recipe.yaml"
    path.write_text(SOURCE + text)
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    assert said in str(caught.value)
    assert "secret" not in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("store", ["/data/a b", "s3://bucket/s", "file:///data/s", "relative/s", "C:/data/s", "gs://b/s"])
def test_recipe_when_the_store_can_be_one_then_it_is_taken_as_it_is(tmp_path, store):
    path = tmp_path / "recipe.yaml"
    path.write_text(f"{SOURCE}store: {store}\n")
    assert load_recipe(path).store == store


def test_recipe_when_it_has_thousands_of_mistakes_then_some_are_listed_and_the_others_counted(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(f"{SOURCE}store: /s\n" + "".join(f"key{number}: 1\n" for number in range(5000)))
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    assert str(caught.value).splitlines()[-1] == "and 4,970 more mistakes in it"
    assert len(str(caught.value).splitlines()) == 31


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("=1", "override '=1' is not of the form key.key=value"),
        ("stages..near_m=1", "override 'stages..near_m=1' is not of the form key.key=value"),
        ("source=null", "source is None: expected a group of keys"),
        ("train=5", "train is 5: expected a group of keys"),
    ],
)
def test_override_when_it_names_no_key_or_gives_no_group_then_said(tmp_path, override, said):
    path = tmp_path / "recipe.yaml"
    path.write_text(f"{SOURCE}store: /s\n")
    with pytest.raises(RecipeError) as caught:
        load_recipe(path, overrides=(override,))
    assert said in str(caught.value)
