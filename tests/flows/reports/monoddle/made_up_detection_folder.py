"""The folder of a detector's training as the trainer and the evaluator leave it, without a training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from flows.reports.monoddle.files import EVALUATION_COLUMNS, STEP_COLUMNS
from model.data.objects import Objects
from model.data.rectified_camera import project_points
from model.monoddle.affine_view import resting_view
from model.monoddle.detection_frames import object_rows, stacked_pictures
from model.monoddle.evaluation import DetectionEvaluation, write_detection_folder
from model.monoddle.measured_cameras import FrameCamera
from model.monoddle.precision.average_precision import average_precision
from tests.flows.reports.semodepth.made_up_training_folder import write_csv
from tests.model.monoddle.made_up_cars import KITTI_P2, made_up_cars

IMAGE_PX, INPUT_PX = (375, 1242), (96, 320)
KEYS = [f"train-1242x375-0000/CAM_2/{number}" for number in range(3)]
DISTILLED = ("distill", "teacher_mae_m", "teacher_log_scale")


def write_detection_training(folder: Path, *, num_steps: int = 60, distilled: bool = True, num_cars: int = 4) -> Path:
    """A training's folder with three evaluated frames; the first has LiDAR, the others have none."""
    folder.mkdir(parents=True)
    evaluation = {"split": "val", "height_scale": 1.0, "category": "Car", "metric": "3d", "overlap": "strict"}
    about = {
        "name": "monoddle-tiny", "config": {"family": "monoddle", "evaluation": evaluation, "network": {"head_width": 16}},
        "manifest": "0123456789abcdef", "store": "/data/store", "commit": "c" * 40, "is_dirty": "False",
        "versions": {"python": "3.11"}, "device": "made-up <GPU>", "finished_utc": "2026-11-20T08:00:00+00:00", "seconds": 90.0,
        "num_steps": num_steps, "num_parameters": 189_887, "train_frames": 12, "val_frames": 3,
        "best": {"step": 40, "ap_r40": 6.43},
    }  # fmt: skip
    (folder / "training.json").write_text(json.dumps(about))
    steps = [step_row(step, distilled=distilled) for step in range(1, num_steps + 1)]
    write_csv(folder / "steps.csv", STEP_COLUMNS, steps)
    frames = [made_up_cars(num_cars, image_px=IMAGE_PX, seed=seed) for seed in range(len(KEYS))]
    found = [shifted(cars) for cars in frames]
    rows = average_precision(frames, found, classes=("Car",))
    write_csv(folder / "evaluations.csv", EVALUATION_COLUMNS, [[step, *row] for step in (20, 40, 60) for row in rows])
    names = [f"{number:06d}" for number in range(len(KEYS))]
    pictures = stacked_pictures(KEYS, [picture(*pair, lidar=n == 0) for n, pair in enumerate(zip(frames, found, strict=True))])
    by_name = (dict(zip(names, part, strict=True)) for part in (found, frames))
    cameras = {key: FrameCamera(KITTI_P2, IMAGE_PX) for key in KEYS}
    write_detection_folder(
        folder / "evaluation",
        DetectionEvaluation(rows, *by_name, pictures, frame_keys=dict(zip(names, KEYS, strict=True)), cameras=cameras),
        title="monoddle-tiny on val of manifest 0123456789abcdef",
    )
    return folder


def step_row(step: int, *, distilled: bool) -> list[object]:
    values: dict[str, object] = dict.fromkeys(STEP_COLUMNS, 2.0 / step)
    values |= {"step": step, "epoch": step // 10, "samples": 4, "lr": 1e-3, "seconds": 0.5, "depth": 1.0 - step / 20}
    if not distilled:
        values |= dict.fromkeys(DISTILLED, "nan")
    return [values[name] for name in STEP_COLUMNS]


def shifted(cars: Objects) -> Objects:
    """The same cars, found half a metre too far."""
    fields = {name: getattr(cars, name) for name in cars.__dataclass_fields__}
    fields["location_m"] = cars.location_m + np.array([0, 0, 0.5])
    fields["score"] = np.linspace(0.9, 0.5, len(cars))
    return Objects(**fields)


def picture(truth: Objects, found: Objects, *, lidar: bool, teacher: bool = True) -> dict[str, Any]:
    """What ``picture_of`` gives: a grey image whose heat is 1 at the cells of the cars' centres."""
    view = resting_view(IMAGE_PX, INPUT_PX)
    grid = INPUT_PX[0] // 4, INPUT_PX[1] // 4
    heat = np.full(grid, 0.01, np.float32)
    middle = truth.location_m - np.array([0, 0.5, 0]) * truth.size_hwl_m[:, :1]
    column, row = np.floor(view.to_input(project_points(KITTI_P2, middle)) / 4).astype(int).T
    heat[row.clip(0, grid[0] - 1), column.clip(0, grid[1] - 1)] = 1.0
    depth = np.full(grid, 20.0, np.float32)
    return {
        "image_u8": np.full((*INPUT_PX, 3), 90, np.uint8),
        "image_from_input": view.inverse,
        "projection": KITTI_P2,
        "heat": heat,
        "class_heat": np.stack([heat, heat * 0.3]),
        "heat_classes": np.array(["Car", "Cyclist"]),
        "reasons": np.array("worst" if lidar else "spread"),
        "num_missed": np.array(len(truth)),
        "num_false": np.array(len(found)),
        "depth_error_m": np.array(0.5),
        "error_of": np.array("Car 3D@0.7, moderate"),
        "depth_m": depth,
        "teacher_m": depth + 1 if teacher else depth * 0,
        "log_scale": np.linspace(-1, 1, depth.size, dtype=np.float32).reshape(grid),
        **object_rows("truth", truth),
        **object_rows("found", found),
        "points": (truth.location_m if lidar else np.zeros((0, 3))).astype(np.float32),
    }
