"""Result files of the nuScenes detection task: written for the official evaluation, and read when another program wrote them.

Source docs/method/uvtr.md#result-files
Form   {"meta": {...}, "results": {<sample token>: [{sample_token, translation, size, rotation, velocity, detection_name,
       detection_score, attribute_name}, ...]}}: world frame, gravity centre, w l h, quaternion real part first. Every key frame
       that is measured has its list, which may be empty and holds at most 500 boxes
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from model.uvtr.classes import CLASSES
from model.uvtr.detections import Detections
from model.uvtr.world_boxes import ATTRIBUTES, WorldBoxes
from storage_schemas.errors import DepthmillError
from storage_schemas.regular_files import read_regular

MOST_BOXES = 500
"""Boxes of one key frame that the task allows."""

_LOWEST_SCORE = 1e-30  # a score that may still be lowered by many roundings and stays above 0
_META = {"use_camera": True, "use_lidar": False, "use_radar": False, "use_map": False, "use_external": False}
_LABEL_OF = {name: label for label, name in enumerate(CLASSES)}


class ResultFileError(DepthmillError):
    """A result file that is missing, broken, or of other key frames."""


@dataclass(frozen=True)
class DistinctScores:
    """Detections of all key frames whose scores all differ.

    Attributes:
        frames: the detections of each key frame, with their new scores, the highest first.
        num_tied: detections that shared their score with another one of their class.
    """

    frames: list[Detections]
    num_tied: int


def with_distinct_scores(frames: Sequence[Detections]) -> DistinctScores:
    """Lower equal scores by as little as a number can be lowered, so that all differ; the highest 500 of a key frame stay.

    The metric takes the errors of all detections with one score from the first of them. Which one that is is nobody's decision.
    """
    kept = [found.where(np.argsort(-found.scores, kind="stable")[:MOST_BOXES]) for found in frames]
    scores = np.concatenate([np.empty(0), *(found.scores for found in kept)])
    order = np.argsort(-scores, kind="stable")
    distinct, last = np.empty_like(scores), np.inf
    for place in order:
        last = min(max(float(scores[place]), _LOWEST_SCORE), np.nextafter(last, 0.0))
        distinct[place] = last
    ends = np.cumsum([len(found) for found in kept])
    parts = np.split(distinct, ends[:-1]) if len(kept) else []
    replaced = [
        Detections(found.centers_m, found.sizes_wlh_m, found.yaws_rad, found.velocities_mps, found.labels, of_frame)
        for found, of_frame in zip(kept, parts, strict=True)
    ]
    return DistinctScores(replaced, num_tied_of(kept))


def num_tied_of(frames: Sequence[Detections | WorldBoxes]) -> int:
    """Return how many detections of all key frames share their score with another one of their class."""
    scores = np.concatenate([np.empty(0), *(found.scores for found in frames)])
    labels = np.concatenate([np.empty(0), *(found.labels for found in frames)])
    _, counts = np.unique(np.column_stack([labels, scores]), axis=0, return_counts=True)
    return int(counts[counts > 1].sum())


def results_as_json(found: Mapping[str, WorldBoxes]) -> bytes:
    """Return the content of a result file; lengths to a micrometre, scores in full.

    Args:
        found: detections by the token of their key frame, at most 500 each.

    Raises:
        ResultFileError: a box has numbers that are not finite (a velocity may be NaN), or a size that is not above 0.
    """
    results = {token: _as_list(token, boxes) for token, boxes in found.items()}
    return json.dumps({"meta": _META, "results": results}).encode()  # not orjson: a velocity may be NaN


def _as_list(token: str, boxes: WorldBoxes) -> list[dict[str, Any]]:
    numbers = (boxes.centers_m, boxes.sizes_wlh_m, boxes.rotations.reshape(-1, 9), boxes.scores[:, None])
    is_finite = np.isfinite(np.concatenate(numbers, axis=1)).all(axis=1) & (boxes.sizes_wlh_m > 0).all(axis=1)
    if not is_finite.all():
        row = int(np.argmin(is_finite))
        raise ResultFileError(
            f"key frame '{token}': detection {row} has centre {boxes.centers_m[row].tolist()}, size "
            f"{boxes.sizes_wlh_m[row].tolist()} and score {boxes.scores[row]}, expected finite numbers and sizes above 0. The "
            "network's answers are no numbers: train it again with a lower train.learning_rate"
        )
    quaternions = quaternions_of(boxes.rotations)
    return [
        {
            "sample_token": token,
            "translation": [round(number, 6) for number in boxes.centers_m[row].tolist()],
            "size": [round(number, 6) for number in boxes.sizes_wlh_m[row].tolist()],
            "rotation": [round(number, 9) for number in quaternions[row].tolist()],
            "velocity": [round(speed, 6) for speed in boxes.velocities_mps[row].tolist()],
            "detection_name": CLASSES[boxes.labels[row]],
            "detection_score": float(boxes.scores[row]),
            "attribute_name": str(boxes.attributes[row]),
        }
        for row in range(len(boxes))
    ]


def quaternions_of(rotations: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the unit quaternions (n, 4), real part first, of turns (n, 3, 3)."""
    if not len(rotations):
        return np.empty((0, 4))
    return np.asarray(Rotation.from_matrix(rotations).as_quat(scalar_first=True), np.float64)


def read_results(path: Path, tokens: Sequence[str], rigs_m: NDArray[np.float64]) -> list[WorldBoxes]:
    """Return the detections of key frames that any program wrote, as they are: equal scores stay equal.

    Args:
        path: of the JSON file.
        tokens: the key frames that are measured; others in the file are passed over.
        rigs_m: (n, 3) place of the rig at each of them, world frame.

    Raises:
        ResultFileError: the file is missing or broken, lacks a key frame, or a box breaks a rule of the task; names it.
    """
    results = _results_in(path)
    missing = [token for token in tokens if token not in results]
    if missing:
        raise ResultFileError(
            f"'{path}' has no list for key frame '{missing[0]}' ({len(missing)} of {len(tokens)} key frames of the split are "
            "missing). The task asks for every key frame; give one without detections an empty list, or choose the split that "
            "the file is of"
        )
    return [_boxes_of(path, token, results[token], rig_m) for token, rig_m in zip(tokens, rigs_m, strict=True)]


def is_result_file(path: Path) -> bool:
    """Say whether a path leads to a JSON file that begins like results of the task."""
    if path.suffix != ".json" or not path.is_file():
        return False
    with path.open("rb") as stream:
        head = stream.read(4096)
    return b'"results"' in head or b'"meta"' in head


def _results_in(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(read_regular(path))  # not orjson: other programs write NaN for a velocity
    except (OSError, ValueError) as error:
        raise ResultFileError(f"'{path}' cannot be read as JSON: {error}. Write the results again") from error
    if not isinstance(content, dict) or not isinstance(content.get("results"), dict):
        raise ResultFileError(
            f"'{path}' has no object 'results', expected {{\"meta\": ..., \"results\": {{<sample token>: [boxes]}}}} as the "
            "nuScenes detection task has it. Correct the file"
        )
    results: dict[str, Any] = content["results"]
    return results


def _boxes_of(path: Path, token: str, listed: Any, rig_m: NDArray[np.float64]) -> WorldBoxes:
    if not isinstance(listed, list) or len(listed) > MOST_BOXES:
        says = f"{len(listed)} boxes" if isinstance(listed, list) else type(listed).__name__
        raise ResultFileError(
            f"'{path}', key frame '{token}': {says}, expected a list of at most {MOST_BOXES} boxes. Keep the highest scores"
        )
    parsed = [_box(f"'{path}', key frame '{token}', box {number}", box) for number, box in enumerate(listed)]
    number = len(parsed)
    columns = np.array([box[0] for box in parsed], np.float64).reshape(number, 13)
    centers = columns[:, 0:3]
    return WorldBoxes(
        centers_m=centers,
        sizes_wlh_m=columns[:, 3:6],
        rotations=Rotation.from_quat(columns[:, 6:10], scalar_first=True).as_matrix() if number else np.empty((0, 3, 3)),
        velocities_mps=columns[:, 10:12],
        labels=np.array([box[1] for box in parsed], np.int64),
        scores=columns[:, 12],
        attributes=np.array([box[2] for box in parsed], np.str_),
        num_points=np.full(number, -1, np.int64),
        visibility=np.full(number, "", np.str_),
        ranges_m=np.linalg.norm(centers[:, :2] - rig_m[:2], axis=1),
    )


def _box(where: str, box: Any) -> tuple[list[float], int, str]:
    """Return 13 numbers of a box (centre, size, quaternion, velocity, score), its label and its attribute."""
    try:
        name, attribute = box["detection_name"], box["attribute_name"]
        numbers = [
            *map(float, box["translation"]),
            *map(float, box["size"]),
            *map(float, box["rotation"]),
            *(float("nan") if speed is None else float(speed) for speed in box["velocity"]),
            float(box["detection_score"]),
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise ResultFileError(f"{where} cannot be read: {type(error).__name__} {error}. Correct it") from error
    must_be_finite = [*numbers[:10], *numbers[12:]]
    if len(numbers) != 13 or not np.isfinite(must_be_finite).all() or min(numbers[3:6]) <= 0 or not any(numbers[6:10]):
        raise ResultFileError(
            f"{where} has the numbers {numbers}, expected 3 of translation, 3 of size above 0, 4 of rotation, 2 of velocity and "
            "a score, all finite but for the velocity. Correct it"
        )
    if name not in _LABEL_OF:
        raise ResultFileError(f"{where} is a '{name}', expected one of {', '.join(CLASSES)}. Correct it")
    if attribute and attribute not in ATTRIBUTES:
        raise ResultFileError(f"{where} has the attribute '{attribute}', expected one of {', '.join(sorted(ATTRIBUTES))} or none")
    return numbers, _LABEL_OF[name], attribute or ""
