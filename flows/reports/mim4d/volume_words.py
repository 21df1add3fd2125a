"""How the volumes that are rendered are called on the page, and in which colours they are drawn."""

from __future__ import annotations

from model.mim4d.loss import DIRECT, RECONSTRUCT
from model.mim4d.ray_errors import CONSTANT, COPIED, COPIED_WARPED, REBUILT_SWAPPED, SWAPPED

VOLUME_WORDS = {
    DIRECT: "Own volume (direct)",
    RECONSTRUCT: "Rebuilt from the other frames",
    COPIED: "Nearest frame's, as it is",
    COPIED_WARPED: "Nearest frame's, warped",
    SWAPPED: "Another scene's",
    REBUILT_SWAPPED: "Rebuilt from another scene's frames",
    CONSTANT: "None: median depth, mean colour",
}
"""Words by volume, in the order of the tables; all but the first two are controls."""

DRAWN = {DIRECT: "third", RECONSTRUCT: "on", COPIED_WARPED: "off", SWAPPED: "fourth"}
"""Volumes that get a line in a chart, and the class of its colour."""


def volume_name(volume: str) -> str:
    """Return the words of a volume; a name that this page does not know stays as it is."""
    return VOLUME_WORDS.get(volume, volume)
