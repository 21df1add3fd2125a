"""A training's folder as the trainer and the evaluator leave it, without a training."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np

from flows.reports.semodepth.files import METRICS, STEP_COLUMNS
from storage_schemas.evaluation import write_evaluation

HEIGHT, WIDTH = 30, 48
KEYS = [f"scene-{k // 3:04d}/CAM_FRONT/{1_600_000_000_000_000 + 500_000 * k}" for k in range(6)]
LESS = "\N{MINUS SIGN}"
DEVICE = "made-up <GPU>"


def write_training(folder: Path, *, num_steps: int = 60, radars: tuple[str, ...] = ("on", "off"), truth: bool = False) -> Path:
    """A training's folder as the trainer and the evaluator leave it."""
    rng = np.random.default_rng(0)
    (folder / "evaluation").mkdir(parents=True)
    about = {
        "name": "semodepth-tiny",
        "config": {"family": "semodepth", "network": {"max_depth_m": 120.0, "plug_in": False}, "data": {"cameras": []}, "seed": 7},
        "manifest": "0123456789abcdef", "store": "/data/store", "commit": "c" * 40, "is_dirty": "True",
        "versions": {"python": "3.11", "torch": "2.13"}, "device": DEVICE, "scan_engine": "numba", "started_utc": "2026-11-20T08:00:00",
        "seconds": 90.0, "num_steps": num_steps, "num_parameters": 38_104_600, "train_frames": 120, "val_frames": 6,
        "best": {"step": 40, "mae_mm": 1234.5},
    }  # fmt: skip
    (folder / "training.json").write_text(json.dumps(about))
    loss = 2 * np.exp(-np.arange(num_steps) / 20) + rng.uniform(0.01, 0.1, num_steps)
    rows = [[k + 1, k // 10, 12, x, x / 2, x / 4, x / 8, "", 1000 * x, 1e-4, 0.5] for k, x in enumerate(loss)]
    write_csv(folder / "steps.csv", STEP_COLUMNS, rows)
    evaluations = [
        [step, "on", group, cap, 3, *(scale * 1000 * np.exp(-step / 50) for _ in METRICS)]
        for step in (20, 40, 60)
        for group, scale in (("all", 1.0), ("day", 0.9), ("night", 1.2))
        for cap in (50, 80)
    ]
    write_csv(folder / "evaluations.csv", ("step", "radar", "group", "cap_m", "num_frames", *METRICS), evaluations)
    write_evaluation(str(folder / "evaluation"), *made_up_evaluation(radars))
    np.savez_compressed(
        folder / "evaluation/strips.npz", frame_keys=np.array([KEYS[0], KEYS[5]]), **made_up_maps(2, radars, truth=truth)
    )
    return folder


def write_csv(path: Path, columns: tuple[str, ...], rows: list[list[object]]) -> None:
    with open(path, "w", newline="") as stream:
        csv.writer(stream).writerows([columns, *rows])


def made_up_evaluation(radars: tuple[str, ...]) -> tuple[dict[str, list[object]], dict[str, list[object]]]:
    frames: list[dict[str, object]] = []
    ranges: list[dict[str, object]] = []
    for k, key in enumerate(KEYS):
        for radar in radars:
            worse = 1.0 if radar == "on" else 1.5
            one = {"frame_key": key, "is_night": k >= 4, "radar": radar}
            for cap in (50.0, 80.0):
                is_empty = k == 2  # a frame without a measured pixel has no metrics
                values = dict.fromkeys(METRICS, None if is_empty else 100.0 * (k + 1) * worse)
                frames.append({**one, "cap_m": cap, "num_pixels": 0 if is_empty else 10, **values})
            for low in (0.0, 40.0):
                ranges.append({**one, "low_m": low, "high_m": low + 40, "num_pixels": 10, "sum_error_m": (1 + low) * worse})
    return tuple({name: [row[name] for row in rows] for name in rows[0]} for rows in (frames, ranges))


def made_up_maps(num: int, radars: tuple[str, ...], *, truth: bool) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    shape = (num, HEIGHT, WIDTH)
    dense = rng.uniform(3, 90, shape).astype(np.float32)
    return {
        "image_u8": rng.integers(0, 255, (*shape, 3), dtype=np.uint8),
        "radar_m": np.where(rng.random(shape) < 0.01, dense, 0).astype(np.float32),
        "target_m": np.where(rng.random(shape) < 0.1, dense, 0).astype(np.float32),
        "with_radar_m": dense + np.float32(1.25),
        "without_radar_m": dense * 0 if radars == ("on",) else dense - np.float32(2.5),
        **({"truth_m": dense} if truth else {}),
    }
