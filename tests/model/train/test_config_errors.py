"""What is said of a recipe's ``train:`` with mistakes deep in its groups."""

from __future__ import annotations

import pytest

from model.families import parse_train_config
from storage_schemas.errors import RecipeError


def test_recipe_when_keys_of_an_inner_group_contradict_then_only_what_is_wrong_is_said():
    network = {"backbone": {"name": "resnet34", "layer_scale": 0.5}, "lift": {"near_m": -1, "foo": 1}, "render": {"x": {"y": 1}}}
    with pytest.raises(RecipeError) as error:
        parse_train_config({"family": "mim4d", "network": network}, where="r.yaml")
    lines = str(error.value).splitlines()
    assert lines[0] == (
        "recipe 'r.yaml': train.network.backbone: layer_scale belongs to a convnext, but the backbone is resnet34; leave "
        "layer_scale out"
    )
    assert lines[1] == "recipe 'r.yaml': train.network.lift.near_m is -1: Input should be greater than or equal to 0"
    assert lines[2].startswith("recipe 'r.yaml': unknown key 'train.network.lift.foo'; expected one of: kind, channels,")
    assert lines[3].startswith("recipe 'r.yaml': unknown key 'train.network.render.x'; expected one of: rays,")
    assert len(lines) == 4


@pytest.mark.parametrize("family", ["semodepth", "monoddle", "mim4d"])
def test_recipe_when_a_group_is_a_number_or_a_list_then_says_which_key(family):
    for value in (3, [1, 2]):
        with pytest.raises(RecipeError, match=r"train.network is .*: Input should be a valid dictionary"):
            parse_train_config({"family": family, "network": value}, where="r.yaml")


def test_recipe_when_a_seed_is_more_than_torch_takes_then_is_refused_before_the_training():
    assert parse_train_config({"family": "semodepth", "seed": 2**64 - 1}, where="r.yaml").seed == 2**64 - 1
    with pytest.raises(RecipeError, match="train.seed is 18446744073709551616: Input should be less than 18446744073709551616"):
        parse_train_config({"family": "semodepth", "seed": 2**64}, where="r.yaml")
