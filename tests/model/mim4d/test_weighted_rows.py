from __future__ import annotations

import pytest
import torch
from torch import Tensor

from model.mim4d.weighted_rows import row_products, weighted_rows


def made_up() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A table of five rows of three, six sums of four of them, some twice in one sum; weights and values."""
    generator = torch.Generator().manual_seed(0)
    table, weights, values = (
        torch.randn(shape, generator=generator, dtype=torch.double, requires_grad=True) for shape in ((5, 3), (6, 4), (6, 3))
    )
    rows = torch.randint(0, 5, (6, 4), generator=generator)
    rows[2] = 3
    return table, rows, weights, values


def test_sums_and_products_when_written_out_then_the_same() -> None:
    table, rows, weights, values = made_up()
    torch.testing.assert_close(weighted_rows(table, rows, weights), (table[rows] * weights[..., None]).sum(dim=1))
    torch.testing.assert_close(row_products(table, rows, values), (table[rows] * values[:, None]).sum(dim=2))


def test_derivatives_when_compared_with_finite_differences_then_right() -> None:
    table, rows, weights, values = made_up()
    assert torch.autograd.gradcheck(lambda table, weights: weighted_rows(table, rows, weights), (table, weights))
    assert torch.autograd.gradcheck(lambda table, values: row_products(table, rows, values), (table, values))


def test_derivatives_when_one_argument_is_constant_then_those_of_the_other() -> None:
    table, rows, weights, values = made_up()
    for sums in (weighted_rows(table, rows, weights.detach()), row_products(table, rows, values.detach())):
        assert torch.autograd.grad(sums.sum(), table)[0].abs().max() > 0
    for sums, other in (
        (weighted_rows(table.detach(), rows, weights), weights),
        (row_products(table.detach(), rows, values), values),
    ):
        assert torch.autograd.grad(sums.sum(), other)[0].abs().max() > 0


def test_sums_when_there_are_none_then_empty() -> None:
    table, rows, weights, values = made_up()
    empty = weighted_rows(table, rows[:0], weights[:0])
    assert empty.shape == (0, 3) and row_products(table, rows[:0], values[:0]).shape == (0, 4)
    assert torch.autograd.grad(empty.sum(), table)[0].abs().max() == 0


def test_derivatives_when_wanted_twice_then_refused() -> None:
    table, rows, weights, _ = made_up()
    (once,) = torch.autograd.grad(weighted_rows(table, rows, weights).square().sum(), weights, create_graph=True)
    with pytest.raises(RuntimeError, match="twice"):
        once.sum().backward()
