"""Read the lists of the public layout and sort their lines into scenes.

The layout knows neither scenes nor cameras nor times; they are read from names, in this order:
- image and D_gt file lie in folders of one name: that is the camera, and the folder above the D_gt file is the scene (our
  export and the public accumulation script both write ``<scene>/<camera>/<file>``);
- otherwise the camera is the ``CAM_...`` part of the file name (CAM_FRONT if it has none), and a new scene
  ``imported-<split>-0001`` begins where the log name (before the first ``__``) changes or the time jumps;
- the time is the number at the end of the image's name (nuScenes: ``..__<timestamp_us>.jpg``), or else the line number.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.exporters.semodepth_files import D_GT, IMAGE, LISTS, ListedStore, image_size, list_key
from storage_schemas.errors import SourceError
from storage_schemas.regular_files import read_regular, read_text

MAX_GAP_US = 1_500_000
"""Key frames of one scene are 0.5 s apart; a longer gap begins a new scene where names say nothing else."""

MAX_FRAMES = 128
"""Frames in one imported unit, which is held in memory: 370 MB of depth at 1600x900. A nuScenes scene has about 40."""

_CAMERA = re.compile(r"__(CAM_[A-Z_]*[A-Z])__")
_FINAL_NUMBER = re.compile(r"(\d{1,18})$")


@dataclass(frozen=True)
class ListedFrame:
    """One line of a split's lists.

    Attributes:
        split: train or val.
        line: line number, from 1.
        files: file of each list.
        scene: scene it is sorted into.
        camera: camera channel.
        timestamp_us: time of the image, or the line number.
        size: (height, width) of the image.
    """

    split: str
    line: int
    files: dict[ListedStore, Path]
    scene: str
    camera: str
    timestamp_us: int
    size: tuple[int, int]

    def where(self, listed: ListedStore) -> str:
        """Return list, line and file for an error text."""
        return f"{list_key(self.split, listed)} line {self.line}: '{self.files[listed]}'"

    def read(self, listed: ListedStore) -> bytes:
        """Return the content of the frame's file in a list; SourceError if it cannot be read."""
        try:
            return read_regular(self.files[listed])
        except OSError as error:
            raise SourceError(f"{self.where(listed)} cannot be read: {error.strerror}. Check permissions and disk") from error


def read_frames(folder: Path) -> list[ListedFrame]:
    """Return all frames of a folder in the public layout: train, then val, in the order of the lines.

    Raises:
        SourceError: no lists, lists of different length, or an image that is missing or broken.
    """
    if not folder.is_dir():
        raise SourceError(f"folder '{folder}' does not exist; expected one with {list_key('train', IMAGE)}")
    frames = [frame for split in LISTS for frame in _frames_of_split(folder, split)]
    if not frames:
        raise SourceError(
            f"'{folder}' lists no frames in {list_key('train', IMAGE)} or {list_key('val', IMAGE)}. "
            "Give the folder that holds training/ and validation/"
        )
    return frames


def absent_lists(folder: Path) -> list[str]:
    """Return the lists that a folder lacks of splits that it has; nothing is imported of what they name."""
    absent = []
    for split, of_split in LISTS.items():
        keys = [list_key(split, listed) for listed in of_split]
        if (folder / keys[0]).exists():
            absent += [key for key in keys if not (folder / key).exists()]
    return absent


def into_units(frames: Sequence[ListedFrame]) -> list[list[ListedFrame]]:
    """Sort frames into units: one scene, camera, split and image size each, at most MAX_FRAMES, in the order of the lines.

    A scene that does not fit one unit goes on as ``<scene>-part2``; the frames returned carry that name.

    Raises:
        SourceError: two lines of one unit have the same time.
    """
    units: dict[tuple[str, str], list[ListedFrame]] = {}
    for frame in frames:
        part, scene = 1, frame.scene
        while (unit := units.setdefault((scene, frame.camera), [])) and not _fits(unit, frame):
            part += 1
            scene = f"{frame.scene}-part{part}"
        unit.append(replace(frame, scene=scene))
    for unit in units.values():
        _check_times(unit)
    return list(units.values())


def _frames_of_split(folder: Path, split: str) -> list[ListedFrame]:
    lists = {listed: lines for listed in LISTS[split] if (lines := _read_list(folder, list_key(split, listed))) is not None}
    if not lists:
        return []
    if IMAGE not in lists:
        raise SourceError(
            f"'{folder}' has {list_key(split, next(iter(lists)))} but no {list_key(split, IMAGE)}; images are needed"
        )
    for listed, lines in lists.items():
        if len(lines) != len(lists[IMAGE]):
            raise SourceError(
                f"{list_key(split, IMAGE)} has {len(lists[IMAGE])} lines, {list_key(split, listed)} has "
                f"{len(lines)}; lists are joined by line number and must be equally long. "
                "Export them again together"
            )
    _check_order(split, lists)
    frames: list[ListedFrame] = []
    num_scenes = 0
    previous: dict[str, ListedFrame] = {}
    for number in range(len(lists[IMAGE])):
        files = {listed: _locate(lines[number], folder) for listed, lines in lists.items()}
        _check_files(split, number + 1, files)
        frame = _frame(split, number + 1, files)
        if not frame.scene:
            before = previous.get(frame.camera)
            if before is not None and _goes_on(before, frame):
                frame = replace(frame, scene=before.scene)
            else:
                num_scenes += 1
                frame = replace(frame, scene=f"imported-{split}-{num_scenes:04d}")
            previous[frame.camera] = frame
        frames.append(frame)
    return frames


def _check_order(split: str, lists: dict[ListedStore, list[str]]) -> None:
    """Refuse a line whose file has the name of another line's image: lists in another order pair images with foreign depth."""
    images = [Path(line).stem for line in lists[IMAGE]]
    line_of = {name: number for number, name in enumerate(images, 1)}
    if len(line_of) < len(images):  # names that occur twice, in folders of their own, tell nothing
        return
    for listed, lines in lists.items():
        for number, (line, image) in enumerate(zip(lines, images, strict=True), 1):
            if (name := Path(line).stem) != image and name in line_of:
                raise SourceError(
                    f"{list_key(split, listed)} line {number} is '{name}', which is the image of line {line_of[name]} of "
                    f"{list_key(split, IMAGE)}. Lists are joined by line number and must have one order. "
                    "Export them again together"
                )


def _read_list(folder: Path, key: str) -> list[str] | None:
    try:
        lines = read_text(folder / key).rstrip("\n").split("\n")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"list '{folder / key}' cannot be read: {error}") from error
    if lines == [""]:
        return []
    if "" in lines:
        raise SourceError(
            f"list '{folder / key}' is blank in line {lines.index('') + 1}, where the public scripts stop reading. "
            "Remove the blank line"
        )
    return lines


def _locate(line: str, folder: Path) -> Path:
    """Return the file of a line as the public scripts open it, or below the folder where only that exists."""
    path = Path(line)
    return folder / path if not path.is_absolute() and not path.exists() and (folder / path).exists() else path


def _check_files(split: str, line: int, files: dict[ListedStore, Path]) -> None:
    for listed, path in files.items():
        if not path.is_file():
            raise SourceError(
                f"{list_key(split, listed)} line {line}: '{path}' does not exist. Lists hold paths as the public "
                "scripts open them; restore the file, or correct the paths if the folder was moved"
            )


def _frame(split: str, line: int, files: dict[ListedStore, Path]) -> ListedFrame:
    image = files[IMAGE]
    number = _FINAL_NUMBER.search(image.stem)
    timestamp_us = int(number.group(1)) if number else line
    anchor = files.get(D_GT)
    if anchor is not None and anchor.parent.name and anchor.parent.name == image.parent.name and anchor.parent.parent.name:
        scene, camera = anchor.parent.parent.name, anchor.parent.name
    else:
        named = _CAMERA.search(image.name)
        scene, camera = "", named.group(1) if named else "CAM_FRONT"
    where = f"{list_key(split, IMAGE)} line {line}: '{image}'"
    return ListedFrame(split, line, files, scene, camera, timestamp_us, image_size(image, where=where))


def _goes_on(before: ListedFrame, frame: ListedFrame) -> bool:
    """Say whether a frame without a named scene belongs to the scene of the one before it."""
    names = [listed.files[IMAGE].stem.split("__") for listed in (before, frame)]
    if len(names[0]) < 3 or len(names[1]) < 3:  # these are not nuScenes names, so nothing tells where a scene ends
        return True
    return names[0][0] == names[1][0] and 0 <= frame.timestamp_us - before.timestamp_us <= MAX_GAP_US


def _fits(unit: Sequence[ListedFrame], frame: ListedFrame) -> bool:
    return len(unit) < MAX_FRAMES and (unit[0].split, unit[0].size) == (frame.split, frame.size)


def _check_times(unit: Sequence[ListedFrame]) -> None:
    lines: dict[int, int] = {}
    for frame in unit:
        if frame.timestamp_us in lines:
            raise SourceError(
                f"lines {lines[frame.timestamp_us]} and {frame.line} of {list_key(frame.split, IMAGE)} are the "
                f"same frame ({frame.scene}/{frame.camera}/{frame.timestamp_us}). A frame may be listed once"
            )
        lines[frame.timestamp_us] = frame.line
