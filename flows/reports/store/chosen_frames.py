"""Which frames the report shows, and their content.

Why    Fixed frames make two reports comparable; the worst frames show where a recipe fails
Reads  units of the plan: images, depth maps, truth, radar returns of the chosen frames only
Writes ChosenFrame and FrameContent, in memory
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from flows.reports.html.depth_pictures import RadarReturns
from flows.reports.store.facts import View
from flows.reports.store.pixel_statistics import DEPTH_LAYOUTS, FrameNumbers
from storage_schemas.frames import holds_images, packed_image, radar_of_frame
from storage_schemas.image_files import IMAGE_FORMATS
from storage_schemas.store import Store

NUM_WORST = 3
"""Worst frames in all."""

APART = 4
"""Frames of one camera that lie nearer than this show nearly the same; only the worse is taken."""

_OPENED_FOR_WORST = 20


@dataclass(frozen=True)
class ChosenFrame:
    """A frame to show, and why it was chosen."""

    view: View
    frame: int
    why: str


@dataclass(frozen=True)
class FrameContent:
    """What the units hold of one frame.

    Attributes:
        key: <scene>/<camera>/<timestamp_us>.
        image: decoded camera image, RGB; None where the store holds only a reference.
        maps: layout -> (y, x) uint16 steps of 1/256 m, 0 = no measurement.
        radar: None where there is no radar unit.
        image_note: why there is no image; empty otherwise.
    """

    key: str
    image: Image.Image | None
    maps: dict[str, NDArray[np.uint16]]
    radar: RadarReturns | None
    image_note: str


def fixed_frames(store: Store, views: Sequence[View]) -> list[ChosenFrame]:
    """Return the first frame of the first view, the middle one of the middle view and the last one of the last view."""
    with_frames = [view for view in views if _time_layout(view) is not None]
    if not with_frames:
        return []
    frames = []
    middle = with_frames[len(with_frames) // 2]
    for place, view in zip(("first", "middle", "last"), (with_frames[0], middle, with_frames[-1]), strict=True):
        last = len(_times_us(store, view)) - 1
        frame = {"first": 0, "middle": last // 2, "last": last}[place]
        frames.append(ChosenFrame(view, frame, f"fixed: {place}"))
    unique = {(chosen.view.title, chosen.frame): chosen for chosen in reversed(frames)}
    return list(reversed(unique.values()))


def worst_frames(
    store: Store, views: Sequence[View], frames: Sequence[FrameNumbers], already_chosen: Sequence[ChosenFrame]
) -> list[ChosenFrame]:
    """Return frames with the largest share of gross errors (where the truth is known) and with the most dropped pixels.

    Args:
        store: where the units are.
        views: all views; those whose lineage records the largest share of dropped pixels are looked at as well.
        frames: frames whose pixels were read.
        already_chosen: frames that the report shows anyway.
    """
    by_error = [row for row in frames if row.gross_share is not None and not math.isnan(row.gross_share) and row.gross_share > 0]
    by_error.sort(key=lambda row: -(row.gross_share or 0.0))
    by_dropped = sorted(_dropped(store, views), key=lambda dropped: -dropped[2])
    ranked = [ChosenFrame(row.view, row.frame, f"worst: {100 * (row.gross_share or 0.0):.1f} % gross errors") for row in by_error]
    num_by_error = NUM_WORST - 1 if by_dropped else NUM_WORST
    worst = _apart(ranked, list(already_chosen), num_by_error)
    ranked = [
        ChosenFrame(view, frame, f"worst: {num:,} pixel{'s' if num > 1 else ''} dropped") for view, frame, num in by_dropped
    ]
    return worst + _apart(ranked, [*already_chosen, *worst], NUM_WORST - len(worst))


def read_frame(store: Store, chosen: ChosenFrame) -> FrameContent:
    """Read one frame's image, depth maps and radar returns."""
    view, frame = chosen.view, chosen.frame
    maps = {
        layout: store.open_unit(view.units[layout]).array("depth_m", frame) for layout in DEPTH_LAYOUTS if layout in view.units
    }
    image, note = _image(store, view, frame)
    key = f"{view.scene}/{view.camera}/{int(_times_us(store, view)[frame])}"
    return FrameContent(key, image, maps, _radar(store, view, frame), note)


def _apart(ranked: Sequence[ChosenFrame], taken: list[ChosenFrame], limit: int) -> list[ChosenFrame]:
    picked: list[ChosenFrame] = []
    for candidate in ranked:
        if len(picked) == limit:
            break
        view, frame = candidate.view, candidate.frame
        if all(view.title != other.view.title or abs(frame - other.frame) >= APART for other in [*taken, *picked]):
            picked.append(candidate)
    return picked


def _dropped(store: Store, views: Sequence[View]) -> list[tuple[View, int, int]]:
    cleaned_views = [view for view in views if "depth_clean" in view.units]
    cleaned_views.sort(key=lambda view: -(view.count("depth_clean", "share_dropped") or 0.0))
    dropped: list[tuple[View, int, int]] = []
    for view in cleaned_views[:_OPENED_FOR_WORST]:
        counts = store.open_unit(view.units["depth_clean"]).array("num_dropped")
        dropped.extend((view, frame, int(count)) for frame, count in enumerate(counts) if count > 0)
    return dropped


def _time_layout(view: View) -> str | None:
    return next((layout for layout in view.units if layout != "frames"), None)


def _times_us(store: Store, view: View) -> NDArray[np.int64]:
    layout = _time_layout(view)
    if layout is None:
        return np.zeros(0, np.int64)
    return store.open_unit(view.units[layout]).array("timestamp_us")


def _image(store: Store, view: View, frame: int) -> tuple[Image.Image | None, str]:
    if "images" not in view.units:
        return None, "the camera image is not in the store"
    unit = store.open_unit(view.units["images"])
    if not holds_images(unit):
        return None, "the store refers to the camera image and does not hold it (pack_images mode: reference)"
    try:
        with Image.open(io.BytesIO(packed_image(unit, frame)), formats=IMAGE_FORMATS) as image:
            return image.convert("RGB"), ""
    except (OSError, SyntaxError) as error:
        return None, f"the camera image cannot be decoded: {error}"


def _radar(store: Store, view: View, frame: int) -> RadarReturns | None:
    if "radar_points" not in view.units:
        return None
    return RadarReturns(*radar_of_frame(store.open_unit(view.units["radar_points"]), frame))
