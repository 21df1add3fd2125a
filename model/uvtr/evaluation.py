"""Measure detections against annotated objects: the nuScenes metric, groups by range and visibility, and what misleads in them.

Source  docs/method/uvtr.md#metric
Writes  into a folder: table.md, nuscenes_metric.csv, metric_groups.csv, matches.npz, results_nuscenes.json, pictures.npz, and
        segmentation.csv of a network that says where vehicles stand
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.train.family_types import Draw
from model.train.result_files import arrays_as_npz, put_file, put_tables, read_rows, rows_as_csv
from model.uvtr.detection_metric import OFFICIAL, MetricRow, counts_of, figures_of, metric_rows
from model.uvtr.detections import Detections
from model.uvtr.frame_matches import Matches, MeasuredFrame, match_frames
from model.uvtr.key_frame_pictures import frames_of
from model.uvtr.match_files import MATCHES_FILE, matches_as_file
from model.uvtr.metric_groups import GroupRow, group_rows
from model.uvtr.metric_table import metric_table
from model.uvtr.metric_warnings import metric_warnings, truth_warnings
from model.uvtr.nuscenes_metric import official_figures
from model.uvtr.nuscenes_results import results_as_json, with_distinct_scores
from model.uvtr.objects import FrameObjects
from model.uvtr.segmentation_truth import CellCounts
from model.uvtr.world_boxes import WorldBoxes, annotated_in_world, detected_in_world, that_count
from storage_schemas.errors import ManifestError
from storage_schemas.files import StoreFiles

METRIC_FILE = "nuscenes_metric.csv"
GROUPS_FILE = "metric_groups.csv"
RESULTS_FILE = "results_nuscenes.json"
PICTURES_FILE = "pictures.npz"
SEGMENTATION_FILE = "segmentation.csv"
PICTURES_FOLDER = "pictures"


class TruthFrame(NamedTuple):
    """One key frame that is measured.

    Attributes:
        key: ``<scene>/<time of the rig, us>``.
        sample_token: its name in its source.
        objects: annotated, in the rig frame.
        world_from_rig: (4, 4) float64 pose of the rig, metres.
    """

    key: str
    sample_token: str
    objects: FrameObjects
    world_from_rig: NDArray[np.float64]


class SegmentationRow(NamedTuple):
    """How well a network says on which ground cells vehicles stand.

    Attributes:
        iou: intersection over union of all key frames together, 0 to 1; NaN = no vehicle, and none said.
        num_covered: cells on which a vehicle stands.
        num_cells: cells of all key frames.
    """

    iou: float
    num_covered: int
    num_cells: int


@dataclass
class BoxEvaluation:
    """What was measured.

    Attributes:
        rows: of the metric: means over ten classes, over those present, then every class.
        groups: by range and by visibility.
        matches: of the boxes that count.
        found: all detections by the token of their key frame, as they are written.
        warnings: what misleads, each with its name before a colon.
        is_official: the first row is what the devkit says.
        pictures: arrays by name, see ``pictured_frames``; empty = none.
        segmentation: of a network that says where vehicles stand; None = it does not.
    """

    rows: list[MetricRow]
    groups: list[GroupRow]
    matches: Matches
    found: dict[str, WorldBoxes]
    warnings: list[str]
    is_official: bool
    pictures: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    segmentation: SegmentationRow | None = None


def evaluate_detections(frames: Sequence[TruthFrame], detections: Sequence[Detections], *, official: bool) -> BoxEvaluation:
    """Measure what a network found; equal scores are told apart first, see ``nuscenes_results``.

    Args:
        frames: every key frame that was looked at.
        detections: of the same key frames, in their rig frames.
        official: ask the devkit for the figures; false: compute them here, by the same rules.

    Raises:
        RecipeError: the devkit is not installed.
        ManifestError: two key frames have one name, so that a result file cannot tell them apart.
    """
    distinct = with_distinct_scores(detections)
    boxes = [detected_in_world(found, frame.world_from_rig) for frame, found in zip(frames, distinct.frames, strict=True)]
    return evaluate_boxes(frames, boxes, official=official, num_tied=distinct.num_tied, were_tied_broken=True)


def evaluate_boxes(
    frames: Sequence[TruthFrame],
    found: Sequence[WorldBoxes],
    *,
    official: bool,
    num_tied: int,
    were_tied_broken: bool,
) -> BoxEvaluation:
    """Measure detections in the world frame as they are; arguments and errors as of ``evaluate_detections``.

    Args:
        frames: every key frame that is measured.
        found: detections of the same key frames.
        official: ask the devkit for the figures.
        num_tied: detections that share their score with another one of their class, or did.
        were_tied_broken: they do not share it any more.
    """
    refuse_repeated_tokens(frames)
    measured = [
        MeasuredFrame(
            frame.key,
            frame.sample_token,
            that_count(annotated_in_world(frame.objects, frame.world_from_rig), frame.objects.racks, frame.world_from_rig),
            that_count(boxes, frame.objects.racks, frame.world_from_rig),
        )
        for frame, boxes in zip(frames, found, strict=True)
    ]
    matches = match_frames(measured)
    counts = counts_of(matches)
    if official:
        by_devkit = official_figures(measured)
        rows = metric_rows(by_devkit.classes, *counts)
        ate_m, ase, aoe_rad, ave_mps, aae = by_devkit.errors
        rows[0] = rows[0]._replace(
            ap=by_devkit.mean_ap, nds=by_devkit.nds, ate_m=ate_m, ase=ase, aoe_rad=aoe_rad, ave_mps=ave_mps, aae=aae
        )
    else:
        rows = metric_rows(figures_of(matches), *counts)
    warnings = metric_warnings(rows, matches, num_tied=num_tied, were_tied_broken=were_tied_broken)
    return BoxEvaluation(
        rows,
        group_rows(matches),
        matches,
        {frame.sample_token: boxes for frame, boxes in zip(frames, found, strict=True)},
        [*warnings, *truth_warnings([frame.objects for frame in frames])],
        official,
    )


def segmentation_row(counts: CellCounts) -> SegmentationRow:
    """Return the counts of all key frames as a row."""
    return SegmentationRow(counts.iou, counts.covered, counts.total)


def refuse_repeated_tokens(frames: Iterable[TruthFrame]) -> None:
    """Check that every key frame has a name of its own; ManifestError names two that share one."""
    seen: dict[str, str] = {}
    for frame in frames:
        other = seen.setdefault(frame.sample_token, frame.key)
        if other != frame.key:
            raise ManifestError(
                f"key frames '{other}' and '{frame.key}' have the same sample token '{frame.sample_token}', so a result file "
                "cannot tell them apart. Give every key frame of the source a token of its own, or measure one of the scenes"
            )


def write_box_folder(folder: Path, evaluation: BoxEvaluation, *, title: str) -> None:
    """Write an evaluation's tables, results and pictures in place of those of a former one.

    Raises:
        StoreError: the folder cannot be written.
        ResultFileError: a detection has numbers that are not finite.
    """
    files, segmentation = StoreFiles(folder), evaluation.segmentation
    results = results_as_json(evaluation.found)  # first: with broken numbers nothing is written
    files.put("table.md", f"{title}\n\n{_table(evaluation)}\n".encode())
    for name, is_there in ((PICTURES_FILE, bool(evaluation.pictures)), (SEGMENTATION_FILE, segmentation is not None)):
        if not is_there:
            files.remove(name)  # of a former evaluation
    if evaluation.pictures:
        files.put(PICTURES_FILE, arrays_as_npz(evaluation.pictures))
    files.put(RESULTS_FILE, results)
    tables = {
        MATCHES_FILE: matches_as_file(evaluation.matches),
        GROUPS_FILE: rows_as_csv(GroupRow, evaluation.groups),
    }
    if segmentation is not None:
        tables[SEGMENTATION_FILE] = rows_as_csv(SegmentationRow, [segmentation])
    put_tables(folder, {**tables, METRIC_FILE: rows_as_csv(MetricRow, evaluation.rows)})


def put_pictures(folder: Path, evaluation: BoxEvaluation, draw: Draw) -> None:
    """Write a JPEG of every key frame that was kept: pictures/<scene>_<time>.jpg; StoreError if it cannot be written."""
    for frame in frames_of(evaluation.pictures) if evaluation.pictures else ():
        put_file(folder / PICTURES_FOLDER / f"{frame.key.replace('/', '_')}.jpg", draw(frame))


def remove_pictures(folder: Path) -> None:
    """Delete the pictures of a former evaluation: those of the key frames that it kept in pictures.npz."""
    keys: list[str] = []
    with suppress(OSError, ValueError, KeyError, zipfile.BadZipFile), np.load(folder / PICTURES_FILE) as former:
        keys = [str(key) for key in former["frame_keys"]]
    for key in keys:
        (folder / PICTURES_FOLDER / f"{key.replace('/', '_')}.jpg").unlink(missing_ok=True)


def _table(evaluation: BoxEvaluation) -> str:
    by = "nuscenes-devkit" if evaluation.is_official else "depthmill's own computation of the devkit's rules"
    return metric_table(
        evaluation.rows,
        evaluation.groups,
        warnings=evaluation.warnings,
        iou=None if evaluation.segmentation is None else evaluation.segmentation.iou,
        note=f"{len(evaluation.matches.frames)} key frames. mAP and NDS (row '{OFFICIAL}') by {by}.",
    )


_MISSING = "'{folder}' holds no evaluation of family uvtr ({file} is missing). Run depthmill evaluate"


def read_metric(folder: Path) -> list[MetricRow]:
    """Return the rows of the metric of an evaluation; StoreError if the file is missing or damaged."""
    return read_rows(MetricRow, folder / METRIC_FILE, missing=_MISSING.format(folder=folder, file=METRIC_FILE))


def read_groups(folder: Path) -> list[GroupRow]:
    """Return the rows of the groups of an evaluation; StoreError if the file is missing or damaged."""
    return read_rows(GroupRow, folder / GROUPS_FILE, missing=_MISSING.format(folder=folder, file=GROUPS_FILE))


def read_segmentation(folder: Path) -> SegmentationRow | None:
    """Return how well a network says where vehicles stand; None if it does not. StoreError if the file is damaged."""
    if not (folder / SEGMENTATION_FILE).is_file():
        return None
    missing = _MISSING.format(folder=folder, file=SEGMENTATION_FILE)
    return read_rows(SegmentationRow, folder / SEGMENTATION_FILE, missing=missing)[0]
