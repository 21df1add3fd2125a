"""Everything in a town that stands still for ever: houses, skyline, furniture of the streets, trees."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.sources.synthetic.solids import Piece
from pipeline.sources.synthetic.town.houses import houses, plan_stretches, skyline
from pipeline.sources.synthetic.town.street_furniture import furniture
from pipeline.sources.synthetic.town.streets import Street
from pipeline.sources.synthetic.town.trees import trees


def standing_pieces(streets: Sequence[Street], rng: np.random.Generator) -> list[Piece]:
    """Return what stands beside streets, on a plane at z = 0; each kind has its own random numbers."""
    plan, house, sky, street, green = rng.spawn(5)
    stretches = plan_stretches(streets, plan)
    return [
        *houses(streets, stretches, house),
        *skyline(streets, sky),
        *furniture(streets, stretches, street),
        *trees(streets, stretches, green),
    ]
