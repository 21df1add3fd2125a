from __future__ import annotations

import math

import pytest
import torch

from model.errors import InputError
from model.mim4d.ground_queries import GroundQueries, ground_position


def test_ground_position_when_computed_then_y_comes_first_and_a_quarter_of_the_axis_is_a_quarter_turn() -> None:
    code = ground_position((4, 8), 8).view(4, 8, 8)
    # fastest frequency: sine and cosine of 2 pi times (index + 1) / count
    assert torch.allclose(code[0, :, :2], torch.tensor([1.0, 0.0]).expand(8, 2), atol=1e-6)
    assert torch.allclose(code[:, 1, 4:6], torch.tensor([1.0, 0.0]).expand(4, 2), atol=1e-6)
    # the second of two frequencies is slower by 10000 ^ (2 / 4)
    assert code[1, 0, 2].item() == pytest.approx(math.sin(math.pi / 100), abs=1e-6)
    assert code[0, 3, 7].item() == pytest.approx(math.cos(math.pi / 100), abs=1e-6)


def test_ground_position_when_cells_differ_then_their_codes_do() -> None:
    code = ground_position((6, 7), 16)
    assert code.shape == (42, 16)
    assert (torch.cdist(code, code) + torch.eye(42)).min() > 0.05


def test_queries_when_the_grid_is_the_tables_then_they_are_the_table_itself() -> None:
    queries = GroundQueries((3, 4), 5, interpolates=True)
    assert queries((3, 4)) is queries.table
    # Xavier: uniform within the root of 6 over the sum of rows and columns
    assert 0.5 * math.sqrt(6 / 17) < queries.table.abs().max().item() <= math.sqrt(6 / 17)


def test_queries_when_the_grid_is_finer_then_a_table_linear_in_place_stays_linear_between_its_cells() -> None:
    queries = GroundQueries((4, 6), 2, interpolates=True)
    with torch.no_grad():
        at_y, at_x = torch.meshgrid(torch.arange(4) + 0.5, torch.arange(6) + 0.5, indexing="ij")
        queries.table.copy_(torch.stack((at_x / 6, at_y / 4), dim=-1).flatten(0, 1))
    finer = queries((8, 12)).view(8, 12, 2)
    at_y, at_x = torch.meshgrid((torch.arange(8) + 0.5) / 8, (torch.arange(12) + 0.5) / 12, indexing="ij")
    expected = torch.stack((at_x, at_y), dim=-1)
    assert torch.allclose(finer[1:-1, 1:-1], expected[1:-1, 1:-1], atol=1e-6)
    # nothing is known beyond the centres of the table's outermost cells
    assert torch.allclose(finer[0, 0], torch.tensor([0.5 / 6, 0.5 / 4]), atol=1e-6)


def test_queries_when_per_cell_and_the_grid_is_another_then_it_says_what_to_do() -> None:
    queries = GroundQueries((3, 4), 5, interpolates=False)
    with pytest.raises(InputError, match="learned queries are for 3 x 4 cells .y, x., the volume has 3 x 5; use the grid of the"):
        queries((3, 5))
