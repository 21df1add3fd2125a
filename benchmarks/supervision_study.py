"""Claims: dense cleaned supervision beats a single sweep, radar helps (more at night), and which network options are better.

World    24 simulated drives of 8 s at 800x450, half of them at night, 240 frames to train on and 120 to measure on; the moving objects
         of accumulated depth are carried. The truth is exact depth at every pixel, which no training sees
Size     not smaller: the nearest of 160 sweeps wins a pixel, so large pixels make accumulated depth too near (cleaned, mean error:
         -1.39 m at 400x224, -0.25 m at 800x450, +0.11 m at 1600x900), and at 400x224 a single sweep teaches better
Network  SemoDepth with base_channels 16 (2.4 M parameters), seeing images a third of the size, from scratch, the same few hundred steps for every way; small because two cores
         must do it. Read differences, not absolute numbers
Seeds    of weights and order; mean and spread (largest minus smallest) of MAE@80 m over seeds
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

import measure  # isort: skip  (before numpy and torch: it limits the thread pools)

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
WAYS: dict[str, dict[str, str]] = {
    "cleaned, scatter, correct": {},
    "single sweep": {"data.dense_target": "depth_single"},
    "accumulated, not cleaned": {"data.dense_target": "depth_accumulated"},
    "camera alone": {"data.radar": "false"},
    "radar_to_scale: resize": {"network.radar_to_scale": "resize"},
    "window_layout: reference": {"network.window_layout": "reference"},
}


def main() -> None:
    parser = measure.arguments(__doc__, data=measure.DATA / "supervision_study")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--at-once", type=int, default=os.cpu_count() or 1, help="trainings side by side, one thread each")
    parser.add_argument("--set", action="append", default=[], help="change a key of the training, e.g. max_steps=20")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = measure.parsed(parser, seeds=1, set=["max_steps=2"], ways=["cleaned, scatter, correct", "single sweep"])
    world, store = (args.data / f"{name}{'-small' if args.small else ''}" for name in ("world", "store"))
    source = {**(SMALL_WORLD if args.small else WORLD), "root": str(world)}
    recipe = {"source": source, "store": str(store), "cameras": ["CAM_FRONT"]}
    recipe["stages"] = {"accumulate_lidar": {"moving": "carry"}}
    if args.child:
        _train(recipe, json.loads(args.child))
        return
    _materialize(recipe)
    jobs = [(way, seed) for seed in range(args.seeds) for way in args.ways]
    with ThreadPoolExecutor(args.at_once) as pool:
        results = dict(zip(jobs, pool.map(lambda job: _in_child(args, *job), jobs), strict=True))
    print(f"{measure.machine()}; {args.seeds} seeds; MAE@80 m in mm against exact depth, spread over seeds in brackets")
    print("| way | radar on | at night | radar taken away | at night | delta1 |\n|---|---|---|---|---|---|")
    for way in args.ways:
        rows = [results[way, seed] for seed in range(args.seeds)]
        cells = [_cell([row[key] for row in rows if key in row]) for key in ("on/all", "on/night", "off/all", "off/night")]
        print(f"| {way} | {' | '.join(cells)} | {mean(row['delta1'] for row in rows):.4f} |")


def _cell(values: list[float]) -> str:
    if not values:
        return ""
    return f"{mean(values):.0f} ({max(values) - min(values):.0f})"


def _materialize(recipe: dict) -> None:
    from flows.run.bare_loop import BareLoop
    from flows.run.listener import Listener
    from flows.run.making import make_units
    from flows.run.opening import open_recipe
    from flows.settings import Settings
    from pipeline.recipe import parse_recipe

    opened = open_recipe(parse_recipe(recipe, where="study"), Settings())
    if make_units(opened, BareLoop(), Listener(print), report=False).num_failed:
        raise SystemExit("the world could not be made")


def _in_child(args: argparse.Namespace, way: str, seed: int) -> dict[str, float]:
    changes = {**WAYS[way], "seed": str(seed), "data.seed": str(seed), **dict(change.split("=", 1) for change in args.set)}
    command = [sys.executable, __file__, "--data", str(args.data), "--child", json.dumps(changes)]
    command += ["--small"] if args.small else []
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    errors = json.loads(done.stdout.splitlines()[-1])
    print(f"{way}, seed {seed}: {errors}", file=sys.stderr, flush=True)
    return errors


def _train(recipe: dict, changes: dict[str, str]) -> None:
    import torch
    import yaml

    from model.families import evaluate_training, parse_train_config, train
    from model.semodepth.summary import summarise
    from model.train.config import Machine
    from model.train.loop import is_complete
    from pipeline.recipe import parse_recipe
    from storage_schemas.evaluation import read_evaluation
    from storage_schemas.manifest import open_manifest
    from storage_schemas.store import Store

    torch.set_num_threads(1)
    changed = json.loads(json.dumps(BASE))
    for key, value in changes.items():
        *parents, last = key.split(".")
        place = changed
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = yaml.safe_load(value)
    config = parse_train_config(changed, where="study")
    store = Store(parse_recipe(recipe, where="study").store)
    manifest = open_manifest(store)
    folder = Path(store.root) / "runs" / "trainings" / config.fingerprint(manifest.path.fingerprint)
    if not is_complete(folder):
        train(config, manifest, folder, machine=Machine(accelerator="cpu"))
        evaluate_training(config, manifest, folder, machine=Machine(accelerator="cpu"))
    frames, _ = read_evaluation(str(folder / "evaluation"))
    rows = {f"{row.radar}/{row.group}": row for row in summarise(frames) if row.cap_m == 80.0}
    main = rows.get("on/all") or rows["off/all"]  # a network of the camera alone has no rows with radar
    print(json.dumps({**{key: round(row.mae_mm, 1) for key, row in rows.items()}, "delta1": main.delta1}))


if __name__ == "__main__":
    main()
