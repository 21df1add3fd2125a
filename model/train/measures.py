"""A number by which trainings are compared: what an ablation's table has columns of."""

from __future__ import annotations

from typing import NamedTuple


class Measure(NamedTuple):
    """One number of a training.

    Attributes:
        name: as in ``ablation.metrics``.
        head: of its column, with the unit.
        decimals: so many are printed.
        is_higher_better: average precision and deltas; else it is an error.
    """

    name: str
    head: str
    decimals: int
    is_higher_better: bool
