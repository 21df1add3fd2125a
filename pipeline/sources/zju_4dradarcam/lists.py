"""The lists of a ZJU-4DRadarCam set: which frames there are, in which split, when, and cut into scenes.

Why    The set names frames and no drives. The unit of work is a scene, so a scene is a run of consecutive names of one list
Reads  <root>/train.txt, val.txt, test.txt: one frame a line, as a name or as a path into one of the set's folders
Source docs/method/formats.md#zju-4dradarcam
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

from storage_schemas.errors import SourceError
from storage_schemas.regular_files import MAX_TEXT_BYTES, read_regular, read_text
from storage_schemas.remote_path import DataPath

Split = Literal["train", "val", "test"]

FOLDERS = ("image", "radar", "radar_png", "gt", "gt_interp")
"""Folders of the set that a line may go through; each may have a twin ``<folder>_npy``."""

_SUFFIXES = (".png", ".npy")
_SECONDS = re.compile(r"(\d{9,10})\.(\d{1,9})")
_TICKS_PER_US = {13: (1000, 1), 16: (1, 1), 19: (1, 1000)}
"""Digits of a time since 1970 in milli-, micro- and nanoseconds -> factor and divisor to microseconds."""


@dataclass(frozen=True)
class ListedScene:
    """A run of consecutive frames of one list.

    Attributes:
        name: ``<split>-<number>``, the number from 0.
        split: the list.
        first: position of its first frame in the list, from 0.
        frames: names, in the list's order.
        timestamps_us: one a frame, all different; see ``timestamps_of``.
    """

    name: str
    split: Split
    first: int
    frames: tuple[str, ...]
    timestamps_us: tuple[int, ...]

    def digest(self, *facts: object) -> str:
        """Return a digest of what the list says of the scene, and of further facts."""
        said = [self.name, self.split, self.first, self.frames, self.timestamps_us, *facts]
        return hashlib.sha256(json.dumps(said).encode()).hexdigest()


def read_scenes(root: DataPath, splits: Sequence[Split], *, frames_per_scene: int) -> list[ListedScene]:
    """Read the lists and cut each into scenes.

    Args:
        root: folder of the lists.
        splits: lists to read, in this order.
        frames_per_scene: most frames of a scene.

    Raises:
        SourceError: a list is missing, empty or no text, a line names no frame of the set, or a frame is named twice.
    """
    named = {split: _read_list(root / f"{split}.txt", split) for split in splits}
    _refuse_twice(named)
    every = [frame.name for frames in named.values() for frame in frames]
    time_us = dict(zip(every, timestamps_of(every), strict=True))
    scenes = []
    for split, frames in named.items():
        for number, first in enumerate(range(0, len(frames), frames_per_scene)):
            names = tuple(frame.name for frame in frames[first : first + frames_per_scene])
            times = tuple(time_us[name] for name in names)
            scenes.append(ListedScene(f"{split}-{number:04d}", split, first, names, times))
    return scenes


def timestamps_of(names: Sequence[str]) -> list[int]:
    """Return a time stamp in microseconds for every frame, by the first rule that gives each name one of its own.

    1. The name is a time since 1970: seconds with a fraction, or 13, 16 or 19 digits of milli-, micro- or nanoseconds.
    2. The name ends in a number: that number.
    3. The place among ``names``, from 0.
    """
    for rule in (_time_of, _number_of):
        times_us = [rule(name) for name in names]
        if None not in times_us and len(set(times_us)) == len(times_us):
            return [time_us for time_us in times_us if time_us is not None]
    return list(range(len(names)))


@dataclass(frozen=True)
class _Listed:
    name: str
    where: str


def _read_list(path: DataPath, split: str) -> list[_Listed]:
    try:
        text = read_text(path)
    except FileNotFoundError as error:
        raise SourceError(
            f"list '{path}' is missing; a ZJU-4DRadarCam set names the frames of each split in one. Restore it, or leave "
            f"'{split}' out of source.splits in the recipe"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"list '{path}' cannot be read: {error}. Expected UTF-8 text with one frame a line") from error
    frames = [
        _Listed(_frame_name(line.strip(), where=f"'{path}', line {number}"), f"{path.name} line {number}")
        for number, line in enumerate(text.splitlines(), start=1)
        if line.strip()
    ]
    if not frames:
        raise SourceError(f"list '{path}' names no frame. Copy it again, or leave '{split}' out of source.splits in the recipe")
    return frames


def _frame_name(line: str, *, where: str) -> str:
    """Return the frame that a line names: ``a``, ``a.png``, ``gt/a.png`` and ``/data/image_npy/a.npy`` all name ``a``."""
    path = PurePosixPath(line.replace("\\", "/"))
    suffix = next((end for end in _SUFFIXES if path.name.lower().endswith(end)), "")
    name = path.name[: len(path.name) - len(suffix)]
    folder = path.parent.name.removesuffix("_npy")
    if not name or name.startswith(".") or any(sign.isspace() or not sign.isprintable() for sign in line):
        raise SourceError(
            f"{where} is {line!r}, expected one frame: its name, with or without .png, without spaces. Correct the line"
        )
    if len(path.parts) > 1 and folder not in FOLDERS:
        raise SourceError(
            f"{where} is {line!r}, a path through the folder '{path.parent.name}'; expected a bare name, or a path into one of "
            f"the set's folders: {', '.join(FOLDERS)}. Frames in further folders are not part of the layout; correct the line"
        )
    return name


def _refuse_twice(named: dict[Split, list[_Listed]]) -> None:
    where: dict[str, str] = {}
    for frame in (frame for frames in named.values() for frame in frames):
        before = where.setdefault(frame.name, frame.where)
        if before == frame.where:
            continue
        if before.split()[0] == frame.where.split()[0]:
            raise SourceError(f"frame '{frame.name}' is named twice: {before} and {frame.where}. Delete one of the two lines")
        raise SourceError(
            f"frame '{frame.name}' is in two splits: {before} and {frame.where}. What is trained on must not be measured on: "
            "delete one of the two lines, or choose lists without frames in common with source.splits in the recipe"
        )


def _time_of(name: str) -> int | None:
    if seconds := _SECONDS.fullmatch(name):
        return int(seconds[1]) * 1_000_000 + int(seconds[2].ljust(6, "0")[:6])
    if name.isascii() and name.isdigit() and len(name) in _TICKS_PER_US:
        factor, divisor = _TICKS_PER_US[len(name)]
        return int(name) * factor // divisor
    return None


def _number_of(name: str) -> int | None:
    digits = re.search(r"(?<![0-9])([0-9]{1,18})$", name)
    return int(digits[1]) if digits else None


def lists_digest(root: DataPath, splits: Iterable[Split]) -> str:
    """Return a digest of the bytes of the lists; SourceError if one cannot be read."""
    total = hashlib.sha256()
    for split in splits:
        try:
            content = read_regular(root / f"{split}.txt", most_bytes=MAX_TEXT_BYTES)
            total.update(f"{split} ".encode() + hashlib.sha256(content).digest())
        except OSError as error:
            raise SourceError(f"list '{root / split}.txt' cannot be read: {error.strerror}. Restore it") from error
    return total.hexdigest()
