"""Label and result files of the KITTI object benchmark: written for other tools to read, and read when other tools wrote them.

Why    Detectors are compared through these files. Public readers pair results with labels by their place in a sorted listing and
       look for a score in the first line only; here a frame is found by its name, and every line is looked at.
Source the KITTI object development kit; docs/method/formats.md#kitti-labels; docs/method/monoddle.md#result-files
Reads  <folder>/<frame>.txt, a line an object, fields parted by spaces:
       type truncated occluded alpha left top right bottom height width length x y z rotation_y [score]
       pixels, metres and radians, as ``Objects``; labels have 15 fields, results 16. An empty file is a frame without objects.
Writes the same: scores with at least four decimals and as many as it takes to read the same number back, so that no two
       detections change places; the rest with six, a micrometre
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np

from model.data.objects import Objects
from model.monoddle.precision.average_precision import KITTI_DIFFICULTIES, ApRow, Difficulty, average_precision
from storage_schemas.errors import DepthmillError
from storage_schemas.files import folder_written_whole
from storage_schemas.regular_files import read_text

CATEGORIES = ("Car", "Van", "Truck", "Pedestrian", "Person_sitting", "Cyclist", "Tram", "Misc", "DontCare")
"""Every type that KITTI's files know."""

LABEL_FIELDS = ("type", "truncated", "occluded", "alpha", "left", "top", "right", "bottom", "height", "width", "length", "x", "y",
                "z", "rotation_y")  # fmt: skip
RESULT_FIELDS = (*LABEL_FIELDS, "score")

_CATEGORY_OF = {category.lower(): category for category in CATEGORIES}
_NAMED_AT_MOST = 5  # frames in an error


class KittiFileError(DepthmillError):
    """A label or result file that is missing, broken or cannot be written."""


def read_labels(file: Path) -> Objects:
    """Return the annotated objects of one frame, in the order of the lines; their score is 0.

    Args:
        file: ``<frame>.txt`` with 15 fields a line; empty lines are passed over.

    Raises:
        KittiFileError: the file is missing, or a line has another number of fields, an unknown type (upper and lower case are
            one) or something that is no finite number.
    """
    return _read(file, LABEL_FIELDS)


def read_result(file: Path) -> Objects:
    """Return the detections of one frame, in the order of the lines; as ``read_labels``, with the score as 16th field."""
    return _read(file, RESULT_FIELDS)


def read_results(folder: Path, *, ids: Sequence[str] | None = None) -> dict[str, Objects]:
    """Return the detections of frames by their name.

    Args:
        folder: with ``<frame>.txt`` files.
        ids: the frames wanted, in this order; None = every file in the folder, sorted.

    Raises:
        KittiFileError: the folder or the file of a wanted frame is missing, there is no file at all, or a file is broken.
    """
    if ids is None:
        ids = sorted(file.stem for file in folder.glob("*.txt"))
        if not ids:
            raise KittiFileError(f"'{folder}' holds no result files, expected <frame>.txt for each frame. {_look_below(folder)}")
    _check_there(folder, ids, "result")
    return {frame: read_result(folder / f"{frame}.txt") for frame in ids}


def write_results(folder: Path, results: Mapping[str, Objects]) -> None:
    """Write one file a frame, an empty one where nothing was found; the folder appears when all of it is written.

    Args:
        folder: must not exist or be empty, so that no file of another run is taken for one of this.
        results: detections by the frame's name, which becomes the file's.

    Raises:
        KittiFileError: the folder is not empty or cannot be written, a name is no file name, a category is not one of KITTI's,
            or a number is not finite; then nothing is written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise KittiFileError(
            f"'{folder}' is there already, expected a new or an empty folder: results never mix with what is there. "
            "Choose another folder, or delete this one first"
        )
    texts = {_checked_name(frame): _text(frame, objects) for frame, objects in results.items()}
    try:
        with folder_written_whole(folder) as unfinished:
            for name, text in texts.items():
                (unfinished / name).write_text(text, encoding="ascii")
    except OSError as error:
        raise KittiFileError(
            f"cannot write results to '{folder}': {error}. Free space there, or choose another folder"
        ) from error


def evaluate_result_folder(
    labels: Path,
    results: Path,
    ids: Sequence[str],
    *,
    classes: Sequence[str] = ("Car", "Pedestrian", "Cyclist"),
    difficulties: Sequence[Difficulty] = KITTI_DIFFICULTIES,
) -> list[ApRow]:
    """Measure result files, of whatever tool, against label files.

    Args:
        labels: folder with ``<frame>.txt`` labels, such as training/label_2.
        results: folder with ``<frame>.txt`` results; files of other frames are not looked at.
        ids: the frames to measure on, each once.
        classes: as in ``average_precision``.
        difficulties: as in ``average_precision``.

    Returns:
        The rows of ``average_precision``.

    Raises:
        KittiFileError: a frame is named twice or its file is missing (a frame without detections has an empty one), or a file is
            broken.
        AveragePrecisionError: a category has no least overlap.
    """
    if repeated := sorted({frame for frame in ids if ids.count(frame) > 1} if len(set(ids)) < len(ids) else ()):
        raise KittiFileError(f"{_some(repeated)} named more than once, expected each frame once. Correct the list of frames")
    _check_there(labels, ids, "label")
    detections = read_results(results, ids=ids)
    truth = [read_labels(labels / f"{frame}.txt") for frame in ids]
    return average_precision(truth, [detections[frame] for frame in ids], classes=classes, difficulties=difficulties)


def _read(file: Path, names: tuple[str, ...]) -> Objects:
    try:
        lines = read_text(file).splitlines()
    except OSError as error:
        raise KittiFileError(f"cannot read '{file}': {error.strerror}. Copy it there, or leave its frame out") from error
    except UnicodeDecodeError as error:
        raise KittiFileError(f"'{file}' is no text: {error}. Copy it again") from error
    rows = [_parse(f"'{file}' line {number}", line.split(), names) for number, line in enumerate(lines, 1) if line.strip()]
    if not rows:
        return Objects.none()
    categories, numbers = [row[0] for row in rows], np.array([row[1] for row in rows])
    return Objects(
        category=np.array(categories),
        truncation=numbers[:, 0],
        occlusion=numbers[:, 1].astype(np.int64),
        alpha_rad=numbers[:, 2],
        box_px=numbers[:, 3:7],
        size_hwl_m=numbers[:, 7:10],
        location_m=numbers[:, 10:13],
        rotation_y_rad=numbers[:, 13],
        score=numbers[:, 14],
    )


def _parse(where: str, texts: list[str], names: tuple[str, ...]) -> tuple[str, list[float]]:
    """Return the category and the 15 numbers of a line, the score 0 where there is none."""
    if len(texts) != len(names):
        what = "detection" if names == RESULT_FIELDS else "label"
        hint = "; a label file has 15 and is no result file" if (what, len(texts)) == ("detection", 15) else ""
        raise KittiFileError(
            f"{where} has {len(texts)} fields, expected the {len(names)} of a {what}: {' '.join(names)}. Correct it{hint}"
        )
    category = _CATEGORY_OF.get(texts[0].lower())
    if category is None:
        near = difflib.get_close_matches(texts[0].capitalize(), CATEGORIES, n=1)
        raise KittiFileError(
            f"{where} has the type '{texts[0]}', expected one of {', '.join(CATEGORIES)}"
            + (f"; did you mean {near[0]}?" if near else ". Correct it")
        )
    numbers = []
    for name, text in zip(names[1:], texts[1:], strict=True):
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value) or (name == "occluded" and not value.is_integer()):
            wanted = "a whole number" if name == "occluded" else "a finite number"
            raise KittiFileError(f"{where} has {name} '{text}', expected {wanted}. Correct it")
        numbers.append(value)
    return category, numbers if names == RESULT_FIELDS else [*numbers, 0.0]


def _text(frame: str, objects: Objects) -> str:
    """Return the content of one result file."""
    lines = []
    for i in range(len(objects)):
        category = str(objects.category[i])
        if category not in CATEGORIES:
            raise KittiFileError(
                f"frame '{frame}': object {i} is a '{category}', which KITTI's files do not know; expected one of "
                f"{', '.join(CATEGORIES)}. Rename it, or leave it out"
            )
        numbers = [
            float(objects.alpha_rad[i]),
            *objects.box_px[i].tolist(),
            *objects.size_hwl_m[i].tolist(),
            *objects.location_m[i].tolist(),
            float(objects.rotation_y_rad[i]),
        ]
        truncation, score = float(objects.truncation[i]), float(objects.score[i])
        if not all(map(math.isfinite, (truncation, *numbers, score))):
            said = {field.name: getattr(objects, field.name)[i].tolist() for field in fields(Objects)}
            raise KittiFileError(
                f"frame '{frame}': object {i} is {said}, expected finite numbers. Leave it out, or correct what made it"
            )
        texts = [f"{truncation:.6f}", str(int(objects.occlusion[i])), *(f"{number:.6f}" for number in numbers)]
        lines.append(" ".join([category, *texts, np.format_float_positional(score, unique=True, min_digits=4)]) + "\n")
    return "".join(lines)


def _checked_name(frame: str) -> str:
    name = f"{frame}.txt"
    if not frame or frame.startswith(".") or Path(name).name != name or "\\" in frame:
        raise KittiFileError(f"'{frame}' names no file, expected a name such as 000123. Rename the frame")
    return name


def _check_there(folder: Path, ids: Sequence[str], what: str) -> None:
    if not folder.is_dir():
        raise KittiFileError(f"'{folder}' is no folder, expected one with {what} files <frame>.txt. Correct the path")
    missing = [frame for frame in ids if not (folder / f"{frame}.txt").is_file()]
    if not missing:
        return
    hint = "Write an empty file for a frame without detections, or leave the frame out" if what == "result" else "Copy it there"
    raise KittiFileError(
        f"'{folder}' has no {what} file of {_some(missing)}; expected <frame>.txt for each of {len(ids)} frames. "
        f"{_look_below(folder, hint)}"
    )


def _look_below(folder: Path, otherwise: str = "Correct the path") -> str:
    """Say where to look: the devkit's layout keeps result files one level down."""
    below = folder / "data"
    return f"Did you mean '{below}'?" if below.is_dir() and not any(folder.glob("*.txt")) else otherwise


def _some(frames: Sequence[str]) -> str:
    more = len(frames) - _NAMED_AT_MOST
    return ", ".join(frames[:_NAMED_AT_MOST]) + (f" and {more} more" if more > 0 else "")
