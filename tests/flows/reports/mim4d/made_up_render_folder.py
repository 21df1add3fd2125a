"""The folder of a pre-training as the trainer and the evaluator leave it, without a training."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from flows.reports.mim4d.files import EVALUATION_COLUMNS, STEP_COLUMNS
from model.mim4d.evaluation import RENDERING_FILE
from model.mim4d.loss import DIRECT, RECONSTRUCT
from model.mim4d.probes.depth_probe import DepthRow
from model.mim4d.probes.occupancy_probe import OccupancyRow
from model.mim4d.probes.probe_files import ProbeAbout, ProbeResults, write_probes
from model.mim4d.ray_errors import COPIED, COPIED_WARPED, REBUILT_SWAPPED, VOLUMES, RenderRow
from model.mim4d.rendered_views import write_rendered_views
from tests.flows.reports.semodepth.made_up_training_folder import write_csv

KEYS = ["scene-0103/1600000000000000", "scene-0916/1600000001000000"]
CAMERAS = ("CAM_FRONT", "CAM_BACK")
IMAGE_PX, STEP_PX, PATCH_PX = (64, 96), 5, 32
ABS_REL = dict(zip(VOLUMES, (0.184, 0.148, 0.21, 0.187, 0.265, 0.271, 0.339), strict=True))


def write_render_training(
    folder: Path, *, num_steps: int = 60, single: bool = False, flight: int = 3, probe_steps: int = 0
) -> Path:
    """A training's folder with two clips of two cameras; single: of a network that takes single frames; probed if it has steps."""
    (folder / "evaluation").mkdir(parents=True)
    config = {
        "family": "mim4d",
        "evaluation": {"split": "val", "num_pictures": 2, "flight_frames": flight},
        "probe": {"steps": probe_steps},
        "network": {"num_frames": 1 if single else 3, "input_px": list(IMAGE_PX)},
    }
    about = {
        "name": "mim4d-tiny", "config": config, "manifest": "0123456789abcdef", "store": "/data/store", "commit": "c" * 40,
        "is_dirty": "False", "versions": {"python": "3.11"}, "device": "made-up <GPU>", "finished_utc": "2026-11-20T08:00:00+00:00",
        "seconds": 90.0, "num_steps": num_steps, "num_parameters": 720_061, "train_frames": 12, "val_frames": 3,
        "best": {"step": 40, "abs_rel": 0.148},
    }  # fmt: skip
    (folder / "training.json").write_text(json.dumps(about))
    write_csv(folder / "steps.csv", STEP_COLUMNS, [step_row(step, single=single) for step in range(1, num_steps + 1)])
    rows = list(rendering_rows(single=single))
    with open(folder / "evaluation" / RENDERING_FILE, "w", newline="") as stream:
        csv.writer(stream, lineterminator="\n").writerows([RenderRow._fields, *rows])
    write_csv(folder / "evaluations.csv", EVALUATION_COLUMNS, [[step, *row] for step in (20, 40, 60) for row in rows])
    write_rendered_views(folder / "evaluation", made_up_views(single=single, flight=flight))
    if probe_steps:
        about = ProbeAbout("train", "val", 40, 1234, 7, 8, 0, {"steps": probe_steps})
        depth = [
            DepthRow(name, range_m, 900, error, 4.0, 0.5)
            for name, error in (("trained", 0.21), ("random", 0.3))
            for range_m in ("all", "10-20")
        ]
        write_probes(folder, ProbeResults(about, depth, [OccupancyRow("trained", 2000, 100, 0.7, 0.4, 0.5)]))
    return folder


def step_row(step: int, *, single: bool) -> list[object]:
    """One row of steps.csv; what is not rendered is not a number, as the trainer writes it."""
    values: dict[str, object] = {"step": step, "epoch": step // 10, "samples": 2, "lr": 1e-3, "seconds": 0.5}
    for name in STEP_COLUMNS:
        is_missing = single and name.startswith(RECONSTRUCT)
        values.setdefault(name, "nan" if is_missing else 3.0 / (step + 3))
    return [values[name] for name in STEP_COLUMNS]


def rendering_rows(*, single: bool) -> Iterator[RenderRow]:
    """Rows as ``evaluate_renderings`` returns them."""
    without = (RECONSTRUCT, REBUILT_SWAPPED, COPIED, COPIED_WARPED) if single else ()
    for volume in VOLUMES:
        if volume in without:
            continue
        error = ABS_REL[volume]
        for pixels, scale, num in (("all", 1.0, 900), ("masked", 1.1, 300), ("visible", 0.95, 600)):
            yield RenderRow(volume, "all", pixels, "all", num, scale * error, 20 * error, 1 - error, 2 * num, error / 2)
        for range_m, scale, num in (("0-10", 0.8, 500), ("10-20", 1.2, 400)):
            yield RenderRow(volume, "all", "all", range_m, num, scale * error, 20 * error, 1 - error, 0, float("nan"))


def made_up_views(*, single: bool = False, flight: int = 3) -> dict[str, np.ndarray]:
    """Arrays as ``rendered_views`` returns them: a volume whose upper rows miss the voxels, and that is 0.5 m off."""
    rng = np.random.default_rng(0)
    size = (len(KEYS), len(CAMERAS))
    shape = (IMAGE_PX[0] // STEP_PX, IMAGE_PX[1] // STEP_PX)
    points = np.where(rng.random((*size, *IMAGE_PX)) < 0.05, rng.integers(2 * 256, 40 * 256, (*size, *IMAGE_PX)), 0)
    held_out = np.where(rng.random((*size, *IMAGE_PX)) < 0.2, points, 0)
    arrays = {
        "window_keys": np.array(KEYS),
        "cameras": np.array(CAMERAS),
        "step_px": np.array(STEP_PX),
        "image_u8": rng.integers(0, 255, (*size, *IMAGE_PX, 3), dtype=np.uint8),
        "is_seen": rng.random((*size, IMAGE_PX[0] // PATCH_PX, IMAGE_PX[1] // PATCH_PX)) < 0.7,
        "lidar_steps": points.astype(np.uint16),
        "held_out_steps": held_out.astype(np.uint16),
    }
    for number, volume in enumerate((DIRECT,) if single else (DIRECT, RECONSTRUCT)):
        arrays |= shown(rng, volume, (*size, *shape))
        arrays[f"{volume}_held_out_steps"] = np.where(held_out > 0, held_out + 128 * (1 + number), 0).astype(np.uint16)
    return {**arrays, **(shown(rng, "flight", (flight, *shape)) if flight else {})}


def shown(rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    steps = rng.integers(512, 8000, shape).astype(np.uint16)
    steps[..., :3, :] = 0
    return {
        f"{name}_rgb_u8": rng.integers(0, 255, (*shape, 3), dtype=np.uint8),
        f"{name}_steps": steps,
        f"{name}_opacity_u8": rng.integers(0, 255, shape, dtype=np.uint8),
    }
