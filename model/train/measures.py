"""A number by which trainings are compared: what an ablation's table has columns of."""

from __future__ import annotations

from typing import NamedTuple

RANGE_EDGES_M = (0, 10, 20, 30, 40, 50, 60, 70, 80)
"""Edges of the ranges of depth, metres, by which every family tells its errors."""


class Measure(NamedTuple):
    """One number of a training.

    Attributes:
        name: as in ``ablation.metrics``.
        head: of its column, with the unit.
        decimals: number of decimals that are printed.
        is_higher_better: average precision and deltas; else it is an error.
    """

    name: str
    head: str
    decimals: int
    is_higher_better: bool
