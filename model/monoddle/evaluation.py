"""Measure a detector on a split of a manifest: average precision, the detections as KITTI result files, and a few pictures.

Source  docs/method/monoddle.md#decoding, #average-precision
Reads   a pinned manifest through ``DetectionLoader``
Writes  into a folder: results/<frame>.txt (one a frame), average_precision.csv, table.md, pictures.npz, and the objects as
        ``measured_objects`` keeps them
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import nn

from model.blocks.full_precision import full_precision
from model.data.objects import Objects
from model.monoddle.analysis.analysis_folder import remove_analysis
from model.monoddle.batch import DetectionBatch, normalized_images
from model.monoddle.config import DetectionDataConfig, MonoDdleTrainConfig
from model.monoddle.data import DetectionLoader
from model.monoddle.decode import decode_objects
from model.monoddle.detection_frames import Detected
from model.monoddle.frame_error import ErrorRule
from model.monoddle.frame_pictures import FramePictures
from model.monoddle.kitti_files import KittiFileError, read_result, write_results
from model.monoddle.lidar_points import LidarPoints
from model.monoddle.measured_cameras import FrameCamera, write_measured_cameras
from model.monoddle.measured_objects import write_measured_objects
from model.monoddle.net import MonoDdle
from model.monoddle.precision.average_precision import KITTI_DIFFICULTIES, ApRow, Difficulty, average_precision, split_measured
from model.monoddle.precision.average_precision_table import ap_table
from model.train.config import Machine
from model.train.family_types import placement
from model.train.result_files import arrays_as_npz, put_tables, read_table, rows_as_csv
from storage_schemas.awaited import counted
from storage_schemas.errors import ManifestError, OutTakenError, StoreError
from storage_schemas.files import StoreFiles
from storage_schemas.manifest import Manifest

RESULTS_FOLDER = "results"
PICTURES_FILE = "pictures.npz"
AP_FILE = "average_precision.csv"


@dataclass
class DetectionEvaluation:
    """What was measured.

    Attributes:
        rows: average precision.
        detections: detections of each frame, by the name of its result file.
        truth: annotated objects of the same frames.
        pictures: arrays by name, (n, ...): see ``FramePictures.stacked``.
        frame_keys: keys of the same frames, by the name of the result file.
        height_scale: the benchmark's least heights were multiplied by it.
        cameras: of the same frames, by their keys; empty = not known.
    """

    rows: list[ApRow]
    detections: dict[str, Objects]
    truth: dict[str, Objects]
    pictures: dict[str, NDArray[Any]] = field(default_factory=dict)
    frame_keys: dict[str, str] = field(default_factory=dict)
    height_scale: float = 1.0
    cameras: dict[str, FrameCamera] = field(default_factory=dict)


@dataclass(frozen=True)
class Inference:
    """How a detector computes, and what of its answer is wanted.

    Attributes:
        device: of the network.
        score_threshold: centres whose heat is lower are left out.
        with_uncertainty: compute the uncertainty head too, for pictures.
    """

    device: torch.device
    score_threshold: float = 0.2
    with_uncertainty: bool = False


def detect(
    network: MonoDdle,
    manifest: Manifest,
    inference: Inference,
    *,
    split: str,
    cameras: tuple[str, ...] = (),
    with_teacher: bool = False,
    machine: Machine,
) -> Iterator[Detected]:
    """Yield the detections of every frame of a split, one by one in manifest order.

    Args:
        network: in evaluation mode, on the device.
        manifest: the pinned data.
        inference: how it computes.
        split: train, val or test.
        cameras: camera channels; empty = all.
        with_teacher: read the teacher's depth too, for pictures.
        machine: loader workers and image root.

    Raises:
        ManifestError: the split is empty, or its frames lack images, boxes or the teacher's depth.
    """
    data = DetectionDataConfig.model_validate(
        {"split": split, "cameras": cameras, "mono": with_teacher, "batch_size": 1, "order": "manifest"}
    )
    lidar = LidarPoints(manifest)
    with DetectionLoader(manifest, data, network.config, rules=None, placement=placement(machine)) as loader:
        for batch in counted(loader, "objects are detected in frames"):
            yield detect_in(network, batch, inference)._replace(lidar=lidar)


@torch.no_grad()
def detect_in(network: MonoDdle, batch: DetectionBatch, inference: Inference) -> Detected:
    """Find the objects of one batch, in float32 on any device."""
    images = normalized_images(batch.image_u8.to(inference.device))
    with full_precision(inference.device.type):
        maps = network(images, with_uncertainty=inference.with_uncertainty)
    objects = decode_objects(
        maps, batch.views, projections=batch.projections, config=network.config, score_threshold=inference.score_threshold
    )
    classes = network.config.classes
    return Detected(batch, objects, maps, {name: classes.index(name) for name in network.config.train_classes})


def evaluate_detections(
    frames: Iterator[Detected],
    *,
    classes: Sequence[str],
    height_scale: float = 1.0,
    pictures: FramePictures | None = None,
) -> DetectionEvaluation:
    """Measure what ``detect`` yields.

    Args:
        frames: all frames of a split.
        classes: categories whose average precision is wanted.
        height_scale: the benchmark's least heights are multiplied by it.
        pictures: keeps frames as pictures; None = none are kept.

    Raises:
        ManifestError: a frame was not annotated, so there is nothing to measure against.
    """
    keys, tokens, truth, detections = list[str](), list[str](), list[Objects](), list[Objects]()
    cameras = list[FrameCamera]()
    for detected in frames:
        for i, key in enumerate(detected.batch.frame_keys):
            if not detected.batch.is_annotated[i]:
                raise ManifestError(
                    f"frame '{key}' has no annotations, so its detections cannot be measured. Choose an annotated split, or "
                    "write them with depthmill predict"
                )
            if pictures is not None:
                pictures.offer(detected, i)
            keys.append(key)
            tokens.append(detected.batch.sample_tokens[i])
            view = detected.batch.views[i]
            cameras.append(FrameCamera(detected.batch.projections[i], (view.image_height, view.image_width)))
            truth.append(detected.batch.objects[i])
            detections.append(detected.detections[i])
    names = result_names(keys, tokens)
    rows = average_precision(truth, detections, classes=classes, difficulties=scaled_difficulties(height_scale))
    return DetectionEvaluation(
        rows,
        dict(zip(names, detections, strict=True)),
        dict(zip(names, truth, strict=True)),
        {} if pictures is None else pictures.stacked(),
        dict(zip(names, keys, strict=True)),
        height_scale,
        dict(zip(keys, cameras, strict=True)),
    )


def measured_network(
    network: nn.Module,
    manifest: Manifest,
    config: MonoDdleTrainConfig,
    machine: Machine,
    device: torch.device,
    *,
    num_pictures: int,
    num_worst: int = 0,
    named: tuple[str, ...] = (),
) -> DetectionEvaluation:
    """Measure a detector on its evaluation's split, and leave it in the mode it was in; errors as those of ``detect``.

    Pictures are kept of so many frames spread over the split, of so many of the worst, and of those with keys in ``named``.
    """
    assert isinstance(network, MonoDdle)
    was_training, has_pictures = network.training, num_pictures + num_worst + len(named) > 0
    network.eval()
    try:
        inference = Inference(
            device,
            config.evaluation.score_threshold,
            with_uncertainty=has_pictures and config.network.uncertainty,
        )
        frames = detect(
            network,
            manifest,
            inference,
            split=config.evaluation.split,
            cameras=config.data.cameras,
            with_teacher=has_pictures and config.data.mono,
            machine=machine,
        )
        return evaluate_detections(
            frames,
            classes=split_measured(config.network.train_classes)[0],
            height_scale=config.evaluation.height_scale,
            pictures=FramePictures(error_rule(config), named=named, worst=num_worst, spread=num_pictures),
        )
    finally:
        network.train(was_training)


def error_rule(config: MonoDdleTrainConfig) -> ErrorRule:
    """Return when a detection is right: by the overlap whose precision is told during training, at moderate difficulty."""
    chosen = config.evaluation
    moderate = next(level for level in scaled_difficulties(chosen.height_scale) if level.name == "moderate")
    return ErrorRule(tuple(split_measured(config.network.train_classes)[0]), chosen.metric, chosen.overlap, moderate)


def scaled_difficulties(height_scale: float) -> tuple[Difficulty, ...]:
    """Return the benchmark's difficulties for images smaller or larger than its own."""
    return tuple(level._replace(min_height_px=level.min_height_px * height_scale) for level in KITTI_DIFFICULTIES)


def result_names(frame_keys: Sequence[str], sample_tokens: Sequence[str]) -> list[str]:
    """Return the names of result files: the source's own where they are unique (KITTI's six digits), else the frame keys'."""
    if len(set(sample_tokens)) == len(sample_tokens) and all(sample_tokens):
        return list(sample_tokens)
    return [key.replace("/", "_") for key in frame_keys]


def evaluation_title(name: str, manifest: Manifest, *, split: str, height_scale: float, notes: Sequence[str] = ()) -> str:
    """Return what stands above the tables: what was measured on what, and what a reader of the figures must know."""
    title = f"{name} on {split} of manifest {manifest.path.fingerprint}"
    if height_scale != 1.0:
        title += f", least box heights times {height_scale:g}"
    return "\n\n".join([title, *notes])


def write_detection_folder(folder: Path, evaluation: DetectionEvaluation, *, title: str) -> None:
    """Write an evaluation's results, tables and pictures, in place of those of a former evaluation there.

    Raises:
        StoreError: the folder cannot be written.
        KittiFileError: it holds results that no evaluation wrote.
    """
    check_detection_folder(folder)
    for former in _former_results(folder):
        former.unlink(missing_ok=True)
    remove_analysis(folder)
    files = StoreFiles(folder)
    put_tables(folder, {AP_FILE: rows_as_csv(ApRow, evaluation.rows)})
    files.put("table.md", f"{title}\n\n{ap_table(evaluation.rows)}\n".encode())
    if evaluation.pictures:
        files.put(PICTURES_FILE, arrays_as_npz(evaluation.pictures))
    else:
        files.remove(PICTURES_FILE)  # of a former evaluation
    measured = evaluation.truth, evaluation.detections, evaluation.frame_keys
    write_measured_objects(folder, *measured, height_scale=evaluation.height_scale)
    write_measured_cameras(folder, evaluation.cameras)
    write_results(folder / RESULTS_FOLDER, evaluation.detections)  # last: where there are results, the tables are theirs


def check_detection_folder(folder: Path) -> None:
    """Check that an evaluation may be written here; what a former one left is replaced, and nothing else.

    Raises:
        OutTakenError: there are results that no evaluation wrote, or other files among them.
    """
    results = folder / RESULTS_FOLDER
    if results.exists() and any(results.iterdir()) and not (folder / AP_FILE).is_file():
        raise OutTakenError(
            f"'{results}' is there already and no evaluation wrote it ({AP_FILE} is missing beside it). Choose another --out"
        )
    if (folder / AP_FILE).is_file():
        read_average_precision(folder)  # a table of another program under this name is not replaced
    _former_results(folder)


def _former_results(folder: Path) -> list[Path]:
    """Return the result files of a former evaluation; OutTakenError names a file beside them that no evaluation wrote."""
    results = folder / RESULTS_FOLDER
    former = sorted(results.iterdir()) if results.is_dir() and not results.is_symlink() else []
    for path in former:
        try:
            is_result = path.suffix == ".txt" and path.is_file() and not path.is_symlink()
            if is_result:
                read_result(path)
        except KittiFileError:
            is_result = False
        if not is_result:
            raise OutTakenError(
                f"'{path}' lies among the results of a former evaluation, which are replaced, and no evaluation wrote it. "
                "Nothing was deleted. Move it away, or choose another --out"
            )
    return former


def read_average_precision(folder: Path) -> list[ApRow]:
    """Return the rows that ``write_detection_folder`` wrote.

    Raises:
        StoreError: the file is missing or damaged; names it.
    """
    path = folder / AP_FILE
    try:
        reader = csv.DictReader(io.StringIO(read_table(path), newline=""))
        if tuple(reader.fieldnames or ()) != ApRow._fields:
            raise ValueError(f"its columns are {reader.fieldnames}, expected {', '.join(ApRow._fields)}")
        return [_ap_row(line) for line in reader]
    except FileNotFoundError as error:
        raise StoreError(
            f"'{folder}' holds no evaluation of a detector ({AP_FILE} is missing). Run depthmill evaluate"
        ) from error
    except (OSError, ValueError, TypeError) as error:
        raise StoreError(f"'{path}' cannot be read: {error}. Delete it, then evaluate again") from error


def _ap_row(line: dict[str, str]) -> ApRow:
    return ApRow(
        line["category"],
        line["metric"],
        line["overlap"],
        float(line["min_overlap"]),
        line["difficulty"],
        float(line["r40"]),
        float(line["r11"]),
        int(line["num_truth"]),
        int(line["num_found"]),
    )
