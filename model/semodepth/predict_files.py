"""What ``depthmill predict`` does: depth of a folder of frames, or of a manifest's split, as PNG and as pictures.

Reads  a folder as ``image_folder`` describes it, or a pinned manifest
Writes <out>/depth/<name>.png      uint16, 1/256 m; every pixel has a depth, so 0 never
       <out>/pictures/<name>.jpg   image, radar and depth beside each other, with a colour scale
       Each file is written whole or not at all; of a manifest <name> is <scene>/<camera>/<timestamp_us>
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from model.data.ordered_loader import HERE
from model.semodepth.image_folder import find_frames, read_frames
from model.semodepth.predict import DepthNetwork, Frame, manifest_frames, place_network, predict_frames
from model.train.family_types import Draw, placement
from model.train.result_files import check_out, put_file
from storage_schemas.awaited import counted
from storage_schemas.encoding import STEPS_PER_M
from storage_schemas.errors import ManifestError
from storage_schemas.manifest import Manifest
from storage_schemas.public_files import encode_png
from storage_schemas.shown_text import shown

if TYPE_CHECKING:
    from model.train.config import Machine

_NAMED = 3
"""Frames without radar that are named before "and ... more"."""


def predict_files(
    network: DepthNetwork,
    images: Path,
    out: Path,
    *,
    draw: Draw | None = None,
    machine: Machine | None = None,
) -> int:
    """Predict the depth of a folder's frames; frames without a radar file are named on standard error.

    Args:
        network: a network in memory.
        images: folder with image/, and radar/ or radar_png/.
        out: folder to write; must not exist or be empty.
        draw: makes the picture of a ``Predicted`` frame; None = no pictures.
        machine: whose accelerator the network is moved to; None = it stays where it is.

    Returns:
        Frames written.

    Raises:
        SourceError: no image, or a file that cannot be read or does not fit; what was written before it stays.
        StoreError: ``out`` is not empty or cannot be written.
    """
    check_out(out)
    files = find_frames(images)
    _say_without_radar([frame.name for frame in files if frame.radar is None], len(files))
    _place(network, machine)
    frames = counted(read_frames(files, max_depth_m=network.config.max_depth_m), "frames are predicted", total=len(files))
    return _write_all(network, frames, out, draw=draw)


def predict_manifest(
    network: DepthNetwork,
    manifest: Manifest,
    out: Path,
    *,
    split: str,
    row_band: tuple[int, int] | None = None,
    draw: Draw | None = None,
    machine: Machine | None = None,
) -> int:
    """Predict the depth of every frame of a split.

    A network with the plug-in branch is given monocular depth if the split has it, else zeros, as when training drops it.

    Args:
        network: a network in memory.
        manifest: the pinned data.
        out: folder to write; must not exist or be empty.
        split: train, val or test.
        row_band: rows that are read and predicted, as ``data.rows``; None = all.
        draw: makes the picture of a ``Predicted`` frame; None = no pictures.
        machine: whose accelerator, loader workers and image root are used; None = the network stays where it is.

    Returns:
        Frames written.

    Raises:
        ManifestError: the split does not exist or is empty, or frames lack a store.
        StoreError: ``out`` is not empty or cannot be written, or a unit cannot be read.
    """
    check_out(out)
    if split not in ("train", "val", "test"):
        raise ManifestError(f"split '{split}' does not exist; expected train, val or test")
    rows = [row for row in manifest.rows() if row["split"] == split]
    _place(network, machine)
    frames = manifest_frames(
        manifest,
        split=split,
        max_depth_m=network.config.max_depth_m,
        row_band=row_band,
        with_mono=network.config.plug_in and any(row["unit_depth_mono"] is not None for row in rows),
        placement=HERE if machine is None else placement(machine),
    )
    return _write_all(network, frames, out, draw=draw)


def stored_steps(depth_m: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Return finite metres in depth quanta of 1/256 m, truncated; at least 1, because 0 would mean no measurement."""
    quanta: NDArray[np.uint16] = np.clip(np.floor(depth_m * STEPS_PER_M), 1, 65535).astype(np.uint16)
    return quanta


def _write_all(network: DepthNetwork, frames: Iterable[Frame], out: Path, *, draw: Draw | None) -> int:
    number = 0
    for predicted in predict_frames(network, frames):
        name = predicted.frame.name
        put_file(out / "depth" / f"{name}.png", encode_png(stored_steps(predicted.depth_m)))
        if draw is not None:
            put_file(out / "pictures" / f"{name}.jpg", draw(predicted))
        number += 1
    return number


def _say_without_radar(names: list[str], total: int) -> None:
    if names:
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        line = (
            f"{len(names)} of {total} frames have no radar file; their depth is predicted from the image alone: "
            f"{', '.join(names[:_NAMED])}{more}"
        )
        print(shown(line), file=sys.stderr, flush=True)


def _place(network: DepthNetwork, machine: Machine | None) -> None:
    if machine is not None:
        place_network(network, machine.accelerator)
