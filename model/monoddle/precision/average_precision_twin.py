"""The readable twin of ``average_precision.py``: KITTI's rules as loops over frames, objects and detections.

Why    The tests hold the fast one against it, and the benchmark measures both. Nothing is shared but the tables: boxes are
       clipped here corner by corner, against the edges of the other box, in the frame of the camera.
Source docs/method/monoddle.md#average-precision
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from model.data.objects import Objects
from model.monoddle.precision.average_precision import (
    KITTI_DIFFICULTIES,
    LOOSE_OVERLAP,
    NEIGHBOUR,
    STRICT_OVERLAP,
    ApRow,
    Difficulty,
)

Corner = tuple[float, float]


class Box(NamedTuple):
    """One object as plain numbers; see ``Objects`` for units and frames."""

    category: str
    truncation: float
    occlusion: int
    alpha_rad: float
    box_px: tuple[float, float, float, float]
    size_hwl_m: tuple[float, float, float]
    location_m: tuple[float, float, float]
    rotation_y_rad: float
    score: float


class Frame(NamedTuple):
    """One frame: annotated boxes, detections by falling score, ``overlaps[metric][i][j]`` of truth i and detection j."""

    truth: list[Box]
    detections: list[Box]
    areas: list[Box]
    overlaps: dict[str, list[list[float]]]


def average_precision_plain(
    truth: Sequence[Objects],
    detections: Sequence[Objects],
    *,
    classes: Sequence[str] = ("Car", "Pedestrian", "Cyclist"),
    difficulties: Sequence[Difficulty] = KITTI_DIFFICULTIES,
) -> list[ApRow]:
    """Return what ``average_precision`` returns, for finite numbers and known angles."""
    frames = [_frame(plain_boxes(labels), plain_boxes(boxes)) for labels, boxes in zip(truth, detections, strict=True)]
    rows = []
    for category in classes:
        for metric in ("3d", "bev"):
            rows += [_row(frames, category, metric, "strict", STRICT_OVERLAP[category], level) for level in difficulties]
        for metric in ("3d", "bev"):
            rows += [_row(frames, category, metric, "loose", LOOSE_OVERLAP[category], level) for level in difficulties]
        for metric in ("2d", "aos"):
            rows += [_row(frames, category, metric, "strict", STRICT_OVERLAP[category], level) for level in difficulties]
    return rows


def _row(frames: list[Frame], category: str, metric: str, overlap: str, least: float, difficulty: Difficulty) -> ApRow:
    codes = [
        (
            [_truth_code(box, category, difficulty) for box in frame.truth],
            [_found_code(box, category, difficulty) for box in frame.detections],
        )
        for frame in frames
    ]
    num_truth, num_found = (sum(both[which].count(0) for both in codes) for which in (0, 1))
    scores = [score for frame, both in zip(frames, codes, strict=True) for score in _hit_scores(frame, metric, least, *both)]
    precision = [0.0] * 41
    for step, threshold in enumerate(_thresholds(scores, num_truth)):
        right = 0.0
        counted = 0
        for frame, both in zip(frames, codes, strict=True):
            similarities, num_alarms = _count(frame, metric, least, *both, threshold)
            right += sum(similarities) if metric == "aos" else len(similarities)
            counted += len(similarities) + num_alarms
        precision[step] = right / counted if counted else 0.0
    best = [max(precision[step:]) for step in range(41)]
    r40, r11 = 100.0 * sum(best[1:]) / 40, 100.0 * sum(best[::4]) / 11
    return ApRow(category, metric, overlap, least, difficulty.name, r40, r11, num_truth, num_found)


def _hit_scores(frame: Frame, metric: str, least: float, codes: list[int], found_codes: list[int]) -> list[float]:
    """Let each object take the free detection with the highest score; return the scores of those that are right."""
    taken: set[int] = set()
    scores = []
    for i, code in enumerate(codes):
        if code == -1:
            continue
        best = None
        for j, box in enumerate(frame.detections):
            if found_codes[j] == -1 or j in taken or _overlap(frame, metric, i, j) <= least:
                continue
            if best is None or box.score > frame.detections[best].score:
                best = j
        if best is not None:
            taken.add(best)
            if code == 0 and found_codes[best] == 0:
                scores.append(frame.detections[best].score)
    return scores


def _count(
    frame: Frame, metric: str, least: float, codes: list[int], found_codes: list[int], threshold: float
) -> tuple[list[float], int]:
    """Let each object take the free detection with the largest overlap; return the similarity of each hit, and the alarms."""
    taken: set[int] = set()
    similarities = []
    for i, code in enumerate(codes):
        if code == -1:
            continue
        best, best_overlap, best_is_low = None, 0.0, False
        for j, box in enumerate(frame.detections):
            overlap = _overlap(frame, metric, i, j)
            if found_codes[j] == -1 or j in taken or box.score < threshold or overlap <= least:
                continue
            if found_codes[j] == 0 and (overlap > best_overlap or best_is_low):
                best, best_overlap, best_is_low = j, overlap, False
            elif found_codes[j] == 1 and best is None:
                best, best_is_low = j, True
        if best is not None:
            taken.add(best)
            if code == 0 and found_codes[best] == 0:
                similarities.append((1.0 + math.cos(frame.truth[i].alpha_rad - frame.detections[best].alpha_rad)) / 2.0)
    num_alarms = 0
    for j, box in enumerate(frame.detections):
        if found_codes[j] == 0 and j not in taken and box.score >= threshold:
            is_excused = metric in ("2d", "aos") and any(_own_share(box, area) > least for area in frame.areas)
            num_alarms += not is_excused
    return similarities, num_alarms


def _thresholds(scores: list[float], num_truth: int) -> list[float]:
    kept = []
    wanted = 0.0
    falling = sorted(scores, reverse=True)
    for i, score in enumerate(falling):
        recall, next_recall = (i + 1) / num_truth, (i + 2) / num_truth
        is_last = i == len(falling) - 1
        if is_last or next_recall - wanted >= wanted - recall:
            kept.append(score)
            wanted += 1.0 / 40
    return kept


def _truth_code(box: Box, category: str, difficulty: Difficulty) -> int:
    if box.category.lower() == category.lower():
        height = box.box_px[3] - box.box_px[1]
        is_easy_enough = (
            (height > difficulty.min_height_px or (difficulty.counts_min_height and height == difficulty.min_height_px))
            and box.occlusion <= difficulty.max_occlusion
            and box.truncation <= difficulty.max_truncation
        )
        return 0 if is_easy_enough else 1
    return 1 if box.category.lower() == NEIGHBOUR.get(category, "").lower() else -1


def _found_code(box: Box, category: str, difficulty: Difficulty) -> int:
    if abs(box.box_px[3] - box.box_px[1]) < difficulty.min_height_px:
        return 1
    return 0 if box.category.lower() == category.lower() else -1


def plain_boxes(objects: Objects) -> list[Box]:
    """Return the objects as plain numbers."""
    return [
        Box(
            str(objects.category[i]),
            float(objects.truncation[i]),
            int(objects.occlusion[i]),
            float(objects.alpha_rad[i]),
            tuple(objects.box_px[i].tolist()),
            tuple(objects.size_hwl_m[i].tolist()),
            tuple(objects.location_m[i].tolist()),
            float(objects.rotation_y_rad[i]),
            float(objects.score[i]),
        )
        for i in range(len(objects))
    ]


def _frame(truth: list[Box], detections: list[Box]) -> Frame:
    """Compare every annotated box with every detection once; areas that are not judged (DontCare) are kept apart."""
    detections = sorted(detections, key=lambda box: -box.score)
    areas = [box for box in truth if box.category.lower() == "dontcare"]
    judged = [box for box in truth if box.category.lower() != "dontcare"]
    ways = {"2d": _overlap_2d, "bev": _overlap_bev, "3d": _overlap_3d}
    overlaps = {metric: [[way(box, detection) for detection in detections] for box in judged] for metric, way in ways.items()}
    return Frame(judged, detections, areas, overlaps)


def _overlap(frame: Frame, metric: str, i: int, j: int) -> float:
    return frame.overlaps["2d" if metric == "aos" else metric][i][j]


def _shared_2d(first: Box, second: Box) -> float:
    width = min(first.box_px[2], second.box_px[2]) - max(first.box_px[0], second.box_px[0])
    height = min(first.box_px[3], second.box_px[3]) - max(first.box_px[1], second.box_px[1])
    return width * height if width > 0 and height > 0 else 0.0


def _area_2d(box: Box) -> float:
    return (box.box_px[2] - box.box_px[0]) * (box.box_px[3] - box.box_px[1])


def _own_share(box: Box, area: Box) -> float:
    shared = _shared_2d(box, area)
    return shared / _area_2d(box) if shared > 0 else 0.0


def _overlap_2d(first: Box, second: Box) -> float:
    shared = _shared_2d(first, second)
    return shared / (_area_2d(first) + _area_2d(second) - shared) if shared > 0 else 0.0


def _overlap_bev(first: Box, second: Box) -> float:
    shared = shared_ground_area_plain(first, second)
    return shared / (_area_bev(first) + _area_bev(second) - shared) if shared > 0 else 0.0


def _overlap_3d(first: Box, second: Box) -> float:
    bottom = min(first.location_m[1], second.location_m[1])
    top = max(first.location_m[1] - first.size_hwl_m[0], second.location_m[1] - second.size_hwl_m[0])
    shared = shared_ground_area_plain(first, second) * max(0.0, bottom - top)
    whole = _area_bev(first) * first.size_hwl_m[0] + _area_bev(second) * second.size_hwl_m[0] - shared
    return shared / whole if shared > 0 else 0.0


def _area_bev(box: Box) -> float:
    return box.size_hwl_m[1] * box.size_hwl_m[2]


def shared_ground_area_plain(first: Box, second: Box) -> float:
    """Return the square metres that two boxes share seen from above; 0 where a width or length is not positive."""
    if min(first.size_hwl_m[1:] + second.size_hwl_m[1:]) <= 0:
        return 0.0
    corners, edges = _ground_corners(first), _ground_corners(second)
    for k in range(4):
        corners = _clip(corners, edges[k], edges[(k + 1) % 4])
    x0, z0 = corners[0] if corners else (0.0, 0.0)  # sums of small numbers: relative to a corner, not to the camera
    area = 0.0
    for k in range(len(corners)):
        (xa, za), (xb, zb) = corners[k], corners[(k + 1) % len(corners)]
        area += (xa - x0) * (zb - z0) - (xb - x0) * (za - z0)
    return abs(area) / 2.0


def _ground_corners(box: Box) -> list[Corner]:
    """Return the x and z of the four corners, turning one way."""
    cos, sin = math.cos(box.rotation_y_rad), math.sin(box.rotation_y_rad)
    half_width, half_length = box.size_hwl_m[1] / 2, box.size_hwl_m[2] / 2
    signs = ((1, 1), (1, -1), (-1, -1), (-1, 1))
    return [
        (
            box.location_m[0] + cos * a * half_length + sin * b * half_width,
            box.location_m[2] - sin * a * half_length + cos * b * half_width,
        )
        for a, b in signs
    ]


def _clip(corners: list[Corner], start: Corner, end: Corner) -> list[Corner]:
    """Keep the part of a polygon on the inner side of one edge of a box."""
    kept = []
    for k, corner in enumerate(corners):
        next_corner = corners[(k + 1) % len(corners)]
        is_in, is_next_in = _turn(start, end, corner) <= 0, _turn(start, end, next_corner) <= 0
        if is_in:
            kept.append(corner)
        if is_in != is_next_in:
            share = _turn(start, end, corner) / (_turn(start, end, corner) - _turn(start, end, next_corner))
            kept.append((corner[0] + share * (next_corner[0] - corner[0]), corner[1] + share * (next_corner[1] - corner[1])))
    return kept


def _turn(start: Corner, end: Corner, point: Corner) -> float:
    """Return twice the area of the triangle, negative if it turns as the corners of a box do."""
    return (end[0] - start[0]) * (point[1] - start[1]) - (end[1] - start[1]) * (point[0] - start[0])
