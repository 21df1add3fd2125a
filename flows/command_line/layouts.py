"""The layouts of other programs' files that ``export`` writes and ``import`` reads."""

from __future__ import annotations

from storage_schemas.errors import RecipeError

LAYOUTS = ("semodepth", "da3_depth_results")


def check_layout(layout: str) -> None:
    """Check ``--layout``; RecipeError names those that there are."""
    if layout not in LAYOUTS:
        raise RecipeError(f"layout '{layout}' is unknown; expected one of: {', '.join(LAYOUTS)}")
