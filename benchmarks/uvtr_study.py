"""Claim: the detector of all cameras sees: on scenes that it never saw it is far better than the mean layout of a street.

World     simulated drives with six cameras at 160x96 and the traffic of a town: ten classes, attributes, velocities
Detector  family uvtr with the head of centres, the tiny sizes, from scratch or from checkpoints that pre-trainings left
Without   the mean layout of the training scenes: for each class a smooth map of where its objects stand around the vehicle, its
an image  peaks as detections with the class's mean size, height, heading and velocity. It looks at no image
Measured  AP over classes that have objects, at 2 and 4 m and in the mean over four distances; NDS; vehicles on the ground by IoU
Seeds     of weights, order and moves of the world
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import measure  # isort: skip  (before numpy and torch: it limits the thread pools)

import numpy as np
from scipy.ndimage import gaussian_filter, maximum_filter
from study_store import made_manifest, opened_recipe

SIX = ["CAM_FRONT", "CAM_FRONT_RIGHT", "CAM_FRONT_LEFT", "CAM_BACK", "CAM_BACK_LEFT", "CAM_BACK_RIGHT"]
REACH_M, CELL_M, SMOOTH_M = 50.0, 1.0, 2.0
PEAKS = 30
"""Detections of a class that the mean layout has."""

TRAINING: dict[str, Any] = {
    "family": "uvtr",
    "network": {
        "input_px": [96, 160],
        "backbone": {"name": "convnext_mini", "layer_scale": 0.1, "drop_path": 0},
        "lift": {
            "channels": 32,
            "num_depth_bins": 16,
            "far_m": 32.0,
            "low_m": [-25.6, -25.6, -5.0],
            "high_m": [25.6, 25.6, 3.0],
            "num_voxels_zyx": [5, 32, 32],
        },
        "segmentation": {"enabled": True, "width": 32},
    },
    "data": {"batch_size": 1, "order": "shuffled"},
    "evaluation": {"official": False, "num_pictures": 4},
    "learning_rate": 2e-3,
    "backbone_rate": 0.5,
    "epochs": 100_000,
    "evaluate_every_epochs": 1_000_000.0,
}
COLUMNS = ("present/ap_at_2_and_4_m", "present/ap", "official/nds", "segmentation/iou")


def main() -> None:
    parser = measure.arguments(__doc__, data=measure.DATA / "uvtr_study")
    parser.add_argument("--scenes", type=int, default=40, help="of which a third is measured on")
    parser.add_argument("--seconds", type=float, default=6.0, help="of a scene")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--shares", nargs="+", type=float, default=[1.0], help="of the labelled key frames")
    parser.add_argument("--starts", nargs="+", default=["scratch"], help="scratch, or name=checkpoint of a pre-training")
    parser.add_argument("--workers", type=int, default=1)
    args = measure.parsed(parser, scenes=2, seconds=2.0, seeds=1, steps=2)
    print(f"{measure.machine()}; {args.scenes} scenes of {args.seconds:g} s, {args.steps} steps")
    manifest = _manifest(args)
    baseline = _mean_layout(manifest)
    print(f"\n| way | seed | {' | '.join(COLUMNS)} |\n|---|--:|{'--:|' * len(COLUMNS)}")
    _print_row("mean layout, no image", "", baseline)
    for share in args.shares:
        for start in args.starts:
            name, _, checkpoint = start.partition("=")
            values = [_trained(args, manifest, share, seed, name, checkpoint or None) for seed in range(args.seeds)]
            for seed, of_seed in enumerate(values):
                _print_row(f"{share:.0%} of the labels, {name}", str(seed), of_seed)
            columns = {column: mean([of_seed[column] for of_seed in values]) for column in COLUMNS}
            _print_row(f"{share:.0%} of the labels, {name}", "mean", columns)


def _print_row(way: str, seed: str, values: dict[str, float]) -> None:
    numbers = (f"{values[column]:.4f}" if column in values else "" for column in COLUMNS)
    print(f"| {way} | {seed} | {' | '.join(numbers)} |", flush=True)


def _manifest(args: argparse.Namespace) -> Any:
    """Make the world and the units that a detector reads; every third scene is measured on."""
    from pipeline.sources.synthetic import SyntheticParams
    from pipeline.sources.synthetic.config import scene_names

    name = f"{args.scenes}x{args.seconds:g}"
    names = scene_names(SyntheticParams(scenes=args.scenes))
    is_measured = [number % 3 == 1 for number in range(args.scenes)]
    splits = {
        split: [scene for scene, measured in zip(names, is_measured, strict=True) if measured == wanted]
        for split, wanted in (("train", False), ("val", True))
    }
    recipe = {
        "source": {
            "kind": "synthetic",
            "traffic": "town",
            "scenes": args.scenes,
            "seconds": args.seconds,
            "image_size": [160, 96],
            "lidar_azimuth_steps": 180,
            "cameras": SIX,
            "root": str(args.data / f"world-{name}"),
        },
        "store": str(args.data / f"store-{name}"),
        "cameras": SIX,
        "stages": {
            "index_windows": {"enabled": True, "num_frames": 1},
            "index_objects": {"enabled": True},
            "build_manifest": {"drop_last_keyframe": False, "splits": splits},
        },
    }
    return made_manifest(opened_recipe(recipe, workers=args.workers))


def _truth(manifest: Any, split: str) -> list[Any]:
    from model.uvtr.config import KeyFrameDataConfig
    from model.uvtr.evaluation import TruthFrame
    from model.uvtr.key_frames import choose_key_frames

    return [
        TruthFrame(one.clip.key, one.sample_token, one.objects, one.clip.moments[0].world_from_rig)
        for one in choose_key_frames(manifest, KeyFrameDataConfig(split=split), num_frames=1).frames
    ]


def _mean_layout(manifest: Any) -> dict[str, float]:
    """Measure the mean layout of the training scenes on the scenes of val."""
    from model.uvtr.evaluation import evaluate_detections
    from model.uvtr.measures import values_of
    from model.uvtr.network_config import UvtrConfig
    from model.uvtr.segmentation_truth import CellCounts, vehicles_on_ground

    train, val = _truth(manifest, "train"), _truth(manifest, "val")
    found = mean_layout([frame.objects for frame in train])
    values = values_of(evaluate_detections(val, [found] * len(val), official=False).rows)
    grid = UvtrConfig.model_validate(TRAINING["network"]).ground
    covered = np.mean([vehicles_on_ground(frame.objects, grid) for frame in train], axis=0)
    ious = []
    for threshold in np.unique(np.quantile(covered, np.linspace(0.5, 1.0, 21))):  # the best one of val, in its favour
        counts = CellCounts()
        for frame in val:
            counts = counts.with_frame(vehicles_on_ground(frame.objects, grid), covered >= max(threshold, 1e-9))
        ious.append(counts.iou)
    return {**values, "segmentation/iou": float(np.nanmax(ious))}


def mean_layout(frames: Sequence[Any]) -> Any:
    """Return the detections that the mean layout of annotated key frames has, the most likely first."""
    from model.uvtr.classes import CLASSES
    from model.uvtr.detections import Detections

    columns: dict[str, list[Any]] = {name: [] for name in Detections.__dataclass_fields__}
    num_cells = int(2 * REACH_M / CELL_M)
    every = [frame.where(frame.has_returns) for frame in frames]
    for label in range(len(CLASSES)):
        of_class = [frame.where(frame.labels == label) for frame in every]
        centers, sizes, velocities = (
            np.concatenate([getattr(frame, name) for frame in of_class])
            for name in ("centers_m", "sizes_wlh_m", "velocities_mps")
        )
        yaws = np.concatenate([frame.yaws_rad for frame in of_class])
        if not len(yaws):
            continue
        counts, _, _ = np.histogram2d(centers[:, 0], centers[:, 1], bins=num_cells, range=[[-REACH_M, REACH_M]] * 2)
        density = gaussian_filter(counts, SMOOTH_M / CELL_M) / len(frames)
        is_peak = (density == maximum_filter(density, 5)) & (density > 0)
        peaks = np.argwhere(is_peak)[np.argsort(-density[is_peak], kind="stable")][:PEAKS]
        number = len(peaks)
        places = (peaks + 0.5) * CELL_M - REACH_M
        columns["centers_m"].append(np.column_stack([places, np.full(number, centers[:, 2].mean())]))
        columns["sizes_wlh_m"].append(np.tile(sizes.mean(axis=0), (number, 1)))
        columns["yaws_rad"].append(np.full(number, np.arctan2(np.sin(yaws).mean(), np.cos(yaws).mean())))
        columns["velocities_mps"].append(np.tile(np.nan_to_num(velocities).mean(axis=0), (number, 1)))
        columns["labels"].append(np.full(number, label, np.int64))
        columns["scores"].append(density[tuple(peaks.T)])
    return Detections(**{name: np.concatenate(parts) for name, parts in columns.items()})


def _trained(
    args: argparse.Namespace, manifest: Any, share: float, seed: int, name: str, checkpoint: str | None
) -> dict[str, float]:
    """Train and measure a detector; return its figures by name."""
    from model.families import evaluate_training, family_of, parse_train_config, train
    from model.train.config import Machine

    data = {**TRAINING["data"], "seed": seed, "share": share}
    start = {} if checkpoint is None else {"backbone_from": checkpoint}
    config = parse_train_config({**TRAINING, "data": data, "seed": seed, "max_steps": args.steps, **start}, where="study")
    folder = args.data / f"training-{args.scenes}x{args.seconds:g}-{args.steps}-{share:g}-{name}-{seed}"
    if args.small and folder.exists():
        shutil.rmtree(folder)
    if not (folder / "evaluation" / "nuscenes_metric.csv").is_file():
        machine = Machine(accelerator="cpu", num_workers=0)
        train(config, manifest, Path(folder), machine=machine)
        evaluate_training(config, manifest, Path(folder), machine=machine)
    values: dict[str, float] = family_of(config).read_measures(folder)
    return values


if __name__ == "__main__":
    main()
