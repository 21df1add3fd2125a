"""Names of scenes and channels, which become folders of the store."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from storage_schemas.errors import SourceError
from storage_schemas.remote_path import DataPath

MAX_LENGTH = 150
"""Bytes; file systems allow 255 for a folder's name."""


def scene_names(names: Sequence[str]) -> dict[str, str]:
    """Return scene name -> its name in the store, in which a slash becomes an underscore.

    Raises:
        SourceError: two scenes have one name, or one on some disks, or a name cannot be that of a folder.
    """
    of_name: dict[str, str] = {}
    first: dict[str, str] = {}
    folded: dict[str, str] = {}
    for name in names:
        _refuse(name, "scene")
        stored = name.replace("/", "_")
        if stored in first:
            other = "" if first[stored] == name else f" (the other as {first[stored]!r})"
            raise SourceError(
                f"two scenes are named {name!r} in scene.json{other}; expected a name for each. "
                "Name them apart in scene.json, e.g. by their log"
            )
        first[stored] = name
        alike = unicodedata.normalize("NFC", stored).casefold()  # what the disks of Macs and Windows take for one name
        if alike in folded:
            raise SourceError(
                f"scenes {folded[alike]!r} and {name!r} of scene.json differ in capitals or in how letters are encoded alone, so "
                "that they would be one folder on some disks. Name them apart in scene.json"
            )
        folded[alike] = name
        of_name[name] = stored
    return of_name


def foreign_root(name: str, root: DataPath) -> str:
    """Return what stands before the part of a file's name that is a file below the data root, "" if no part of it is.

    Args:
        name: a path from the root of some disk, e.g. ``D:/nuscenes/samples/CAM_FRONT/a.jpg``.
        root: data root.
    """
    starts = [place + 1 for place, letter in enumerate(name) if letter == "/"]
    return next((name[:start] for start in starts if ".." not in name and (root / name[start:]).is_file()), "")


class FileNames:
    """Turns names of files, as tables have them, into paths below the data root.

    Args:
        root: data root.
    """

    def __init__(self, root: DataPath) -> None:
        self._root, self._foreign = root, f"{root}/"

    @staticmethod
    def is_foreign(name: str) -> bool:
        """Say whether a name has backslashes, or begins at the root of a disk."""
        return "\\" in name or name[:1] == "/" or name[1:2] == ":"

    def below_root(self, name: str) -> str:
        """Return a foreign name as a path below the data root; unchanged but for its slashes if no such file is there."""
        name = name.replace("\\", "/")
        if not name.startswith(self._foreign):
            self._foreign = foreign_root(name, self._root) or self._foreign
        return name.removeprefix(self._foreign)


def refuse_channel_name(channel: str) -> None:
    """Check that a channel's name can be that of a folder; SourceError if it cannot."""
    _refuse(channel, "channel")
    if "/" in channel:
        raise SourceError(f"channel {channel!r} of sensor.json has a slash; expected one name of a folder. Rename the channel")


def refuse_two_modalities(sensors: Iterable[Mapping[str, Any]]) -> None:
    """Check that a channel is one kind of sensor; SourceError for one that is a camera and a LiDAR, say."""
    modality_of: dict[str, str] = {}
    for sensor in sensors:
        channel, modality = sensor["channel"], sensor["modality"]
        if (other := modality_of.setdefault(channel, modality)) != modality:
            raise SourceError(
                f"channel {channel!r} of sensor.json is {other!r} and {modality!r}; expected one modality. Name the sensors apart"
            )


def _refuse(name: object, kind: str) -> None:
    where = f"{kind} {name!r} of {'scene' if kind == 'scene' else 'sensor'}.json"
    if not isinstance(name, str) or not name.strip():
        raise SourceError(f"{where} has no name; expected a text that is not empty. Correct the table")
    if any(part in ("", ".", "..") or part.startswith(".") for part in name.split("/")):
        raise SourceError(
            f"{where} does not lie below the store: its name would be a hidden folder or one outside. Rename the {kind}"
        )
    if not name.isprintable() or len(name.encode("utf-8", "surrogatepass")) > MAX_LENGTH or "\\" in name or name == "all":
        raise SourceError(
            f"{where[:200]} cannot be the name of a folder; expected printable characters, at most {MAX_LENGTH} "
            f"bytes, no backslash, and not 'all'. Rename the {kind}"
        )
