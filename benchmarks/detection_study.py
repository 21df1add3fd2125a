"""Claim: the detector of all cameras sees. And how much a pre-training helps it, by the share of labels: reported as it is.

World      100 simulated drives of 3 s with six cameras at 160x96 and the traffic of a town, 67 to train on; --world chooses another.
           Many short drives, because key frames of one drive are much alike
Detector   family uvtr, tiny, one convolution of voxels, head of centres, with vehicles on the ground. A LiDAR sweep teaches depth
           (--depth-weight 0: boxes alone); AP is the mean over present classes at 2 and 4 m. Training turns the
           world by any angle, since voxels seen from above have no preferred side. The rate falls as a cosine to the last step
No image   the mean layout of the training key frames: for each class a smooth map of where its objects stand, its peaks as detections
           with the class's mean size, height, heading and velocity. A detector that sees must be far above it
Starts     scratch; mim4d: backbone, pyramid and depth head of a pre-training without labels; depth: the same parts of a network that
           only learned to render LiDAR depth of whole single frames, so supervised depth and nothing else
Rate       of the loaded backbone, as a share of the rest's: the best of seed 0 on all labels, then the same for all
Pairs      each detector against the mean layout, and each start against scratch, by seed, with intervals over scenes
Shares     of the training key frames that have labels; every training has the same steps, or those of its share (--fine-steps)
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from statistics import mean
from typing import Any

import measure  # isort: skip  (before numpy and torch: it limits the thread pools)

import numpy as np
from scipy.ndimage import gaussian_filter, maximum_filter
from study_store import made_manifest, opened_recipe
from study_world import add_world_arguments, folder_ending, name_of, source_of, world_words

SIX = ["CAM_FRONT", "CAM_FRONT_RIGHT", "CAM_FRONT_LEFT", "CAM_BACK", "CAM_BACK_LEFT", "CAM_BACK_RIGHT"]
WORLD = {
    "kind": "synthetic", "scenes": 100, "seconds": 3, "seed": 0, "traffic": "town", "image_size": [160, 96], "lidar_azimuth_steps": 300,
}  # fmt: skip
SMALL_WORLD = {**WORLD, "scenes": 2, "seconds": 3, "lidar_azimuth_steps": 100}
STAGES = {
    "index_windows": {"enabled": True}, "index_objects": {"enabled": True}, "build_manifest": {"drop_last_keyframe": False},
    "accumulate_lidar": {"num_sweeps": 1},  # nobody reads dense depth here
}  # fmt: skip
INPUT_PX = [96, 160]
BACKBONE = {"name": "convnext_mini", "layer_scale": 0.1, "drop_path": 0.0}
LIFT = {
    "channels": 32, "num_depth_bins": 16, "far_m": 32.0, "low_m": [-25.6, -25.6, -3.2], "high_m": [25.6, 25.6, 4.8],
    "num_voxels_zyx": [5, 32, 32],
}  # fmt: skip
PRE_TRAINING = {
    "family": "mim4d",
    "network": {
        "input_px": INPUT_PX, "backbone": BACKBONE, "lift": {**LIFT, "volume_channels": 16},
        "temporal": {"embed_channels": 64, "short_hidden": 128, "long_hidden": 64},
        "render": {"num_coarse": 24, "num_fine": 8, "rays": {"rays_per_camera": 48}},
    },
    "evaluation": {"rays_per_camera": 48, "num_pictures": 0, "flight_frames": 0},
    "probe": {"steps": 0},
    "learning_rate": 2e-3, "backbone_rate": 0.5, "warm_up_epochs": 0.1, "evaluate_every_epochs": 1000,
}  # fmt: skip
DEPTH_ONLY = {
    **PRE_TRAINING,
    "network": {**PRE_TRAINING["network"], "num_frames": 1, "mask": {"hidden_ratio": 0.0}, "loss": {"rgb": 0.0}},
}
DETECTOR = {
    "family": "uvtr",
    "network": {
        "input_px": INPUT_PX, "backbone": BACKBONE, "lift": LIFT, "voxels": {"num_convs": 1}, "segmentation": {"enabled": True},
    },
    "evaluation": {"official": False, "num_pictures": 0},
    "learning_rate": 2e-3, "backbone_rate": 0.5, "warm_up_epochs": 0, "evaluate_every_epochs": 1_000_000,
}  # fmt: skip
DATA = {"augment": {"max_turn_deg": 180.0}}
REACH_M, CELL_M, SMOOTH_M = 50.0, 1.0, 2.0
PEAKS = 30
"""Detections of a class that the mean layout has."""
DECIDES = "present/ap_at_2_and_4_m"
SCRATCH = "scratch"
STARTS = (SCRATCH, "mim4d", "depth")


_READ: dict[str, Sequence[Any]] = {}


def main() -> None:
    parser = measure.arguments(__doc__, data=measure.DATA / "detection_study")
    add_world_arguments(parser, scenes=WORLD["scenes"])
    parser.add_argument("--starts", nargs="+", choices=STARTS, default=list(STARTS))
    parser.add_argument(
        "--backbone-rates", nargs="+", type=float, default=[0.1, 0.5], help="of a loaded backbone, tried on seed 0"
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=800, help="of pre-training")
    parser.add_argument("--fine-steps", nargs="+", type=int, default=[2400], help="of every detector, or one number a share")
    parser.add_argument("--depth-weight", type=float, default=1.0, help="of the detectors' loss")
    parser.add_argument("--shares", nargs="+", type=float, default=[0.01, 0.1, 1.0])
    parser.add_argument("--at-once", type=int, default=os.cpu_count() or 1, help="trainings side by side, one thread each")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = measure.parsed(
        parser,
        scenes=SMALL_WORLD["scenes"],
        seeds=1,
        steps=2,
        fine_steps=[4],
        shares=[1.0],
        backbone_rates=[0.5],
        starts=[SCRATCH, "mim4d"],
    )
    if args.child:
        print(_train(args, json.loads(args.child)))
        return
    if len(args.fine_steps) not in (1, len(args.shares)):
        parser.error(f"--fine-steps takes one number, or one for each of {len(args.shares)} --shares")
    print(f"{measure.machine()}; {name_of(args)}; {args.seeds} seeds, {' '.join(map(str, args.fine_steps))} steps")
    layout = _no_image(args)
    print(f"| no image: the mean layout | | {_values(layout).get(DECIDES, float('nan')):.4f} | |", flush=True)
    seeds, loaded = range(args.seeds), [start for start in args.starts if start != SCRATCH]
    with ThreadPoolExecutor(args.at_once) as pool:
        jobs = [(start, seed) for start in loaded for seed in seeds]
        begun = dict(zip(jobs, pool.map(lambda job: _in_child(args, _pre_training(args, *job)), jobs), strict=True))
        rates = {start: _best_rate(args, pool, start, begun[start, 0]) for start in loaded}
        work = [(share, start, seed) for share in args.shares for start in args.starts for seed in seeds]

        def detector(job: tuple[float, str, int]) -> str:
            share, start, seed = job
            return _in_child(args, _fine_tuning(args, share, seed, begun.get((start, seed)), rates.get(start)))

        found = dict(zip(work, pool.map(detector, work), strict=True))
    print(
        "| labels | start | AP, mean of seeds | of every seed | vehicles on the ground IoU, mean | of every seed |\n|---|---|---|---|---|---|"
    )
    for share in args.shares:
        for start in args.starts:
            cells = []
            for name in (DECIDES, "segmentation/iou"):
                values = [_figures(found[share, start, seed]).get(name, float("nan")) for seed in seeds]
                cells += [f"{mean(values):.4f}", ", ".join(f"{value:.4f}" for value in values)]
            print(f"| {share:.0%} | {start} | {' | '.join(cells)} |", flush=True)
    _print_pairs(args, layout.matches, found)


def _print_pairs(args: argparse.Namespace, layout: Any, found: dict[tuple[float, str, int], str]) -> None:
    """Print by how much each detector's AP is above that of the mean layout, and each start's above scratch, seed by seed."""
    from model.train.paired_bootstrap import interval_text
    from model.uvtr.match_files import read_matches

    matches = {job: read_matches(Path(folder) / "evaluation") for job, folder in found.items()}
    pairs = [(f"{share:.0%}, {start} minus the mean layout", seed, layout, of) for (share, start, seed), of in matches.items()]
    pairs += [
        (f"{share:.0%}, {start} minus scratch", seed, matches[share, SCRATCH, seed], of)
        for (share, start, seed), of in matches.items()
        if start != SCRATCH and (share, SCRATCH, seed) in matches
    ]
    print("| difference of AP | seed | mean | 95 % interval over scenes |\n|---|---|---|---|")
    with ProcessPoolExecutor(args.at_once, mp_context=get_context("fork")) as pool:  # half a minute each
        differences = pool.map(_differences, [pair[2] for pair in pairs], [pair[3] for pair in pairs])
        for (name, seed, _, _), rows in zip(pairs, differences, strict=True):
            for row in rows:
                interval = interval_text(row.low, row.high, decimals=4)
                print(f"| {name} | {seed} | {row.mean_difference:+.4f} | {interval} |", flush=True)


def _differences(a: Any, b: Any) -> Any:
    from model.uvtr.comparison import metric_differences

    return metric_differences(a, b, [DECIDES])


def _pre_training(args: argparse.Namespace, start: str, seed: int) -> dict:
    base = PRE_TRAINING if start == "mim4d" else DEPTH_ONLY
    return {**base, "data": {"seed": seed}, "seed": seed, "max_steps": args.steps}


def _fine_tuning(args: argparse.Namespace, share: float, seed: int, begun: str | None, rate: float | None) -> dict:
    steps = args.fine_steps[args.shares.index(share) if len(args.fine_steps) > 1 else 0]
    epochs = max(1, round(steps / max(1, share * len(_key_frames(args, "train")))))
    training = {
        **DETECTOR,
        "loss": {"depth_weight": args.depth_weight},
        "data": {**DATA, "share": share, "seed": seed},
        "seed": seed,
        "max_steps": steps,
        "epochs": epochs,
    }
    return training if begun is None else {**training, "backbone_from": f"{begun}/best.pt", "backbone_rate": rate}


def _best_rate(args: argparse.Namespace, pool: ThreadPoolExecutor, start: str, begun: str) -> float:
    """Return the rate of the loaded backbone that is best on seed 0 with all labels; the other seeds do not choose."""
    if len(args.backbone_rates) == 1:
        return float(args.backbone_rates[0])
    trainings = [_fine_tuning(args, max(args.shares), 0, begun, rate) for rate in args.backbone_rates]
    values = [_figures(folder).get(DECIDES, 0.0) for folder in pool.map(lambda one: _in_child(args, one), trainings)]
    print(f"{start}, AP by rate of the backbone: {dict(zip(args.backbone_rates, values, strict=True))}", flush=True)
    return float(max(zip(values, args.backbone_rates, strict=True))[1])


def _figures(folder: str) -> dict[str, float]:
    from model.uvtr.family import UvtrFamily

    return UvtrFamily().read_measures(Path(folder))


def _materialize(args: argparse.Namespace):
    """Make what is missing of the world and the store; return the manifest."""
    source = source_of(args, {**(SMALL_WORLD if args.small else WORLD), "cameras": SIX})
    store = str(args.data / f"store{folder_ending(args)}")
    recipe = {"source": source, "store": store, "cameras": SIX, "stages": STAGES}
    return made_manifest(opened_recipe(recipe, workers=args.at_once))


def _key_frames(args: argparse.Namespace, split: str) -> Sequence[Any]:
    """Return the key frames of a split; read once."""
    if (found := _READ.get(split)) is None:
        found = _READ[split] = _read_key_frames(args, split)
    return found


def _read_key_frames(args: argparse.Namespace, split: str) -> Sequence[Any]:
    from model.families import parse_train_config
    from model.uvtr.key_frames import choose_key_frames

    data = parse_train_config(DETECTOR, where="study").data.model_copy(update={"split": split})
    return choose_key_frames(_materialize(args), data, num_frames=1).frames


def _in_child(args: argparse.Namespace, training: dict) -> str:
    """Train in a process of its own; return the training's folder."""
    words = [sys.executable, __file__, "--data", str(args.data), *world_words(args), "--child", json.dumps(training)]
    folder = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1]
    print(f"{training['family']}, seed {training['seed']}: {folder}", file=sys.stderr, flush=True)
    return folder


def _train(args: argparse.Namespace, training: dict) -> str:
    import torch

    from model.families import evaluate_training, parse_train_config, train
    from model.train.config import Machine
    from model.train.loop import is_complete

    torch.set_num_threads(1)
    config, manifest = parse_train_config(training, where="study"), _materialize(args)
    folder = Path(manifest.store.root) / "runs" / "trainings" / config.fingerprint(manifest.path.fingerprint)
    if not is_complete(folder):
        train(config, manifest, folder, machine=Machine(accelerator="cpu"))
        evaluate_training(config, manifest, folder, machine=Machine(accelerator="cpu"))
    return str(folder)


def _no_image(args: argparse.Namespace) -> Any:
    """Return the evaluation of the mean layout: at every key frame what the training key frames have on average."""
    from model.uvtr.evaluation import TruthFrame, evaluate_detections

    train, val = _key_frames(args, "train"), _key_frames(args, "val")
    found = _mean_layout([frame.objects for frame in train])
    truth = [TruthFrame(one.clip.key, one.sample_token, one.objects, one.clip.moments[0].world_from_rig) for one in val]
    return evaluate_detections(truth, [found] * len(truth), official=False)


def _values(evaluation: Any) -> dict[str, float]:
    from model.uvtr.measures import values_of

    return values_of(evaluation.rows)


def _mean_layout(frames: Sequence[Any]) -> Any:
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


if __name__ == "__main__":
    main()
