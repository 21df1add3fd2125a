"""Returns of a radar scan before they are written: what the parts of `cells` hand to each other."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from pipeline.sources.synthetic.rigid import Floats, Ints


class ReturnKind(IntEnum):
    """Where a return comes from: a thing, a bounce, nothing, outside the field of view, the far beam alone."""

    ECHO = 0
    BOUNCED = 1
    CLUTTER = 2
    STRAY = 3
    FAR_ONLY = 4


@dataclass(frozen=True)
class Returns:
    """Returns of one scan, before they are written.

    range_m, azimuth (n,) radians, rcs_db (n,); speed_mps (n,) over ground along the line of sight; normal (n, 2) of the
    upright surface that gave it, in the radar's frame, (0, 0) for none; lot (n,) a number 0..1 that decides the return's
    state: the same from scan to scan for the same spot of a thing; kind (n,) of `ReturnKind`.
    """

    range_m: Floats
    azimuth: Floats
    rcs_db: Floats
    speed_mps: Floats
    normal: Floats
    lot: Floats
    kind: Ints

    def __len__(self) -> int:
        """Return the number of returns."""
        return len(self.range_m)

    def take(self, chosen: Ints) -> Returns:
        """Return the returns with numbers (m,)."""
        return Returns(
            self.range_m[chosen],
            self.azimuth[chosen],
            self.rcs_db[chosen],
            self.speed_mps[chosen],
            self.normal[chosen],
            self.lot[chosen],
            self.kind[chosen],
        )


def joined(parts: list[Returns]) -> Returns:
    """Return the returns of all parts, one after the other."""
    names = ("range_m", "azimuth", "rcs_db", "speed_mps", "normal", "lot", "kind")
    return Returns(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))
