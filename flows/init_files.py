"""What ``depthmill init`` reads of sensor files: how many there are, and the size of one image."""

from __future__ import annotations

import os
from pathlib import Path

from PIL import Image


def num_files(folder: Path) -> int:
    """Return the number of entries of a folder that are not hidden; 0 if it is not there."""
    try:
        with os.scandir(folder) as entries:
            return sum(not entry.name.startswith(".") for entry in entries)
    except OSError:
        return 0


def image_size_in(folder: Path) -> tuple[int, int] | None:
    """Return width and height of the first image of a folder from its header, None if there is none."""
    for path in sorted(folder.iterdir())[:1]:
        try:
            with Image.open(path) as image:
                return image.size
        except OSError:
            return None
    return None
