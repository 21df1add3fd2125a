"""Claims: pass B takes away gross errors that pass C leaves; monocular depth makes depth better as an input, and as a teacher in the loss.

World     that of supervision_study.py: 28 simulated drives of 8 s at 800x450, exact depth known everywhere; --world chooses which
Teachers  exact depth spoilt frame by frame (unknown scale and shift, smooth noise, wrong patches), aligned by radar like any other, or
          by one LiDAR sweep; and a flat road with the annotated boxes. No network saw these images: how good MiDaS or Depth Anything
          would be is not said
Cleaning  no training: the cleaned maps of all key frames of both splits against exact depth, with pass C alone and with B and C
Training  the network and the steps of supervision_study.py on one manifest (cleaned by B and C; --trained-on), without the branch, and with it,
          measured with monocular depth given and withheld; with the branch alone trained, for the same steps, on the network without
          (only_plug_in: withheld, that network is what it was); and without it, but distilled from it where LiDAR measured nothing
          (loss.distill). Mean and spread (largest minus smallest) of MAE@80 m over seeds, against exact depth at every pixel.
          Given depth comes from the truth, spoilt: read it as what a good teacher could bring, not as what one does
Table     the last row sees no input: the median depth of each pixel over the training frames of the dense target
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

import numpy as np
from study_pairs import frames_of, means_of, print_pairs
from study_store import made_manifest, opened_recipe
from study_world import add_world_arguments, folder_ending, name_of, scenes_of, source_of, world_words
from supervision_study import BASE, SMALL_WORLD, WORLD
from table_without_image import NAME, frame_errors, row_of

GOOD = {"teacher": "truth"}  # the defaults of predict_mono_depth: noise 5 %
POOR = {"teacher": "truth", "truth_noise": 0.2, "truth_gross": 0.1}
PERFECT = {"teacher": "truth", "truth_noise": 0.0, "truth_scale_spread": 0.0, "truth_shift_spread_per_m": 0.0}
FLAT = {"teacher": "plane_and_boxes"}
CLEANINGS: dict[str, dict[str, dict]] = {
    "C alone": {},
    "B and C, good teacher": {"predict_mono_depth": GOOD},
    "B and C, good teacher, robust fit": {"predict_mono_depth": GOOD, "align_mono_depth": {"fit": "robust"}},
    "B and C, poor teacher": {"predict_mono_depth": POOR},
    "B and C, poor teacher, robust fit": {"predict_mono_depth": POOR, "align_mono_depth": {"fit": "robust"}},
    "B and C, good teacher, by LiDAR": {
        "predict_mono_depth": GOOD,
        "align_mono_depth": {"method": "lidar", "fit": "robust"},
    },
    "B and C, poor teacher, by LiDAR": {
        "predict_mono_depth": POOR,
        "align_mono_depth": {"method": "lidar", "fit": "robust"},
    },
    "B and C, flat road and boxes, as it is": {"predict_mono_depth": FLAT, "align_mono_depth": {"method": "as_is"}},
    "B and C, perfect teacher, as it is": {
        "predict_mono_depth": {**PERFECT, "truth_output": "metric"},
        "align_mono_depth": {"method": "as_is"},
    },
}
TRAINED_ON = "B and C, good teacher, robust fit"
WAYS: dict[str, dict] = {
    "no plug-in": {},
    "plug-in": {"network.plug_in": "true", "data.mono": "true"},
    "plug-in alone": {
        "network.plug_in": "true",
        "network.absent_mono": "skip",
        "data.mono": "true",
        "data.augment.mono_dropout": "0.0",
        "only_plug_in": "true",
    },
    "distilled, l1": {"data.mono": "true", "loss.distill.form": "l1"},
    "distilled, laplace": {"data.mono": "true", "loss.distill.form": "laplace", "network.uncertainty": "true"},
}


PUT_ON = {"plug-in alone": "no plug-in"}
"""Ways that begin with the network of another way and the same seed."""


def main() -> None:
    parser = measure.arguments(__doc__, data=measure.DATA / "plug_in_study")
    parser.add_argument("--parts", nargs="+", choices=("cleaning", "training"), default=["cleaning", "training"])
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--trained-on", choices=CLEANINGS, default=TRAINED_ON, help="whose maps the trainings see and learn from")
    parser.add_argument("--with-radar-only", action="store_true", help="do not measure a second time with the radar taken away")
    parser.add_argument("--cleanings", nargs="+", choices=CLEANINGS, default=list(CLEANINGS))
    add_world_arguments(parser)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=BASE["max_steps"])
    parser.add_argument("--at-once", type=int, default=os.cpu_count() or 1, help="trainings side by side, one thread each")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    few = ["C alone", TRAINED_ON, "B and C, flat road and boxes, as it is"]
    args = measure.parsed(
        parser,
        scenes=SMALL_WORLD["scenes"],
        seeds=1,
        steps=2,
        cleanings=few,
        ways=["no plug-in", "plug-in", "plug-in alone", "distilled, laplace"],
    )
    if args.child:
        _train(args, json.loads(args.child))
        return
    print(f"{measure.machine()}; {name_of(args)}")
    if "cleaning" in args.parts:
        _compare_cleanings(args)
    if "training" in args.parts:
        _compare_trainings(args)


def _open(args: argparse.Namespace, cleaning: str):
    recipe = {
        "source": source_of(args, SMALL_WORLD if args.small else WORLD),
        "store": str(args.data / f"store{folder_ending(args)}"),
        "cameras": ["CAM_FRONT"],
        **scenes_of(args),
        "stages": {"accumulate_lidar": {"moving": "carry"}, **CLEANINGS[cleaning]},
    }
    return opened_recipe(recipe, workers=args.at_once)


def _materialize(args: argparse.Namespace, cleaning: str):
    """Make what is missing of one way; return its manifest."""
    return made_manifest(_open(args, cleaning), what=f"{cleaning}: ")


def _compare_cleanings(args: argparse.Namespace) -> None:
    print(
        "| cleaned by | gross errors | of these too near | of the gross removed | good pixels lost | mono off by (median) | "
        "frames without a fit |\n|---|---|---|---|---|---|---|"
    )
    for number, cleaning in enumerate(args.cleanings):
        errors, off, skipped, frames = _errors(_materialize(args, cleaning))
        if number == 0:
            print(f"| nothing | {errors.before.gross_share:.3%} | {_near(errors.before):.3%} | | | | |")
        mono = f"{np.median(off):.1%} | {skipped} of {frames}" if off else " | "
        print(
            f"| {cleaning} | {errors.after.gross_share:.3%} | {_near(errors.after):.3%} | {errors.gross_removed_share:.1%} | "
            f"{errors.good_lost_share:.4%} | {mono} |",
            flush=True,
        )


def _near(errors) -> float:
    return errors.num_gross_near / max(1, errors.num_measured)


def _errors(manifest):
    """Return errors before and after cleaning over all samples, mono's relative error per frame, frames without a fit, frames."""
    from flows.reports.store.depth_errors import compare_with_truth

    units, total, off, skipped = {}, None, [], 0
    for row in manifest.rows():
        maps = {}
        for name in ("depth_accumulated", "depth_clean", "depth_truth", "depth_mono"):
            if (path := manifest.unit_of(row, name)) is not None:
                units[name] = units.get(name) if units.get(name, (None,))[0] == path else (path, manifest.store.open_unit(path))
                maps[name] = units[name][1].array("depth_m", row["frame"])
        counts = compare_with_truth(maps["depth_accumulated"], maps["depth_clean"], maps["depth_truth"]).total
        total = counts if total is None else total + counts
        if "depth_mono" in maps:
            seen = (maps["depth_truth"] > 2 * 256) & (maps["depth_truth"] < 80 * 256) & (maps["depth_mono"] > 0)
            skipped += not maps["depth_mono"].any()
            if seen.any():
                off.append(float(np.median(np.abs(maps["depth_mono"][seen] / maps["depth_truth"][seen].astype(float) - 1))))
    return total, off, skipped, len(manifest)


def _compare_trainings(args: argparse.Namespace) -> None:
    manifest = _materialize(args, args.trained_on)
    jobs = [(way, seed) for seed in range(args.seeds) for way in dict.fromkeys((*map(PUT_ON.get, args.ways), *args.ways)) if way]
    results: dict = {}
    with ThreadPoolExecutor(args.at_once) as pool:
        for is_put_on in (False, True):  # trainings that others start from must be complete first
            due = [job for job in jobs if (job[0] in PUT_ON) == is_put_on]
            results |= zip(due, pool.map(lambda job: _in_child(args, *job), due), strict=True)
    print(f"{args.seeds} seeds, {args.steps} steps; MAE@80 m in mm against exact depth, spread over seeds in brackets")
    print("| way | radar on | at night | radar taken away | at night | delta1 |\n|---|---|---|---|---|---|")
    for way, case in ((name, case) for name in args.ways for case in results[name, 0]):
        rows = [means_of(frames_of(results[way, seed][case])) for seed in range(args.seeds)]
        cells = [_cell([row[key] for row in rows if key in row]) for key in ("on/all", "on/night", "off/all", "off/night")]
        print(f"| {_name(way, case, results)} | {' | '.join(cells)} | {mean(row['delta1'] for row in rows):.4f} |")
    first = args.ways[0]
    frames = {(_name(way, case, results), seed): frames_of(results[way, seed][case])
              for way, seed in jobs if way in args.ways for case in results[way, seed]}  # fmt: skip
    names = list(dict.fromkeys(name for name, _ in frames))
    print_pairs(
        _name(first, "given", results),
        [name for name in names if name != _name(first, "given", results)],
        frames,
        num_seeds=args.seeds,
    )
    table = row_of(frame_errors(manifest, target="depth_clean", truth=BASE["evaluation"]["target"]))
    print(f"| {NAME} | | | {table['all']:.0f} | {table.get('night', table['all']):.0f} | {table['delta1']:.4f} |")


def _name(way: str, case: str, results: dict) -> str:
    return f"{way}, monocular depth {case}" if "withheld" in results[way, 0] else way


def _cell(values: list[float]) -> str:
    if not values:
        return ""
    return f"{mean(values):.0f} ({max(values) - min(values):.0f})"


def _in_child(args: argparse.Namespace, way: str, seed: int) -> dict[str, Path]:
    """Train in a process of its own; return the folders of what was measured, by whether monocular depth was given."""
    common = {"seed": str(seed), "data.seed": str(seed), "max_steps": str(args.steps)}
    if args.with_radar_only:
        common["evaluation.without_radar"] = "false"
    changes = {**WAYS[way], **common}
    if way in PUT_ON:
        changes["start_from"] = json.dumps({**WAYS[PUT_ON[way]], **common})
    command = [sys.executable, __file__, "--data", str(args.data), *world_words(args), "--trained-on", args.trained_on]
    command += ["--child", json.dumps(changes)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    evaluations = {case: Path(place) for case, place in json.loads(done.stdout.splitlines()[-1]).items()}
    print(f"{way}, seed {seed}: {[means_of(frames_of(place)) for place in evaluations.values()]}", file=sys.stderr, flush=True)
    return evaluations


def _train(args: argparse.Namespace, changes: dict[str, str]) -> None:
    import torch
    import yaml

    from model.families import evaluate_training, parse_train_config, train
    from model.semodepth.evaluation import WITHOUT_MONO
    from model.train.config import Machine
    from model.train.loop import is_complete

    torch.set_num_threads(1)
    manifest = _materialize(args, args.trained_on)

    def training_of(changes: dict[str, str]):
        changed = json.loads(json.dumps(BASE))
        for key, value in changes.items():
            *parents, last = key.split(".")
            place = changed
            for parent in parents:
                place = place.setdefault(parent, {})
            place[last] = yaml.safe_load(value)
        config = parse_train_config(changed, where="study")
        return config, Path(manifest.store.root) / "runs" / "trainings" / config.fingerprint(manifest.path.fingerprint)

    if "start_from" in changes:
        _, base = training_of(json.loads(changes["start_from"]))
        changes = {**changes, "start_from": str(base / "best.pt")}
    config, folder = training_of(changes)
    if not is_complete(folder):
        train(config, manifest, folder, machine=Machine(accelerator="cpu"))
        evaluate_training(config, manifest, folder, machine=Machine(accelerator="cpu"))
    places = {"given": folder / "evaluation", "withheld": folder / "evaluation" / WITHOUT_MONO}
    print(json.dumps({case: str(place) for case, place in places.items() if place.is_dir()}))


if __name__ == "__main__":
    main()
