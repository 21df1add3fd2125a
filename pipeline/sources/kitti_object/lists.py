"""The lists of the KITTI object benchmark: which frames there are, in which split, and cut into scenes.

Why    The benchmark names frames and no drives, and its images differ in size. The unit of work is a scene, and everything in a
       unit has one size, so a scene is a run of frames of one list and one image size
Reads  <root>/ImageSets/{train,val,trainval,test}.txt; of each frame the head of its image, its calibration and its labels
Source docs/method/formats.md#kitti-layout
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipeline.sources.raw_files import image_size
from storage_schemas.errors import SourceError

KittiList = Literal["train", "val", "trainval", "test"]

FOLDER_OF_LIST: dict[str, str] = {"train": "training", "val": "training", "trainval": "training", "test": "testing"}
SPLIT_OF_LIST: dict[str, str] = {"train": "train", "val": "val", "trainval": "train", "test": "test"}

IMAGES, CALIBRATIONS, LABELS, SWEEPS = "image_2", "calib", "label_2", "velodyne"
"""Folders below training/ and testing/."""

_NUMBER = re.compile(r"[0-9]{1,12}")
_SUFFIXES = (".png", ".jpg", ".jpeg")
_NUM_NAMED = 3


@dataclass(frozen=True)
class KittiScene:
    """Frames of one list with images of one size.

    Attributes:
        name: ``<list>-<width>x<height>-<number>``, the number from 0: sorts by list, and changes only if the list does.
        split: train, val or test; the list trainval is train.
        folder: training or testing.
        width: image columns.
        height: image rows.
        frames: KITTI numbers, six digits, in the list's order.
        files: their images, below the root.
        has_sweep: whether velodyne/ has a file of each.
        digest: of the list's entries, the image sizes, and the bytes of calibration and labels.
    """

    name: str
    split: str
    folder: str
    width: int
    height: int
    frames: tuple[str, ...]
    files: tuple[str, ...]
    has_sweep: tuple[bool, ...]
    digest: str


def data_folder(root: Path) -> Path | None:
    """Return the folder that holds training/ or testing/: the root, or object/ below it; None if neither does."""
    for folder in (root, root / "object"):
        if any((folder / name / IMAGES).is_dir() for name in ("training", "testing")):
            return folder
    return None


def lists_folder(root: Path) -> Path | None:
    """Return the folder ImageSets that belongs to a root, None if the root has no lists."""
    places = (root / "ImageSets", root / "object" / "ImageSets", root.parent / "ImageSets")
    return next((path for path in places if path.is_dir()), None)


def read_kitti_scenes(data: Path, lists: Path, names: Sequence[KittiList], *, frames_per_scene: int) -> list[KittiScene]:
    """Read lists and cut each into scenes, one image size after the other in the order in which they first occur.

    Unlike tables of drives, the lists do not say how large images are: 24 bytes of each are read, and the text files too, so
    that a plan sees a corrected label (0.2 s of processor time for the 7,481 frames of training, 0.6 s on a local disk).

    Args:
        data: folder that holds training/ and testing/.
        lists: folder of the lists.
        names: lists to read, in this order.
        frames_per_scene: most frames of a scene.

    Raises:
        SourceError: a list is missing, empty or no text, a line is no number of a frame, a frame is named twice, or images are
            missing or broken.
    """
    listed = {name: _read_list(lists / f"{name}.txt", name) for name in names}
    _refuse_twice(listed)
    scenes: list[KittiScene] = []
    for name, frames in listed.items():
        scenes += _cut(data, name, frames, frames_per_scene)
    return scenes


def _cut(data: Path, name: str, frames: Sequence[str], frames_per_scene: int) -> Iterator[KittiScene]:
    folder = FOLDER_OF_LIST[name]
    images, sweeps = _files_in(data / folder / IMAGES, _SUFFIXES), _files_in(data / folder / SWEEPS, (".bin",))
    if missing := [frame for frame in frames if frame not in images]:
        more = f" and {len(missing) - _NUM_NAMED:,} more" if len(missing) > _NUM_NAMED else ""
        raise SourceError(
            f"{len(missing):,} of {len(frames):,} images that {name}.txt names are not in '{data / folder / IMAGES}': "
            f"{', '.join(missing[:_NUM_NAMED])}{more}. Unpack data_object_image_2.zip there, or shorten the list"
        )
    by_size: dict[tuple[int, int], list[str]] = {}
    for frame in frames:
        by_size.setdefault(image_size(f"{data}/{folder}/{IMAGES}/{images[frame]}"), []).append(frame)
    for (width, height), of_size in by_size.items():
        for number, first in enumerate(range(0, len(of_size), frames_per_scene)):
            chosen = tuple(of_size[first : first + frames_per_scene])
            scene = f"{name}-{width}x{height}-{number:04d}"
            facts = [scene, folder, chosen, [images[frame] for frame in chosen], [frame in sweeps for frame in chosen]]
            total = hashlib.sha256(json.dumps(facts).encode())
            for frame in chosen:
                for texts in (CALIBRATIONS, LABELS):
                    total.update(_digest_of(f"{data}/{folder}/{texts}/{frame}.txt"))
            yield KittiScene(
                name=scene,
                split=SPLIT_OF_LIST[name],
                folder=folder,
                width=width,
                height=height,
                frames=chosen,
                files=tuple(f"{folder}/{IMAGES}/{images[frame]}" for frame in chosen),
                has_sweep=tuple(frame in sweeps for frame in chosen),
                digest=total.hexdigest(),
            )


def _files_in(folder: Path, suffixes: tuple[str, ...]) -> dict[str, str]:
    """Return stem -> file name of a folder's files with one of the suffixes; empty if there is no folder."""
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries)
    except OSError:
        return {}
    split = ((name, *name.rpartition(".")) for name in names)
    return {stem: name for name, stem, dot, suffix in split if f"{dot}{suffix}".lower() in suffixes}


def _digest_of(path: str) -> bytes:
    """Return the digest of a file; that of no bytes if it is missing, which the stage that needs it reports."""
    try:
        with open(path, "rb", buffering=0) as stream:
            return hashlib.sha256(stream.read()).digest()
    except OSError:
        return b"not there"


def _read_list(path: Path, name: str) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError as error:
        names = ", ".join(sorted(file.stem for file in path.parent.glob("*.txt"))) or "none"
        raise SourceError(
            f"list '{path}' is missing; lists there: {names}. Put the benchmark's list there (public detectors bring it along), "
            f"or leave '{name}' out of source.splits in the recipe"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"list '{path}' cannot be read: {error}. Expected text with the number of one frame a line") from error
    frames = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            if not _NUMBER.fullmatch(line.strip()):
                raise SourceError(
                    f"'{path}' line {number} is {line.strip()!r}, expected the number of a frame, e.g. 000123. Correct the line"
                )
            frames.append(line.strip())
    if not frames:
        raise SourceError(f"list '{path}' names no frame. Copy it again, or leave '{name}' out of source.splits in the recipe")
    return frames


def _refuse_twice(listed: dict[KittiList, list[str]]) -> None:
    where: dict[tuple[str, str], str] = {}
    for name, frames in listed.items():
        for frame in frames:
            before = where.setdefault((FOLDER_OF_LIST[name], frame), name)
            if before != name:
                raise SourceError(
                    f"frame {frame} is in {before}.txt and in {name}.txt. What is trained on must not be measured on: choose "
                    "lists without frames in common with source.splits in the recipe (trainval holds all of train and val)"
                )
        if len(set(frames)) != len(frames):
            twice = next(frame for frame in frames if frames.count(frame) > 1)
            raise SourceError(f"{name}.txt names frame {twice} twice. Delete one of the two lines")
