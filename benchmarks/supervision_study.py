"""Claims: dense cleaned supervision beats a single sweep, radar helps (more at night), which network options are better, and what the
preset ``surface`` adds to the published recipe.

World    28 simulated drives of 8 s at 800x450, half of them at night, 240 frames of 16 drives to train on and 180 of 12 others to
         measure on; which world is chosen by --world (study_world.py). The truth is exact depth at every pixel, which no training sees
Ways     "cleaned ..." and what follows it: moving objects of accumulated depth are carried. "published supervision": they are dropped,
         as in the papers. "surface supervision": the preset of that name
Size     not smaller: the nearest of 160 sweeps wins a pixel, so large pixels make accumulated depth too near (cleaned, mean error:
         -1.39 m at 400x224, -0.25 m at 800x450, +0.11 m at 1600x900), and at 400x224 a single sweep teaches better
Network  SemoDepth with base_channels 16 (2.4 M parameters), seeing images a third of the size, from scratch, the same few hundred
         steps for every way; small because two cores must do it. Read differences, not absolute numbers
Seeds    of weights and order; mean and spread (largest minus smallest) of MAE@80 m over seeds. Each way is paired with the first one,
         seed by seed and then over the mean of the seeds of every frame; the interval of a difference is one over scenes
Table    the last rows see neither image nor radar: the median depth of each pixel over the training frames of the same dense target
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

import measure  # isort: skip  (before numpy and torch: it limits the thread pools)

from study_pairs import frames_of, means_of, print_pairs
from study_store import made_manifest, opened_recipe
from study_world import add_world_arguments, folder_ending, name_of, scenes_of, source_of, world_words
from table_without_image import NAME, frame_errors, row_of

WORLD = {"kind": "synthetic", "scenes": 24, "seconds": 8, "seed": 0, "image_size": [800, 450]}
SMALL_WORLD = {**WORLD, "scenes": 2, "seconds": 3, "image_size": [320, 180], "lidar_azimuth_steps": 100}
BASE = {
    "network": {"base_channels": 16, "input_downscale": 3},
    "data": {"batch_size": 4, "piece_frames": 1, "augment": {"flip_probability": 0.5}},
    "evaluation": {"target": "depth_truth"},
    "learning_rate": 1e-3,
    "max_steps": 1000,
    "decay_every_epochs": 1,  # the rate ends almost at zero: seeds then differ less
    "decay": 0.055,
    "decay_floor": 0.05,
    "evaluate_every_epochs": 1000,
}
CARRIED = {"stages": {"accumulate_lidar": {"moving": "carry"}}}
PUBLISHED = {"stages": {"accumulate_lidar": {"moving": "drop"}}}
SURFACE = {"preset": "surface"}
SURFACE_WITH_CONFIDENCE = {"preset": "surface", "stages": {"accumulate_lidar": {"confidence": True}}}


class Way(NamedTuple):
    """What a way changes: keys of the recipe, and keys of the training."""

    recipe: dict[str, Any]
    training: dict[str, str]

    @property
    def target(self) -> str:
        """Store of the dense target."""
        return self.training.get("data.dense_target", "depth_clean")


WAYS: dict[str, Way] = {
    "cleaned, scatter, correct": Way(CARRIED, {}),
    "single sweep": Way(CARRIED, {"data.dense_target": "depth_single"}),
    "accumulated, not cleaned": Way(CARRIED, {"data.dense_target": "depth_accumulated"}),
    "camera alone": Way(CARRIED, {"data.radar": "false"}),
    "radar_to_scale: resize": Way(CARRIED, {"network.radar_to_scale": "resize"}),
    "window_layout: reference": Way(CARRIED, {"network.window_layout": "reference"}),
    "published supervision": Way(PUBLISHED, {}),
    "surface supervision": Way(SURFACE, {}),
    "surface supervision, weighted by confidence": Way(SURFACE_WITH_CONFIDENCE, {"loss.dense_weight": "confidence"}),
}
OLDER = list(WAYS)[:6]


def main() -> None:
    parser = measure.arguments(__doc__, data=measure.DATA / "supervision_study")
    add_world_arguments(parser)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--at-once", type=int, default=os.cpu_count() or 1, help="trainings side by side, one thread each")
    parser.add_argument("--set", action="append", default=[], help="change a key of the training, e.g. max_steps=20")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=OLDER, help="the others are paired with the first")
    parser.add_argument("--tables-only", action="store_true", help="train nothing, print the rows without image and radar")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = measure.parsed(
        parser, scenes=SMALL_WORLD["scenes"], seeds=1, set=["max_steps=2"], ways=["cleaned, scatter, correct", "single sweep"]
    )
    if args.child:
        _train(args, *json.loads(args.child))
        return
    manifests = {way: _materialized(args, WAYS[way].recipe) for way in args.ways}
    print(
        f"{measure.machine()}; {name_of(args)}; {args.seeds} seeds; MAE@80 m in mm against exact depth, spread over seeds in brackets"
    )
    jobs = [] if args.tables_only else [(way, seed) for seed in range(args.seeds) for way in args.ways]
    with ThreadPoolExecutor(args.at_once) as pool:
        folders = dict(zip(jobs, pool.map(lambda job: _in_child(args, *job), jobs), strict=True))
    frames = {job: frames_of(Path(folder) / "evaluation") for job, folder in folders.items()}
    print("| way | radar on | at night | radar taken away | at night | delta1 |\n|---|---|---|---|---|---|")
    for way in args.ways if jobs else ():
        rows = [means_of(frames[way, seed]) for seed in range(args.seeds)]
        cells = [_cell([row[key] for row in rows if key in row]) for key in ("on/all", "on/night", "off/all", "off/night")]
        print(f"| {way} | {' | '.join(cells)} | {mean(row['delta1'] for row in rows):.4f} |")
    tables = {}
    for way in args.ways:
        key = (manifests[way].path.fingerprint, WAYS[way].target)
        if key not in tables:
            tables[key] = frame_errors(manifests[way], target=WAYS[way].target, truth=BASE["evaluation"]["target"])
            row = row_of(tables[key])
            night = f"{row['night']:.0f}" if "night" in row else ""
            print(f"| {NAME}, {WAYS[way].target} of: {way} | | | {row['all']:.0f} | {night} | {row['delta1']:.4f} |", flush=True)
    if jobs:
        print_pairs(args.ways[0], args.ways[1:], frames, num_seeds=args.seeds)


def _cell(values: list[float]) -> str:
    if not values:
        return ""
    return f"{mean(values):.0f} ({max(values) - min(values):.0f})"


def _materialized(args: argparse.Namespace, changes: dict[str, Any]):
    """Make what is missing of a recipe's units; return its manifest."""
    source = source_of(args, SMALL_WORLD if args.small else WORLD)
    recipe = {
        "source": source,
        "store": str(args.data / f"store{folder_ending(args)}"),
        "cameras": ["CAM_FRONT"],
        **scenes_of(args),
        **changes,
    }
    return made_manifest(opened_recipe(recipe, workers=args.at_once))


def _in_child(args: argparse.Namespace, way: str, seed: int) -> str:
    """Train in a process of its own; return the training's folder."""
    common = {"seed": str(seed), "data.seed": str(seed), **dict(change.split("=", 1) for change in args.set)}
    command = [sys.executable, __file__, "--data", str(args.data), *world_words(args), "--child", json.dumps([way, common])]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    folder = json.loads(done.stdout.splitlines()[-1])
    print(f"{way}, seed {seed}: {means_of(frames_of(Path(folder) / 'evaluation'))}", file=sys.stderr, flush=True)
    return folder


def _train(args: argparse.Namespace, way: str, common: dict[str, str]) -> None:
    import torch
    import yaml

    from model.families import evaluate_training, parse_train_config, train
    from model.train.config import Machine
    from model.train.loop import is_complete

    torch.set_num_threads(1)
    changed = json.loads(json.dumps(BASE))
    for key, value in {**WAYS[way].training, **common}.items():
        *parents, last = key.split(".")
        place = changed
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = yaml.safe_load(value)
    config = parse_train_config(changed, where="study")
    manifest = _materialized(args, WAYS[way].recipe)
    folder = Path(manifest.store.root) / "runs" / "trainings" / config.fingerprint(manifest.path.fingerprint)
    if not is_complete(folder):
        train(config, manifest, folder, machine=Machine(accelerator="cpu"))
        evaluate_training(config, manifest, folder, machine=Machine(accelerator="cpu"))
    print(json.dumps(str(folder)))


if __name__ == "__main__":
    main()
