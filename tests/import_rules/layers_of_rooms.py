"""A contract of import-linter in which a layer may be all rooms of a house, found by a file that each room has.

Why    A family, a source or a family's pages is a folder with the same files as its neighbours. A contract that lists the folders
       lets a new one see its neighbours until somebody adds its name
How    ``model.*.net`` as a layer is every package of ``model`` that has a module ``net``, and that no other layer names; such
       packages never see each other. The rest is import-linter's contract of the type ``layers``
"""

from __future__ import annotations

from dataclasses import replace

import grimp
from importlinter.contracts.layers import Layer, LayersContract, ModuleTail
from importlinter.domain.contract import ContractCheck


class LayersOfRooms(LayersContract):
    """Layers of which some are ``<house>.*.<module>``."""

    type_name = "layers_of_rooms"

    def check(self, graph: grimp.ImportGraph, verbose: bool) -> ContractCheck:
        """Find the rooms, then check the layers as import-linter does."""
        named = {tail.name for layer in self.layers for tail in layer.module_tails}
        self.layers = [_with_rooms(layer, graph, named) for layer in self.layers]
        return super().check(graph, verbose)


def _with_rooms(layer: Layer, graph: grimp.ImportGraph, named: set[str]) -> Layer:
    tails: set[ModuleTail] = set()
    for tail in layer.module_tails:
        if "*" not in tail.name:
            tails.add(tail)
            continue
        rooms = {module.rpartition(".")[0] for module in graph.find_matching_modules(tail.name)} - named
        if not rooms:
            raise ValueError(f"layer '{tail.name}': no package has such a module")
        tails |= {ModuleTail(room) for room in rooms}
    return replace(layer, module_tails=tails)
