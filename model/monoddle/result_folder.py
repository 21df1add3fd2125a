"""Measure KITTI result files, of whatever detector wrote them, against the annotations of a manifest.

Why    Detectors are compared through such files, so that those of other programs are measured by the same code as ours
Reads  <folder>/<frame>.txt, or <folder>/data/ or <folder>/results/ with them; see ``kitti_files``
Writes an evaluation as a detector of ours has it, without pictures; see ``evaluation``
Source docs/method/monoddle.md#result-files, #average-precision
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from model.data.objects import Objects
from model.data.samples import choose_samples, refuse_missing_units
from model.data.units import OpenedUnits
from model.monoddle.config import DetectionDataConfig, DetectionEvaluationConfig
from model.monoddle.evaluation import (
    RESULTS_FOLDER,
    DetectionEvaluation,
    check_detection_folder,
    evaluation_title,
    result_names,
    scaled_difficulties,
    write_detection_folder,
)
from model.monoddle.kitti_files import KittiFileError, read_results
from model.monoddle.measured_cameras import FrameCamera
from model.monoddle.precision.average_precision import STRICT_OVERLAP, average_precision, not_measured_text, split_measured
from model.monoddle.predict_files import DATA_FOLDER
from model.train.family_types import Answer
from storage_schemas.errors import ManifestError
from storage_schemas.manifest import Manifest

_NUM_NAMED = 3


def find_result_folder(path: Path) -> Path | None:
    """Return the folder that holds result files: the path itself, or data/ or results/ in it; None if none of them does."""
    places = (path, path / DATA_FOLDER, path / RESULTS_FOLDER)
    return next((place for place in places if place.is_dir() and any(place.glob("*.txt"))), None)


def evaluate_result_files(
    path: Path, manifest: Manifest, evaluation: DetectionEvaluationConfig, *, classes: Sequence[str], split: str, folder: Path
) -> Answer:
    """Measure result files on a split.

    Args:
        path: folder of the files; a frame without a file counts as one in which nothing was found, and the answer says so.
        manifest: its annotations are the truth.
        evaluation: says what the least heights are multiplied by.
        classes: wanted beside those that the files have; those without a least overlap are named and not measured.
        split: train, val or test.
        folder: where the evaluation is written; one of a former evaluation is replaced.

    Raises:
        KittiFileError: there is one file only, no file is of a frame of the split, a file is broken, or ``folder`` holds results
            that no evaluation wrote.
        ManifestError: the split is empty or not annotated, or lacks boxes.
    """
    if path.is_file():
        raise KittiFileError(
            f"'{path}' is the result file of one frame, and average precision is of all frames of a split together. Give the "
            f"folder of the files: '{path.parent}'"
        )
    check_detection_folder(folder)
    files = find_result_folder(path)
    assert files is not None  # asked only about paths that ``takes_results`` says yes to
    truth, frame_keys, cameras = _truth(manifest, split)
    there = [file.stem for file in sorted(files.glob("*.txt"))]
    found_files = [name for name in there if name in truth]
    if not found_files:
        raise KittiFileError(_no_frame_text(files, there, manifest, split))
    results = {name: Objects.none() for name in truth} | read_results(files, ids=found_files)
    names = {str(name) for objects in results.values() for name in np.unique(objects.category)} | set(classes)
    measured = [category for category in STRICT_OVERLAP if category in names] or list(STRICT_OVERLAP)
    rows = average_precision(
        list(truth.values()),
        list(results.values()),
        classes=measured,
        difficulties=scaled_difficulties(evaluation.height_scale),
    )
    missing, others = [name for name in truth if name not in set(found_files)], len(there) - len(found_files)
    notes = _notes(files, missing, others, num_frames=len(truth), left_out=split_measured(sorted(names - {"DontCare"}))[1])
    title = evaluation_title(path.absolute().name, manifest, split=split, height_scale=evaluation.height_scale, notes=notes)
    scale = evaluation.height_scale
    results_of_split = DetectionEvaluation(rows, results, truth, frame_keys=frame_keys, height_scale=scale, cameras=cameras)
    write_detection_folder(folder, results_of_split, title=title)
    data = {
        "folder": str(folder),
        "manifest": manifest.path.fingerprint,
        "rows": [row._asdict() for row in rows],
        "num_frames": len(truth),
        "num_missing": len(missing),
        "num_other_files": others,
    }
    return Answer(data, f"{(folder / 'table.md').read_text(encoding='utf-8')}\nwrote {folder}")


def _truth(manifest: Manifest, split: str) -> tuple[dict[str, Objects], dict[str, str], dict[str, FrameCamera]]:
    """Return the annotated objects and the keys of a split's frames by the name of a frame's result file, in manifest order.

    The cameras are by frame key.
    """
    choice = DetectionDataConfig.model_validate({"split": split, "order": "manifest"})
    samples = choose_samples(manifest, choice, ("boxes",))
    refuse_missing_units(manifest.store, manifest.path.fingerprint, samples)
    units = OpenedUnits(manifest.store, None)
    names = result_names([sample.frame_key for sample in samples], [sample.sample_token for sample in samples])
    truth, cameras = {}, {}
    for name, sample in zip(names, samples, strict=True):
        boxes = units.boxes(sample)
        if not boxes.is_annotated[sample.frame]:
            raise ManifestError(
                f"frame '{sample.frame_key}' has no annotations, so results cannot be measured on split '{split}'. Choose an "
                "annotated split with --split"
            )
        truth[name] = boxes.objects(sample.frame)
        cameras[sample.frame_key] = FrameCamera(boxes.projections[sample.frame], (sample.height, sample.width))
    return truth, {name: sample.frame_key for name, sample in zip(names, samples, strict=True)}, cameras


def _no_frame_text(files: Path, there: Sequence[str], manifest: Manifest, split: str) -> str:
    """Say that no result file is of the split, and of which split they are."""
    rows = manifest.rows()
    names = result_names([row["frame_key"] for row in rows], [row["sample_token"] for row in rows])
    split_of = {name: row["split"] for name, row in zip(names, rows, strict=True)}
    other = next((split_of[name] for name in there if name in split_of), None)
    wanted = [name for name, of in split_of.items() if of == split]
    remedy = (
        f"They are of split {other}: choose --split {other}" if other else "Name each file after its frame, or choose --split"
    )
    return (
        f"none of the {len(there):,} result files in '{files}' is of a frame of split '{split}': files {_some(there)}; frames "
        f"{_some(wanted)}. {remedy}"
    )


def _notes(files: Path, missing: Sequence[str], others: int, *, num_frames: int, left_out: Sequence[str]) -> list[str]:
    """Return what a reader of the figures must know, a sentence each."""
    notes = []
    if missing:
        notes.append(
            f"{len(missing):,} of {num_frames:,} frames have no file in '{files}' and count as frames in which nothing was "
            f"found: {_some(missing)}."
        )
    if others:
        notes.append(f"{others:,} files are of no frame of this split and were not read.")
    if left_out:
        notes.append(not_measured_text(left_out))
    return notes


def _some(names: Sequence[str]) -> str:
    more = len(names) - _NUM_NAMED
    return ", ".join(names[:_NUM_NAMED]) + (f" and {more:,} more" if more > 0 else "")
