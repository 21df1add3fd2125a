from __future__ import annotations

import pytest
import torch

from model.blocks.scan2d import DIRECTIONS, map_of_sequence, sequence_of_map


def test_directions_when_on_a_small_map_then_as_specified():
    numbered = torch.arange(6).view(1, 2, 3, 1)  # 0 1 2 / 3 4 5
    want = {"lr": [0, 1, 2, 3, 4, 5], "rl": [2, 1, 0, 5, 4, 3], "tb": [0, 3, 1, 4, 2, 5], "bt": [3, 0, 4, 1, 5, 2]}
    for direction, order in want.items():
        assert sequence_of_map(numbered, direction).flatten().tolist() == order


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("size", [(1, 1), (1, 5), (4, 1), (3, 7)])
def test_sequence_when_put_back_then_the_map(direction, size):
    tokens = torch.randn(2, *size, 4)
    assert torch.equal(map_of_sequence(sequence_of_map(tokens, direction), direction, size=size), tokens)
