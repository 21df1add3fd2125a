from __future__ import annotations

from types import SimpleNamespace

import pytest

from depthmill.networks import Model
from flows.command_line.options import OF_PICTURES, refuse_options
from model.families import FAMILIES
from model.train.family_types import OpenedNetwork
from storage_schemas.errors import RecipeError

WITHOUT = [family for family in FAMILIES if not family.options & set(OF_PICTURES.values())]


def given(name: str, value: object) -> SimpleNamespace:
    """A command's context in which one option was given."""
    return SimpleNamespace(params={name: value}, get_parameter_source=lambda _: SimpleNamespace(name="COMMANDLINE"))


@pytest.mark.parametrize("family", list(FAMILIES), ids=lambda family: family.name)
@pytest.mark.parametrize("name", OF_PICTURES)
def test_options_when_a_family_lets_nobody_choose_pictures_then_it_says_so_by_name(family, name):
    option = OF_PICTURES[name]
    if option in family.options:
        refuse_options(family, given(name, 2), "checkpoint 'a' is one")
        return
    text = f"--{option} chooses frames for pictures, and family {family.name} does not take it: checkpoint 'a' is one. Leave"
    with pytest.raises(RecipeError, match=text):
        refuse_options(family, given(name, 2), "checkpoint 'a' is one")


@pytest.mark.parametrize("choice", [{"frames": ["000001"]}, {"worst": 0}, {"num_pictures": 3}], ids=str)
def test_evaluate_when_called_from_python_then_the_same_is_refused_before_anything_is_opened(choice):
    assert WITHOUT
    model = Model(WITHOUT[0], OpenedNetwork(None, "a", None))
    with pytest.raises(RecipeError, match=f"chooses frames for pictures, and family {WITHOUT[0].name} does not take it"):
        model.evaluate("/nowhere", **choice)
