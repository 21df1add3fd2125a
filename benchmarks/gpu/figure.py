"""One measured figure, and what it stands beside. Without torch and NumPy, so that the command runs where they are missing."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """One line of the result.

    Attributes:
        what: what was measured.
        value: the figure; None where there is none.
        unit: of the value.
        beside: what it is compared with, e.g. a published or computed figure.
        limit: the stated tolerance; a larger value, or one that is not a number, is a disagreement.
        why: why there is no value.
    """

    what: str
    value: float | None = None
    unit: str = ""
    beside: str = ""
    limit: float | None = None
    why: str = ""

    @property
    def disagrees(self) -> bool:
        """Say whether the value is beyond the stated tolerance."""
        return self.value is not None and self.limit is not None and not self.value <= self.limit

    @property
    def value_text(self) -> str:
        """Return value and unit, or why there is none."""
        if self.value is None:
            return f"not measured: {self.why}" if self.why else ""
        whole = math.isfinite(self.value) and self.value == int(self.value) and abs(self.value) < 1e6
        number = f"{int(self.value):,}" if whole else f"{self.value:.4g}"
        return f"{number} {self.unit}".strip()

    @property
    def beside_text(self) -> str:
        """Return what the value stands beside, the tolerance too."""
        limit = "" if self.limit is None else f"at most {self.limit:g}{' (**disagrees**)' if self.disagrees else ''}"
        return "; ".join(part for part in (self.beside, limit) if part)


def in_one_line(error: BaseException, *, most: int = 300) -> str:
    """Return an error's kind and text on one line."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= most else f"{text[:most]} ..."
