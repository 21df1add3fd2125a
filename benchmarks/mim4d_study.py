"""Claims: what MIM4D renders beats its controls, and a backbone that it pre-trained needs fewer labelled steps.

World     28 simulated drives of 8 s with six cameras and five radars at 320x192, 16 to train on; exact depth known everywhere;
          --world chooses which
Pre-train MIM4D on windows of three key frames (half a second apart), with SemoDepth's encoder (ResNet-34, base_channels 16) as its
          backbone, from scratch. No labels, but LiDAR: one sweep of every key frame of the training drives is what rays are compared with
Rendering held-out LiDAR points and hidden pixels of drives that nothing was trained on, every volume beside its controls
Probes    one linear layer on the frozen features, beside random weights and priors that look at no image
Labels    SemoDepth on the front and back camera, from scratch and from that backbone, the same steps and order; its target is exact
          dense depth of a share of the training images (``data.share``). MAE@80 m against exact depth along the way: how many
          steps until the error that the network from scratch ends with
Table     a last line of the labels sees no image: the median exact depth of each camera's pixels over all training frames. The rows
          and columns of the probes that look at no image are priors of the same kind for what is rendered
Seeds     of weights, order, hidden patches and of which images have labels; each fine-tuning starts from the pre-training of its seed
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import mean

import measure  # isort: skip  (before numpy and torch: it limits the thread pools)

from study_pairs import frames_of, print_pairs
from study_store import made_manifest, opened_recipe
from study_world import add_world_arguments, folder_ending, name_of, scenes_of, source_of, world_words
from table_without_image import NAME, frame_errors, row_of

SIX = ["CAM_FRONT", "CAM_FRONT_RIGHT", "CAM_FRONT_LEFT", "CAM_BACK", "CAM_BACK_LEFT", "CAM_BACK_RIGHT"]
RADARS = ["RADAR_FRONT", "RADAR_FRONT_LEFT", "RADAR_FRONT_RIGHT", "RADAR_BACK_LEFT", "RADAR_BACK_RIGHT"]
WORLD = {"kind": "synthetic", "scenes": 24, "seconds": 8, "seed": 0, "image_size": [320, 192]}
SMALL_WORLD = {**WORLD, "scenes": 2, "seconds": 3, "lidar_azimuth_steps": 100}
CHANNELS = 16
PRE_TRAINING = {
    "family": "mim4d",
    "network": {
        "input_px": [192, 320],
        "backbone": {"name": "resnet34", "base_channels": CHANNELS},
        "lift": {
            "channels": 32,
            "num_depth_bins": 28,
            "far_m": 44.8,
            "low_m": [-38.4, -38.4, -3.2],
            "high_m": [38.4, 38.4, 4.8],
            "num_voxels_zyx": [5, 48, 48],
            "volume_channels": 16,
        },
        "temporal": {"embed_channels": 64, "short_hidden": 128, "long_hidden": 64},
        "render": {"num_coarse": 32, "num_fine": 16, "rays": {"rays_per_camera": 64}},
    },
    "evaluation": {"rays_per_camera": 48},
    "learning_rate": 2e-3,
    "backbone_rate": 0.5,
    "warm_up_epochs": 0.1,
    "evaluate_every_epochs": 1000,
}
FINE_TUNING = {
    "network": {"base_channels": CHANNELS},
    "data": {
        "cameras": ["CAM_FRONT", "CAM_BACK"],
        "batch_size": 4,
        "piece_frames": 1,
        "dense_target": "depth_truth",
        "augment": {"flip_probability": 0.5},
    },
    "evaluation": {"target": "depth_truth", "without_radar": False, "num_strips": 0},
    "learning_rate": 1e-3,
    "epochs": 1_000_000,
}
SHARES = (0.01, 0.1, 1.0)
EVALUATIONS = 6
"""Along a fine-tuning, evenly."""
DECAYS = 4
"""The learning rate falls so often, evenly, to this part of it at the end."""
LAST_RATE = 0.1
VOLUMES = ("direct", "reconstruct", "copied_warped", "copied", "swapped", "reconstruct_swapped", "constant")


def main() -> None:
    parser = measure.arguments(__doc__, data=measure.DATA / "mim4d_study")
    parser.add_argument("--parts", nargs="+", choices=("rendering", "labels"), default=["rendering", "labels"])
    add_world_arguments(parser)
    parser.add_argument(
        "--backbone-rates",
        nargs="+",
        type=float,
        default=[0.3, 1.0],
        help="of fine-tuning; the best of seed 0 on the largest share is taken for all",
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=800, help="of pre-training")
    parser.add_argument("--fine-steps", type=int, default=240, help="of every fine-tuning")
    parser.add_argument("--shares", nargs="+", type=float, default=list(SHARES))
    parser.add_argument("--evaluations", type=int, default=EVALUATIONS, help="along a fine-tuning, evenly")
    parser.add_argument("--at-once", type=int, default=os.cpu_count() or 1, help="trainings side by side, one thread each")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = measure.parsed(
        parser, scenes=SMALL_WORLD["scenes"], seeds=1, steps=2, fine_steps=6, shares=[1.0], backbone_rates=[1.0]
    )
    if args.child:
        print(json.dumps(_train(args, **json.loads(args.child))))
        return
    print(f"{measure.machine()}; {name_of(args)}; {args.seeds} seeds")
    _materialize(args)
    seeds = range(args.seeds)
    with ThreadPoolExecutor(args.at_once) as pool:
        pre_trained = list(
            pool.map(lambda seed: _in_child(args, _pre_training(args, seed), is_probed="rendering" in args.parts), seeds)
        )
        if "rendering" in args.parts:
            _print_rendering([Path(folder) for folder in pre_trained])
            _print_probes([Path(folder) for folder in pre_trained])
        if "labels" in args.parts:
            rate = _best_rate(args, pool, max(args.shares), pre_trained[0])
            jobs = [(share, seed, start) for share in args.shares for seed in seeds for start in ("scratch", "pre-trained")]

            def fine_tuned(job):
                share, seed, start = job
                backbone = None if start == "scratch" else str(Path(pre_trained[seed]) / "best.pt")
                return Path(_in_child(args, _fine_tuning(args, share, seed, backbone, rate)))

            folders = dict(zip(jobs, pool.map(fine_tuned, jobs), strict=True))
            _print_labels(args, {job: _curve(folder) for job, folder in folders.items()})
            for share in args.shares:
                frames = {
                    (f"{share:.0%}, {start}", seed): frames_of(folders[share, seed, start] / "evaluation")
                    for seed in seeds
                    for start in ("scratch", "pre-trained")
                }
                print_pairs(f"{share:.0%}, scratch", [f"{share:.0%}, pre-trained"], frames, num_seeds=args.seeds)


def _best_rate(args: argparse.Namespace, pool: ThreadPoolExecutor, share: float, pre_trained: str) -> float:
    """Return the learning rate of the loaded part, as a factor, that is best on seed 0; the other seeds do not choose."""
    if len(args.backbone_rates) == 1:
        return float(args.backbone_rates[0])
    backbone = str(Path(pre_trained) / "best.pt")
    trainings = [_fine_tuning(args, share, 0, backbone, rate) for rate in args.backbone_rates]
    last = [_curve(Path(folder))[-1][1] for folder in pool.map(lambda training: _in_child(args, training), trainings)]
    errors = "; ".join(f"{rate:g}: {error:.0f}" for rate, error in zip(args.backbone_rates, last, strict=True))
    print(f"{share:.0%} of labels, seed 0, MAE@80 m in mm by the rate of the loaded part: {errors}", flush=True)
    return float(min(zip(last, args.backbone_rates, strict=True))[1])


def _pre_training(args: argparse.Namespace, seed: int) -> dict:
    return {**PRE_TRAINING, "data": {"seed": seed}, "seed": seed, "max_steps": args.steps}


def _fine_tuning(args: argparse.Namespace, share: float, seed: int, backbone: str | None, rate: float) -> dict:
    data = FINE_TUNING["data"]
    frames = max(1, round(share * _num_frames(args, data["cameras"])))
    batch = min(data["batch_size"], frames)
    steps_per_epoch = frames // batch
    return {
        **FINE_TUNING,
        "data": {**data, "batch_size": batch, "share": share, "seed": seed},
        "seed": seed,
        "max_steps": args.fine_steps,
        "evaluate_every_epochs": args.fine_steps / args.evaluations / steps_per_epoch,
        "decay_every_epochs": max(1, round(args.fine_steps / DECAYS / steps_per_epoch)),
        "decay": (1 - LAST_RATE) / (DECAYS - 1),
        "decay_floor": LAST_RATE,
        **({} if backbone is None else {"backbone_from": backbone, "backbone_rate": rate}),
    }


def _num_frames(args: argparse.Namespace, cameras: list[str]) -> int:
    return sum(row["split"] == "train" and row["camera"] in cameras for row in _materialize(args).rows())


def _materialize(args: argparse.Namespace):
    """Make what is missing of the world and the store; return the manifest."""
    stages = {
        "accumulate_lidar": {"num_sweeps": 3},  # this study does not read the accumulated maps
        "project_radar": {"channels": RADARS},
        "index_windows": {"enabled": True},
    }
    source = source_of(args, {**(SMALL_WORLD if args.small else WORLD), "cameras": SIX, "radars": RADARS})
    recipe = {
        "source": source,
        "store": str(args.data / f"store{folder_ending(args)}"),
        "cameras": SIX,
        **scenes_of(args),
        "stages": stages,
    }
    return made_manifest(opened_recipe(recipe, workers=args.at_once))


def _in_child(args: argparse.Namespace, training: dict, *, is_probed: bool = False) -> str:
    """Train in a process of its own; return the training's folder."""
    command = [
        sys.executable,
        __file__,
        "--data",
        str(args.data),
        *world_words(args),
        "--child",
        json.dumps({"training": training, "is_probed": is_probed}),
    ]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    folder = json.loads(done.stdout.splitlines()[-1])
    print(f"{training.get('family', 'semodepth')}, seed {training['seed']}: {folder}", file=sys.stderr, flush=True)
    return folder


def _train(args: argparse.Namespace, training: dict, is_probed: bool) -> str:
    import torch

    from model.families import evaluate_training, parse_train_config, train
    from model.mim4d.probes.run_probes import probe_training
    from model.train.config import Machine
    from model.train.loop import is_complete

    torch.set_num_threads(1)
    config = parse_train_config(training, where="study")
    manifest = _materialize(args)
    folder = Path(manifest.store.root) / "runs" / "trainings" / config.fingerprint(manifest.path.fingerprint)
    if not is_complete(folder):
        train(config, manifest, folder, machine=Machine(accelerator="cpu"))
        if is_probed or training.get("family") != "mim4d":  # labels need the weights of a pre-training, and not its tables
            evaluate_training(config, manifest, folder, machine=Machine(accelerator="cpu"))
    if is_probed:
        probe_training(config, manifest, folder, machine=Machine(accelerator="cpu"))
    return str(folder)


def _print_rendering(folders: list[Path]) -> None:
    from model.mim4d.evaluation import read_rendering

    rows_of_seeds = [{row[:4]: row for row in read_rendering(folder / "evaluation")} for folder in folders]

    def cell(volume: str, pixels: str, value: str) -> str:
        values = [getattr(rows[volume, "all", pixels, "all"], value) for rows in rows_of_seeds]
        return f"{mean(values):.3f} ({max(values) - min(values):.3f})"

    print("| volume | AbsRel | at hidden pixels | RMSE m | delta<1.25 | colour L1 at hidden pixels |\n|---|---|---|---|---|---|")
    for volume in VOLUMES:
        values = [cell(volume, *which) for which in (
            ("all", "abs_rel"), ("masked", "abs_rel"), ("all", "rmse_m"), ("all", "delta1"), ("masked", "rgb_l1"),
        )]  # fmt: skip
        print(f"| {volume} | {' | '.join(values)} |")
    for what, value, pixels in (("AbsRel", "abs_rel", "all"), ("colour L1 at hidden pixels", "rgb_l1", "masked")):
        of_seeds = {volume: [getattr(rows[volume, "all", pixels, "all"], value) for rows in rows_of_seeds] for volume in VOLUMES}
        listed = "; ".join(f"{volume} {', '.join(f'{value:.3f}' for value in values)}" for volume, values in of_seeds.items())
        print(f"{what} of every seed: {listed}", flush=True)


def _print_probes(folders: list[Path]) -> None:
    from model.mim4d.probes.probe_files import read_probes

    probes_of_seeds = [read_probes(folder) for folder in folders]
    print(
        "| probe of | depth AbsRel | of every seed | delta<1.25 | occupancy, average precision | of every seed |\n|---|---|---|---|---|---|"
    )
    for features in dict.fromkeys(row.features for probes in probes_of_seeds for row in (*probes.depth, *probes.occupancy)):
        depth = [row for probes in probes_of_seeds if (row := probes.depth_of(features)) is not None]
        occupancy = [row for probes in probes_of_seeds if (row := probes.occupancy_of(features)) is not None]
        cells = [*_mean_and_each([row.abs_rel for row in depth]), *_mean_and_each([row.delta1 for row in depth])[:1]]
        cells += _mean_and_each([row.average_precision for row in occupancy])
        print(f"| {features} | {' | '.join(cells)} |", flush=True)


def _mean_and_each(values: list[float]) -> tuple[str, str]:
    return (f"{mean(values):.3f}", ", ".join(f"{value:.3f}" for value in values)) if values else ("", "")


def _curve(folder: Path) -> list[tuple[int, float]]:
    """Return the steps at which a fine-tuning was measured, and MAE@80 m there."""
    with open(folder / "evaluations.csv", newline="", encoding="utf-8") as stream:
        return [
            (int(row["step"]), float(row["mae_mm"]))
            for row in csv.DictReader(stream)
            if (row["radar"], row["group"], float(row["cap_m"])) == ("on", "all", 80.0)
        ]


def _print_labels(args: argparse.Namespace, curves: dict) -> None:
    print(
        f"| labels | MAE@80 m mm after {args.fine_steps} steps, from scratch | from the pre-trained backbone | steps until the "
        "error that scratch ends with, each seed | error of each seed, scratch / pre-trained |\n|---|---|---|---|---|"
    )
    for share in args.shares:
        pairs = [(curves[share, seed, "scratch"], curves[share, seed, "pre-trained"]) for seed in range(args.seeds)]
        last = [[curve[-1][1] for curve in pair] for pair in pairs]
        reached = [next((step for step, mae in trained if mae <= scratch[-1][1]), None) for scratch, trained in pairs]
        cells = [_cell([pair[side] for pair in last]) for side in (0, 1)]
        reached_text = ", ".join("never" if step is None else str(step) for step in reached)
        errors = "; ".join(f"{scratch:.0f} / {trained:.0f}" for scratch, trained in last)
        print(f"| {share:.0%} | {' | '.join(cells)} | {reached_text} | {errors} |", flush=True)
    target, cameras = FINE_TUNING["evaluation"]["target"], FINE_TUNING["data"]["cameras"]
    table = row_of(frame_errors(_materialize(args), target=target, truth=target, cameras=cameras))
    print(f"{NAME}, of all training frames: MAE@80 m {table['all']:.0f} mm, delta1 {table['delta1']:.4f}", flush=True)
    steps = [step for step, _ in next(iter(curves.values()))]
    print(f"mean MAE@80 m of seeds after {', '.join(map(str, steps))} steps:")
    for share in args.shares:
        for start in ("scratch", "pre-trained"):
            of_start = [curves[share, seed, start] for seed in range(args.seeds)]
            print(
                f"  {share:.0%} {start}: {', '.join(f'{mean(curve[place][1] for curve in of_start):.0f}' for place in range(len(steps)))}"
            )


def _cell(values: list[float]) -> str:
    return f"{mean(values):.0f} ({max(values) - min(values):.0f})"


if __name__ == "__main__":
    main()
