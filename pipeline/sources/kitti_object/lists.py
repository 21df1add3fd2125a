"""The lists of the KITTI object benchmark: which frames there are, in which split, and cut into scenes.

Why    The benchmark names frames and no drives, and its images differ in size. The unit of work is a scene, and everything in a
       unit has one size, so a scene is a run of frames of one list and one image size
Reads  <root>/ImageSets/{train,val,trainval,test}.txt; of each frame the head of its image, its calibration and its labels
Source docs/method/formats.md#kitti-layout
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from pipeline.sources.raw_files import image_size
from storage_schemas.errors import SourceError
from storage_schemas.kitti_text import count_objects
from storage_schemas.regular_files import MAX_TEXT_BYTES, read_regular, read_text
from storage_schemas.remote_path import DataPath, RemotePath, fetch_all, folder_names

KittiList = Literal["train", "val", "trainval", "test"]

FOLDER_OF_LIST: dict[str, str] = {"train": "training", "val": "training", "trainval": "training", "test": "testing"}
SPLIT_OF_LIST: dict[str, str] = {"train": "train", "val": "val", "trainval": "train", "test": "test"}

IMAGES, CALIBRATIONS, LABELS, SWEEPS = "image_2", "calib", "label_2", "velodyne"
"""Folders below training/ and testing/."""

_NO_TYPES: Mapping[str, str] = MappingProxyType({})
_MOST_DIGITS = 18  # of a number that int64 holds
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
        frames: names of the images without their ending, KITTI's six digits or others, in the list's order.
        files: their images, below the root.
        has_sweep: whether velodyne/ has a file of each.
        digest: of the list's entries, the image sizes, and the bytes of calibration and labels.
        labels_digest: of what is made of labels beyond what they say; "" where they are taken as they are.
        num_objects: annotated objects, without DontCare.
        num_alphas: those whose observation angle is computed.
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
    labels_digest: str = ""
    num_objects: int = 0
    num_alphas: int = 0

    @property
    def timestamps_us(self) -> list[int]:
        """A number for each frame in place of a time: its name, or its place where names are no different numbers."""
        if all(frame.isascii() and frame.isdigit() and len(frame) <= _MOST_DIGITS for frame in self.frames):
            numbers = [int(frame) for frame in self.frames]
            if len(set(numbers)) == len(numbers):
                return numbers
        return list(range(len(self.frames)))


def data_folder(root: DataPath) -> DataPath | None:
    """Return the folder that holds training/ or testing/: the root, or object/ below it; None if neither does."""
    for folder in (root, root / "object"):
        if any((folder / name / IMAGES).is_dir() for name in ("training", "testing")):
            return folder
    return None


def lists_folder(root: DataPath) -> DataPath | None:
    """Return the folder ImageSets that belongs to a root, None if the root has no lists."""
    places = (root / "ImageSets", root / "object" / "ImageSets", root.parent / "ImageSets")
    return next((path for path in places if path.is_dir()), None)


def missing_lists_text(root: DataPath) -> str:
    """Say that a root has no lists, and how to get some."""
    data = data_folder(root) or root
    half = next((name for name in ("training", "testing") if (data / name / IMAGES).is_dir()), "training")
    return (
        f"'{root / 'ImageSets'}' is missing; expected train.txt, val.txt and test.txt with the name of one frame a line. Put the "
        "benchmark's lists there (public detectors bring them along), or write a list of every image: "
        f"mkdir '{root / 'ImageSets'}'; ls '{data / half / IMAGES}' | sed 's/\\.[^.]*$//' > "
        f"'{root / 'ImageSets' / ('train.txt' if half == 'training' else 'test.txt')}'"
    )


def read_kitti_scenes(
    data: DataPath, lists: DataPath, names: Sequence[KittiList], *, frames_per_scene: int, types: Mapping[str, str] = _NO_TYPES
) -> list[KittiScene]:
    """Read lists and cut each into scenes, one image size after the other in the order in which they first occur.

    Unlike tables of drives, the lists do not say how large images are: 24 bytes of each are read, and the text files too, so
    that a plan sees a corrected label (0.2 s of processor time for the 7,481 frames of training, 0.6 s on a local disk).

    Args:
        data: folder that holds training/ and testing/.
        lists: folder of the lists.
        names: lists to read, in this order.
        frames_per_scene: most frames of a scene.
        types: what the recipe makes of types in label files.

    Raises:
        SourceError: a list is missing, empty or no text, a frame is named twice, or images are missing or broken.
    """
    listed = {name: _read_list(lists / f"{name}.txt", name) for name in names}
    _refuse_twice(listed)
    scenes: list[KittiScene] = []
    for name, frames in listed.items():
        scenes += _cut(data, name, frames, frames_per_scene, types)
    return scenes


def _cut(
    data: DataPath, name: str, frames: Sequence[str], frames_per_scene: int, types: Mapping[str, str]
) -> Iterator[KittiScene]:
    folder = FOLDER_OF_LIST[name]
    images, sweeps = _files_in(data / folder / IMAGES, _SUFFIXES), _files_in(data / folder / SWEEPS, (".bin",))
    if missing := [frame for frame in frames if frame not in images]:
        more = f" and {len(missing) - _NUM_NAMED:,} more" if len(missing) > _NUM_NAMED else ""
        near = next((near for frame in missing[:_NUM_NAMED] if (near := _near(frame, images))), None)
        raise SourceError(
            f"{len(missing):,} of {len(frames):,} images that {name}.txt names are not in '{data / folder / IMAGES}': "
            f"{', '.join(missing[:_NUM_NAMED])}{more}. "
            + (
                f"Did you mean {near}? Write names of images without their ending in the list, one a line"
                if near
                else "Unpack data_object_image_2.zip there, or shorten the list"
            )
        )
    folder_of = {name: data / folder / name for name in (IMAGES, CALIBRATIONS, LABELS)}
    fetch_all((folder_of[IMAGES] / images[frame] for frame in frames), RemotePath.read_head)
    fetch_all((folder_of[name] / f"{frame}.txt" for name in (CALIBRATIONS, LABELS) for frame in frames), RemotePath.read_bytes)
    by_size: dict[tuple[int, int], list[str]] = {}
    for frame in frames:
        by_size.setdefault(image_size(folder_of[IMAGES] / images[frame]), []).append(frame)
    for (width, height), of_size in by_size.items():
        for number, first in enumerate(range(0, len(of_size), frames_per_scene)):
            chosen = tuple(of_size[first : first + frames_per_scene])
            scene = f"{name}-{width}x{height}-{number:04d}"
            facts = [scene, folder, chosen, [images[frame] for frame in chosen], [frame in sweeps for frame in chosen]]
            total = hashlib.sha256(json.dumps(facts).encode())
            num_objects = num_alphas = 0
            for frame in chosen:
                for texts in (CALIBRATIONS, LABELS):
                    content = _content_of(folder_of[texts] / f"{frame}.txt")
                    # without bytes: the stage that needs the file reports that it is missing
                    total.update(b"not there" if content is None else hashlib.sha256(content).digest())
                    if texts == LABELS and content is not None:
                        objects, alphas = count_objects(content)
                        num_objects, num_alphas = num_objects + objects, num_alphas + alphas
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
                labels_digest=_labels_digest(types, needs_alpha=num_alphas > 0) if folder == "training" else "",
                num_objects=num_objects,
                num_alphas=num_alphas,
            )


def _labels_digest(types: Mapping[str, str], *, needs_alpha: bool) -> str:
    """Return the digest of how labels are read; "" as long as each number and type is kept, so that old units stay."""
    rules = {**({"types": dict(sorted(types.items()))} if types else {}), **({"alpha": 1} if needs_alpha else {})}
    return hashlib.sha256(json.dumps(rules).encode()).hexdigest() if rules else ""


def _near(frame: str, images: Collection[str]) -> str | None:
    """Return the image that a name which is none may mean: one with zeros before, or with an ending or folders left out."""
    words = (*frame.split(), "")[0].replace("\\", "/").rpartition("/")[2]
    for name in (words, words.rpartition(".")[0]):
        if name in images:
            return name
        if name.isdigit() and (same := [image for image in images if image.isdigit() and int(image) == int(name)]):
            return same[0]
    return next(iter(difflib.get_close_matches(words, images, n=1, cutoff=0.8)), None) if not words.isdigit() else None


def _files_in(folder: DataPath, suffixes: tuple[str, ...]) -> dict[str, str]:
    """Return stem -> file name of a folder's files with one of the suffixes; empty if there is no folder."""
    split = ((name, *name.rpartition(".")) for name in folder_names(folder))
    return {stem: name for name, stem, dot, suffix in split if f"{dot}{suffix}".lower() in suffixes}


def _content_of(path: DataPath) -> bytes | None:
    try:
        return read_regular(path, most_bytes=MAX_TEXT_BYTES)
    except OSError:
        return None


def _read_list(path: DataPath, name: str) -> list[str]:
    try:
        lines = read_text(path).splitlines()
    except FileNotFoundError as error:
        names = ", ".join(sorted(file.stem for file in path.parent.glob("*.txt"))) or "none"
        raise SourceError(
            f"list '{path}' is missing; lists there: {names}. Put the benchmark's list there (public detectors bring it along), "
            f"or leave '{name}' out of source.splits in the recipe"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"list '{path}' cannot be read: {error}. Expected text with the name of one frame a line") from error
    frames = [line.strip() for line in lines if line.strip()]
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
