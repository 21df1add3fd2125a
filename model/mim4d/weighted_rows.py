"""Weighted sums of rows of a table: what reading between the cells of a map, or between voxels, comes to.

Why     ``embedding_bag`` sums in one pass, but its backward sorts all rows first, which costs more than the sums; and where the
        derivative of a reading is wanted, as for the direction of a surface, ``grid_sample`` holds a number for each channel of
        each corner of each point. Both maps here go corner by corner: they hold no more than a row for each sum.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable


def weighted_rows(table: Tensor, rows: Tensor, weights: Tensor) -> Tensor:
    """Return (p, channels): for each p the sum over k of table[rows[p, k]] times weights[p, k]; differentiable once.

    Args:
        table: (n, channels) floating point.
        rows: (p, k) int64, 0 to n - 1.
        weights: (p, k), of the table's dtype.
    """
    result: Tensor = _WeightedRows.apply(table, rows, weights)
    return result


def row_products(table: Tensor, rows: Tensor, values: Tensor) -> Tensor:
    """Return (p, k): the inner products of table[rows[p, k]] and values[p]; differentiable once.

    Args:
        table: (n, channels) floating point.
        rows: (p, k) int64, 0 to n - 1.
        values: (p, channels), of the table's dtype.
    """
    result: Tensor = _RowProducts.apply(table, rows, values)
    return result


class _WeightedRows(Function):
    @staticmethod
    def forward(ctx: Any, table: Tensor, rows: Tensor, weights: Tensor) -> Tensor:
        ctx.save_for_backward(table, rows, weights)
        return _summed(table, rows, weights)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        table, rows, weights = ctx.saved_tensors
        of_table = _spread(gradient, rows, weights, num_rows=len(table)) if ctx.needs_input_grad[0] else None
        return of_table, None, _multiplied(table, rows, gradient) if ctx.needs_input_grad[2] else None


class _RowProducts(Function):
    @staticmethod
    def forward(ctx: Any, table: Tensor, rows: Tensor, values: Tensor) -> Tensor:
        ctx.save_for_backward(table, rows, values)
        return _multiplied(table, rows, values)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        table, rows, values = ctx.saved_tensors
        of_table = _spread(values, rows, gradient, num_rows=len(table)) if ctx.needs_input_grad[0] else None
        return of_table, None, _summed(table, rows, gradient) if ctx.needs_input_grad[2] else None


def _summed(table: Tensor, rows: Tensor, weights: Tensor) -> Tensor:
    return F.embedding_bag(rows, table, mode="sum", per_sample_weights=weights)


def _multiplied(table: Tensor, rows: Tensor, values: Tensor) -> Tensor:
    return torch.stack([(table.index_select(0, row_of_point) * values).sum(dim=1) for row_of_point in rows.unbind(1)], dim=1)


def _spread(values: Tensor, rows: Tensor, weights: Tensor, *, num_rows: int) -> Tensor:
    """Return (num_rows, channels): values[p] times weights[p, k] is added to row rows[p, k]."""
    table = values.new_zeros(num_rows, values.shape[1])
    for row_of_point, weight in zip(rows.unbind(1), weights.unbind(1), strict=True):
        table.index_add_(0, row_of_point, weight[:, None] * values)
    return table
