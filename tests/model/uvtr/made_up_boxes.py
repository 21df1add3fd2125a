"""Boxes of key frames for the metric: a row of cars, and what a detector finds of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from model.uvtr.classes import CLASSES
from model.uvtr.frame_matches import MeasuredFrame
from model.uvtr.world_boxes import WorldBoxes, about_z

SIZE = (2.0, 4.0, 1.5)


def boxes(
    x_m: Sequence[float],
    *,
    y_m: Sequence[float] | float = 0.0,
    name: str | Sequence[str] = "car",
    scores: Sequence[float] | None = None,
    size: Sequence[float] = SIZE,
    yaw_rad: float = 0.0,
    velocity: Sequence[float] = (0.0, 0.0),
    attribute: str | None = None,
) -> WorldBoxes:
    """Return boxes along x; annotations where no scores are given. Attributes are those of something that stands."""
    number = len(x_m)
    names = [name] * number if isinstance(name, str) else list(name)
    standing = {"pedestrian": "pedestrian.standing", "bicycle": "cycle.without_rider", "motorcycle": "cycle.without_rider",
                "barrier": "", "traffic_cone": "", "bus": "vehicle.stopped"}  # fmt: skip
    centers = np.zeros((number, 3))
    centers[:, 0], centers[:, 1] = x_m, y_m
    return WorldBoxes(
        centers_m=centers,
        sizes_wlh_m=np.tile(np.array(size, float), (number, 1)),
        rotations=about_z(np.full(number, yaw_rad)),
        velocities_mps=np.tile(np.array(velocity, float), (number, 1)),
        labels=np.array([CLASSES.index(one) for one in names], np.int64),
        scores=np.full(number, -1.0) if scores is None else np.array(scores, float),
        attributes=np.array([standing.get(one, "vehicle.parked") if attribute is None else attribute for one in names], np.str_),
        num_points=np.full(number, 5 if scores is None else -1, np.int64),
        visibility=np.full(number, "v80-100" if scores is None else ""),
        ranges_m=np.abs(centers[:, 0]),
    )


def changed(of: WorldBoxes, **columns: Any) -> WorldBoxes:
    """Return boxes with other columns."""
    return replace(of, **columns)


def frame(truth: WorldBoxes, found: WorldBoxes, *, token: str = "k0", scene: str = "scene-0001") -> MeasuredFrame:
    """Return one key frame."""
    return MeasuredFrame(f"{scene}/{token}", token, truth, found)


def falling_scores(number: int) -> list[float]:
    """Return scores that all differ."""
    return [0.9 - 0.8 * place / max(number, 1) for place in range(number)]


def random_frames(seed: int, *, num_frames: int = 12, num_scenes: int = 4) -> list[MeasuredFrame]:
    """Return key frames with objects of all classes and detections near some of them, all of whose scores differ."""
    generator = np.random.default_rng(seed)
    frames = []
    for number in range(num_frames):
        truth = _random(generator, int(generator.integers(0, 25)), None)
        near = truth.where(np.flatnonzero(generator.random(len(truth)) < 0.8))
        found = changed(
            near,
            centers_m=near.centers_m + generator.normal(0, 0.7, near.centers_m.shape),
            sizes_wlh_m=near.sizes_wlh_m * generator.uniform(0.7, 1.3, near.sizes_wlh_m.shape),
            scores=generator.random(len(near)),
            num_points=np.full(len(near), -1, np.int64),
            visibility=np.full(len(near), ""),
        )
        other = _random(generator, int(generator.integers(0, 30)), generator.random)
        columns = {name: np.concatenate([getattr(found, name), getattr(other, name)]) for name in found.__dataclass_fields__}
        frames.append(frame(truth, WorldBoxes(**columns), token=f"k{number}", scene=f"scene-{number % num_scenes:04d}"))
    return frames


def _random(generator: np.random.Generator, number: int, scores: Any) -> WorldBoxes:
    labels = generator.integers(0, len(CLASSES), number)
    centers = np.column_stack([generator.uniform(-25, 25, (number, 2)), generator.uniform(-1, 2, number)])
    made_up = boxes(np.zeros(number), name=[CLASSES[label] for label in labels])
    velocities = np.where(generator.random((number, 1)) < 0.2, np.nan, generator.normal(0, 3, (number, 2)))
    return changed(
        made_up,
        centers_m=centers,
        sizes_wlh_m=generator.uniform(0.3, 5, (number, 3)),
        rotations=about_z(generator.uniform(-np.pi, np.pi, number)),
        velocities_mps=velocities if scores is None else np.nan_to_num(velocities),
        attributes=np.where(generator.random(number) < 0.3, "", made_up.attributes).astype(np.str_) if scores is None
        else made_up.attributes,
        scores=made_up.scores if scores is None else scores(number),
        ranges_m=np.linalg.norm(centers[:, :2], axis=1),
    )  # fmt: skip
