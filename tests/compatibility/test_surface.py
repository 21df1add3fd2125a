"""What scripts, recipes, stores and checkpoints made with commit a7a46d7 depend on is still there, under the same names.

The two JSON files were written by the code of that commit (``test_former_data.py`` lets it write them again and compares). The code
of today may have more than they say, never less and never otherwise. A name that must change is a decision: a user's files break.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.compatibility import names_today
from tests.compatibility.former_code import HERE
from tests.compatibility.surface import surface_of
from tests.compatibility.worlds import PLANNED, write_worlds

SURFACE: dict[str, Any] = json.loads((HERE / "surface_of_a7a46d7.json").read_text())
UNITS: dict[str, list[str]] = json.loads((HERE / "units_of_a7a46d7.json").read_text())


@pytest.fixture(scope="module")
def surface() -> dict[str, Any]:
    return json.loads(json.dumps(surface_of(names_today)))


def lost_or_changed(before: Any, after: Any, where: str = "") -> list[str]:
    """Return a line for each value that ``before`` has and ``after`` has not, or has otherwise."""
    if isinstance(before, dict) and isinstance(after, dict):
        lines = [f"{where}/{key}: missing" for key in before if key not in after]
        for key in before.keys() & after.keys():
            lines += lost_or_changed(before[key], after[key], f"{where}/{key}")
        return lines
    if where.endswith("/is_required") and before and not after:
        return []  # every call that gave it still works
    return [] if before == after else [f"{where}: {before!r} -> {after!r}"]


@pytest.mark.parametrize("part", SURFACE)
def test_surface_when_compared_with_the_former_one_then_nothing_is_lost_or_changed(surface, part):
    assert SURFACE[part]
    assert lost_or_changed(SURFACE[part], surface[part]) == []


def test_commands_when_they_have_more_than_the_former_ones_then_none_of_it_must_be_given(surface):
    for name, parameters in SURFACE["commands"].items():
        added = surface["commands"][name].keys() - parameters.keys()
        assert not [one for one in added if surface["commands"][name][one]["is_required"]], name


def test_trainings_when_keys_that_came_later_have_their_defaults_then_have_the_name_from_before_them(surface):
    names = surface["names_of_trainings"]
    assert names["semodepth, every key that came later at its default"] == names["semodepth"]
    assert names["mim4d, other probes"] == names["mim4d"]
    assert len(set(names.values())) == len(names) - 2


def planning(recipe: Path, store: Path) -> list[str]:
    """Return the command that plans a recipe into a store; an empty one makes it name every unit."""
    return ["plan", str(recipe), "--set", f"store={store}", "--json"]


def planned_units(text: str) -> list[str]:
    """Return the keys of all units of a plan, ``layout/scene/camera/fingerprint``, in its order."""
    return [item["unit"] for item in json.loads(text)["to_do"]]


@pytest.fixture(scope="module")
def recipes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write_worlds(tmp_path_factory.mktemp("worlds"))


@pytest.mark.parametrize("name", PLANNED)
def test_plan_when_the_store_is_empty_then_every_unit_has_the_fingerprint_that_it_had(recipes, depthmill, tmp_path, name):
    code, text = depthmill(*planning(recipes[name], tmp_path / "empty"))
    assert code == 0, text
    assert sorted(planned_units(text)) == sorted(UNITS[name])  # stages that read nothing of each other may change places
