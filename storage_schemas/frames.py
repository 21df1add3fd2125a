"""One frame's image and radar returns out of a unit: the two things that are not simply one index of an array."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from storage_schemas.store import StoredUnit


def holds_images(unit: StoredUnit) -> bool:
    """Say whether an images unit holds the files themselves (pack_images mode bytes) and not references only."""
    return "encoded" in unit.array_names


def packed_image(unit: StoredUnit, frame: int) -> bytes:
    """Return the bytes of one image file, without the zeros it is padded with."""
    return bytes(unit.array("encoded", frame)[: int(unit.array("num_bytes", frame))].tobytes())


def radar_of_frame(unit: StoredUnit, frame: int) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return u_px, v_px and depth_m of one frame's radar returns, each (n,)."""
    is_of_frame = unit.array("frame_of_point") == frame
    return unit.array("u_px")[is_of_frame], unit.array("v_px")[is_of_frame], unit.array("depth_m")[is_of_frame]
