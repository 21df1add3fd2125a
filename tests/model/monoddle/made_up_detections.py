"""Annotations and detections without images: cars in a row, and worlds that are as awkward as the rules allow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from model.data.objects import Objects, join_objects


def make_objects(category: Sequence[str] | str, box_px: Sequence[Sequence[float]], **columns: object) -> Objects:
    """Objects with these boxes; in space they stand apart, each 20 m from the next, unless told otherwise."""
    box = np.array(box_px, float).reshape(-1, 4)
    n = len(box)
    given: dict[str, object] = {
        "truncation": np.zeros(n),
        "occlusion": np.zeros(n, np.int64),
        "alpha_rad": np.zeros(n),
        "size_hwl_m": np.tile([1.5, 1.6, 3.9], (n, 1)),
        "location_m": np.column_stack([20.0 * np.arange(n), np.full(n, 1.6), np.full(n, 20.0)]),
        "rotation_y_rad": np.zeros(n),
        "score": np.zeros(n),
        **columns,
    }
    names = np.array([category] * n if isinstance(category, str) else list(category), np.str_)
    return Objects(category=names, box_px=box, **{name: np.asarray(value) for name, value in given.items()})


def cars(count: int, **columns: object) -> Objects:
    """Cars beside each other, 60 px high, none touching the next."""
    return make_objects("Car", [(100.0 * i, 100.0, 100.0 * i + 80, 160.0) for i in range(count)], **columns)


def awkward_world(seed: int, num_frames: int = 12) -> tuple[list[Objects], list[Objects]]:
    """Crowded frames: neighbours, areas, low and hidden and cut-off objects, doubled boxes, tied scores, empty frames."""
    rng = np.random.default_rng(seed)
    truth, found = [], []
    for _ in range(num_frames):
        count = int(rng.integers(0, 14))
        categories = rng.choice(["Car", "Car", "Van", "Pedestrian", "Person_sitting", "Cyclist", "Truck", "DontCare"], count)
        annotated = _scattered(rng, categories)
        is_area = annotated.category == "DontCare"
        annotated.size_hwl_m[is_area], annotated.location_m[is_area] = -1.0, -1000.0
        annotated.truncation[:] = rng.choice([0.0, 0.15, 0.2, 0.4, 0.8], count, p=[0.7, 0.1, 0.1, 0.05, 0.05])
        annotated.occlusion[:] = rng.choice([0, 1, 2, 3], count, p=[0.7, 0.1, 0.1, 0.1])
        again = np.flatnonzero(rng.random(count) < 0.8)
        near = annotated[np.concatenate([again, rng.permutation(again)[:2]])]  # some are found twice
        spread = rng.choice([0.0, 0.3, 1.0, 3.0], len(near), p=[0.3, 0.4, 0.2, 0.1])
        for column, most in (
            (near.box_px, 2.0), (near.location_m, 0.1), (near.size_hwl_m, 0.03), (near.rotation_y_rad, 0.05), (near.alpha_rad, 0.5)
        ):  # fmt: skip
            column += (most * spread * rng.normal(0.0, 1.0, column.T.shape)).T
        names = np.where(
            rng.random(len(near)) < 0.15, rng.choice(["Car", "Pedestrian", "Cyclist", "car"], len(near)), near.category
        )
        near = replace(near, category=np.where(np.isin(names, ["DontCare", "Van", "Truck"]), "Car", names))
        detected = join_objects([near, _scattered(rng, rng.choice(["Car", "Cyclist"], int(rng.integers(0, 3))))])
        detected.score[:] = rng.choice(np.arange(1, 12) / 12, len(detected)) if rng.random() < 0.5 else rng.random(len(detected))
        truth.append(annotated)
        found.append(detected)
    return truth, found


def _scattered(rng: np.random.Generator, categories: np.ndarray) -> Objects:
    n = len(categories)
    left, top = rng.uniform(0, 900, n), rng.uniform(100, 160, n)
    height = rng.choice([20.0, 25.0, 40.0, 60.0, 90.0], n, p=[0.1, 0.1, 0.1, 0.3, 0.4])
    return Objects(
        category=np.array(categories, np.str_).reshape(n),
        truncation=np.zeros(n),
        occlusion=np.zeros(n, np.int64),
        alpha_rad=rng.uniform(-np.pi, np.pi, n),
        box_px=np.column_stack([left, top, left + rng.uniform(20, 120, n), top + height]),
        size_hwl_m=rng.uniform([1.3, 0.5, 0.6], [2.0, 2.0, 4.5], (n, 3)),
        location_m=rng.uniform([-12, 1.4, 5], [12, 1.8, 45], (n, 3)),
        rotation_y_rad=rng.uniform(-np.pi, np.pi, n),
        score=np.zeros(n),
    )
