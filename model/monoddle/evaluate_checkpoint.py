"""What ``depthmill evaluate`` does with a detector: measure it on a split, and write the evaluation with its pictures.

Writes the folder as ``evaluation`` says, and pictures/<frame>.jpg
"""

from __future__ import annotations

import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np

from model.blocks.full_precision import PRECISION
from model.data.frame_names import file_name, frames_of_split
from model.monoddle.detection_frames import frames_of
from model.monoddle.evaluation import (
    PICTURES_FILE,
    check_detection_folder,
    error_rule,
    evaluate_detections,
    evaluation_title,
    write_detection_folder,
)
from model.monoddle.frame_pictures import FramePictures
from model.monoddle.precision.average_precision import not_measured_text, split_measured
from model.monoddle.predict_files import PICTURES_FOLDER, Detector, detected, detector_of
from model.train.config import Machine
from model.train.family import check_split
from model.train.family_types import Answer, Draw, choice_of
from model.train.result_files import put_file
from storage_schemas.manifest import Manifest


def evaluate_checkpoint(
    opened: Detector, manifest: Manifest, machine: Machine, *, split: str, folder: Path, draw: Draw | None
) -> Answer:
    """Measure a detector on a split.

    Args:
        opened: the detector.
        manifest: the pinned data.
        machine: where and how fast.
        split: train, val or test.
        folder: where the evaluation is written; one of a former evaluation is replaced.
        draw: makes the picture of a ``DetectionFrame``, and may say of which frames; None = no pictures.

    Raises:
        RecipeError: there is no such split, or no such frame in it.
        ManifestError: the split is empty, not annotated, or lacks images or boxes.
        KittiFileError: the folder holds results that no evaluation wrote.
    """
    check_split(split)
    chosen, choice = opened.config.evaluation, choice_of(draw)
    named = frames_of_split(choice.frames, manifest, split=split)
    check_detection_folder(folder)  # checked first, or a wrong folder would waste the whole measurement
    former_pictures = _former_pictures(folder)
    measured, unmeasured = split_measured(detector_of(opened).config.train_classes)
    pictures = FramePictures(
        error_rule(opened.config),
        named=named,
        worst=chosen.num_worst if choice.worst is None else choice.worst,
        spread=chosen.num_pictures if choice.spread is None else choice.spread,
    )
    evaluation = evaluate_detections(
        detected(opened, manifest, machine, split=split),
        classes=measured,
        height_scale=chosen.height_scale,
        pictures=pictures,
    )
    notes = [f"Computed in {PRECISION}.", *([not_measured_text(unmeasured)] if unmeasured else [])]
    title = evaluation_title(opened.name, manifest, split=split, height_scale=chosen.height_scale, notes=notes)
    for path in former_pictures:
        path.unlink(missing_ok=True)
    write_detection_folder(folder, evaluation, title=title)
    if draw is not None and evaluation.pictures:
        for frame in frames_of(evaluation.pictures):
            put_file(folder / PICTURES_FOLDER / _picture_name(frame.key), draw(frame))
    rows = [row._asdict() for row in evaluation.rows]
    data = {"folder": str(folder), "manifest": manifest.path.fingerprint, "precision": PRECISION, "rows": rows}
    table = (folder / "table.md").read_text(encoding="utf-8")
    return Answer(data, f"{table}\nwrote {folder}")


def _picture_name(frame_key: str) -> str:
    return f"{file_name(frame_key)}.jpg"


def _former_pictures(folder: Path) -> list[Path]:
    """Return the pictures of a former evaluation: JPEG files with the names of the frames that it kept in pictures.npz."""
    keys: list[str] = []
    with suppress(OSError, ValueError, KeyError, zipfile.BadZipFile), np.load(folder / PICTURES_FILE) as former:
        keys = [str(key) for key in former["frame_keys"]]
    paths = [folder / PICTURES_FOLDER / _picture_name(key) for key in keys]
    return [path for path in paths if path.is_file() and not path.is_symlink() and path.read_bytes()[:2] == b"\xff\xd8"]
