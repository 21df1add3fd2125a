"""The import rules hold for a room that nobody has named."""

from __future__ import annotations

import grimp
import pytest

from tests.import_rules.layers_of_rooms import LayersOfRooms


def is_kept(*imports: tuple[str, str], layers: tuple[str, ...] = ("house.list", "house.*.door", "house.shared")) -> bool:
    graph = grimp.ImportGraph()
    for room in ("kitchen", "cellar"):
        for module in (f"house.{room}", f"house.{room}.door", f"house.{room}.shelf"):
            graph.add_module(module)
    for module in ("house", "house.list", "house.shared", "house.shared.floor"):
        graph.add_module(module)
    for importer, imported in imports:
        graph.add_import(importer=importer, imported=imported)
    options = {"name": "rooms", "type": "layers_of_rooms", "layers": list(layers)}
    contract = LayersOfRooms("rooms", {"root_packages": ["house"]}, options)
    return contract.check(graph, verbose=False).kept


def test_rooms_when_they_see_themselves_and_what_is_shared_then_kept():
    assert is_kept(("house.kitchen.door", "house.kitchen.shelf"), ("house.cellar.shelf", "house.shared.floor"))
    assert is_kept(("house.list", "house.kitchen.door"))


@pytest.mark.parametrize(
    ("importer", "imported"),
    [
        ("house.kitchen.shelf", "house.cellar.shelf"),
        ("house.shared.floor", "house.cellar.shelf"),
        ("house.kitchen.door", "house.list"),
    ],
)
def test_rooms_when_one_sees_a_neighbour_or_is_seen_from_below_or_sees_the_list_then_broken(importer, imported):
    assert not is_kept((importer, imported))


def test_room_when_another_layer_names_it_then_it_stands_there_and_not_among_the_others():
    layers = ("house.cellar", "house.*.door", "house.shared")
    assert is_kept(("house.cellar.shelf", "house.kitchen.shelf"), layers=layers)
    assert not is_kept(("house.kitchen.shelf", "house.cellar.shelf"), layers=layers)


def test_layer_when_no_package_has_the_module_then_an_error_says_so():
    with pytest.raises(ValueError, match="no package has such a module"):
        is_kept(layers=("house.list", "house.*.gate"))
