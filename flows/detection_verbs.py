"""What ``depthmill evaluate``, ``compare`` and ``predict`` do with a detector.

Writes  evaluate: <out>/ as ``model.monoddle.evaluation`` says, and pictures/<frame>.jpg
        predict:  <out>/data/<frame>.txt, KITTI's result files, which appear when all frames are done, and <out>/pictures/
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from storage_schemas.errors import DepthmillError, ManifestError, RecipeError
from storage_schemas.manifest import Manifest

if TYPE_CHECKING:
    from model.data.objects import Objects
    from model.monoddle.average_precision import ApRow
    from model.monoddle.config import MonoDdleTrainConfig
    from model.monoddle.evaluation import Detected, DetectionEvaluation
    from model.monoddle.net import MonoDdle
    from model.train.config import Machine

DATA_FOLDER, PICTURES_FOLDER = "data", "pictures"

_HEADS = {"heatmap", "offset_3d", "size_3d", "heading"}
"""Heads that every checkpoint of the public detectors has, and no other network."""

_KEY_COLUMNS = ("category", "metric", "overlap", "difficulty")


class OpenedDetector(NamedTuple):
    """A detector in memory.

    Attributes:
        network: in evaluation mode, on the CPU.
        name: of the checkpoint.
        config: how it was trained, or how a public one is to be used.
    """

    network: MonoDdle
    name: str
    config: MonoDdleTrainConfig


class DetectionComparisonError(DepthmillError):
    """Two evaluations of detectors that cannot be compared."""


def is_public_detector(found: Mapping[str, Any]) -> bool:
    """Say whether the content of a weights file is a checkpoint of MonoDLE or MonoDDLE: it has the heads of one."""
    for part in (found, *(value for value in found.values() if isinstance(value, Mapping))):
        if {str(key).removeprefix("module.").partition(".")[0] for key in part} >= _HEADS:
            return True
    return False


def open_public_detector(path: Path, name: str, data: str) -> OpenedDetector:
    """Build the network of a public checkpoint.

    Args:
        path: the file.
        name: of the checkpoint.
        data: what it will be used on. A recipe file with ``train.family: monoddle`` says backbone, classes, input size and how it
            is measured; without one they are the public code's.

    Raises:
        CheckpointError: the weights do not fit; names the keys.
        RecipeError: the recipe has a mistake.
    """
    from model.monoddle.config import MonoDdleConfig, MonoDdleTrainConfig
    from model.monoddle.reference import load_reference

    config = _recipe_config(data) or MonoDdleTrainConfig(network=MonoDdleConfig.reference())
    return OpenedDetector(load_reference(path, config=config.network), name, config)


def evaluate_detector_and_print(
    opened: OpenedDetector, manifest: Manifest, machine: Machine, *, split: str, out: Path | None, as_json: bool
) -> None:
    """Measure a detector on a split and print its table.

    Raises:
        RecipeError: there is no such split.
        ManifestError: the split is empty, not annotated, or lacks images or boxes.
        KittiFileError: the folder holds results that no evaluation wrote.
    """
    from model.monoddle.evaluation import AP_FILE, check_detection_folder, evaluate_detections, write_detection_folder

    _check_split(split)
    fingerprint, chosen = manifest.path.fingerprint, opened.config.evaluation
    folder = out or Path(f"evaluation-{opened.name}-{fingerprint}-{split}")
    check_detection_folder(folder)  # before the work, not after it
    if (folder / AP_FILE).is_file():  # of a former evaluation, which this one replaces
        shutil.rmtree(folder / PICTURES_FOLDER, ignore_errors=True)
    evaluation = evaluate_detections(
        _detected(opened, manifest, machine, split=split),
        classes=opened.network.config.train_classes,
        height_scale=chosen.height_scale,
        num_pictures=chosen.num_pictures,
    )
    title = f"{opened.name} on {split} of manifest {fingerprint}"
    if chosen.height_scale != 1.0:
        title += f", least box heights times {chosen.height_scale:g}"
    write_detection_folder(folder, evaluation, title=title)
    _write_pictures(folder, evaluation)
    if as_json:
        rows = [row._asdict() for row in evaluation.rows]
        print(json.dumps({"folder": str(folder), "manifest": fingerprint, "rows": rows}, indent=1))
    else:
        print((folder / "table.md").read_text(encoding="utf-8"))
        print(f"wrote {folder}")


def compare_detectors_and_print(a: Path, b: Path, *, as_json: bool) -> None:
    """Print how the average precisions of two evaluations differ.

    Raises:
        DetectionComparisonError: they were measured on other objects, or have no row in common.
        StoreError: a file is missing or damaged.
    """
    from model.monoddle.evaluation import read_average_precision

    found = precision_differences(*(read_average_precision(folder) for folder in (a, b)))
    if as_json:
        print(json.dumps(found, indent=1))
        return
    print(f"a = {a}\nb = {b}\n")
    print("| AP_R40 | difficulty | a | b | b - a | objects |\n|---|---|---|---|---|---|")
    for row in found:
        name = f"{row['category']} {row['metric']} {row['overlap']}"
        print(
            f"| {name} | {row['difficulty']} | {row['a']:.2f} | {row['b']:.2f} | {row['difference']:+.2f} | {row['num_truth']} |"
        )
    print(
        "\nAP is one number of all frames together, so frames give no interval for it. Trainings that differ in their seed only "
        "lie some points apart: compare means over seeds (depthmill ablate)."
    )


def precision_differences(a: Sequence[ApRow], b: Sequence[ApRow]) -> list[dict[str, Any]]:
    """Return a row for each average precision that both have, with the difference b - a in points of R40.

    Raises:
        DetectionComparisonError: they have none in common, or one was measured against other objects; names the first.
    """
    others = {_key(row): row for row in b}
    pairs = [(row, others[_key(row)]) for row in a if _key(row) in others]
    if not pairs:
        names = [", ".join(dict.fromkeys(row.category for row in rows)) or "nothing" for rows in (a, b)]
        raise DetectionComparisonError(
            f"the evaluations have no average precision in common: a has {names[0]}, b has {names[1]}. Evaluate detectors of the "
            "same classes"
        )
    for one, other in pairs:
        if (one.num_truth, one.min_overlap) != (other.num_truth, other.min_overlap):
            raise DetectionComparisonError(
                f"the evaluations are of other objects: {one.category} {one.metric} {one.overlap} {one.difficulty} counts "
                f"{one.num_truth} in a and {other.num_truth} in b. Evaluate both on the same manifest and split"
            )
    return [
        {
            **dict(zip(_KEY_COLUMNS, _key(one), strict=True)),
            "num_truth": one.num_truth,
            "a": one.r40,
            "b": other.r40,
            "difference": other.r40 - one.r40,
        }
        for one, other in pairs
    ]


def predict_folder(opened: OpenedDetector, images: Path, out: Path, *, pictures: bool, machine: Machine) -> int:
    """Find the objects of a folder's images; see ``detection_inputs`` for what it holds.

    Returns:
        Frames written.

    Raises:
        SourceError: no image, or an image or calibration that is missing or broken.
        StoreError: ``out`` is not empty or cannot be written.
    """
    from flows.detection_inputs import find_calibrated_images, read_calibrated_images
    from flows.predict_files import check_out
    from model.devices import network_device
    from model.monoddle.predict import detect_images

    check_out(out)
    found = find_calibrated_images(images)
    device = network_device(machine.accelerator)
    frames = detect_images(
        opened.network.to(device),
        read_calibrated_images(found),
        score_threshold=opened.config.evaluation.score_threshold,
        with_uncertainty=pictures and opened.network.config.uncertainty,
        device=device,
        bfloat16=opened.config.uses_bfloat16(device.type),
    )
    return _write_found(frames, {one.name: one.name for one in found}, out, pictures=pictures)


def predict_split(opened: OpenedDetector, manifest: Manifest, out: Path, *, split: str, pictures: bool, machine: Machine) -> int:
    """Find the objects of every frame of a split, annotated or not.

    Returns:
        Frames written.

    Raises:
        ManifestError: the split does not exist or is empty, or frames lack images or boxes (which hold the projection).
        StoreError: ``out`` is not empty or cannot be written.
    """
    from flows.predict_files import check_out
    from model.monoddle.evaluation import result_names

    check_out(out)
    if split not in ("train", "val", "test"):
        raise ManifestError(f"split '{split}' does not exist; expected train, val or test")
    rows = [row for row in manifest.rows() if row["split"] == split]
    keys = [row["frame_key"] for row in rows]
    names = dict(zip(keys, result_names(keys, [row["sample_token"] for row in rows]), strict=True))
    frames = _detected(opened, manifest, machine, split=split, with_maps=pictures)
    return _write_found(frames, names, out, pictures=pictures)


def _detected(
    opened: OpenedDetector, manifest: Manifest, machine: Machine, *, split: str, with_maps: bool = True
) -> Iterator[Detected]:
    from model.devices import network_device
    from model.monoddle.evaluation import detect

    device = network_device(machine.accelerator)
    has_teacher = all(row["unit_depth_mono"] is not None for row in manifest.rows() if row["split"] == split)
    return detect(
        opened.network.to(device),
        manifest,
        split=split,
        score_threshold=opened.config.evaluation.score_threshold,
        with_teacher=with_maps and has_teacher and opened.config.data.mono,
        with_uncertainty=with_maps and opened.network.config.uncertainty,
        machine=machine,
        device=device,
        bfloat16=opened.config.uses_bfloat16(device.type),
    )


def _write_found(frames: Iterator[Detected], names: Mapping[str, str], out: Path, *, pictures: bool) -> int:
    from flows.detection_pictures import frame_of, sheet_jpeg
    from flows.predict_files import put_file
    from model.monoddle.evaluation import picture_of
    from model.monoddle.kitti_files import write_results

    results: dict[str, Objects] = {}
    for one in frames:
        for i, key in enumerate(one.batch.frame_keys):
            results[names[key]] = one.found[i]
            if pictures:
                put_file(out / PICTURES_FOLDER / f"{names[key]}.jpg", sheet_jpeg(frame_of(key, picture_of(one, i))))
    write_results(out / DATA_FOLDER, results)
    return len(results)


def _write_pictures(folder: Path, evaluation: DetectionEvaluation) -> None:
    from flows.detection_pictures import frames_of, sheet_jpeg
    from flows.predict_files import put_file

    for frame in frames_of(evaluation.pictures) if evaluation.pictures else ():
        put_file(folder / PICTURES_FOLDER / f"{frame.key.replace('/', '_')}.jpg", sheet_jpeg(frame))


def _recipe_config(data: str) -> MonoDdleTrainConfig | None:
    """Return the training that a recipe file describes if it is a detector's; None for a store, a folder or another family."""
    if not data.endswith((".yaml", ".yml")):
        return None
    from model.families import parse_train_config
    from model.monoddle.config import MonoDdleTrainConfig
    from pipeline.recipe import load_recipe

    config = parse_train_config(load_recipe(data).train, where=data)
    return config if isinstance(config, MonoDdleTrainConfig) else None


def _check_split(split: str) -> None:
    if split not in ("train", "val", "test"):
        raise RecipeError(f"--split is '{split}': Input should be 'train', 'val' or 'test'")


def _key(row: ApRow) -> tuple[str, ...]:
    return tuple(str(getattr(row, name)) for name in _KEY_COLUMNS)
