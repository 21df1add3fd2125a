"""Frames that a person names: by their keys, or by the names that the source has for them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from storage_schemas.errors import RecipeError
from storage_schemas.manifest import Manifest

OPTION = "--frames"
"""What names frames on the command line."""

_NUM_NEAR = 3


class NamedFrame(NamedTuple):
    """A frame that can be named.

    Attributes:
        key: e.g. ``<scene>/<camera>/<timestamp_us>`` of a manifest, or the name of an image file.
        own_name: the source's name of it, e.g. KITTI's six digits; "" = it has none. Several cameras may share one.
        split: split that it is in.
    """

    key: str
    own_name: str
    split: str


def file_name(key: str) -> str:
    """Return a frame's key as it stands in names of files."""
    return key.replace("/", "_")


def frames_of_split(
    names: Sequence[str], manifest: Manifest, *, split: str, cameras: Sequence[str] = (), option: str = OPTION
) -> tuple[str, ...]:
    """Return the keys of the frames of a split that are named, of some cameras or of all; errors as those of ``named_frames``."""
    rows = [row for row in manifest.rows() if not cameras or row["camera"] in cameras] if names else []
    frames = [NamedFrame(row["frame_key"], row["sample_token"], row["split"]) for row in rows]
    where = f"split {split} of manifest {manifest.path.fingerprint}" + (f", cameras {', '.join(cameras)}" if cameras else "")
    return named_frames(names, frames, split=split, where=where, option=option)


def named_frames(
    names: Iterable[str], frames: Sequence[NamedFrame], *, split: str, where: str, option: str = OPTION
) -> tuple[str, ...]:
    """Return the keys of the frames that are named, in the order of the names.

    Args:
        names: keys, keys as they stand in names of files, or the source's own names; one that several cameras share names all.
        frames: those that there are, of every split.
        split: the one that is looked at; "" = there are no splits.
        where: what holds the frames, for errors, e.g. "split val of manifest 0123".
        option: what named them, for errors.

    Raises:
        RecipeError: a name is of no frame there; says which names are near it, or in which split it is.
    """
    keys_of: dict[str, list[str]] = {}
    split_of: dict[str, str] = {}
    for frame in frames:
        for name in {frame.key, file_name(frame.key), frame.own_name} - {""}:
            split_of.setdefault(name, frame.split)
            if frame.split == split:
                keys_of.setdefault(name, []).append(frame.key)
    return tuple(
        dict.fromkeys(key for name in names for key in keys_of.get(name) or _refuse(name, keys_of, split_of, where, option))
    )


def _refuse(name: str, keys_of: dict[str, list[str]], split_of: dict[str, str], where: str, option: str) -> list[str]:
    if name in split_of:
        remedy = f"Add --split {split_of[name]}" if option == OPTION else "Name a frame of the split that is measured on"
        raise RecipeError(f"{option} names '{name}', which is a frame of split {split_of[name]}. {remedy}")
    alike = [known for known in keys_of if ("/" in known) == ("/" in name)]
    near = difflib.get_close_matches(name, alike, n=_NUM_NEAR, cutoff=0.5) or alike[:_NUM_NEAR] or list(keys_of)[:_NUM_NEAR]
    raise RecipeError(
        f"{option} names '{name}', which is no frame of {where}. There is {', '.join(near)}. Give keys of frames or the source's "
        "own names of them"
    )
